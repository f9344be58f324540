"""Gradients that are added to what a weight has already, without a matrix of their own.

A vocabulary's matrix is as large as many blocks, and a gradient of it for each pass costs time and memory. Where a
plain backward pass runs that is known to end in the weights' `grad`, the output head and the input embedding add to it
as they go; elsewhere (`autograd.grad`, split weights) autograd does it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

_IS_ON = False


@contextmanager
def adding_in_place() -> Iterator[None]:
    """Context for a backward pass into the `grad` of weights; nothing else may ask for gradients in it."""
    global _IS_ON
    was, _IS_ON = _IS_ON, True
    try:
        yield
    finally:
        _IS_ON = was


def find_sum(weight: Tensor, dtype: torch.dtype) -> Tensor | None:
    """Where gradients of a weight may be added, if they are of this dtype; None: leave it to autograd."""
    if not _IS_ON or not weight.is_leaf or weight._backward_hooks or weight._post_accumulate_grad_hooks:
        return None
    own = weight.grad
    return own if own is not None and type(own) is Tensor and own.dtype == dtype and not own.is_sparse else None


def embed(ids: Tensor, layer: torch.nn.Embedding) -> Tensor:
    """What an embedding gives, [..., H]; its gradient is added in place where that can be."""
    states: Tensor = _Embed.apply(ids, layer.weight, layer.padding_idx)  # type: ignore[no-untyped-call]
    return states


def can_embed(layer: torch.nn.Module) -> bool:
    """Whether a layer is an embedding that does nothing else, and trains."""
    return (
        type(layer) is torch.nn.Embedding
        and layer.weight.requires_grad
        and layer.max_norm is None
        and not (layer.scale_grad_by_freq or layer.sparse)
    )


class _Embed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, ids: Tensor, weight: Tensor, padding_idx: int | None) -> Tensor:
        ctx.save_for_backward(ids)
        ctx.weight, ctx.padding_idx = weight, padding_idx  # itself: hooks on what is saved would give another tensor
        return torch.nn.functional.embedding(ids, weight)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor | None, None]:
        rows, places = gradient.reshape(-1, gradient.shape[-1]), ctx.saved_tensors[0].reshape(-1)
        if ctx.padding_idx is not None:
            rows = rows.masked_fill((places == ctx.padding_idx)[:, None], 0)
        total = find_sum(ctx.weight, rows.dtype)
        if total is None:
            return None, torch.zeros_like(ctx.weight).index_add_(0, places, rows.to(ctx.weight.dtype)), None
        total.index_add_(0, places, rows)
        return None, None, None
