"""The engine that samples in place of the model in this process, where a config names one."""

from collections.abc import Sequence
from typing import Any

import torch

from tltrain.engine.precision import resolve_precision
from tltrain.rl.config import PpoConfig
from tltrain.rl.prompts import Prompt
from tltrain.rollout.vllm_colocated import VllmWorker
from tltrain.rollout.vllm_engine import VllmEngine
from tltrain.rollout.vllm_server import VllmServer


def make_engine(
    config: PpoConfig, tokenizer: Any, prompts: Sequence[Prompt], device: torch.device
) -> VllmEngine | None:
    """What `config.vllm` says; None where the model in this process samples. Nothing is started yet.

    Args:
        config: settings.
        tokenizer: the model's.
        prompts: all that will be sampled.
        device: where the trainer computes.

    Raises:
        UsageError: there is no such Python.
    """
    if config.vllm is None:
        return None
    kind = VllmServer if config.vllm.mode == "server" else VllmWorker
    return kind(
        config.vllm,
        tokenizer,
        dtype=getattr(torch, resolve_precision(config.precision, device.type)),
        max_model_len=max(len(prompt.ids) for prompt in prompts) + config.max_new_tokens,
    )
