"""Optimizer state and gradients split among processes by DeepSpeed, ZeRO stages 1 and 2 (arXiv:1910.02054).

Each process holds the whole model, and passes run through it as ever; DeepSpeed sees the losses alone, adds up the
gradients of all processes as they come (stage 2) or when the step is made (stage 1), and updates the share of the
weights whose moments this process has. Stage 3, which splits weights too, is what `engine/sharding.py` does.
"""

import importlib.metadata
import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from tltrain.engine.optimizer import Optimizer, StepOutcome, learning_rate_at, not_finite
from tltrain.engine.parallel import Processes
from tltrain.engine.settings import OptimizerConfig
from tltrain.errors import UsageError

_BUCKET = 50_000_000
"""Numbers that are sent at once; DeepSpeed's default takes 2 GB."""
_MOMENTS = ("exp_avg", "exp_avg_sq")


class ZeroOptimizer(Optimizer):
    """`Optimizer` with the moments split among the processes, and at stage 2 the gradients.

    A step, a checkpoint and its errors are those of `Optimizer`, so that a run can go on with either. All processes
    give equally many losses. A parameter that no loss of a step reaches has a gradient of zero here, not none.

    Args:
        parameters: whole, and equal in all processes.
        config: settings.
        num_steps: of the whole run, for the schedule.
        processes: more than one.
        stage: 1 or 2.

    Raises:
        UsageError: DeepSpeed is not installed, or too old.
    """

    def __init__(
        self,
        parameters: Iterable[torch.nn.Parameter],
        config: OptimizerConfig,
        num_steps: int,
        processes: Processes,
        *,
        stage: int,
    ):
        super().__init__(parameters, config, num_steps, processes)
        deepspeed = _import_deepspeed()
        self._numbers = {
            parameter: number
            for number, parameter in enumerate(
                parameter for group in self._adam.param_groups for parameter in group["params"]
            )
        }
        """Of each parameter in torch's own state dict."""
        settings = {
            "train_micro_batch_size_per_gpu": 1,
            "gradient_accumulation_steps": 1,
            "managed_gradient_accumulation": False,
            "gradient_clipping": config.max_grad_norm,
            "steps_per_print": 10**12,
            "zero_optimization": {
                "stage": stage,
                "overlap_comm": False,
                "reduce_bucket_size": _BUCKET,
                "allgather_bucket_size": _BUCKET,
            },
        }
        self._engine, self._zero, *_ = deepspeed.initialize(
            model=_Losses(self._parameters), optimizer=self._adam, config=settings
        )
        self._check_layout()

    def step(self, losses: Iterable[Tensor], step: int) -> StepOutcome:
        """See `Optimizer.step`; the last step of a run whose loss was not finite."""
        values: list[Tensor] = []
        for loss in losses:
            # DeepSpeed takes the mean over the processes
            self._engine.backward(self._engine(loss * self._processes.size))
            values.append(loss.detach())
        total = self._processes.sum(sum(value.item() for value in values))
        if not math.isfinite(total):
            raise not_finite(step, total, math.nan, self.config)
        rate = learning_rate_at(step, self.num_steps, self.config)
        for group in self._adam.param_groups:
            group["lr"] = rate
        self._engine.step()
        norm = float(self._engine.get_global_grad_norm())
        if not self._engine.was_step_applied():
            raise not_finite(step, total, norm, self.config)
        return StepOutcome(total, norm, rate)

    def state_dict(self) -> dict[str, object]:
        """As torch's AdamW over the whole parameters gives it; put together in the main process only."""
        state: dict[int, dict[str, Tensor]] = {}
        groups = []
        for own, part, parameters in self._groups():
            groups.append(
                {key: value for key, value in own.items() if key != "params"}
                | {"params": [self._numbers[parameter] for parameter in parameters]}
            )
            moments = self._adam.state[part]
            wholes = {key: self._gather(moments[key]) for key in _MOMENTS if key in moments}
            if not (wholes and self._processes.is_main):
                continue
            start = 0
            for parameter in parameters:
                end = start + parameter.numel()
                # copies, so that what is saved is no view of all
                own_moments = {key: flat[start:end].view_as(parameter).clone() for key, flat in wholes.items()}
                state[self._numbers[parameter]] = {"step": moments["step"].clone(), **own_moments}
                start = end
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, state: dict[str, object]) -> None:
        """Restore what `state_dict` gave, here or elsewhere; the parameters have been restored before."""
        self._zero.refresh_fp32_params()
        saved: Any = state["state"]
        for _, part, parameters in self._groups():
            known = [saved[self._numbers[parameter]] for parameter in parameters if self._numbers[parameter] in saved]
            if not known:
                continue
            moments = {
                key: torch.cat(
                    [
                        saved[number][key].flatten() if number in saved else torch.zeros(parameter.numel())
                        for parameter, number in ((parameter, self._numbers[parameter]) for parameter in parameters)
                    ]
                )
                for key in _MOMENTS
            }
            step = torch.as_tensor(known[0]["step"], dtype=torch.float32, device=part.device)
            self._adam.state[part] = {"step": step} | {key: self._part(flat, part) for key, flat in moments.items()}

    def _groups(self) -> Iterable[tuple[dict[str, Any], Tensor, Sequence[torch.nn.Parameter]]]:
        """Of each group its settings, this process's flat part of it, and its parameters in the order of the flat."""
        yield from zip(
            self._adam.param_groups, self._zero.single_partition_of_fp32_groups, self._zero.bit16_groups, strict=True
        )

    def _check_layout(self) -> None:
        """That parts are where we look for them: equal slices of the parameters one after the other, padded."""
        for _, part, parameters in self._groups():
            flat = torch.cat([parameter.detach().flatten() for parameter in parameters]).float()
            if not torch.equal(self._part(flat, part), part.detach()):
                raise UsageError(
                    f"DeepSpeed {importlib.metadata.version('deepspeed')} splits weights in a way that is not known "
                    "here; use version 0.19.8, or FSDP: accelerate launch --config_file src/tltrain/launch/fsdp2.yaml"
                )

    def _part(self, flat: Tensor, like: Tensor) -> Tensor:
        """The part of this process of something flat."""
        length = like.numel()
        part = torch.zeros_like(like)
        own = flat[self._processes.rank * length : (self._processes.rank + 1) * length]
        part[: len(own)] = own.to(like.device, like.dtype)
        return part.detach()

    def _gather(self, part: Tensor) -> Tensor:
        """All parts, one after the other, in main memory."""
        parts = [torch.empty_like(part) for _ in range(self._processes.size)]
        torch.distributed.all_gather(parts, part)
        return torch.cat([one.cpu() for one in parts]) if self._processes.is_main else part.new_empty(0)


class _Losses(torch.nn.Module):
    """What DeepSpeed takes for the model: it has the parameters that train, and hands on losses made elsewhere."""

    def __init__(self, parameters: Sequence[torch.nn.Parameter]):
        super().__init__()
        self.held = torch.nn.ParameterList(parameters)

    def forward(self, loss: Tensor) -> Tensor:
        return loss


def _import_deepspeed() -> Any:
    try:
        import deepspeed
        from deepspeed.runtime.engine import DeepSpeedEngine
    except ImportError as error:
        raise UsageError('sharding=zero1 and zero2 need DeepSpeed; pip install "tltrain[deepspeed]"') from error
    if not hasattr(DeepSpeedEngine, "managed_gradient_accumulation"):
        raise UsageError(f"DeepSpeed {deepspeed.__version__} is too old; pip install --upgrade deepspeed")
    deepspeed.utils.logger.setLevel("ERROR")
    return deepspeed
