"""The best weights so far, for a run that keeps those instead of the last."""

from typing import Any

import torch


class BestWeights(torch.nn.Module):
    """A copy of a model's trained weights, with the held-out reward they had.

    It is a module so that checkpoints hold it: a resumed run knows what an uninterrupted one would.
    """

    def __init__(self, model: Any):
        super().__init__()
        self.weights = torch.nn.ParameterList(
            torch.nn.Parameter(parameter.detach().clone()) for parameter in _trained(model)
        )
        self.reward = torch.nn.Parameter(torch.tensor(-torch.inf, dtype=torch.float64))

    @torch.no_grad()
    def offer(self, model: Any, reward: float | None) -> None:
        """Copy the model's weights if they are better than what is here; None, not measured, never is."""
        if reward is not None and reward > self.reward.item():
            self.reward.fill_(reward)
            for kept, parameter in zip(self.weights, _trained(model), strict=True):
                kept.copy_(parameter)

    @torch.no_grad()
    def restore(self, model: Any) -> None:
        """Give the model the best weights."""
        for kept, parameter in zip(self.weights, _trained(model), strict=True):
            parameter.copy_(kept)


def _trained(model: Any) -> list[torch.nn.Parameter]:
    return [parameter for parameter in model.parameters() if parameter.requires_grad]
