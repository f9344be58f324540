"""The policy that trains, and the frozen model that it must stay close to.

Axes: N = target token, sequence after sequence; H = hidden feature.
"""

import copy
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import Tensor

from tltrain.engine.compiled import compile_blocks
from tltrain.engine.head import TokenScores
from tltrain.engine.logprobs import TargetOutput, TargetSequence, target_scores, target_states
from tltrain.engine.model import add_lora, checkpoint_activations
from tltrain.engine.parallel import Processes
from tltrain.engine.precision import autocast
from tltrain.engine.sharding import WholeCopy, shard
from tltrain.rl.config import PpoConfig


class Actor:
    """The policy and its reference, both the SFT model at the start.

    With adapters the reference is the model with its adapters switched off, else a second copy. Dropout is off
    throughout: the policy that is updated must be the one that sampled.

    Args:
        config: whether there are adapters, the temperature of all log-probs, how to compute.
        sft_model: becomes the policy; is changed.
        device: where to compute.
        split_among: processes that each hold a part of both; None: this one holds all.
    """

    def __init__(
        self, config: PpoConfig, sft_model: Any, device: torch.device, *, split_among: Processes | None = None
    ):
        self._config = config
        self.device = device
        self.is_sharded = split_among is not None
        self._frozen: Any = None
        if config.lora is None:
            self._frozen = _place(copy.deepcopy(sft_model).requires_grad_(False), device, split_among)
        model = add_lora(sft_model, config.lora) if config.lora else sft_model
        self._whole = WholeCopy(model) if self.is_sharded else None
        if config.activation_checkpointing:
            checkpoint_activations(model)
        self.model = _place(model, device, split_among)
        if config.compile:
            compile_blocks(self.model, device.type)

    @contextmanager
    def sampling_model(self) -> Iterator[Any]:
        """The policy, whole in each process, which makes as many passes as it needs; entered by all processes."""
        if self._whole is None:
            yield self.model
        else:
            with self._whole.filled(self.model) as model:
                yield model

    def scores(self, sequences: Sequence[TargetSequence]) -> TargetOutput:
        """Log-probs, entropies and hidden states of the targets under the policy, with gradient."""
        return self._scores(self.model, sequences)

    @torch.no_grad()
    def states(self, sequences: Sequence[TargetSequence]) -> Tensor:
        """The policy's hidden states that predict the targets, [N, H], without gradient."""
        with self.autocast():
            return target_states(self.model, sequences, share_prefix=self._config.share_prefixes)

    @torch.no_grad()
    def reference_scores(self, sequences: Sequence[TargetSequence]) -> TokenScores:
        """Log-probs and entropies of the targets under the SFT model."""
        if self._frozen is not None:
            return self._scores(self._frozen, sequences).scores
        with self.model.disable_adapter():
            return self._scores(self.model, sequences).scores

    def autocast(self) -> AbstractContextManager[object]:
        """Context in which the policy computes, sampling included: the same number format everywhere."""
        return autocast(self._config.precision, self.device.type)

    def _scores(self, model: Any, sequences: Sequence[TargetSequence]) -> TargetOutput:
        with self.autocast():
            return target_scores(
                model, sequences, temperature=self._config.temperature, share_prefix=self._config.share_prefixes
            )


def _place(model: Any, device: torch.device, split_among: Processes | None) -> Any:
    return (shard(model, split_among) if split_among else model.to(device)).eval()
