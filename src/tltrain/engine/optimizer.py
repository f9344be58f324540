"""One optimizer step: gradients of several micro-batches added up, clipped, applied at a scheduled rate."""

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from tltrain.engine.in_place import adding_in_place
from tltrain.engine.parallel import Processes
from tltrain.engine.settings import OptimizerConfig
from tltrain.engine.sharding import split_like, whole
from tltrain.errors import TltrainError
from tltrain.launcher import leave_to_the_first


class NotFiniteError(TltrainError):
    """The loss or the gradient of a step is not finite; the weights are as they were before it."""


def not_finite(step: int, loss: float, norm: float, config: OptimizerConfig) -> NotFiniteError:
    """What is raised, by all processes, where the loss or the gradient's norm of a step is not finite."""
    return leave_to_the_first(
        NotFiniteError(
            f"step {step}: the loss is {loss} and the gradient norm {norm}; lower learning_rate "
            f"(now {config.learning_rate}) or look at the step's rows; the last checkpoint is good"
        )
    )


class StepOutcome(NamedTuple):
    """What one optimizer step did."""

    loss: float
    """Sum of the micro-batch losses of all processes."""
    grad_norm: float
    """Before clipping."""
    learning_rate: float


def learning_rate_at(step: int, num_steps: int, config: OptimizerConfig) -> float:
    """Rate of optimizer step `step` (from 0) of `num_steps`; a pure function, so that resuming needs no state."""
    warmup = math.ceil(config.warmup_ratio * num_steps)
    if step < warmup:
        return config.learning_rate * (step + 1) / warmup
    share = (step - warmup) / max(1, num_steps - warmup)
    if config.schedule == "cosine":
        return config.learning_rate * 0.5 * (1 + math.cos(math.pi * share))
    return config.learning_rate * (1 - share if config.schedule == "linear" else 1)


class Optimizer:
    """AdamW over the parameters that train.

    Weight decay spares vectors (norms, biases), as is usual. Among several processes each gives the losses of its share
    of a step, and all take the same update.
    """

    def __init__(
        self,
        parameters: Iterable[torch.nn.Parameter],
        config: OptimizerConfig,
        num_steps: int,
        processes: Processes = Processes(),  # noqa: B008 - immutable
    ):
        self.config = config
        self._processes = processes
        self.num_steps = num_steps
        self._parameters = [parameter for parameter in parameters if parameter.requires_grad]
        self._is_sharded = any(isinstance(parameter, DTensor) for parameter in self._parameters)
        matrices = [parameter for parameter in self._parameters if parameter.ndim >= 2]
        vectors = [parameter for parameter in self._parameters if parameter.ndim < 2]
        groups = [{"params": matrices, "weight_decay": config.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
        self._adam = torch.optim.AdamW(
            [group for group in groups if group["params"]],
            lr=config.learning_rate,
            betas=(config.adam_beta1, config.adam_beta2),
            fused=True,
        )

    def step(self, losses: Iterable[Tensor], step: int) -> StepOutcome:
        """Add up the gradients of the losses, each freed before the next is made, and update.

        Args:
            losses: scalars whose sum, over the processes too, is the step's loss; the caller has normalised them over
                the whole step.
            step: number of this optimizer step, from 0.

        Raises:
            NotFiniteError: the loss or the gradient is not finite; the weights are then as they were.
        """
        if self._is_sharded:  # the passes are common work, and FSDP adds up as it goes
            total = self._processes.sum(_run_backward(losses))
        else:
            with adding_in_place():
                total = sum(self._processes.from_each(lambda: _run_backward(losses)))
            self._processes.sum_gradients(self._parameters)
        found = torch.nn.utils.clip_grad_norm_(self._parameters, self.config.max_grad_norm)
        norm = (found.full_tensor() if isinstance(found, DTensor) else found).item()
        if not (math.isfinite(total) and math.isfinite(norm)):
            self._adam.zero_grad()
            raise not_finite(step, total, norm, self.config)
        rate = learning_rate_at(step, self.num_steps, self.config)
        for group in self._adam.param_groups:
            group["lr"] = rate
        self._adam.step()
        self._adam.zero_grad()
        return StepOutcome(total, norm, rate)

    def state_dict(self) -> dict[str, object]:
        """Moments and step counts, for a checkpoint; of sharded weights put together, in the main process only."""
        state = self._adam.state_dict()
        gathered = {
            number: {key: whole(value, self._processes) for key, value in moments.items()}
            for number, moments in state["state"].items()
        }
        return state | {"state": gathered}

    def load_state_dict(self, state: dict[str, object]) -> None:
        """Restore what `state_dict` gave."""
        parameters = [parameter for group in self._adam.param_groups for parameter in group["params"]]
        moments: Any = state["state"]
        split = {
            number: {
                key: split_like(value, parameters[number]) if value.shape == parameters[number].shape else value
                for key, value in own.items()
            }
            for number, own in moments.items()
        }
        self._adam.load_state_dict(state | {"state": split})


def _run_backward(losses: Iterable[Tensor]) -> float:
    """Add up the gradients of some losses; their sum."""
    values: list[Tensor] = []  # read at the end, as an accelerator is waited for
    for loss in losses:
        loss.backward()  # type: ignore[no-untyped-call]
        values.append(loss.detach())
    return sum(value.item() for value in values)
