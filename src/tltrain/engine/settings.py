"""Settings that both trainers share; no torch, so that a recipe can be checked quickly."""

import math
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

Precision = Literal["auto", "float32", "bfloat16"]
"""Number format of matrix products; weights are kept in float32. "auto": bfloat16 where the device gains from it."""

Sharding = Literal["auto", "none", "fsdp", "zero1", "zero2"]
"""How several processes hold one model; results are the same.

- none: each holds all of it, and gradients are added up (DDP).
- fsdp: each holds its part of weights, gradients and optimizer state (torch's FSDP2).
- zero1: each holds all weights and gradients, and its part of the optimizer state (DeepSpeed). `sft` only.
- zero2: and its part of the gradients, too (DeepSpeed). `sft` only.
- auto: what `accelerate launch` was told to use, FSDP or DeepSpeed; none otherwise.
"""

HeldAs = Literal["none", "fsdp", "zero1", "zero2"]
"""How processes held a model in the end."""

TrackerName = Literal["tensorboard", "wandb", "trackio", "mlflow"]
"""An experiment tracker that shows metrics while a run goes on; its package is installed apart from tltrain."""


class OptimizerConfig(BaseModel):
    """AdamW with warm-up and a schedule; defaults of the paper's script but for the rate, which is per model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    learning_rate: float
    """At its highest; more than 0."""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmup_ratio: float = Field(default=0.01, ge=0, lt=1)
    """Share of all steps over which the rate rises from 0."""
    weight_decay: float = Field(default=0.01, ge=0)
    adam_beta1: float = Field(default=0.9, ge=0, lt=1)
    adam_beta2: float = Field(default=0.95, ge=0, lt=1)
    max_grad_norm: float = Field(default=1.0, gt=0)

    @field_validator("learning_rate")
    @classmethod
    def _check_rate(cls, rate: float) -> float:
        if not 0 < rate < math.inf:
            raise ValueError(
                f"{rate} trains nothing; give a number over 0, such as 1e-4 for adapters and 1e-5 for all weights"
            )
        return rate


class LoraConfig(BaseModel):
    """Low-rank adapters on every linear layer of the transformer blocks (Hu et al. 2021, arXiv:2106.09685).

    Raises (on construction):
        ValidationError: a field out of its range.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    rank: int = Field(default=16, ge=1)
    alpha: float = Field(default=32.0, gt=0)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    target: str = "all-linear"
    """peft's `target_modules`: "all-linear" or a regular expression over module names."""
    variant: Literal["lora", "rslora", "dora"] = "lora"
    """- lora: the update is scaled by alpha / rank.
    - rslora: by alpha / sqrt(rank), so that higher ranks learn as fast (Kalajdzievski 2023, arXiv:2312.03732).
    - dora: the length of each row of a weight is learnt apart from its direction (Liu et al. 2024, arXiv:2402.09353);
      a step takes more time, as the adapted weights are made anew in it."""
    base: Literal["full", "nf4"] = "full"
    """How the frozen weights are held: as loaded, or in 4 bits (QLoRA, Dettmers et al. 2023, arXiv:2305.14314), which
    needs bitsandbytes and a GPU. `sft` only."""
    frozen_share: float = Field(default=0.0, ge=0, lt=1)
    """Share of the transformer blocks, from the input up, that get no adapters. Nothing flows back through them, so
    that a step takes less time and memory."""
