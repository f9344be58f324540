"""Runs a prefix tree through a model: every linear layer sees each token once, attention sees whole sequences.

The rows of a tree go through the model as one sequence; its attention lets the rows of a segment look at the segments
that lead to them and at themselves. Values and gradients are those of the sequences run one by one, up to the order of
sums; where that cannot be had from a model, they are run one by one.

Axes: T = row, H = hidden feature.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from torch.nn import Module
from transformers.cache_utils import DynamicCache

from tltrain.engine.backbone import backbone
from tltrain.engine.given_rows import KeptRows, PartedTree, part_tree
from tltrain.engine.prefix_tree import PrefixTree, build_tree, plan_micro_batches
from tltrain.engine.remade import remaking
from tltrain.engine.tree_blocks import NAME, KeysValues, TreeBlocks


def hidden_states(
    model: Any, sequences: Sequence[Sequence[int]], *, share_prefix: bool = True, trunk: "Trunk | None" = None
) -> "PackedStates":
    """Last hidden states, after the final norm, of every token of some sequences.

    Args:
        model: a causal language model of transformers, or a peft model around one; its attention is set to one that
            knows trees, and is otherwise what it was.
        sequences: token ids, none empty.
        share_prefix: compute common beginnings once.
        trunk: has run already; the sequences begin with it, go on after it, and have no states there.
    """
    if not can_run_trees(model):
        return _run_one_by_one(model, sequences)
    length = trunk.length if trunk else 0
    tree = build_tree(sequences, share=share_prefix, trunk=length)
    rows = [[row - length for row in tree.rows(number)] for number in range(len(sequences))]
    return PackedStates(_run_tree(model, tree, trunk=trunk), rows)


class Trunk:
    """A beginning that the sequences of several passes share: it runs forward once, and backward once after them all.

    Each pass works on copies of its keys and values that gather gradients; `backward_loss` takes these on through the
    trunk. What the passes hold in memory is then freed before the next, and only the trunk stays.

    Args:
        model: one that runs trees (`can_run_trees`).
        ids: the beginning; none of its tokens is a target.
    """

    num_segments = 1

    def __init__(self, model: Any, ids: Sequence[int]):
        self.length = len(ids)
        tree = build_tree([ids])
        blocks = TreeBlocks(tree, next(model.parameters()).device)
        blocks.kept = {}
        _run_tree(model, tree, blocks=blocks)
        self._made, blocks.kept = blocks.kept, None
        self.keys_values = {
            module: KeysValues(*(states.detach().requires_grad_(states.requires_grad) for states in made))
            for module, made in self._made.items()
        }

    def backward_loss(self) -> Tensor:
        """A zero whose gradient is that of all passes which have run backward since, on the trunk's side."""
        pairs = [
            (made, copy.grad)
            for module, own in self.keys_values.items()
            for made, copy in zip(self._made[module], own, strict=True)
            if copy.grad is not None
        ]
        made, gradients = ([pair[number] for pair in pairs] for number in range(2))
        self._made = {}
        zero: Tensor = _PassOn.apply(gradients, *made)  # type: ignore[no-untyped-call]
        return zero


class _PassOn(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gradients: list[Tensor], *states: Tensor) -> Tensor:
        ctx.gradients = gradients
        return states[0].new_zeros(())

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        return (None, *(own * gradient for own in ctx.gradients))


@torch.no_grad()
def prefill(
    model: Any, sequences: Sequence[Sequence[int]], *, max_tokens: int = 8192, kept: KeptRows | None = None
) -> tuple["PackedStates", list[KeysValues]]:
    """Last hidden states and each layer's keys and values of every token of some sequences, shared ones once.

    Args:
        model: as for `hidden_states`.
        sequences: token ids, none empty.
        max_tokens: most tokens that run through the model together; a longer sequence runs alone.
        kept: what ran before and need not run again, beside the last token of each sequence; such tokens have keys and
            values, and no state (NaN). Only for a model that runs trees.
    """
    as_tree = can_run_trees(model)
    groups = plan_micro_batches(sequences, max_tokens) if as_tree else [(number,) for number in range(len(sequences))]
    hidden: list[Tensor] = []
    layers: list[list[KeysValues]] = []
    rows: list[list[int]] = [[] for _ in sequences]
    length = 0
    for group in groups:
        own = [sequences[number] for number in group]
        tree, cache = build_tree(own), DynamicCache()
        parted = None
        if kept is not None and as_tree:
            parted = part_tree(tree, [min(kept.length(ids), len(ids) - 1) for ids in own])
        if parted is not None and parted.sources:
            assert kept is not None
            tree = parted.tree
            states, made = _run_after(model, parted, kept, own, cache)
            hidden.append(states)
            layers.append(made)
        else:
            hidden.append(_run_tree(model, tree, cache) if as_tree else _run_sequence(model, tree.ids, cache))
            layers.append([KeysValues(layer.keys, layer.values) for layer in cache.layers])
        for place, number in enumerate(group):
            rows[number] = [length + row for row in tree.rows(place)]
        length += len(tree.ids)
    return PackedStates(torch.cat(hidden), rows), join_rows(layers)


def _run_after(
    model: Any, parted: PartedTree, kept: KeptRows, sequences: Sequence[Sequence[int]], cache: DynamicCache
) -> tuple[Tensor, list[KeysValues]]:
    """States, [T, H], and keys and values of all rows of a tree, of which the given ones do not run."""
    given = join_rows([kept.rows(sequences[source.sequence], *source[1:]) for source in parted.sources])
    of_modules = {module: given[layer] for module, layer in attention_layers(model).items() if layer < len(given)}
    states = _run_tree(
        model, parted.tree, cache, trunk=_GivenRows(parted.num_rows, len(parted.sources), keys_values=of_modules)
    )
    made = [KeysValues(layer.keys, layer.values) for layer in cache.layers]
    nothing = states.new_full((parted.num_rows, states.shape[1]), torch.nan)
    return torch.cat([nothing, states]), join_rows([given, made])


def join_rows(parts: Sequence[Sequence[KeysValues]]) -> list[KeysValues]:
    """Keys and values of rows, layer by layer, one part after the other."""
    return [
        KeysValues(torch.cat([part.keys for part in own], dim=2), torch.cat([part.values for part in own], dim=2))
        for own in zip(*parts, strict=True)
    ]


def attention_layers(model: Any) -> dict[Module, int]:
    """Modules that know the number of their layer in the cache, such as attention, and that number."""
    numbers = ((module, getattr(module, "layer_idx", None)) for module in backbone(model).modules())
    return {module: number for module, number in numbers if isinstance(number, int)}


@dataclass(frozen=True, slots=True)
class _GivenRows:
    """Rows at the front of a tree that do not run."""

    length: int
    num_segments: int
    keys_values: Mapping[Module, KeysValues]


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
        # in the format of the weights: rounding under autocast says nothing about attention
        with torch.autocast(next(model.parameters()).device.type, enabled=False):
            expected = _run_one_by_one(model, sequences)
            inner.set_attn_implementation(NAME)
            tree = build_tree(sequences)
            found = PackedStates(_run_tree(model, tree), [tree.rows(number) for number in range(len(sequences))])
            places = [range(len(sequence)) for sequence in sequences]
            wanted, got = expected.at(places).double(), found.at(places).double()
            agrees = bool((got - wanted).norm() <= rounding(expected.hidden) * wanted.norm())
    except (TypeError, ValueError, KeyError, RuntimeError, NotImplementedError, AttributeError):
        agrees = False  # whatever a model does with arguments that it does not know
    finally:
        inner.train(was_training)
    if not agrees:
        inner.set_attn_implementation(was)
    return agrees


def rounding(hidden: Tensor) -> float:
    """How far, as a share of their norm, hidden states may lie from others that differ by the order of sums alone.

    Under autocast they may come in float32 and were computed in less all the same.
    """
    is_exact = hidden.dtype in (torch.float32, torch.float64) and not torch.is_autocast_enabled(hidden.device.type)
    return 1e-4 if is_exact else 3e-2


def _run_one_by_one(model: Any, sequences: Sequence[Sequence[int]]) -> PackedStates:
    hidden, rows, length = [], [], 0
    for sequence in sequences:
        hidden.append(_run_sequence(model, sequence))
        rows.append(list(range(length, length + len(sequence))))
        length += len(sequence)
    return PackedStates(torch.cat(hidden), rows)


def _run_sequence(model: Any, sequence: Sequence[int], cache: DynamicCache | None = None) -> Tensor:
    ids = torch.tensor([list(sequence)], device=next(model.parameters()).device)
    with remaking(model):
        output = backbone(model)(input_ids=ids, use_cache=cache is not None, past_key_values=cache)
    hidden: Tensor = output.last_hidden_state[0]
    return hidden


def _run_tree(
    model: Any,
    tree: PrefixTree,
    cache: DynamicCache | None = None,
    *,
    trunk: Trunk | _GivenRows | None = None,
    blocks: TreeBlocks | None = None,
) -> Tensor:
    device = next(model.parameters()).device
    first = trunk.length if trunk else 0
    with remaking(model):
        output = backbone(model)(
            input_ids=torch.tensor([tree.ids[first:]], device=device),
            position_ids=torch.tensor([tree.positions[first:]], device=device),
            # a mask of four axes is passed on as it is; ours are made block by block
            attention_mask=torch.ones(1, 1, 1, 1, dtype=torch.bool, device=device),
            use_cache=cache is not None,
            past_key_values=cache,
            tree=blocks or _plan_blocks(tree, device, trunk),
        )
    hidden: Tensor = output.last_hidden_state[0]
    return hidden


def _plan_blocks(tree: PrefixTree, device: torch.device, trunk: Trunk | _GivenRows | None) -> TreeBlocks:
    return TreeBlocks(tree, device, trunk.keys_values, trunk.num_segments) if trunk else TreeBlocks(tree, device)
