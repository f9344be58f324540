"""How much a key token weighs in the loss."""

from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field


class KeyTokenVariant(StrEnum):
    """Which tokens get more than weight 1."""

    PAPER = "paper"
    """Key tokens, by PKT of the paper."""
    OFF = "off"
    """None: plain supervised training."""


class KeyTokenWeighting(BaseModel):
    """Prioritizing key tokens (PKT)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    variant: KeyTokenVariant = KeyTokenVariant.PAPER
    w_max: float = Field(default=9.0, ge=1, allow_inf_nan=False)
    """Upper bound of the weight. Default: the paper's released code."""

    def weight(self, *, num_key: int, num_nonkey: int) -> float:
        """Weight of each key token of a call with so many key and other tokens, in [1, w_max].

        Source: Ye et al. 2025, arXiv:2412.15495, PKT: `CLIP(|NK| / |K|, 1, w_max)`. A call without key tokens has
        nothing to weigh: 1.
        """
        if self.variant is KeyTokenVariant.OFF or num_key == 0:
            return 1.0
        return min(max(num_nonkey / num_key, 1.0), self.w_max)
