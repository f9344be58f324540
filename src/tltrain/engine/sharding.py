"""A model whose weights, gradients and optimizer state are split among processes: FSDP2, `fully_shard` of torch.

A process holds its part of every weight and gathers a transformer block whole only while that block computes. What is
added up, clipped and applied is what one process would have: gradients are sums over the processes, not means, since
the losses are normalised over the whole step. Every forward and backward pass is common work of all processes, which
must therefore make equally many of them.
"""

import copy
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from types import MethodType
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor

from tltrain.engine.device import pick_device
from tltrain.engine.head import output_head
from tltrain.engine.model import find_blocks
from tltrain.engine.parallel import Processes
from tltrain.engine.settings import HeldAs, Sharding
from tltrain.engine.tree_attention import can_run_trees
from tltrain.errors import ModelError, UsageError
from tltrain.launcher import launched_zero_stage

_T = TypeVar("_T")


def resolve_sharding(sharding: Sharding, processes: Processes) -> HeldAs:
    """What "auto" stands for: what `accelerate launch` was told; one process has nothing to split.

    Raises:
        UsageError: the launcher was told of something about FSDP or DeepSpeed that is done otherwise, or not at all.
    """
    told = _flag("ACCELERATE_USE_FSDP")
    if told and sharding != "none":
        _check_launcher()
    if sharding == "auto":
        stage = launched_zero_stage()
        sharding = "fsdp" if told else "zero1" if stage == 1 else "zero2" if stage == 2 else "none"
    return sharding if processes.size > 1 else "none"


class WholeCopy:
    """A plain copy of a model that is split, with weights only while it is in use.

    With it each process makes passes of its own, such as those of sampling, of which no two processes need equally
    many. It takes the memory of all weights while it is in use, and of none otherwise.

    Args:
        model: not split yet; adapters are there.
    """

    def __init__(self, model: Any):
        self._copy = copy.deepcopy(model).requires_grad_(False)
        self._drop_weights()
        self._copy.to(pick_device()).eval()

    @contextmanager
    def filled(self, model: Any) -> Iterator[Any]:
        """The copy with the weights that the split model has now; called by all processes."""
        with torch.inference_mode(False), torch.no_grad():
            for own, part in zip(self._copy.parameters(), model.parameters(), strict=True):
                own.data = part.full_tensor() if isinstance(part, DTensor) else part.detach()
        try:
            yield self._copy
        finally:
            self._drop_weights()

    def _drop_weights(self) -> None:
        for own in self._copy.parameters():
            own.data = own.data.new_empty(0)


def shard_layer(layer: Any, processes: Processes) -> None:
    """Split a layer that stands beside a split model, so that one optimizer takes both; it runs through `run_whole`."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    fully_shard(layer, mesh=init_device_mesh(pick_device().type, (processes.size,)))
    _sum_and_run_whole(layer)


def shard(model: Any, processes: Processes) -> Any:
    """Split a model among the processes, in place, on the devices they compute on.

    Each transformer block is gathered and freed by itself; embeddings, output head and the final norm are gathered
    for the whole of a step's pass. A process loads the whole model into main memory first. From then on the model runs
    through `target_scores` and `target_states` alone.

    Args:
        model: whole and equal in all processes; adapters are there, and frozen is what shall be.
        processes: more than one.

    Raises:
        ModelError: the model has no list of blocks, or weights in 4 bits.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import FSDPModule, fully_shard

    found = find_blocks(model)
    if found is None:
        raise ModelError("sharding=fsdp: the model has no list of transformer blocks to split by; use sharding=none")
    if getattr(model, "is_loaded_in_4bit", False):
        raise ModelError("sharding=fsdp does not split weights of 4 bits; use lora.base=full or sharding=none")
    if not hasattr(FSDPModule, "set_force_sum_reduction_for_comms"):
        raise ModelError(f"sharding=fsdp needs torch 2.9 or newer, and this is {torch.__version__}; upgrade it")
    can_run_trees(model)  # tries it, which is no work in common
    output_head(model)
    mesh = init_device_mesh(pick_device().type, (processes.size,))
    reshard = _flag("FSDP_RESHARD_AFTER_FORWARD", default=True)
    for block in found[1]:
        fully_shard(block, mesh=mesh, reshard_after_forward=reshard)
    fully_shard(model, mesh=mesh)
    _sum_and_run_whole(model)
    return model


def run_whole(model: Any, work: Callable[[], _T]) -> _T:
    """Do something that runs parts of a model, as one forward pass of all of it.

    FSDP gathers weights as the model's own `forward` is called; ours runs the part below the head and reads the head's
    weights, so it has to be told. A model that is not sharded needs no telling.

    Args:
        model: sharded or not.
        work: its result is tensors, or tuples of them, so that FSDP sees where the backward pass enters.
    """
    if not hasattr(model, "run_whole"):
        return work()
    # weights that are gathered in inference mode first could not train later
    with torch.inference_mode(False), nullcontext() if torch.is_grad_enabled() else torch.no_grad():
        result: _T = model.run_whole(work)
    if not torch.is_grad_enabled():
        for module in _fsdp_modules(model):
            module.reshard()  # else the backward pass does
    return result


def is_sharded(model: Any) -> bool:
    """Whether `shard` split the model."""
    return any(isinstance(parameter, DTensor) for parameter in model.parameters())


def whole(tensor: Tensor, processes: Processes) -> Tensor:
    """All of a tensor, put together out of its parts by all processes; one that is not split as it is.

    In main memory, so that it takes none from the next; what is not for the main process is empty.
    """
    if not isinstance(tensor, DTensor):
        return tensor
    gathered: Tensor = tensor.full_tensor().detach()
    return gathered.cpu() if processes.is_main else gathered.new_empty(0, device="cpu")


def split_like(tensor: Tensor, pattern: Tensor) -> Tensor:
    """The part of a whole tensor that is this process's, split as the pattern is; the inverse of `whole`."""
    if not isinstance(pattern, DTensor):
        return tensor
    tensor = tensor.to(pattern.device)
    part: DTensor = distribute_tensor(tensor, pattern.device_mesh, pattern.placements, src_data_rank=None)
    return part


def gather_model(model: Any, processes: Processes) -> None:
    """Put the weights together in the main process, in main memory, in place of its parts.

    The model can then be merged and saved there, and runs nowhere any more. A model that is not sharded stays as it is.
    """
    done: dict[Tensor, torch.nn.Parameter] = {}
    for module in model.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            if not isinstance(parameter, DTensor):
                continue
            if parameter not in done:  # tied weights stay tied
                done[parameter] = torch.nn.Parameter(whole(parameter, processes), parameter.requires_grad)
            if processes.is_main:
                setattr(module, name, done[parameter])


def _sum_and_run_whole(model: Any) -> None:
    from torch.distributed.fsdp import register_fsdp_forward_method

    for module in _fsdp_modules(model):
        # a plain sum: by default FSDP divides by the number of processes, by a reduction that gloo lacks
        module.set_force_sum_reduction_for_comms(True)
        module.set_gradient_divide_factor(1.0)
    model.run_whole = MethodType(_run, model)
    register_fsdp_forward_method(model, "run_whole")


def _fsdp_modules(model: Any) -> list[Any]:
    from torch.distributed.fsdp import FSDPModule

    return [module for module in model.modules() if isinstance(module, FSDPModule)]


def _run(_: Any, work: Callable[[], _T]) -> _T:
    return work()


def _check_launcher() -> None:
    if os.environ.get("FSDP_VERSION", "2") != "2":
        raise UsageError("accelerate was told to use FSDP 1; set fsdp_version: 2 in its config file")
    if _flag("FSDP_OFFLOAD_PARAMS"):
        raise UsageError(
            "accelerate was told to offload parameters to the CPU, which is not supported; "
            "set fsdp_offload_params: false in its config file"
        )
    if _flag("FSDP_ACTIVATION_CHECKPOINTING"):
        raise UsageError(
            "accelerate was told to checkpoint activations; set fsdp_activation_checkpointing: false in its config "
            "file; sft and ppo do it with --set activation_checkpointing=true"
        )


def _flag(name: str, *, default: bool = False) -> bool:
    return os.environ.get(name, str(default)).lower() in ("1", "true")
