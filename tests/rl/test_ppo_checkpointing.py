"""Activation checkpointing of the models of `ppo`, which are never in training mode."""

from pathlib import Path
from typing import Any

import pytest
import torch

from engine.kept import num_bytes, watching
from tltrain.engine.logprobs import TargetSequence
from tltrain.engine.model import load_model
from tltrain.engine.settings import LoraConfig
from tltrain.rl.actor import Actor
from tltrain.rl.config import PpoConfig
from tltrain.rl.critic import Critic

_STEM = [(7 * place + 3) % 600 for place in range(40)]
_SEQUENCES = [TargetSequence([*_STEM, *range(end)], range(38, 40 + end)) for end in (5, 9, 30)]


def _disturbed(module: Any) -> Any:
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn_like(parameter))
    return module.double()


def _gradients(module: Any, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    loss.backward()
    return {name: parameter.grad for name, parameter in module.named_parameters() if parameter.grad is not None}


@pytest.mark.parametrize("lora", [None, LoraConfig(rank=2)])
@pytest.mark.parametrize("part", ["actor", "critic"])
def test_the_gradient_is_the_same_and_less_is_kept(tiny_sft: Path, part: str, lora: LoraConfig | None):
    gradients, sizes, outputs = [], [], []
    for is_on in (False, True):
        config = PpoConfig(
            precision="float32", critic="separate", lora=lora, critic_lora=lora, activation_checkpointing=is_on
        )
        sft_model = load_model(tiny_sft).model
        torch.manual_seed(0)  # of adapters
        if part == "actor":
            actor = Actor(config, sft_model, torch.device("cpu"))
            module = _disturbed(actor.model)
            with watching() as kept:
                output = actor.scores(_SEQUENCES).scores.logprobs
        else:
            critic = _disturbed(Critic(config, sft_model, torch.device("cpu")))
            module = critic.model
            critic.head.float()
            with watching() as kept:
                output = critic.values(_SEQUENCES, None)
        outputs.append(output.detach())
        sizes.append(num_bytes(kept, module))
        gradients.append(_gradients(module, output.sum()))
    assert torch.equal(*outputs)
    plain, checkpointed = gradients
    assert plain.keys() == checkpointed.keys()
    assert any(gradient.abs().max() > 0 for gradient in plain.values())
    for name, gradient in plain.items():
        torch.testing.assert_close(checkpointed[name], gradient, rtol=1e-5, atol=1e-9)
    assert sizes[1] < 0.6 * sizes[0]
