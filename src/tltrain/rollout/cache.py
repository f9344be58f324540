"""A key-value cache that grows in place; the plain dynamic one copies everything at each token.

Axes: B = sequence, K = key-value head, L = place in a padded sequence, T = row of a prefix tree, D = head feature.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache, DynamicLayer

from tltrain.engine.tree_blocks import KeysValues


class _GrowingLayer(DynamicLayer):  # type: ignore[misc]
    """Keys and values of one layer in buffers with room for more; `keys` and `values` are views of the part in use."""

    def __init__(self, states: KeysValues, rows_BL: Tensor, room: int):
        super().__init__()
        self._length = rows_BL.shape[1]
        self._keys = self._buffer(states.keys, rows_BL, room)
        self._values = self._buffer(states.values, rows_BL, room)
        self.dtype, self.device, self.is_initialized = states.keys.dtype, states.keys.device, True
        self._show()

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Append the states of new tokens and return everything so far."""
        end = self._length + key_states.shape[2]
        self._keys[:, :, self._length : end] = key_states
        self._values[:, :, self._length : end] = value_states
        self._length = end
        self._show()
        return self.keys, self.values

    def keep(self, rows: Tensor) -> None:
        """Drop all sequences but these."""
        self._keys, self._values = self._keys[rows], self._values[rows]
        self._show()

    @staticmethod
    def _buffer(states_1KTD: Tensor, rows_BL: Tensor, room: int) -> Tensor:
        heads, _, features = states_1KTD.shape[1:]
        batch_size, length = rows_BL.shape
        buffer = states_1KTD.new_empty(batch_size, heads, length + room, features)
        for row, places in enumerate(rows_BL):
            torch.index_select(states_1KTD[0], 1, places, out=buffer[row, :, :length])
        return buffer

    def _show(self) -> None:
        self.keys, self.values = self._keys[:, :, : self._length], self._values[:, :, : self._length]


def growing_cache(layers: Sequence[KeysValues], rows_BL: Tensor, room: int) -> DynamicCache:
    """The cache of a batch of sequences, with room for more positions.

    Args:
        layers: keys and values of each layer, row by row, as `prefill` gives them.
        rows_BL: for each sequence the row of each token; sequences are padded on the left, with any row.
        room: positions that may follow.
    """
    cache = DynamicCache()
    cache.layers = [_GrowingLayer(states, rows_BL, room) for states in layers]
    return cache


def keep_rows(cache: DynamicCache, rows: list[int]) -> None:
    """Drop all sequences of a growing cache but these."""
    index = torch.tensor(rows)
    for layer in cache.layers:
        layer.keep(index.to(layer.keys.device))


def cached_row(cache: DynamicCache, row: int, length: int) -> list[KeysValues]:
    """Keys and values of the last positions of one sequence of a growing cache, layer by layer; views, [1, K, L, D]."""
    return [
        KeysValues(layer.keys[row : row + 1, :, -length:], layer.values[row : row + 1, :, -length:])
        for layer in cache.layers
    ]
