"""What is left of a model's general ability, from rows of windows to scores. No model is needed."""

import math
from collections.abc import Sequence
from typing import TypedDict

from pydantic import BaseModel, ConfigDict

from tltrain.benches.scores import Resampling
from tltrain.benches.statistics import Interval, ratio_difference, ratio_interval


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class WindowRow(_Record):
    """One line of windows.jsonl: sums over the tokens that a window predicts."""

    document: int
    """Place in the file, from 0."""
    start: int
    """Where the predicted text begins in its document, in bytes."""
    num_bytes: int
    num_tokens: int
    nll: float
    """Nats."""
    base_nll: float | None = None
    """The base's; this and all below are None without a base."""
    kl: float | None = None
    """KL(base || model), nats."""
    reverse_kl: float | None = None
    """KL(model || base), nats."""
    num_agreeing: int | None = None
    """Tokens for which both have the same most likely one."""


class Estimate(_Record):
    """A value, with its bootstrap interval over windows where there is one."""

    mean: float
    low: float | None = None
    high: float | None = None


class BaseScores(_Record):
    """The model against the one that it was made from, at the same tokens."""

    model: str
    kl: Estimate
    """The headline: KL(base || model), nats per token, over the whole vocabulary. How much worse than the base itself
    the model tells what the base would go on with: 0 where nothing was lost, and large where the model finds unlikely
    what the base finds likely."""
    reverse_kl: Estimate
    """KL(model || base), nats per token: large where the model finds likely what the base does not."""
    top1_agreement: Estimate
    """Percent of tokens for which both have the same most likely one."""
    nll: Estimate
    perplexity: Estimate
    bits_per_byte: Estimate
    nll_change: Estimate
    """Model minus base, by pairs of the same window; more than 0: the model is worse."""
    bits_per_byte_change: Estimate


class TextScores(_Record):
    """A model on a text."""

    text: str
    """Name of the file."""
    is_whole: bool
    """False: the text is the beginning of the file, as `max_bytes` says."""
    num_documents: int
    num_windows: int
    """What the intervals resample. Neighbouring windows of one document are alike, so with few documents an interval
    holds for the text at hand."""
    num_tokens: int
    """Predicted ones."""
    num_bytes: int
    """Of the text that they stand for."""
    nll: Estimate
    """Nats per token: comparable between models with one tokenizer."""
    perplexity: Estimate
    """exp(nll)."""
    bits_per_byte: Estimate
    """nll in bits per byte of UTF-8: comparable between tokenizers, too."""
    base: BaseScores | None = None


def score_windows(
    rows: Sequence[WindowRow], config: Resampling, *, text: str, is_whole: bool, num_documents: int, base: str | None
) -> TextScores:
    """Scores of all windows of a text; ratios of sums, so that every token counts alike.

    Args:
        rows: at least one.
        config: of the intervals.
        text: name of the file.
        is_whole: whether it was measured to its end.
        num_documents: of the file.
        base: name of the base; None: there is none.
    """
    nll = [row.nll for row in rows]
    return TextScores(
        text=text,
        is_whole=is_whole,
        num_documents=num_documents,
        num_windows=len(rows),
        num_tokens=sum(row.num_tokens for row in rows),
        num_bytes=sum(row.num_bytes for row in rows),
        **_of_nll(rows, nll, config),
        base=None if base is None else _score_base(rows, nll, config, base),
    )


def _score_base(rows: Sequence[WindowRow], nll: Sequence[float], config: Resampling, base: str) -> BaseScores:
    own = [row.base_nll or 0.0 for row in rows]
    tokens, num_bytes = _tokens(rows), _bytes(rows)
    return BaseScores(
        model=base,
        kl=_share([row.kl or 0.0 for row in rows], tokens, config),
        reverse_kl=_share([row.reverse_kl or 0.0 for row in rows], tokens, config),
        top1_agreement=_share([100.0 * (row.num_agreeing or 0) for row in rows], tokens, config),
        **_of_nll(rows, own, config),
        nll_change=_change(own, tokens, nll, tokens, config),
        bits_per_byte_change=_change(_bits(own), num_bytes, _bits(nll), num_bytes, config),
    )


def change_in_bits(before: Sequence[WindowRow], after: Sequence[WindowRow], config: Resampling) -> Estimate:
    """Bits per byte of the second minus the first.

    With an interval over pairs of windows where both models have the same windows; two tokenizers cut a text otherwise,
    and then the difference stands alone.
    """
    one, two = _bits([row.nll for row in before]), _bits([row.nll for row in after])
    if [(row.document, row.start, row.num_bytes) for row in before] == [
        (row.document, row.start, row.num_bytes) for row in after
    ]:
        return _change(one, _bytes(before), two, _bytes(after), config)
    return Estimate(mean=sum(two) / sum(_bytes(after)) - sum(one) / sum(_bytes(before)))


def _of_nll(rows: Sequence[WindowRow], nll: Sequence[float], config: Resampling) -> dict[str, Estimate]:
    per_token = _share(nll, _tokens(rows), config)
    return {
        "nll": per_token,
        "perplexity": Estimate(**{end: math.exp(min(value, 700.0)) for end, value in per_token.model_dump().items()}),
        "bits_per_byte": _share(_bits(nll), _bytes(rows), config),
    }


def _bits(nats: Sequence[float]) -> list[float]:
    return [value / math.log(2) for value in nats]


def _tokens(rows: Sequence[WindowRow]) -> list[int]:
    return [row.num_tokens for row in rows]


def _bytes(rows: Sequence[WindowRow]) -> list[int]:
    return [row.num_bytes for row in rows]


def _share(sums: Sequence[float], counts: Sequence[int], config: Resampling) -> Estimate:
    return _estimate(ratio_interval(sums, counts, **_options(config)))


def _change(
    before: Sequence[float],
    before_counts: Sequence[int],
    after: Sequence[float],
    after_counts: Sequence[int],
    config: Resampling,
) -> Estimate:
    first, second = list(zip(before, before_counts, strict=True)), list(zip(after, after_counts, strict=True))
    return _estimate(ratio_difference(first, second, **_options(config)))


class _Options(TypedDict):
    confidence: float
    num_resamples: int
    seed: int


def _options(config: Resampling) -> _Options:
    return {"confidence": config.confidence, "num_resamples": config.num_resamples, "seed": config.seed}


def _estimate(interval: Interval) -> Estimate:
    return Estimate(mean=interval.mean, low=interval.low, high=interval.high)
