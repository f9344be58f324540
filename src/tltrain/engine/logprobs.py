"""The heart of both trainers: log-probs of chosen target tokens under a model.

SFT is minus their weighted mean; PPO and its reference read the same numbers. Logits exist at targets only.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tltrain.engine.head import TokenScores, output_head, score_targets
from tltrain.engine.sharding import run_whole
from tltrain.engine.tree_attention import Trunk, hidden_states


@dataclass(frozen=True, slots=True)
class TargetSequence:
    """Token ids and the positions in them whose log-prob is wanted."""

    ids: Sequence[int]
    positions: Sequence[int]
    """Ascending, each in [1, len(ids)): the token there is predicted from all tokens before it."""
    allowed: Tensor | None = None
    """[positions, vocabulary / 32] int32, see `unpack_bits`: the tokens that could be drawn there; None: all."""


@dataclass(frozen=True, slots=True)
class TargetOutput:
    """Scores of all targets of a batch: sequence after sequence, in the order of their positions."""

    scores: TokenScores
    """[N] each, N = number of targets in the batch."""
    hidden: Tensor
    """[N, H]: the states that predict the targets; value heads read them."""
    lengths: tuple[int, ...]
    """Number of targets of each sequence; splits the flat tensors."""


def target_scores(
    model: Any,
    sequences: Sequence[TargetSequence],
    *,
    temperature: float = 1.0,
    share_prefix: bool = True,
    trunk: Trunk | None = None,
    chunk_size: int = 128,
) -> TargetOutput:
    """Score the targets of a batch of sequences, with gradient where the model has any.

    Args:
        model: a causal language model.
        sequences: token ids and targets.
        temperature: divides the logits.
        share_prefix: compute common beginnings once.
        trunk: a common beginning that has run already; no target lies in it or directly behind it.
        chunk_size: see `score_targets`.

    Raises:
        ValueError: a position is outside its sequence, or is 0, which nothing predicts.
    """
    for sequence in sequences:
        if sequence.positions and not 1 <= min(sequence.positions) <= max(sequence.positions) < len(sequence.ids):
            raise ValueError(f"positions must lie in [1, {len(sequence.ids)}); got {list(sequence.positions)}")
        if trunk and sequence.positions and sequence.positions[0] <= trunk.length:
            raise ValueError(f"positions must lie behind {trunk.length}, the trunk; got {list(sequence.positions)}")
    targets = [sequence.ids[position] for sequence in sequences for position in sequence.positions]

    def run() -> tuple[TokenScores, Tensor]:
        hidden = _states(model, sequences, share_prefix, trunk)
        wanted = torch.tensor(targets, dtype=torch.long, device=hidden.device)
        head = output_head(model)
        allowed = _allowed(sequences, head.weight.shape[0], hidden.device)
        scored = score_targets(hidden, head, wanted, temperature=temperature, chunk_size=chunk_size, allowed_NW=allowed)
        return scored, hidden

    scores, hidden = run_whole(model, run)
    return TargetOutput(scores, hidden, tuple(len(sequence.positions) for sequence in sequences))


def _allowed(sequences: Sequence[TargetSequence], vocab_size: int, device: torch.device) -> Tensor | None:
    if all(sequence.allowed is None for sequence in sequences):
        return None
    everything = torch.full((1, -(-vocab_size // 32)), -1, dtype=torch.int32)
    rows = [
        everything.expand(len(sequence.positions), -1) if sequence.allowed is None else sequence.allowed
        for sequence in sequences
    ]
    return torch.cat(rows).to(device)


def target_states(model: Any, sequences: Sequence[TargetSequence], *, share_prefix: bool = True) -> Tensor:
    """Hidden states that predict the targets, [N, H]; `target_scores` without the scores."""
    return run_whole(model, lambda: _states(model, sequences, share_prefix))


def _states(model: Any, sequences: Sequence[TargetSequence], share_prefix: bool, trunk: Trunk | None = None) -> Tensor:
    states = hidden_states(model, [sequence.ids for sequence in sequences], share_prefix=share_prefix, trunk=trunk)
    # the state at position t - 1 predicts the token at position t
    return states.at([[position - 1 for position in sequence.positions] for sequence in sequences])
