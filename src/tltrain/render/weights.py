"""How much the tokens of a call weigh in the loss."""

from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field

from tltrain.render.rendered import RenderedCall


class KeyTokenVariant(StrEnum):
    """Which tokens get more than weight 1, and how they are counted."""

    PAPER = "paper"
    """Key tokens, by PKT of the paper."""
    RELEASED = "released"
    """Key tokens, counted as the released code does: the token that ends each argument's value is no part of |NK|."""
    OFF = "off"
    """None: plain supervised training."""


class KeyTokenWeighting(BaseModel):
    """Prioritizing key tokens (PKT), and weights of arguments."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    variant: KeyTokenVariant = KeyTokenVariant.PAPER
    w_max: float = Field(default=9.0, ge=1, allow_inf_nan=False)
    """Upper bound of the weight. Default: the paper's released code."""
    parameter_weight: float = Field(default=1.0, ge=0, allow_inf_nan=False)
    """Of the tokens of parameters' names, whatever the variant; 0 keeps them from teaching. Not in the paper."""
    value_weight: float = Field(default=1.0, ge=0, allow_inf_nan=False)
    """Of the tokens of arguments' values, quotes included; the same. A token that stands in a name and a value has the
    greater weight, and key tokens have their own. Not in the paper."""

    def weight(self, *, num_key: int, num_nonkey: int, num_values: int = 0) -> float:
        """Weight of each key token of a call with so many key and other tokens, in [1, w_max].

        Source: Ye et al. 2025, arXiv:2412.15495, PKT: `CLIP(|NK| / |K|, 1, w_max)`. A call without key tokens has
        nothing to weigh: 1.

        Args:
            num_key: |K|.
            num_nonkey: |NK|, all other tokens of the call.
            num_values: arguments of the call, for the released code's count.
        """
        if self.variant is KeyTokenVariant.OFF or num_key == 0:
            return 1.0
        counted = num_nonkey - num_values if self.variant is KeyTokenVariant.RELEASED else num_nonkey
        return min(max(counted / num_key, 1.0), self.w_max)


def argument_weights(call: RenderedCall, weighting: KeyTokenWeighting) -> dict[int, float]:
    """Weights of the tokens of names and values of parameters; the greater one where a token stands in both."""
    weights: dict[int, float] = {}
    if weighting.parameter_weight == weighting.value_weight == 1:
        return weights
    for parameter in call.parameters:
        for span, weight in ((parameter.key, weighting.parameter_weight), (parameter.value, weighting.value_weight)):
            for position in range(*span):
                weights[position] = max(weights.get(position, weight), weight)
    return {position: weight for position, weight in weights.items() if position not in call.key_positions}
