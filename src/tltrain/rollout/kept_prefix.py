"""Keys and values that outlive a call of the sampler, so that the next turn of a conversation runs only what is new.

What ran for a sequence of tokens is a path of a tree whose branches are the places where sequences part. The memory is
bounded: what was used least recently goes first, from the ends of the paths.

Axes: K = key-value head, T = token, D = head feature.
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from weakref import ref

import torch

from tltrain.engine.backbone import backbone
from tltrain.engine.prefix_tree import common_length
from tltrain.engine.tree_attention import can_run_trees, join_rows, prefill, rounding
from tltrain.engine.tree_blocks import KeysValues

_NUM_TRIED = 24
"""Tokens of the sequence that a model is tried with."""


@dataclass(eq=False, slots=True)
class _Node:
    """Tokens that follow those of the parent."""

    ids: list[int]
    layers: list[KeysValues]
    parent: "_Node | None"
    used: int
    children: dict[int, "_Node"] = field(default_factory=dict)
    """By first token."""


class KeptPrefixes:
    """Keeps keys and values of one model's sequences, within a budget, on the model's device; see `KeptRows`.

    Where a model cannot go on from keys and values (state spaces, attention sinks and others that do not run as trees),
    nothing is kept, with a warning.

    Args:
        max_bytes: most that all keys and values take; 0 keeps nothing.
    """

    def __init__(self, max_bytes: int):
        self.max_bytes = max_bytes
        self.num_bytes = 0
        """Taken now."""
        self.num_evicted = 0
        """Tokens thrown out for want of room."""
        self.num_reused = 0
        """Tokens that did not run again; those that several prompts of a batch share counted once."""
        self._root = _Node([], [], None, 0)
        self._clock = 0
        self._model: Callable[[], Any] = lambda: None
        self._works = False

    def suits(self, model: Any) -> bool:
        """Whether anything can be kept of a model; another than the last one empties the memory."""
        if self._model() is not model:
            self.clear()
            self._model = ref(model)
            self._works = self.max_bytes > 0 and can_go_on(model)
            if self.max_bytes and not self._works:
                warnings.warn(
                    f"{type(backbone(model)).__name__} cannot go on from kept keys and values: each turn of a "
                    "conversation is computed as a whole",
                    stacklevel=2,
                )
        return self._works

    def clear(self) -> None:
        """Forget everything; necessary whenever weights change."""
        self._root.children.clear()
        self.num_bytes = 0

    def length(self, ids: Sequence[int]) -> int:
        """See `KeptRows.length`; what is asked about counts as used."""
        self._clock += 1
        return sum(number for _, number in self._walk(ids))

    def rows(self, ids: Sequence[int], start: int, end: int) -> list[KeysValues]:
        """See `KeptRows.rows`."""
        self.num_reused += end - start
        parts, position = [], 0
        for node, number in self._walk(ids):
            first, last = max(start - position, 0), min(end - position, number)
            if first < last:
                parts.append(_cut(node.layers, first, last))
            position += number
        assert position >= end
        return join_rows(parts)

    def add(self, ids: Sequence[int], layers: Sequence[KeysValues]) -> None:
        """Keep a sequence; copied is only what is not there yet.

        Args:
            ids: tokens.
            layers: keys and values of each of them, [1, K, T, D], layer by layer.
        """
        if not ids:
            return
        self._clock += 1
        node, position = self._root, 0
        for found, number in list(self._walk(ids)):
            node, position = found, position + number
            if number < len(found.ids):
                node = self._split(found, number)
        if position == len(ids):
            return
        size = sum(part.element_size() * part[:, :, position:].numel() for layer in layers for part in layer)
        if not self._make_room(size):
            return
        own = [KeysValues(*(part.clone() for part in layer)) for layer in _cut(layers, position, len(ids))]
        node.children[ids[position]] = _Node(list(ids[position:]), own, node, self._clock)
        self.num_bytes += size

    def _walk(self, ids: Sequence[int]) -> Iterator[tuple[_Node, int]]:
        """The nodes along a sequence, and how many of their tokens it has; they count as used."""
        ids = list(ids)
        node, position = self._root, 0
        while position < len(ids) and (child := node.children.get(ids[position])):
            child.used = self._clock
            number = common_length(child.ids, ids[position : position + len(child.ids)])
            yield child, number
            node, position = child, position + number
            if number < len(child.ids):
                return

    def _split(self, node: _Node, number: int) -> _Node:
        """Part a node after some of its tokens; returns the front."""
        assert node.parent is not None
        front, rest = (
            [KeysValues(*(part.clone() for part in layer)) for layer in _cut(node.layers, first, last)]
            for first, last in ((0, number), (number, len(node.ids)))
        )
        head = _Node(node.ids[:number], front, node.parent, self._clock, {node.ids[number]: node})
        node.parent.children[node.ids[0]] = head
        node.ids, node.layers, node.parent = node.ids[number:], rest, head
        return head

    def _make_room(self, size: int) -> bool:
        """Throw out ends of paths, the least recently used first; False where what is used now leaves no room."""
        while self.num_bytes + size > self.max_bytes:
            ends = [node for node in _below(self._root) if not node.children and node.used < self._clock]
            if not ends:
                return False
            oldest = min(ends, key=lambda node: node.used)
            assert oldest.parent is not None
            del oldest.parent.children[oldest.ids[0]]
            self.num_bytes -= _num_bytes(oldest.layers)
            self.num_evicted += len(oldest.ids)
        return True


def _below(node: _Node) -> Iterator[_Node]:
    waiting = list(node.children.values())
    while waiting:
        yield (last := waiting.pop())
        waiting += last.children.values()


def _cut(layers: Sequence[KeysValues], start: int, end: int) -> list[KeysValues]:
    return [KeysValues(*(part[:, :, start:end] for part in layer)) for layer in layers]


def _num_bytes(layers: Sequence[KeysValues]) -> int:
    return sum(part.element_size() * part.numel() for layer in layers for part in layer)


class _Given:
    """Some rows, as `KeptRows`."""

    def __init__(self, layers: Sequence[KeysValues]):
        self._layers = layers

    def length(self, _: Sequence[int]) -> int:
        return self._layers[0].keys.shape[2]

    def rows(self, _: Sequence[int], start: int, end: int) -> list[KeysValues]:
        return _cut(self._layers, start, end)


@torch.inference_mode()
def can_go_on(model: Any) -> bool:
    """Whether a model goes on from kept keys and values as it does from the tokens; found out by trying."""
    if not can_run_trees(model):
        return False
    vocabulary = backbone(model).get_input_embeddings().weight.shape[0]
    ids = [(5 * number + 2) % vocabulary for number in range(_NUM_TRIED)]
    expected, layers = prefill(model, [ids])
    try:
        found, _ = prefill(model, [ids], kept=_Given(_cut(layers, 0, _NUM_TRIED // 2)))
    except (TypeError, ValueError, KeyError, RuntimeError, AttributeError):
        return False  # such as layers that share their keys
    wanted, got = (states.at([range(_NUM_TRIED // 2, _NUM_TRIED)]).double() for states in (expected, found))
    return bool((got - wanted).norm() <= rounding(expected.hidden) * wanted.norm())
