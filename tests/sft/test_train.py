import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tltrain.audit.run import audit_trajectories, blocked_calls
from tltrain.engine.model import load_model
from tltrain.engine.settings import LoraConfig, OptimizerConfig
from tltrain.errors import DataError, UsageError
from tltrain.formats.read import read_trajectories
from tltrain.render.conversation import render
from tltrain.render.template import ensure_tool_template
from tltrain.render.weights import KeyTokenWeighting
from tltrain.sft.config import SftConfig
from tltrain.sft.heldout import measure_heldout
from tltrain.sft.train import sft
from tltrain.stage import Reuse
from tltrain.syntax import get_syntax

_CONFIG = SftConfig(
    optimizer=OptimizerConfig(learning_rate=1e-3),
    batch_size=8,
    micro_batch_tokens=1500,
    num_epochs=2,
    heldout_share=0.2,
    checkpoint_every=1,
    precision="float32",
)


def _weights(out: Path) -> dict[str, torch.Tensor]:
    return load_file(out / "model" / "model.safetensors")


def _metrics(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def _largest_difference(first: Path, second: Path) -> float:
    left, right = _weights(first), _weights(second)
    assert left.keys() == right.keys()
    return max((left[key] - right[key]).abs().max().item() for key in left)


@pytest.fixture(scope="module")
def trained(tiny_model: Path, generated: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("sft") / "out"
    sft(_CONFIG, data=generated / "train.jsonl", model=tiny_model, out=out)
    return out


def test_it_learns_and_leaves_a_model_that_loads_with_its_template(trained: Path):
    rows = _metrics(trained)
    assert rows[-1]["loss"] < rows[0]["loss"]
    assert rows[-1]["heldout"]["nll"] < math.log(700)  # of a uniform guess
    loaded = load_model(trained / "model")
    assert "tltrain/chatml" in loaded.tokenizer.chat_template
    assert not (trained / "checkpoints").exists()


def test_shown_samples_hold_weights_and_blocked_calls(trained: Path):
    samples = [json.loads(line) for line in (trained / "samples.jsonl").read_text().splitlines()]
    assert any(call["blocked"] for sample in samples for call in sample["calls"])
    assert max(token["weight"] for sample in samples for token in sample["tokens"]) > 1


def test_the_first_loss_and_gradient_equal_plain_transformers(tiny_model: Path, generated: Path, tmp_path: Path):
    """One step over everything: loss and gradient by a plain forward pass a trajectory, weights applied by hand."""
    config = _CONFIG.model_copy(update={"batch_size": 24, "num_epochs": 1, "heldout_share": 0})
    sft(config, data=generated / "train.jsonl", model=tiny_model, out=tmp_path / "out")
    (row,) = _metrics(tmp_path / "out")

    loaded = load_model(tiny_model)
    syntax = get_syntax(ensure_tool_template(loaded.tokenizer))
    trajectories = read_trajectories(generated / "train.jsonl").trajectories
    blocked = blocked_calls(audit_trajectories(trajectories))
    turn_losses = []
    for trajectory in trajectories:
        rendered = render(
            trajectory,
            loaded.tokenizer,
            syntax,
            blocked=blocked.get(trajectory.id, frozenset()),
            weighting=KeyTokenWeighting(),
        )
        logits = loaded.model(input_ids=torch.tensor([rendered.input_ids])).logits[0]
        nll = torch.nn.functional.cross_entropy(logits[:-1], torch.tensor(rendered.input_ids[1:]), reduction="none")
        weights = torch.tensor(rendered.weights)
        for turn in rendered.turns:
            w = weights[turn.start : turn.end]
            if w.sum() > 0:
                turn_losses.append((w * nll[turn.start - 1 : turn.end - 1]).sum() / w.sum())
    loss = torch.stack(turn_losses).mean()
    loss.backward()
    norm = torch.cat([p.grad.flatten() for p in loaded.model.parameters()]).norm().item()
    assert row["loss"] == pytest.approx(loss.item(), rel=1e-5)
    assert row["grad_norm"] == pytest.approx(norm, rel=1e-5)


@pytest.mark.parametrize("share_prefixes", [True, False])
def test_accumulation_changes_nothing(share_prefixes: bool, tiny_model: Path, generated: Path, tmp_path: Path):
    def train(micro_batch_tokens: int, share: bool) -> Path:
        update = {"micro_batch_tokens": micro_batch_tokens, "share_prefixes": share, "batch_size": 24}
        update |= {"heldout_share": 0}
        out = tmp_path / f"{micro_batch_tokens}-{share}"
        sft(_CONFIG.model_copy(update=update), data=generated / "train.jsonl", model=tiny_model, out=out)
        return out

    # a step holds the whole epoch, so that its composition is the same
    one, other = train(50_000, share_prefixes), train(1, False)
    for row, other_row in zip(_metrics(one), _metrics(other), strict=True):
        assert row["loss"] == pytest.approx(other_row["loss"], rel=1e-5)
        assert row["grad_norm"] == pytest.approx(other_row["grad_norm"], rel=1e-5)
    # where a gradient is near 0, rounding turns Adam's first step around; all in all the weights went the same way
    start, end, other_end = load_file(tiny_model / "model.safetensors"), _weights(one), _weights(other)
    moved = sum((end[key] - start[key]).square().sum() for key in start).sqrt()
    apart = sum((end[key] - other_end[key]).square().sum() for key in start).sqrt()
    assert apart / moved < 1e-3


def test_adapters_train_and_are_merged_into_the_saved_model(tiny_model: Path, generated: Path, tmp_path: Path):
    out = tmp_path / "out"
    config = _CONFIG.model_copy(update={"lora": LoraConfig(rank=4), "num_epochs": 1})
    sft(config, data=generated / "train.jsonl", model=tiny_model, out=out)
    before, after = load_file(tiny_model / "model.safetensors"), _weights(out)
    assert before.keys() == after.keys()
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    assert changed == {key for key in before if "proj" in key}


_SCRIPT = """
import sys, torch
torch.set_num_threads(1)
from pathlib import Path
from tltrain.sft.config import SftConfig
from tltrain.sft.heldout import measure_heldout
from tltrain.sft.train import sft
from tltrain.stage import Reuse
config, data, model, out = sys.argv[1:]
sft(SftConfig.model_validate_json(config), data=Path(data), model=model, out=Path(out), reuse=Reuse.RESUME)
"""


def test_a_killed_run_resumes_to_the_same_weights(trained: Path, tiny_model: Path, generated: Path, tmp_path: Path):
    out = tmp_path / "out"
    arguments = [_CONFIG.model_dump_json(), str(generated / "train.jsonl"), str(tiny_model), str(out)]
    process = subprocess.Popen([sys.executable, "-c", _SCRIPT, *arguments], env=os.environ | {"OMP_NUM_THREADS": "1"})
    deadline = time.monotonic() + 120
    while not list(out.glob("checkpoints/step-*")):
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (out / "model").exists()
    sft(_CONFIG, data=generated / "train.jsonl", model=tiny_model, out=out, reuse=Reuse.RESUME)
    assert _largest_difference(out, trained) == 0
    assert [row["step"] for row in _metrics(out)] == [row["step"] for row in _metrics(trained)]


def test_a_finished_run_is_not_done_again(trained: Path, tiny_model: Path, generated: Path):
    before = (trained / "model" / "model.safetensors").stat().st_mtime_ns
    result = sft(_CONFIG, data=generated / "train.jsonl", model=tiny_model, out=trained, reuse=Reuse.RESUME)
    assert result.num_steps == len(_metrics(trained))
    assert (trained / "model" / "model.safetensors").stat().st_mtime_ns == before


def test_resuming_under_other_settings_is_refused_with_the_fields(trained: Path, tiny_model: Path, generated: Path):
    other = _CONFIG.model_copy(update={"seed": 5})
    with pytest.raises(UsageError, match=r"config\.seed was 0 and is 5"):
        sft(other, data=generated / "train.jsonl", model=tiny_model, out=trained, reuse=Reuse.RESUME)


def test_a_used_folder_is_refused(trained: Path, tiny_model: Path, generated: Path):
    with pytest.raises(UsageError, match="--resume"):
        sft(_CONFIG, data=generated / "train.jsonl", model=tiny_model, out=trained)


def test_rows_that_do_not_fit_are_set_aside_with_id_and_limit(tiny_model: Path, generated: Path, tmp_path: Path):
    config = _CONFIG.model_copy(update={"max_length": 500, "num_epochs": 1})
    result = sft(config, data=generated / "train.jsonl", model=tiny_model, out=tmp_path / "out")
    rows = [json.loads(line) for line in (tmp_path / "out" / "quarantine.jsonl").read_text().splitlines()]
    assert result.num_set_aside == len(rows) > 0
    assert all("500" in row["reason"] and row["id"] in row["reason"] for row in rows)


def test_nothing_left_to_train_on_is_an_error(tiny_model: Path, generated: Path, tmp_path: Path):
    config = _CONFIG.model_copy(update={"max_length": 5})
    with pytest.raises(DataError, match="no row is left to train on"):
        sft(config, data=generated / "train.jsonl", model=tiny_model, out=tmp_path / "out")


def test_validation_data_is_measured_in_place_of_a_share(tiny_model: Path, generated: Path, tmp_path: Path):
    config = _CONFIG.model_copy(update={"num_epochs": 0.4, "heldout_share": 0.5})
    data, validation = generated / "train.jsonl", generated / "test.jsonl"
    result = sft(config, data=data, model=tiny_model, out=tmp_path / "out", validation=validation)
    assert result.num_trained == len(read_trajectories(data).trajectories)
    loaded = load_model(tmp_path / "out" / "model")
    syntax = get_syntax(ensure_tool_template(loaded.tokenizer))
    rows = read_trajectories(validation).trajectories
    rendered = [render(row, loaded.tokenizer, syntax, weighting=KeyTokenWeighting()) for row in rows]
    expected = measure_heldout(loaded.model, rendered, max_tokens=5000)
    assert result.heldout == pytest.approx(expected, rel=1e-4)
