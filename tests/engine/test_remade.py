import gc
import weakref
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import nn

from engine.kept import num_bytes, watching
from tiny_models import tiny_llama, tiny_relative
from tltrain.engine import remade, tree_attention
from tltrain.engine.heap import HeapTrimmer
from tltrain.engine.model import add_lora
from tltrain.engine.remade import remaking
from tltrain.engine.settings import LoraConfig
from tltrain.engine.tree_attention import can_run_trees, hidden_states

_SEQUENCES = [[*range(20), *range(end)] for end in (5, 9, 30)]
_KINDS = ["llama", "qwen3", "mistral", "gemma3"]


def _model(kind: str, lora: LoraConfig | None = None, dtype: torch.dtype = torch.float64) -> Any:
    model = tiny_llama(dtype=dtype) if kind == "llama" else tiny_relative(kind, dtype=dtype)
    if lora:
        torch.manual_seed(1)
        model = add_lora(model, lora).to(dtype)
    can_run_trees(model)
    return model.train()


def _states_gradients_and_size(model: Any) -> tuple[torch.Tensor, list[torch.Tensor], int]:
    torch.manual_seed(2)  # of dropout
    with watching() as kept:
        states = hidden_states(model, _SEQUENCES).hidden
    size = num_bytes(kept, model)
    wanted = [parameter for parameter in model.parameters() if parameter.requires_grad]
    gradients = torch.autograd.grad((states * torch.linspace(-1, 1, states.shape[1])).sum(), wanted, allow_unused=True)
    return states, [gradient for gradient in gradients if gradient is not None], size


@pytest.mark.parametrize("kind", _KINDS)
@pytest.mark.parametrize("lora", [None, LoraConfig(rank=2, dropout=0.5), LoraConfig(rank=2, variant="dora")])
def test_states_and_gradients_are_those_of_keeping_everything(kind, lora, monkeypatch):
    model = _model(kind, lora)
    states, gradients, _ = _states_gradients_and_size(model)
    monkeypatch.setattr(tree_attention, "remaking", lambda _: nullcontext())
    expected_states, expected, _ = _states_gradients_and_size(model)
    assert torch.equal(states, expected_states)
    assert len(gradients) == len(expected) > 0
    for gradient, wanted in zip(gradients, expected, strict=True):
        torch.testing.assert_close(gradient, wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", _KINDS)
@pytest.mark.parametrize("lora", [None, LoraConfig(rank=2)])
def test_under_autocast_gradients_are_the_same_but_for_roundings(kind, lora, monkeypatch):
    """Gradients are added up in another order, and a last bit of bfloat16 falls to the other side here and there."""
    model = _model(kind, lora, torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        states, gradients, size = _states_gradients_and_size(model)
        monkeypatch.setattr(tree_attention, "remaking", lambda _: nullcontext())
        expected_states, expected, whole = _states_gradients_and_size(model)
    assert torch.equal(states, expected_states)
    for gradient, wanted in zip(gradients, expected, strict=True):
        assert (gradient - wanted).norm() <= 1e-2 * wanted.norm()
    assert size < whole


@pytest.mark.parametrize("kind", _KINDS)
@pytest.mark.parametrize(("lora", "share"), [(None, 0.65), (LoraConfig(rank=2), 0.8)])
def test_less_is_kept(kind, lora, share, monkeypatch):
    model = _model(kind, lora, torch.float32)
    *_, size = _states_gradients_and_size(model)
    monkeypatch.setattr(tree_attention, "remaking", lambda _: nullcontext())
    *_, whole = _states_gradients_and_size(model)
    assert size < share * whole


def test_of_a_block_the_inputs_of_norms_and_products_are_kept_alone():
    model = _model("llama")
    with watching() as kept:
        hidden_states(model, [list(range(50))])
    config = model.config
    key_width = config.num_key_value_heads * config.head_dim
    # two inputs of norms, queries and what attention gives; keys and values; gate and up
    width = 4 * config.hidden_size + 2 * key_width + 2 * config.intermediate_size
    heads = config.num_attention_heads  # log-sum-exp, in float64
    rotation = 2 * config.head_dim
    expected = 8 * 50 * (config.num_hidden_layers * (width + heads) + config.hidden_size + rotation)
    ids = 8 * 50
    assert num_bytes(kept, model) == pytest.approx(expected + ids, rel=0.02)


def test_what_was_kept_is_freed_as_the_backward_pass_goes():
    model = _model("llama")
    with watching() as kept:
        loss = hidden_states(model, _SEQUENCES).hidden.sum()
    inner = [weakref.ref(tensor) for tensor in kept if tensor.grad_fn is not None]
    loss.backward()
    kept.clear()
    gc.collect()
    assert inner
    assert not [tensor for tensor in inner if tensor() is not None and tensor() is not loss]
    with pytest.raises(RuntimeError, match=r"a second time|runs backward once"):
        loss.backward()


def test_the_model_is_left_as_it_was():
    model = _model("llama")
    with remaking(model):
        assert any("forward" in module.__dict__ for module in model.modules())
    with pytest.raises(ValueError, match="exactly one of"), remaking(model):
        model(input_ids=None)
    assert not any("forward" in module.__dict__ for module in model.modules())
    with torch.no_grad(), remaking(model):
        assert not any("forward" in module.__dict__ for module in model.modules())


class _Scaled(nn.Module):
    """Has the parts of a gated layer, and more."""

    def __init__(self) -> None:
        super().__init__()
        self.gate_proj, self.up_proj, self.down_proj = nn.Linear(4, 6), nn.Linear(4, 6), nn.Linear(6, 4)
        self.act_fn = nn.SiLU()

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return 2 * self.down_proj(self.act_fn(self.gate_proj(hidden)) * self.up_proj(hidden))


def test_a_layer_that_does_more_than_its_parts_say_runs_as_it_is():
    layer = _Scaled()
    hidden = torch.linspace(-1, 1, 8).view(2, 4)
    with remaking(layer):
        assert torch.equal(
            layer(hidden), 2 * layer.down_proj(layer.act_fn(layer.gate_proj(hidden)) * layer.up_proj(hidden))
        )
        assert "forward" not in layer.__dict__


def test_an_output_that_was_changed_and_memory_of_one_that_is_gone_are_kept():
    outputs = remade._Outputs(HeapTrimmer(torch.device("cpu")))
    source = torch.ones(1000, requires_grad=True)
    output = outputs.make(lambda tensor: 2 * tensor, [source])
    assert not isinstance(outputs.pack(output.view(10, 100)), torch.Tensor)
    assert outputs.pack(output[:999]).shape == (999,)
    with torch.no_grad():
        output += 1
    assert outputs.pack(output) is output

    gone = outputs.make(lambda tensor: 2 * tensor, [source])
    (address,) = outputs._known.keys() - {output.untyped_storage().data_ptr()}
    assert address == gone.untyped_storage().data_ptr()
    del gone
    other = torch.full((1000,), 7.0)
    outputs._known[other.untyped_storage().data_ptr()] = outputs._known.pop(address)  # as if it lay there now
    assert outputs.pack(other) is other
