"""Hidden states of sequences that begin alike, with their common beginning computed once.

In tool-use data most tokens are tool documents that many samples share. The common prefix of a group runs through the
model once, as a batch of one with a key-value cache that stays in the autograd graph; the branches then run as one
batch on that cache. Gradients flow back through the prefix exactly as if it had been copied into each sequence
(Prefix Grouper, arXiv:2506.05433, does this for groups of rollouts).

Axes: B = sequence, T = token, H = hidden feature.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

MIN_SHARED = 16
"""Shorter common prefixes are not worth a pass of their own."""


def common_prefix_length(sequences: Sequence[Sequence[int]]) -> int:
    """Number of leading tokens that all sequences share, leaving each at least one token of its own."""
    if len(sequences) < 2:
        return 0
    # what the smallest and the largest share, all between them share too
    first, last = min(map(list, sequences)), max(map(list, sequences))
    limit = min(len(sequence) for sequence in sequences) - 1
    length = 0
    while length < limit and first[length] == last[length]:
        length += 1
    return length


def hidden_states(model: Any, sequences: Sequence[Sequence[int]], *, share_prefix: bool = True) -> list[Tensor]:
    """Last hidden states, after the final norm, of each sequence.

    Args:
        model: a causal language model of transformers, or a peft model around one.
        sequences: token ids, each at least one long; they may differ in length.
        share_prefix: compute a common prefix of all sequences once.

    Returns:
        One [T, H] tensor a sequence, in order, with gradient where the model has any.
    """
    shared = common_prefix_length(sequences) if share_prefix else 0
    if shared < MIN_SHARED:
        return _run(model, sequences, cache=None, past=0)[0]
    prefix, cache = _run(model, [sequences[0][:shared]], cache="new", past=0)
    _expand(cache, len(sequences))
    branches, _ = _run(model, [sequence[shared:] for sequence in sequences], cache=cache, past=shared)
    return [torch.cat([prefix[0], branch]) for branch in branches]


def backbone(model: Any) -> Any:
    """The part of a causal language model below its output head, adapters included."""
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    return inner.base_model


def _run(model: Any, sequences: Sequence[Sequence[int]], *, cache: Any, past: int) -> tuple[list[Tensor], Any]:
    """Right-padded batch through the backbone, `past` tokens already in the cache ("new" makes and returns one)."""
    device = next(model.parameters()).device
    lengths = [len(sequence) for sequence in sequences]
    ids = torch.zeros(len(sequences), max(lengths), dtype=torch.long)
    mask = torch.zeros(len(sequences), past + max(lengths), dtype=torch.long)
    for row, sequence in enumerate(sequences):
        ids[row, : len(sequence)] = torch.as_tensor(sequence)
        mask[row, : past + len(sequence)] = 1
    positions = past + torch.arange(max(lengths)).expand(len(sequences), -1)
    output = backbone(model)(
        input_ids=ids.to(device),
        # with nothing padded the mask says nothing, and the plain causal kernel is faster
        attention_mask=None if len(set(lengths)) == 1 and not past else mask.to(device),
        position_ids=positions.to(device),
        past_key_values=None if cache == "new" else cache,
        use_cache=cache is not None,
    )
    hidden = output.last_hidden_state
    return [hidden[row, :length] for row, length in enumerate(lengths)], output.past_key_values


def _expand(cache: Any, batch_size: int) -> None:
    for layer in cache.layers:
        layer.keys = layer.keys.expand(batch_size, -1, -1, -1)
        layer.values = layer.values.expand(batch_size, -1, -1, -1)
