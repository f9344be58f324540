"""What estimates, before each token, the rewards from it on.

Axes: N = target token, sequence after sequence; H = hidden feature.
"""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from tltrain.engine.compiled import compile_blocks
from tltrain.engine.logprobs import TargetSequence, target_states
from tltrain.engine.model import add_lora, checkpoint_activations
from tltrain.engine.parallel import Processes
from tltrain.engine.precision import autocast
from tltrain.engine.sharding import run_whole, shard, shard_layer
from tltrain.rl.config import PpoConfig


class Critic(torch.nn.Module):
    """A value head on hidden states: the actor's, or those of a model of its own; see `CriticKind`.

    The head is 0 at the start, so all values are. In the code that TL-Training was released with, the weights of the
    critic's model never load (wrong key prefix, errors dropped) and it starts at random; here it starts as the SFT
    model.

    Args:
        config: which kind, with which adapters, how to compute.
        sft_model: copied where the kind has a model of its own; must not have adapters yet.
        device: where to compute.
        split_among: processes that each hold a part of a model of its own; None: this one holds all.
    """

    def __init__(
        self, config: PpoConfig, sft_model: Any, device: torch.device, *, split_among: Processes | None = None
    ):
        super().__init__()
        self._config = config
        self._device = device
        self.model = _make_model(config, sft_model) if config.critic == "separate" else None
        if config.activation_checkpointing and self.model is not None:
            checkpoint_activations(self.model)
        self.head = torch.nn.Linear(sft_model.config.get_text_config().hidden_size, 1)
        torch.nn.init.zeros_(self.head.weight)
        torch.nn.init.zeros_(self.head.bias)
        if split_among and self.model is not None:
            shard(self.model, split_among)
            shard_layer(self.head, split_among)
        else:
            self.to(device)
        self.eval()
        if config.compile and self.model is not None:
            compile_blocks(self.model, device.type)

    @property
    def reads_actor(self) -> bool:
        """Whether values are read off the actor's hidden states."""
        return self.model is None

    def values(self, sequences: Sequence[TargetSequence], actor_states: Tensor | None) -> Tensor:
        """Value before each target, [N], float32, reward units; with gradient, none of it into the actor.

        Args:
            sequences: what to judge.
            actor_states: the actor's hidden states for them, [N, H]; only a critic with a model of its own does
                without.
        """
        if self.model is None:
            assert actor_states is not None, "this critic has no model of its own"
            states = actor_states.detach()
        else:
            with autocast(self._config.precision, self._device.type):
                states = target_states(self.model, sequences, share_prefix=self._config.share_prefixes)
        values: Tensor = run_whole(self.head, lambda: self.head.forward(states.float()))
        return values.squeeze(-1)


def _make_model(config: PpoConfig, sft_model: Any) -> Any:
    model = copy.deepcopy(sft_model)
    if config.critic_lora:
        return add_lora(model, config.critic_lora)
    model.requires_grad_(True)
    if model.get_output_embeddings().weight is not model.get_input_embeddings().weight:
        model.get_output_embeddings().requires_grad_(False)  # values do not read it
    return model
