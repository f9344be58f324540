"""Runs a prefix tree through a model: every linear layer sees each token once, attention sees whole sequences.

The rows of a tree go through the model as one sequence; in place of a mask over all of them, attention is computed
block by block: the rows of a segment look at the segments that lead to them and at themselves. Values and gradients
are those of the sequences run one by one, up to the order of sums; where that cannot be had from a model, they are run
one by one.

Axes: A = head, K = key-value head, T = row, D = head feature, H = hidden feature.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.cache_utils import DynamicCache
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from tltrain.engine.prefix_tree import PrefixTree, build_tree, plan_micro_batches

_NAME = "tltrain_tree"
"""Our attention among those of transformers."""
_MAX_BLOCK = 128
"""Rows up to which segments without successors are handled together, with a mask that keeps them apart."""


def hidden_states(model: Any, sequences: Sequence[Sequence[int]], *, share_prefix: bool = True) -> "PackedStates":
    """Last hidden states, after the final norm, of every token of some sequences.

    Args:
        model: a causal language model of transformers, or a peft model around one; its attention is set to one that
            knows trees, and is otherwise what it was.
        sequences: token ids, none empty.
        share_prefix: compute common beginnings once.
    """
    if not can_run_trees(model):
        return _run_one_by_one(model, sequences)
    tree = build_tree(sequences, share=share_prefix)
    return PackedStates(_run_tree(model, tree), [tree.rows(number) for number in range(len(sequences))])


class KeysValues(NamedTuple):
    """What attention keeps of some rows in one layer."""

    keys: Tensor
    """[1, K, T, D], rotated to their positions."""
    values: Tensor
    """[1, K, T, D]."""


@torch.no_grad()
def prefill(
    model: Any, sequences: Sequence[Sequence[int]], *, max_tokens: int = 8192
) -> tuple["PackedStates", list[KeysValues]]:
    """Last hidden states and each layer's keys and values of every token of some sequences, shared ones once.

    Args:
        model: as for `hidden_states`.
        sequences: token ids, none empty.
        max_tokens: most tokens that run through the model together; a longer sequence runs alone.
    """
    as_tree = can_run_trees(model)
    groups = plan_micro_batches(sequences, max_tokens) if as_tree else [(number,) for number in range(len(sequences))]
    hidden: list[Tensor] = []
    layers: list[list[KeysValues]] = []
    rows: list[list[int]] = [[] for _ in sequences]
    length = 0
    for group in groups:
        tree, cache = build_tree([sequences[number] for number in group]), DynamicCache()
        hidden.append(_run_tree(model, tree, cache) if as_tree else _run_sequence(model, tree.ids, cache))
        layers.append([KeysValues(layer.keys, layer.values) for layer in cache.layers])
        for place, number in enumerate(group):
            rows[number] = [length + row for row in tree.rows(place)]
        length += len(tree.ids)
    joined = [
        KeysValues(torch.cat([part.keys for part in parts], dim=2), torch.cat([part.values for part in parts], dim=2))
        for parts in zip(*layers, strict=True)
    ]
    return PackedStates(torch.cat(hidden), rows), joined


@dataclass(frozen=True, slots=True)
class PackedStates:
    """Hidden states of several sequences, each token's once."""

    hidden: Tensor
    """[T, H]."""
    rows: list[list[int]]
    """For each sequence, the row of each of its tokens."""

    def at(self, places: Sequence[Sequence[int]]) -> Tensor:
        """The states at some places of each sequence, sequence after sequence, [N, H]."""
        wanted = [rows[place] for rows, own in zip(self.rows, places, strict=True) for place in own]
        return self.hidden[torch.tensor(wanted, dtype=torch.long, device=self.hidden.device)]


def backbone(model: Any) -> Any:
    """The part of a causal language model below its output head, adapters included."""
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    return inner.base_model


_CAN_RUN_TREES: WeakKeyDictionary[Any, bool] = WeakKeyDictionary()


def can_run_trees(model: Any) -> bool:
    """Whether a model gives for trees what it gives for sequences; found out once, by trying.

    Models with other than plain or windowed causal attention (state spaces, relative biases, sinks) do not.
    """
    inner = backbone(model)
    if inner not in _CAN_RUN_TREES:
        _CAN_RUN_TREES[inner] = _try_tree(model)
    return _CAN_RUN_TREES[inner]


@torch.no_grad()
def _try_tree(model: Any) -> bool:
    inner = backbone(model)
    layers = getattr(inner.config.get_text_config(), "layer_types", None) or ()
    if not {"full_attention", "sliding_attention"}.issuperset(layers):
        return False
    was, was_training = inner.config._attn_implementation, inner.training
    inner.eval()
    try:
        vocabulary = inner.get_input_embeddings().weight.shape[0]
        stem = [(7 * number + 3) % vocabulary for number in range(20)]
        sequences = [[*stem, *(((11 + own) * number + own) % vocabulary for number in range(own))] for own in (3, 5)]
        expected = _run_one_by_one(model, sequences)
        inner.set_attn_implementation(_NAME)
        tree = build_tree(sequences)
        found = PackedStates(_run_tree(model, tree), [tree.rows(number) for number in range(len(sequences))])
        places = [range(len(sequence)) for sequence in sequences]
        wanted, got = expected.at(places).double(), found.at(places).double()
        tolerance = 1e-4 if expected.hidden.dtype in (torch.float32, torch.float64) else 3e-2
        agrees = bool((got - wanted).norm() <= tolerance * wanted.norm())
    except (TypeError, ValueError, KeyError, RuntimeError, NotImplementedError, AttributeError):
        agrees = False  # whatever a model does with arguments that it does not know
    finally:
        inner.train(was_training)
    if not agrees:
        inner.set_attn_implementation(was)
    return agrees


def _run_one_by_one(model: Any, sequences: Sequence[Sequence[int]]) -> PackedStates:
    hidden, rows, length = [], [], 0
    for sequence in sequences:
        hidden.append(_run_sequence(model, sequence))
        rows.append(list(range(length, length + len(sequence))))
        length += len(sequence)
    return PackedStates(torch.cat(hidden), rows)


def _run_sequence(model: Any, sequence: Sequence[int], cache: DynamicCache | None = None) -> Tensor:
    ids = torch.tensor([list(sequence)], device=next(model.parameters()).device)
    output = backbone(model)(input_ids=ids, use_cache=cache is not None, past_key_values=cache)
    hidden: Tensor = output.last_hidden_state[0]
    return hidden


def _run_tree(model: Any, tree: PrefixTree, cache: DynamicCache | None = None) -> Tensor:
    device = next(model.parameters()).device
    hidden: Tensor = backbone(model)(
        input_ids=torch.tensor([tree.ids], device=device),
        position_ids=torch.tensor([tree.positions], device=device),
        # a mask of four axes is passed on as it is; ours are made block by block
        attention_mask=torch.ones(1, 1, 1, 1, dtype=torch.bool, device=device),
        use_cache=cache is not None,
        past_key_values=cache,
        tree=_Blocks(tree, device),
    ).last_hidden_state[0]
    return hidden


@dataclass(slots=True)
class _Block:
    """Rows that attend together."""

    start: int
    end: int
    before: tuple[int, ...]
    """Numbers of the blocks that lead to it."""
    segments: list[int] = field(default_factory=list)


class _Blocks:
    """How the rows of a tree attend: a block for each segment with successors, and blocks of segments without."""

    def __init__(self, tree: PrefixTree, device: torch.device):
        self._tree, self._device = tree, device
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
        self.lengths = [block.end - block.start for block in self.blocks]
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

    def _make_mask(self, block: _Block, window: int | None) -> Tensor | None:
        own = [self._tree.segments[segment] for segment in block.segments]
        last_position = max(segment.position + segment.end - segment.start for segment in own)
        is_windowed = window is not None and last_position > window
        if not block.before and len(own) == 1 and not is_windowed:
            return None
        earlier = [self.blocks[number] for number in block.before]
        rows = [row for part in (*earlier, block) for row in range(part.start, part.end)]
        positions = torch.tensor(self._tree.positions, device=self._device)
        key_positions, query_positions = positions[rows], positions[block.start : block.end]
        owners = torch.tensor(
            [number for number, segment in enumerate(own) for _ in range(segment.start, segment.end)],
            device=self._device,
        )
        # -1: belongs to all
        key_owners = torch.cat([owners.new_full((len(rows) - len(owners),), -1), owners])
        sees = (key_owners[None] == -1) | (key_owners[None] == owners[:, None])
        sees &= key_positions[None] <= query_positions[:, None]
        if window is not None and is_windowed:
            sees &= key_positions[None] > query_positions[:, None] - window
        return sees[None, None]


def _attend(
    module: torch.nn.Module,
    query_1ATD: Tensor,
    key_1KTD: Tensor,
    value_1KTD: Tensor,
    attention_mask: Tensor | None,
    *,
    tree: _Blocks | None = None,
    **settings: Any,
) -> tuple[Tensor, None]:
    """Attention of transformers' interface; torch's own where no tree runs."""
    if tree is None:
        plain: tuple[Tensor, None] = sdpa_attention_forward(
            module, query_1ATD, key_1KTD, value_1KTD, attention_mask, **settings
        )
        return plain
    window = settings.get("sliding_window")
    # split, not sliced: the gradient of all parts is put together once
    queries, keys, values = (
        torch.split(states, tree.lengths, dim=2)  # type: ignore[no-untyped-call]
        for states in (query_1ATD, key_1KTD, value_1KTD)
    )
    outputs = []
    for number, block in enumerate(tree.blocks):
        key = torch.cat([keys[other] for other in (*block.before, number)], dim=2)
        value = torch.cat([values[other] for other in (*block.before, number)], dim=2)
        mask = tree.mask(number, window, key.dtype)
        attend = _attend_grouped if mask is not None and _takes_groups(key, settings) else sdpa_attention_forward
        outputs.append(attend(module, queries[number], key, value, mask, **settings)[0])
    return torch.cat(outputs, dim=1), None


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
    module: torch.nn.Module,  # noqa: ARG001
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


AttentionInterface.register(_NAME, _attend)
AttentionMaskInterface.register(_NAME, sdpa_mask)
