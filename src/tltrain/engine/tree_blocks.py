"""How the attention of transformers' models runs over a prefix tree; registered with transformers as "tltrain_tree".

On a processor, and where no window cuts into the tree, `tree_pieces` does it. Elsewhere attention is computed block by
block, the rows of a segment against the segments that lead to it and itself, under masks.

Axes: A = head, K = key-value head, T = row, D = head feature.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import Module
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from tltrain.engine.prefix_tree import PrefixTree
from tltrain.engine.tree_pieces import attend, plan_pieces

NAME = "tltrain_tree"
"""Our attention among those of transformers."""
_MAX_BLOCK = 128
"""Rows up to which segments without successors are handled together, with a mask that keeps them apart."""


class KeysValues(NamedTuple):
    """What attention keeps of some rows in one layer."""

    keys: Tensor
    """[1, K, T, D], rotated to their positions."""
    values: Tensor
    """[1, K, T, D]."""


@dataclass(slots=True)
class _Block:
    """Rows that attend together."""

    start: int
    end: int
    before: tuple[int, ...]
    """Numbers of the blocks that lead to it."""
    segments: list[int] = field(default_factory=list)


class TreeBlocks:
    """How the rows of a tree attend: a block for each segment with successors, and blocks of segments without.

    Args:
        tree: all rows.
        device: where the model is.
        trunk: keys and values of the rows of the first segments for each attention module; these rows are not run.
        num_given: how many segments these are; each leads to one that is run.
    """

    def __init__(
        self,
        tree: PrefixTree,
        device: torch.device,
        trunk: Mapping[Module, KeysValues] | None = None,
        num_given: int = 1,
    ):
        self._tree, self._device = tree, device
        self.trunk = trunk
        self.kept: dict[Module, KeysValues] | None = None
        """If not None, filled with the keys and values of the rows that run."""
        self.num_given = num_given if trunk is not None else 0
        """Blocks at the front whose rows are not run."""
        self.pieces = plan_pieces(tree.segments, tree.segments[self.num_given - 1].end if self.num_given else 0)
        self.last_position = max(tree.positions)
        has_successor = {number for segment in tree.segments for number in segment.before}
        self.blocks: list[_Block] = []
        block_of: dict[int, int] = {}
        for number, segment in enumerate(tree.segments):
            before = tuple(block_of[parent] for parent in segment.before)
            last = self.blocks[-1] if self.blocks else None
            is_end = number not in has_successor
            joins = (
                is_end
                and last is not None
                and last.before == before
                and last.segments[-1] not in has_successor
                and segment.end - last.start <= _MAX_BLOCK
            )
            if last is None or not joins:
                last = _Block(segment.start, segment.start, before)
                self.blocks.append(last)
            last.segments.append(number)
            last.end = segment.end
            block_of[number] = len(self.blocks) - 1
        lengths = [block.end - block.start for block in self.blocks]
        self.key_lengths, self.query_lengths = lengths, lengths[self.num_given :]
        self._sent: Tensor | None = None
        self._masks: dict[tuple[int, int | None, torch.dtype], Tensor | None] = {}

    def mask(self, number: int, window: int | None, dtype: torch.dtype) -> Tensor | None:
        """What is added to the scores of a block's rows, [1, 1, T, keys]: 0 where a key is seen, else -inf.

        None: plain causal attention. Made once for all layers; torch would turn bools into such a mask in each of them,
        and keep them all until the backward pass.
        """
        key = (number, window, dtype)
        if key not in self._masks:
            sees = self._make_mask(self.blocks[number], window)
            self._masks[key] = (
                None if sees is None else torch.zeros_like(sees, dtype=dtype).masked_fill_(~sees, -torch.inf)
            )
        return self._masks[key]

    def _positions(self) -> Tensor:
        """Of all rows, on the device; sent there once."""
        if self._sent is None:
            self._sent = torch.tensor(self._tree.positions, device=self._device)
        return self._sent

    def _make_mask(self, block: _Block, window: int | None) -> Tensor | None:
        own = [self._tree.segments[segment] for segment in block.segments]
        last_position = max(segment.position + segment.end - segment.start for segment in own)
        is_windowed = window is not None and last_position > window
        if not block.before and len(own) == 1 and not is_windowed:
            return None
        earlier = [self.blocks[number] for number in block.before]
        positions = self._positions()
        key_positions = torch.cat([positions[part.start : part.end] for part in (*earlier, block)])
        query_positions = positions[block.start : block.end]
        owners = torch.tensor(
            [number for number, segment in enumerate(own) for _ in range(segment.start, segment.end)],
            device=self._device,
        )
        # -1: belongs to all
        key_owners = torch.cat([owners.new_full((len(key_positions) - len(owners),), -1), owners])
        sees = (key_owners[None] == -1) | (key_owners[None] == owners[:, None])
        sees &= key_positions[None] <= query_positions[:, None]
        if window is not None and is_windowed:
            sees &= key_positions[None] > query_positions[:, None] - window
        return sees[None, None]


def _attend(
    module: Module,
    query_1ATD: Tensor,
    key_1KTD: Tensor,
    value_1KTD: Tensor,
    attention_mask: Tensor | None,
    *,
    tree: TreeBlocks | None = None,
    **settings: Any,
) -> tuple[Tensor, None]:
    """Attention of transformers' interface; torch's own where no tree runs."""
    if tree is None:
        is_one_token = query_1ATD.shape[2] == 1 and not torch.is_grad_enabled() and not settings.get("dropout")
        attend_plain = (
            _attend_one_token if is_one_token and _takes_groups(key_1KTD, settings) else sdpa_attention_forward
        )
        plain: tuple[Tensor, None] = attend_plain(module, query_1ATD, key_1KTD, value_1KTD, attention_mask, **settings)
        return plain
    if tree.kept is not None:
        tree.kept.setdefault(module, KeysValues(key_1KTD, value_1KTD))
    if tree.trunk is not None:
        trunk = tree.trunk[module]
        key_1KTD = torch.cat([trunk.keys, key_1KTD], dim=2)
        value_1KTD = torch.cat([trunk.values, value_1KTD], dim=2)
    window = settings.get("sliding_window")
    if _runs_pieces(key_1KTD, tree, settings):
        scale = settings.get("scaling") or query_1ATD.shape[-1] ** -0.5
        output = attend(query_1ATD, key_1KTD, value_1KTD, tree.pieces, scale)
        return output.transpose(1, 2).contiguous(), None
    # split, not sliced: the gradient of all parts is put together once
    queries = torch.split(query_1ATD, tree.query_lengths, dim=2)  # type: ignore[no-untyped-call]
    keys, values = (
        torch.split(states, tree.key_lengths, dim=2)  # type: ignore[no-untyped-call]
        for states in (key_1KTD, value_1KTD)
    )
    outputs = []
    for number, block in enumerate(tree.blocks[tree.num_given :], start=tree.num_given):
        key = torch.cat([keys[other] for other in (*block.before, number)], dim=2)
        value = torch.cat([values[other] for other in (*block.before, number)], dim=2)
        mask = tree.mask(number, window, key.dtype)
        attend_block = _attend_grouped if mask is not None and _takes_groups(key, settings) else sdpa_attention_forward
        outputs.append(attend_block(module, queries[number - tree.num_given], key, value, mask, **settings)[0])
    return torch.cat(outputs, dim=1), None


def _runs_pieces(key_1KTD: Tensor, tree: TreeBlocks, settings: Mapping[str, Any]) -> bool:
    """Whether attention here is plain, on a processor, and no window leaves out what a row would see."""
    window = settings.get("sliding_window")
    is_windowed = window is not None and tree.last_position >= window
    return not is_windowed and not settings.get("dropout") and _takes_groups(key_1KTD, settings)


_PLAIN_SETTINGS = {"dropout", "scaling", "is_causal", "sliding_window", "position_ids", "use_cache", "cache_position"}


def _takes_groups(key_1KTD: Tensor, settings: Mapping[str, Any]) -> bool:
    """Whether torch attends with fewer key-value heads than heads under a mask here, and nothing else is asked for.

    transformers repeats keys and values where there is a mask, and each block would keep its copies of the prefix until
    the backward pass: with three heads to a key-value head that was two fifths of the memory of a step. On a GPU the
    fast kernels take no groups together with a mask.
    """
    extras = {name for name, value in settings.items() if value is not None} - _PLAIN_SETTINGS
    return key_1KTD.device.type == "cpu" and not extras


def _attend_grouped(
    module: Module,  # noqa: ARG001
    query_1ATD: Tensor,
    key_1KTD: Tensor,
    value_1KTD: Tensor,
    mask: Tensor | None,
    *,
    dropout: float = 0.0,
    scaling: float | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """What `sdpa_attention_forward` gives, [1, T, A, D], without copies of keys and values for each head."""
    output = torch.nn.functional.scaled_dot_product_attention(
        query_1ATD, key_1KTD, value_1KTD, attn_mask=mask, dropout_p=dropout, scale=scaling, enable_gqa=True
    )
    return output.transpose(1, 2).contiguous(), None


def _attend_one_token(
    module: Module,  # noqa: ARG001
    query_BA1D: Tensor,
    key_BKTD: Tensor,
    value_BKTD: Tensor,
    mask_B11T: Tensor | None,
    *,
    scaling: float | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """What `sdpa_attention_forward` gives for one new token a sequence, [B, 1, A, D].

    As products of a key-value head's keys with all its heads' queries, which copy no keys and values; torch's kernel
    and what transformers does before it take five to ten times as long on a processor.
    """
    batch_size, num_heads, size = query_BA1D.shape[0], query_BA1D.shape[1], query_BA1D.shape[3]
    num_groups = batch_size * key_BKTD.shape[1]
    keys, values = (states.reshape(num_groups, -1, size) for states in (key_BKTD, value_BKTD))
    query = query_BA1D.reshape(num_groups, -1, size)
    exact = torch.promote_types(query.dtype, torch.float32)
    scores = torch.bmm(query, keys.transpose(1, 2)).to(exact) * (scaling or size**-0.5)
    if mask_B11T is not None:
        if mask_B11T.dtype == torch.bool:
            mask_B11T = torch.zeros_like(mask_B11T, dtype=scores.dtype).masked_fill_(~mask_B11T, -torch.inf)
        scores = scores.view(batch_size, num_heads, -1).add_(mask_B11T[:, 0]).view_as(scores)
    output = torch.bmm(scores.softmax(dim=-1).to(values.dtype), values)
    return output.view(batch_size, 1, num_heads, size), None


def stay_out_of_graphs() -> None:
    """From now on, leave this attention as it is where torch.compile compiles what is around it.

    A graph would hold for trees of one shape alone.
    """
    AttentionInterface.register(NAME, torch.compiler.disable(_attend))  # type: ignore[no-untyped-call]


AttentionInterface.register(NAME, _attend)
AttentionMaskInterface.register(NAME, sdpa_mask)
