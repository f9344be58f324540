"""Transformer blocks compiled by torch.compile, where they run with gradient.

A block is compiled once, for every length, and shared by all blocks of its kind. The attention of a prefix tree stays
as it is and splits a block in two: what a tree's rows look at is plain Python, another in every micro-batch. What
`engine/remade.py` makes again in the backward pass is left to the compiler, whose own choice it is (its min-cut
partitioner makes cheap outputs again); blocks that are made again as a whole are compiled within.
"""

import shutil
import weakref
from collections.abc import Callable, Iterable
from functools import partial
from importlib.util import find_spec
from typing import Any

import torch
from torch.nn import Module

from tltrain.engine.model import find_blocks
from tltrain.engine.settings import HeldAs
from tltrain.engine.tree_blocks import stay_out_of_graphs
from tltrain.errors import ModelError, UsageError

_COMPILED: "weakref.WeakKeyDictionary[Module, Callable[..., Any]]" = weakref.WeakKeyDictionary()


def compile_blocks(model: Any, device_type: str, *, backend: str = "inductor") -> None:
    """From now on, run the model's blocks compiled in passes with gradient; those without run as ever.

    Args:
        model: adapters are there, and so is everything else that changes modules.
        device_type: where it runs.
        backend: of torch.compile.

    Raises:
        UsageError: what the compiler needs is not installed.
        ModelError: the model has no list of blocks.
    """
    if backend == "inductor":
        _check_compiler(device_type)
    found = find_blocks(model)
    if found is None:
        raise ModelError("compile: the model has no list of transformer blocks; set it to false")
    stay_out_of_graphs()
    run = torch.compile(_run_block, dynamic=True, backend=backend)
    for block in found[1]:
        _COMPILED[block] = run


def check_not_sharded(held_as: HeldAs) -> None:
    """Blocks whose weights come and go are not compiled.

    Raises:
        UsageError: they would be.
    """
    if held_as == "fsdp":
        raise UsageError("compile=true does not go with sharding=fsdp; set compile=false, or sharding=none")


def find_compiled(modules: Iterable[Module]) -> dict[Module, Callable[..., Any]]:
    """The blocks among some modules that run compiled, and what runs in place of their `forward`."""
    return {module: partial(_COMPILED[module], module) for module in modules if module in _COMPILED}


def _run_block(block: Module, *arguments: Any, **options: Any) -> Any:
    return type(block).forward(block, *arguments, **options)


def _check_compiler(device_type: str) -> None:
    if device_type == "cuda":
        if find_spec("triton") is None:
            raise UsageError("compile=true needs Triton on a GPU; pip install triton, or set compile=false")
        return
    from torch._inductor.cpp_builder import get_cpp_compiler

    try:
        found = shutil.which(get_cpp_compiler())
    except Exception:  # torch's own error, or that of what it ran to find out
        found = None
    if found is None:
        raise UsageError("compile=true needs a C++ compiler, and there is none; install g++, or set compile=false")
