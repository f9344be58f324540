"""Runs that would train nothing, or something else than they say, are stopped with the reason."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import tltrain.sft.train as train_module
from tltrain.config import load_config
from tltrain.engine.logprobs import TargetSequence, target_scores
from tltrain.engine.model import load_model
from tltrain.engine.settings import OptimizerConfig
from tltrain.errors import DataError, TltrainError, UsageError
from tltrain.sft.config import SftConfig
from tltrain.sft.samples import prepare_samples
from tltrain.sft.train import sft

_CONFIG = SftConfig(
    optimizer=OptimizerConfig(learning_rate=1e-3),
    batch_size=4,
    group_size=2,
    micro_batch_tokens=1,  # a micro-batch a trajectory
    heldout_share=0,
    checkpoint_every=1,
    precision="float32",
)


@pytest.mark.parametrize("rate", [0.0, -0.1, math.inf, math.nan])
def test_a_learning_rate_that_trains_nothing_is_refused_with_another(rate: float):
    with pytest.raises(UsageError, match=r"optimizer.learning_rate: .* trains nothing; give a number over 0, such as"):
        load_config(SftConfig, flags={"optimizer.learning_rate": rate})


@pytest.mark.parametrize("number", [0.0, math.inf, math.nan])
def test_no_passes_over_the_data_are_refused_with_the_default(number: float):
    with pytest.raises(UsageError, match=r"num_epochs=.* should be .*; the default is 1.0"):
        load_config(SftConfig, flags={"num_epochs": number})


def test_the_smallest_part_of_an_epoch_is_one_step(tiny_model: Path, generated: Path, tmp_path: Path):
    config = _CONFIG.model_copy(update={"num_epochs": 1e-9})
    assert sft(config, data=generated / "train.jsonl", model=tiny_model, out=tmp_path / "out").num_steps == 1


def test_a_run_whose_calls_are_all_blocked_says_what_to_do(tiny_model: Path, tmp_path: Path):
    call = {"id": "c", "type": "function", "function": {"name": "get_tea", "arguments": "{}"}}
    row = {
        "tools": [{"type": "function", "function": {"name": "get_tea", "parameters": {}}}],
        "messages": [
            {"role": "user", "content": "Tea?"},
            {"role": "assistant", "content": "", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c", "content": "Error: unknown tool get_tea"},
        ],
    }
    (tmp_path / "data.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(DataError, match=r"no row is left to train on.* all 1 calls are blocked; leave the row out, or"):
        sft(_CONFIG, data=tmp_path / "data.jsonl", model=tiny_model, out=tmp_path / "out")
    assert not (tmp_path / "out" / "model").exists()


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_names_the_rows_and_leaves_the_checkpoint(
    bad: float, tiny_model: Path, generated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """In the second micro-batch of the third step."""
    original = train_module.weighted_nll
    number = 0
    seen: list[list[str]] = []

    def spoil(*arguments: Any) -> torch.Tensor:
        nonlocal number
        number += 1
        loss = original(*arguments)
        return loss * bad if number == 2 * 4 + 2 else loss

    def note(step: Any, normalisation: Any) -> Any:
        seen.append([rendered.id for rendered in step])
        return coefficients(step, normalisation)

    coefficients = train_module.loss_coefficients
    out = tmp_path / "out"
    monkeypatch.setattr(train_module, "weighted_nll", spoil)
    monkeypatch.setattr(train_module, "loss_coefficients", note)
    with pytest.raises(TltrainError, match=r"step 2: the loss is (nan|inf).*lower learning_rate") as caught:
        sft(_CONFIG, data=generated / "train.jsonl", model=tiny_model, out=out)
    message = str(caught.value)
    rows, _, rest = message.partition("Its rows are ")[2].partition(" (the loss of ")
    assert rows.split(", ") == seen[2]
    (guilty,) = [name for name in seen[2] if rest.startswith(f"{name} is not finite")]
    assert guilty
    checkpoint = out / "checkpoints" / "step-000002"
    assert message.endswith(f"the newest checkpoint is {checkpoint}")
    assert [path for path in checkpoint.parent.iterdir() if path.is_dir()] == [checkpoint]
    assert all(weights.isfinite().all() for weights in load_file(checkpoint / "model.safetensors").values())
    assert not (out / "model").exists()


def test_before_the_first_checkpoint_it_says_so(
    tiny_model: Path, generated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(train_module, "weighted_nll", lambda logprobs, _: logprobs.sum() * float("nan"))
    with pytest.raises(TltrainError, match="no checkpoint was due before it"):
        sft(_CONFIG, data=generated / "train.jsonl", model=tiny_model, out=tmp_path / "out")


def test_a_held_out_loss_that_is_not_finite_stops(
    tiny_model: Path, generated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(train_module, "measure_heldout", lambda *_, **__: {"nll": float("nan")})
    config = _CONFIG.model_copy(update={"heldout_share": 0.2})
    with pytest.raises(TltrainError, match=r"held-out trajectories is nan; lower optimizer.learning_rate"):
        sft(config, data=generated / "train.jsonl", model=tiny_model, out=tmp_path / "out")


def _end_logprobs(model: Any, samples: list[Any], eos: int) -> torch.Tensor:
    sequences = []
    for sample in samples:
        rendered = sample.rendered
        ends = [turn.end - 1 for turn in rendered.turns if rendered.weights[turn.end - 1] > 0]
        assert all(rendered.input_ids[end] == eos for end in ends)
        sequences.append(TargetSequence(rendered.input_ids, ends))
    with torch.no_grad():
        return target_scores(model, sequences).scores.logprobs


def test_the_end_of_turn_is_trained_where_it_is_the_pad_token_too(tiny_model: Path, generated: Path, tmp_path: Path):
    before = load_model(tiny_model)
    eos = before.tokenizer.eos_token_id
    assert before.tokenizer.pad_token_id == eos
    rate = OptimizerConfig(learning_rate=2e-2)
    config = _CONFIG.model_copy(update={"micro_batch_tokens": 4000, "num_epochs": 2, "optimizer": rate})
    data = generated / "train.jsonl"
    prepared = prepare_samples(
        config, before.tokenizer, data=data, verdicts=None, validation=None, out=tmp_path / "prepared"
    )
    turns = [turn for sample in prepared.train for turn in sample.rendered.turns if turn.kind != "blocked"]
    weights = [
        sample.rendered.weights[turn.end - 1]
        for sample in prepared.train
        for turn in sample.rendered.turns
        if turn.kind != "blocked"
    ]
    assert len(turns) > 24
    assert min(weights) >= 1
    sft(config, data=data, model=tiny_model, out=tmp_path / "out")
    after = load_model(tmp_path / "out" / "model")
    first, then = (_end_logprobs(loaded.model, prepared.train, eos) for loaded in (before, after))
    assert len(first) >= len(turns)
    assert then.mean() > first.mean() + 0.5


def test_the_result_says_which_chat_template_it_was_trained_with(tiny_model: Path, generated: Path, tmp_path: Path):
    config = _CONFIG.model_copy(update={"num_epochs": 0.1, "micro_batch_tokens": 4000})
    assert load_model(tiny_model).tokenizer.chat_template is None
    first = sft(config, data=generated / "train.jsonl", model=tiny_model, out=tmp_path / "one")
    assert first.chat_template == "tltrain/chatml 1"
    loaded = load_model(first.model)
    shown = (Path(__file__).parents[1] / "render" / "templates" / "qwen2_5.jinja").read_text(encoding="utf-8")
    loaded.tokenizer.chat_template = shown
    loaded.tokenizer.save_pretrained(first.model)
    second = sft(config, data=generated / "train.jsonl", model=first.model, out=tmp_path / "two")
    assert second.chat_template == "the model's own"
