import json
from pathlib import Path

import pytest
import torch

from tltrain.audit.run import audit_trajectories, blocked_calls
from tltrain.engine.head import TokenScores
from tltrain.engine.model import load_model
from tltrain.engine.settings import OptimizerConfig
from tltrain.formats.read import read_trajectories
from tltrain.render.conversation import render
from tltrain.render.rendered import RenderedCall, RenderedParameter, RenderedTrajectory
from tltrain.render.template import ensure_tool_template
from tltrain.render.tokens import TokenSpan
from tltrain.render.weights import KeyTokenWeighting
from tltrain.sft.config import SftConfig
from tltrain.sft.heldout import measure_heldout
from tltrain.sft.spans import SpanKind, SpanTally, flat_nll, target_kinds
from tltrain.sft.train import sft
from tltrain.syntax import get_syntax


def test_each_trained_token_is_a_part_of_one_thing():
    parameter = RenderedParameter(name="n", key=TokenSpan(4, 6), value=TokenSpan(5, 8))
    call = RenderedCall(
        number=0,
        span=TokenSpan(2, 9),
        name=TokenSpan(2, 4),
        key_positions=(2,),
        num_key=1,
        num_nonkey=6,
        weight=1.0,
        blocked=False,
        parameters=(parameter,),
    )
    # position 3 does not train, 5 stands in the parameter's name and its value
    weights = [0, 1, 9, 0, 1, 1, 1, 1, 1, 1]
    rendered = RenderedTrajectory(id="t", input_ids=list(range(10)), weights=weights, turns=(), calls=(call,), text="")
    assert target_kinds(rendered) == ["text", "name", "parameter", "parameter", "value", "value", "text", "text"]


def test_means_are_a_token_and_kinds_that_do_not_occur_are_left_out():
    tally = SpanTally()
    for logprobs, greedy, kinds in (
        ([-1.0, -2.0], [True, False], [SpanKind.NAME, SpanKind.TEXT]),
        ([-5.0], [False], [SpanKind.NAME]),
    ):
        tally.add(TokenScores(torch.tensor(logprobs), torch.zeros(len(kinds)), torch.tensor(greedy)), kinds)
    means = tally.means()
    assert means == {
        "name": {"nll": 3.0, "accuracy": 0.5, "num_tokens": 2},
        "text": {"nll": 2.0, "accuracy": 0.0, "num_tokens": 1},
    }
    assert flat_nll(means) == {"name_nll": 3.0, "parameter_nll": None, "value_nll": None, "text_nll": 2.0}
    assert SpanTally().means() == {}


def test_a_step_tells_what_a_pass_of_its_own_would(tiny_model: Path, generated: Path, tmp_path: Path):
    """One step over everything, in several micro-batches: by a plain forward pass a trajectory before the update."""
    config = SftConfig(
        optimizer=OptimizerConfig(learning_rate=1e-3),
        batch_size=24,
        micro_batch_tokens=1500,
        heldout_share=0,
        precision="float32",
    )
    sft(config, data=generated / "train.jsonl", model=tiny_model, out=tmp_path / "out")
    row = json.loads((tmp_path / "out" / "metrics.jsonl").read_text())

    loaded = load_model(tiny_model)
    syntax = get_syntax(ensure_tool_template(loaded.tokenizer))
    trajectories = read_trajectories(generated / "train.jsonl").trajectories
    blocked = blocked_calls(audit_trajectories(trajectories))
    found: dict[str, list[tuple[float, bool]]] = {"name": [], "parameter": [], "value": [], "text": []}
    calls: list[bool] = []
    all_rendered = []
    for trajectory in trajectories:
        rendered = render(
            trajectory,
            loaded.tokenizer,
            syntax,
            blocked=blocked.get(trajectory.id, frozenset()),
            weighting=KeyTokenWeighting(),
        )
        all_rendered.append(rendered)
        with torch.no_grad():
            logits = loaded.model(input_ids=torch.tensor([rendered.input_ids])).logits[0]
        logprobs = logits.log_softmax(-1)
        scores = {
            at: (-logprobs[at - 1, rendered.input_ids[at]].item(), logits[at - 1].argmax() == rendered.input_ids[at])
            for at in range(1, len(rendered.input_ids))
        }
        for at, weight in enumerate(rendered.weights):
            if weight > 0:
                kind = "text"
                for call in rendered.calls:
                    for parameter in call.parameters:
                        if parameter.value.start <= at < parameter.value.end:
                            kind = "value"
                    for parameter in call.parameters:
                        if parameter.key.start <= at < parameter.key.end:
                            kind = "parameter"
                    if call.name and call.name.start <= at < call.name.end:
                        kind = "name"
                found[kind].append(scores[at])
        for call in rendered.calls:
            if not call.blocked:
                spans = [call.name] + [span for one in call.parameters for span in (one.key, one.value)]
                calls.append(all(scores[at][1] for span in spans for at in range(*span)))
    assert row["spans"].keys() == found.keys()
    heldout = measure_heldout(loaded.model, all_rendered, max_tokens=2000)
    for kind, pairs in found.items():
        assert row["spans"][kind]["num_tokens"] == len(pairs)
        nll = sum(nll for nll, _ in pairs) / len(pairs)
        assert row["spans"][kind]["nll"] == pytest.approx(nll, rel=1e-5)
        assert row["spans"][kind]["accuracy"] == pytest.approx(sum(hit for _, hit in pairs) / len(pairs))
        assert heldout[f"{kind}_nll"] == pytest.approx(nll, rel=1e-5)
    assert heldout["call_accuracy"] == sum(calls) / len(calls)
