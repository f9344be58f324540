"""Compiled blocks give the gradient of those that are not, and are compiled once."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tiny_models import tiny_llama
from tltrain.engine.compiled import check_not_sharded, compile_blocks
from tltrain.engine.logprobs import TargetSequence, target_scores
from tltrain.engine.model import add_lora, checkpoint_activations
from tltrain.engine.settings import LoraConfig
from tltrain.engine.tree_attention import Trunk, can_run_trees
from tltrain.engine.tree_blocks import NAME, AttentionInterface, _attend
from tltrain.errors import ModelError, UsageError
from tltrain.sft.config import SftConfig
from tltrain.sft.train import sft


@pytest.fixture(autouse=True)
def _clean() -> Iterator[None]:
    import torch._dynamo

    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    yield
    AttentionInterface.register(NAME, _attend)
    torch._dynamo.reset()


def _num_graphs() -> int:
    return torch._dynamo.utils.counters["stats"]["unique_graphs"]


def _micro_batch(number: int) -> tuple[list[int], list[TargetSequence]]:
    """Trees of ever other lengths and shapes."""
    stem = [(7 * place + 3 + number) % 61 for place in range(70 + number)]
    ends = [range(5 + number + 3 * branch) for branch in range(2 + number % 3)]
    return stem, [TargetSequence([*stem, *end], range(len(stem) + 2, len(stem) + len(end))) for end in ends]


def _train(model: Any, *, has_trunk: bool) -> tuple[list[float], list[int]]:
    """Losses of some micro-batches, and the number of graphs after each; gradients are added up in the model."""
    assert can_run_trees(model)
    losses, num_graphs = [], []
    for number in range(4):
        stem, sequences = _micro_batch(number)
        trunk = Trunk(model, stem) if has_trunk else None
        loss = -target_scores(model, sequences, trunk=trunk).scores.logprobs.sum()
        loss.backward()
        if trunk:
            trunk.backward_loss().backward()
        losses.append(loss.item())
        num_graphs.append(_num_graphs())
    return losses, num_graphs


@pytest.mark.parametrize(
    ("lora", "is_checkpointed", "has_trunk", "backend"),
    [
        (None, True, True, "eager"),
        pytest.param(LoraConfig(rank=2), True, False, "eager", marks=pytest.mark.slow),
        pytest.param(None, False, False, "inductor", marks=pytest.mark.slow),
        pytest.param(None, True, True, "inductor", marks=pytest.mark.slow),
        pytest.param(LoraConfig(rank=2), False, True, "inductor", marks=pytest.mark.slow),
    ],
)
def test_the_gradient_is_the_same_and_blocks_are_compiled_once(
    lora: LoraConfig | None, is_checkpointed: bool, has_trunk: bool, backend: str
):
    gradients, losses, graphs = [], [], []
    for is_compiled in (False, True):
        model = tiny_llama()
        if lora:
            torch.manual_seed(1)
            model = add_lora(model, lora)
            with torch.no_grad():
                for name, parameter in model.named_parameters():
                    if "lora_B" in name:
                        parameter.normal_(std=0.1)
        if is_compiled:
            compile_blocks(model, "cpu", backend=backend)
        if is_checkpointed:
            checkpoint_activations(model)
        found = _train(model.train(), has_trunk=has_trunk)
        losses.append(found[0])
        graphs.append(found[1])
        gradients.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    plain, compiled = gradients
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
    assert plain.keys() == compiled.keys()
    for name, gradient in plain.items():
        assert (compiled[name] - gradient).norm() <= 1e-5 * gradient.norm()
    # the parts before and behind attention, of blocks that send a gradient back and of a first one that does not
    assert graphs[0] == [0] * 4
    assert 0 < graphs[1][0] <= 8
    assert graphs[1] == [graphs[1][0]] * 4


def test_passes_without_gradient_are_not_compiled():
    model = tiny_llama()
    compile_blocks(model, "cpu", backend="eager")
    with torch.no_grad():
        target_scores(model, _micro_batch(0)[1])
    assert _num_graphs() == 0


def test_without_a_compiler_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("shutil.which", lambda _: None)
    with pytest.raises(UsageError, match=r"install g\+\+, or set compile=false"):
        compile_blocks(tiny_llama(), "cpu")
    monkeypatch.setattr("tltrain.engine.compiled.find_spec", lambda _: None)
    with pytest.raises(UsageError, match="Triton"):
        compile_blocks(tiny_llama(), "cuda")


def test_what_does_not_go_with_it_is_refused():
    model = tiny_llama()
    model.config.num_hidden_layers += 1
    with pytest.raises(ModelError, match="set it to false"):
        compile_blocks(model, "cpu", backend="eager")
    with pytest.raises(UsageError, match="sharding=none"):
        check_not_sharded("fsdp")
    check_not_sharded("zero2")
    with pytest.raises(ValueError, match="compile=false"):
        SftConfig(compile=True, lora=LoraConfig(base="nf4"))


@pytest.mark.slow
def test_sft_reaches_the_same_weights(generated: Path, tiny_model: Path, tmp_path: Path):
    weights = []
    for is_compiled in (False, True):
        config = SftConfig(batch_size=8, group_size=2, precision="float32", compile=is_compiled)
        out = tmp_path / f"{is_compiled}"
        sft(config, data=generated / "train.jsonl", model=tiny_model, out=out)
        weights.append(load_file(out / "model" / "model.safetensors"))
        assert (_num_graphs() > 0) == is_compiled
    assert max((weights[0][key] - weights[1][key]).abs().max().item() for key in weights[0]) < 2e-5
