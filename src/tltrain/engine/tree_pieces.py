"""The attention of a prefix tree on a processor, in pieces that need no mask and copy no keys.

A row of the tree looks at the rows before it in its own segment and at all rows of the segments that lead to it. The
rows of all that follow a segment stand next to each other, so that each segment with successors is one dense product
of those rows with its own. What the pieces give is put together by the log-sum-exp of their scores; the gradient of a
piece is that of torch's kernel under the log-sum-exp of the whole row (FlashAttention-2, Dao 2023, arXiv:2307.08691,
sections 2.2 and 3.1). Cutting long triangles into squares and smaller triangles was tried and is no faster.

Axes: A = head, K = key-value head, T = row, D = head feature.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from tltrain.engine.prefix_tree import Segment

_forward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


class Piece(NamedTuple):
    """Rows that look at rows."""

    start: int
    """First row that looks, counted from the first that is run."""
    end: int
    """Row after the last that looks."""
    key_start: int
    """First row that is looked at, counted from the first of the tree."""
    key_end: int
    is_triangle: bool
    """Each row looks at those up to itself alone; both are the same rows."""


def plan_pieces(segments: Sequence[Segment], first_row: int = 0) -> list[Piece]:
    """What the rows of a tree look at; each row's triangle comes before the other pieces of that row.

    Args:
        segments: of the tree.
        first_row: where a segment starts; the rows before it look at nothing, they are only looked at.
    """
    followers: dict[int, tuple[int, int]] = {}
    """Segment -> first row that follows it and looks, and the row after the last."""
    for segment in segments:
        if segment.start >= first_row:
            for number in segment.before:
                start, end = followers.get(number, (segment.start, segment.end))
                followers[number] = min(start, segment.start), max(end, segment.end)
    triangles = [
        Piece(segment.start - first_row, segment.end - first_row, segment.start, segment.end, is_triangle=True)
        for segment in segments
        if segment.start >= first_row
    ]
    squares = [
        Piece(start - first_row, end - first_row, segments[number].start, segments[number].end, is_triangle=False)
        for number, (start, end) in sorted(followers.items())
    ]
    return triangles + squares


def attend(query_1ATD: Tensor, key_1KTD: Tensor, value_1KTD: Tensor, pieces: Sequence[Piece], scale: float) -> Tensor:
    """Attention of the rows of a tree, [1, A, T, D]; kept for the backward pass are the arguments and the result.

    Args:
        query_1ATD: of float32, float64 or bfloat16, on the processor; under autocast all are cast, as torch casts
        key_1KTD: of all rows, those that are only looked at included; A is a multiple of K.
        value_1KTD: like the keys.
        pieces: of `plan_pieces`.
        scale: factor of the scores.
    """
    dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else query_1ATD.dtype
    states = (part.to(dtype) for part in (query_1ATD, key_1KTD, value_1KTD))
    output: Tensor = _Attention.apply(*states, tuple(pieces), scale)  # type: ignore[no-untyped-call]
    return output


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, pieces: tuple[Piece, ...], scale: float) -> Tensor:
        # laid out as the next layer reads it: [1, T, A, D]
        output = torch.empty(query.transpose(1, 2).shape, dtype=query.dtype).transpose(1, 2)
        lse = torch.empty(query.shape[:3], dtype=torch.promote_types(query.dtype, torch.float32))
        for piece in pieces:
            rows, keys = slice(piece.start, piece.end), slice(piece.key_start, piece.key_end)
            own, own_lse = _forward(
                query[:, :, rows], key[:, :, keys], value[:, :, keys], 0.0, piece.is_triangle, scale=scale
            )
            if piece.is_triangle:
                output[:, :, rows], lse[:, :, rows] = own, own_lse
            else:
                merged = torch.logaddexp(lse[:, :, rows], own_lse)
                output[:, :, rows].mul_((lse[:, :, rows] - merged).exp_()[..., None])
                output[:, :, rows].addcmul_(own, (own_lse - merged).exp_()[..., None].to(own.dtype))
                lse[:, :, rows] = merged
        ctx.save_for_backward(query, key, value, output, lse)
        ctx.pieces, ctx.scale = pieces, scale
        return output

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        query, key, value, output, lse = ctx.saved_tensors
        # the kernel is a tenth slower where it finds the head of a group itself
        size = query.shape[1] // key.shape[1]
        states = (query, key.repeat_interleave(size, 1), value.repeat_interleave(size, 1))
        sums = tuple(torch.zeros_like(part) for part in states)
        for piece in ctx.pieces:
            rows, keys = slice(piece.start, piece.end), slice(piece.key_start, piece.key_end)
            places = (rows, keys, keys)
            parts = _backward(
                gradient[:, :, rows],
                *(whole[:, :, place] for whole, place in zip(states, places, strict=True)),
                output[:, :, rows],
                lse[:, :, rows],
                0.0,
                piece.is_triangle,
                scale=ctx.scale,
            )
            for whole, part, place in zip(sums, parts, places, strict=True):
                whole[:, :, place].add_(part)
        of_keys, of_values = (part.view(1, -1, size, *part.shape[2:]).sum(2) for part in sums[1:])
        return sums[0], of_keys, of_values, None, None
