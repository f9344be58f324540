from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from tltrain.engine.head import Head, score_targets
from tltrain.engine.in_place import adding_in_place, embed
from tltrain.engine.logprobs import TargetSequence, target_scores
from tltrain.engine.optimizer import Optimizer
from tltrain.engine.settings import OptimizerConfig

_BATCHES = [[[3, 1, 4, 1, 5], [3, 1, 4, 9]], [[2, 6, 5, 3], [5, 8, 9, 7, 0]], [[1, 1, 2]]]


def _model(*, is_tied: bool) -> Any:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=11,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        pad_token_id=1,
        tie_word_embeddings=is_tied,
    )
    return LlamaForCausalLM(config).double().train()


def _losses(model: Any) -> Any:
    for batch in _BATCHES:
        targets = [TargetSequence(ids, list(range(1, len(ids)))) for ids in batch]
        yield -target_scores(model, targets).scores.logprobs.sum()


@pytest.mark.parametrize("is_tied", [True, False])
def test_several_passes_add_up_to_what_autograd_gives(is_tied, monkeypatch):
    model = _model(is_tied=is_tied)
    optimizer = Optimizer(model.parameters(), OptimizerConfig(learning_rate=1e-3, max_grad_norm=1e9), 1)
    found: dict[str, torch.Tensor] = {}
    monkeypatch.setattr(
        optimizer._adam, "step", lambda: found.update({n: p.grad.clone() for n, p in model.named_parameters()})
    )
    optimizer.step(_losses(model), 0)

    plain = _model(is_tied=is_tied)
    for batch in _BATCHES:
        for ids in batch:
            logits = plain(input_ids=torch.tensor([ids])).logits[0, :-1]
            torch.nn.functional.cross_entropy(logits, torch.tensor(ids[1:]), reduction="sum").backward()
    for name, parameter in plain.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad, rtol=1e-10, atol=1e-12)


def _one_pass(layer: torch.nn.Embedding) -> torch.Tensor:
    states = embed(torch.tensor([0, 2, 2, 1]), layer)
    return score_targets(states, Head(layer.weight), torch.tensor([1, 0, 2, 2])).logprobs.sum()


def test_the_second_pass_makes_no_gradient_of_its_own(monkeypatch):
    layer = torch.nn.Embedding(3, 4, padding_idx=1).double()
    with adding_in_place():
        _one_pass(layer).backward()
        once = layer.weight.grad.clone()
        monkeypatch.setattr(torch, "zeros_like", lambda *_, **__: pytest.fail("a matrix of its own"))
        _one_pass(layer).backward()
    monkeypatch.undo()
    torch.testing.assert_close(layer.weight.grad, 2 * once)


def test_outside_the_context_and_where_a_hook_waits_autograd_does_it():
    layer = torch.nn.Embedding(3, 4).double()
    _one_pass(layer).backward()
    once = layer.weight.grad.clone()
    (again,) = torch.autograd.grad(_one_pass(layer), layer.weight)
    torch.testing.assert_close(again, once)
    assert layer.weight.grad.equal(once)

    seen = []
    layer.weight.register_hook(seen.append)
    with adding_in_place():
        _one_pass(layer).backward()
    assert len(seen) == 1
    torch.testing.assert_close(layer.weight.grad, 2 * once)
