"""Several processes that train one model together, as `accelerate launch` and `torchrun` start them.

Each does its share of every step. Each holds the whole model, and gradients are added up before the update, so that all
take the same one; or a part of it, see `engine/sharding.py`. Where there is one process, nothing here does anything.
"""

import os
import pickle
import traceback
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from tltrain.engine.device import pick_device, process_state
from tltrain.errors import TltrainError, UsageError
from tltrain.launcher import leave_to_the_first

_T = TypeVar("_T")
_BUCKET = 1 << 24
"""Numbers that are sent at once."""


class Processes(NamedTuple):
    """Which process this one is, and what all of them do together: each method is called by all, in the same order."""

    rank: int = 0
    size: int = 1

    @property
    def is_main(self) -> bool:
        """True for the one that writes files and shows progress."""
        return self.rank == 0

    def from_main(self, work: Callable[[], _T]) -> _T:
        """Do something in the main process alone; its result, or what it raised, is that of all.

        Args:
            work: its result can be pickled.
        """
        if self.size == 1:
            return work()
        box: list[Any] = [None, None]
        if self.is_main:
            try:
                box[0] = work()
            except Exception as error:
                box[1] = _portable(error, self.rank)
        torch.distributed.broadcast_object_list(box, src=0)
        if box[1] is not None:
            raise leave_to_the_first(box[1])
        result: _T = box[0]
        return result

    def from_each(self, work: Callable[[], _T]) -> list[_T]:
        """Do something in every process; all results, by rank, for all of them. What one raised, all raise.

        So a process that fails does not leave the others waiting for it.

        Args:
            work: has nothing in it that is done together; its result can be pickled.
        """
        if self.size == 1:
            return [work()]
        box: tuple[Any, Exception | None]
        try:
            box = (work(), None)
        except Exception as error:
            box = (None, _portable(error, self.rank))
        boxes: list[Any] = [None] * self.size
        torch.distributed.all_gather_object(boxes, box)
        for _, failure in boxes:
            if failure is not None:
                raise leave_to_the_first(failure)
        return [result for result, _ in boxes]

    def in_each(self, work: Callable[[], _T]) -> _T:
        """Do something in every process; each has its own result, and what one raised, all raise."""
        own: list[_T] = []
        self.from_each(lambda: own.append(work()))
        return own[0]

    def sum(self, value: float) -> float:
        """The sum of a number over the processes."""
        return self.sum_all([value])[0]

    def sum_all(self, values: Sequence[float]) -> list[float]:
        """The sums of several numbers over the processes."""
        if self.size == 1:
            return list(values)
        totals = torch.tensor(values, dtype=torch.float64, device=pick_device())
        torch.distributed.all_reduce(totals)
        return [float(total) for total in totals.tolist()]

    def max(self, value: int) -> int:
        """The largest of a number over the processes."""
        if self.size == 1:
            return value
        largest = torch.tensor(value, device=pick_device())
        torch.distributed.all_reduce(largest, torch.distributed.ReduceOp.MAX)
        return int(largest.item())

    def sum_gradients(self, parameters: Sequence[torch.nn.Parameter]) -> None:
        """Add up gradients in place; a parameter that has none anywhere keeps none.

        Every process ends with the same bits, as each number is added up once and sent to all.
        """
        if self.size == 1:
            return
        counts = torch.tensor([parameter.grad is not None for parameter in parameters], dtype=torch.int32)
        counts = counts.to(pick_device())
        torch.distributed.all_reduce(counts)
        trained = [parameter for parameter, count in zip(parameters, counts.tolist(), strict=True) if count]
        for parameter in trained:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        for bucket in _buckets([parameter.grad for parameter in trained if parameter.grad is not None]):
            flat = torch.cat([gradient.reshape(-1) for gradient in bucket])
            torch.distributed.all_reduce(flat)
            start = 0
            for gradient in bucket:
                gradient.copy_(flat[start : start + gradient.numel()].view_as(gradient))
                start += gradient.numel()


def find_processes() -> Processes:
    """The processes that this one was started with; joins them on the first call.

    Raises:
        UsageError: they were started for DeepSpeed, and it is not installed.
    """
    is_told = os.environ.get("ACCELERATE_USE_DEEPSPEED", "").lower() in ("1", "true")
    if is_told and find_spec("deepspeed") is None:  # accelerate would say so less clearly
        raise UsageError(
            'accelerate was told to use DeepSpeed, which is not installed; pip install "tltrain[deepspeed]"'
        )
    state = process_state()
    return Processes(state.process_index, state.num_processes)


def _portable(error: Exception, rank: int) -> Exception:
    """An error that can be sent; a bug's says where it was raised."""
    if rank > 0 and not isinstance(error, TltrainError):
        error.add_note(f"In process {rank}:\n{''.join(traceback.format_exception(error))}")
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # a class whose __init__ wants more than the message
        return RuntimeError("".join(traceback.format_exception(error)))
    return error


def _buckets(gradients: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Gradients of one dtype, some at a time."""
    bucket: list[Tensor] = []
    size = 0
    for gradient in gradients:
        if bucket and (size + gradient.numel() > _BUCKET or bucket[0].dtype is not gradient.dtype):
            yield bucket
            bucket, size = [], 0
        bucket.append(gradient)
        size += gradient.numel()
    if bucket:
        yield bucket
