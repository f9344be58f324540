"""A key-value cache that grows in place; the plain dynamic one copies everything at each token.

Axes: B = sequence, K = key-value head, T = position, D = head feature.
"""

from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache, DynamicLayer


class _GrowingLayer(DynamicLayer):  # type: ignore[misc]
    """Keys and values of one layer in buffers with room for more; `keys` and `values` are views of the part in use."""

    def __init__(self, keys_BKTD: Tensor, values_BKTD: Tensor, batch_size: int, room: int):
        super().__init__()
        self._length = keys_BKTD.shape[2]
        self._keys = self._buffer(keys_BKTD, batch_size, room)
        self._values = self._buffer(values_BKTD, batch_size, room)
        self.dtype, self.device, self.is_initialized = keys_BKTD.dtype, keys_BKTD.device, True
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
    def _buffer(states: Tensor, batch_size: int, room: int) -> Tensor:
        heads, length, features = states.shape[1:]
        buffer = states.new_empty(batch_size, heads, length + room, features)
        buffer[:, :, :length] = states
        return buffer

    def _show(self) -> None:
        self.keys, self.values = self._keys[:, :, : self._length], self._values[:, :, : self._length]


def growing_cache(prefix: DynamicCache, batch_size: int, room: int) -> DynamicCache:
    """The cache of one prefix (batch of one), repeated for a batch, with room for more positions.

    Args:
        prefix: filled by one pass over the prefix.
        batch_size: sequences that continue it.
        room: positions that may follow.
    """
    cache = DynamicCache()
    cache.layers = [_GrowingLayer(layer.keys, layer.values, batch_size, room) for layer in prefix.layers]
    return cache


def keep_rows(cache: DynamicCache, rows: list[int]) -> None:
    """Drop all sequences of a growing cache but these."""
    index = torch.tensor(rows)
    for layer in cache.layers:
        layer.keep(index.to(layer.keys.device))
