from typing import Any

import pytest
import torch

from engine.kept import num_bytes, watching
from tiny_models import tiny_llama
from tltrain.engine.logprobs import TargetSequence, target_scores
from tltrain.engine.model import add_lora, checkpoint_activations
from tltrain.engine.settings import LoraConfig
from tltrain.errors import ModelError

_STEM = [(7 * place + 3) % 61 for place in range(40)]
_SEQUENCES = [TargetSequence([*_STEM, *range(end)], range(38, 40 + end)) for end in (5, 9, 30)]


def _model(lora: LoraConfig | None, is_checkpointed: bool) -> Any:
    model = tiny_llama(dtype=torch.float64)
    if lora:
        torch.manual_seed(1)
        model = add_lora(model, lora).double()
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if "lora_B" in name:
                    parameter.normal_(std=0.1)
    if is_checkpointed:
        checkpoint_activations(model)
    return model.train()


def _loss_and_saved_bytes(model: Any) -> tuple[torch.Tensor, int]:
    """The loss, and the size of what the forward pass keeps for the backward pass, weights not counted."""
    torch.manual_seed(2)  # of dropout
    with watching() as kept:
        loss = -target_scores(model, _SEQUENCES).scores.logprobs.sum()
    return loss, num_bytes(kept, model)


@pytest.mark.parametrize(
    "lora", [None, LoraConfig(rank=2, dropout=0.5), LoraConfig(rank=2, variant="dora"), LoraConfig(frozen_share=0.5)]
)
def test_the_gradient_is_the_same_and_less_is_kept(lora: LoraConfig | None):
    gradients, sizes = [], []
    for is_checkpointed in (False, True):
        model = _model(lora, is_checkpointed)
        loss, size = _loss_and_saved_bytes(model)
        loss.backward()
        sizes.append(size)
        gradients.append({name: parameter.grad for name, parameter in model.named_parameters()})
    plain, checkpointed = gradients
    for name, gradient in plain.items():
        torch.testing.assert_close(checkpointed[name], gradient, rtol=1e-12, atol=1e-12)
    assert sizes[1] < sizes[0] / 2


def test_nothing_flows_back_through_frozen_blocks():
    model = _model(LoraConfig(frozen_share=0.5), True)
    flows: list[bool] = []
    embedding = model.get_input_embeddings()
    embedding.register_forward_hook(lambda _module, _input, output: flows.append(output.requires_grad))
    _loss_and_saved_bytes(model)
    assert flows[-1] is False


def test_a_model_that_cannot_is_refused():
    model = tiny_llama()
    model.config.num_hidden_layers += 1
    with pytest.raises(ModelError, match="set it to false"):
        checkpoint_activations(model)
