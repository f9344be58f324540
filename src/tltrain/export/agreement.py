"""Whether an export gives what its source gives: pure comparisons, and the tolerance of each number format."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

MAX_NEW_TOKENS = 32
"""Tokens of a greedy completion."""

TOLERANCES: Mapping[str, float] = {"float32": 1e-3, "float16": 0.25, "bfloat16": 1.0, "q8_0": 1.0}
"""Largest difference of a log-prob, in nats; set by hand. float32: merged adapters round differently. The others round
weights and activations to 11 and 8 bits, or weights to 8-bit blocks, and scale with the logits."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Expected:
    """What the source gives on one prompt."""

    name: str
    """The prompt's, for messages."""
    text: str
    """The prompt."""
    ids: list[int]
    """Its token ids."""
    tokens: list[int]
    """The greedy completion, the token that ends the turn included."""
    logprobs: list[float]
    """Of each of these tokens."""
    margins: list[float]
    """By how much each of them leads the second best."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """What the export gives on the same prompt."""

    text: str
    ids: list[int]
    logprobs: list[float]
    """Of the source's tokens, behind the source's tokens; NaN is possible."""
    top: list[int]
    """The likeliest token at each of these places."""
    next_difference: float
    """Largest difference of a log-prob, over all tokens of the vocabulary, at the first of these places."""
    tokens: list[int] | None
    """Its own greedy completion, with the end tokens of its own generation config; None: not asked for."""


def largest_difference(expected: Expected, found: Found) -> float:
    """Of the log-probs of the source's tokens; infinite where one is no number."""
    pairs = zip(expected.logprobs, found.logprobs, strict=True)
    return max((abs(one - other) if other == other else float("inf") for one, other in pairs), default=0.0)


def count_agreeing(expected: Expected, found: Found) -> int:
    """Places at which both have the same likeliest token."""
    return sum(one == other for one, other in zip(expected.tokens, found.top, strict=True))


def find_problem(expected: Expected, found: Found, *, dtype: str) -> str | None:
    """The first thing that is wrong on this prompt, or None.

    A likeliest token may be another one only where the source's own leads by less than twice the tolerance, as two
    log-probs that move by the tolerance can change places.
    """
    tolerance = TOLERANCES[dtype]
    if found.text != expected.text:
        return f"the chat template writes it otherwise: {_first_difference(expected.text, found.text)}"
    if found.ids != expected.ids:
        at = _first_place(expected.ids, found.ids)
        return f"its token ids differ from place {at} on: {expected.ids[at : at + 5]} and {found.ids[at : at + 5]}"
    difference = largest_difference(expected, found)
    if not difference <= tolerance:
        return f"a log-prob differs by {difference:.3g}, and {dtype} may differ by {tolerance:g}"
    if dtype == "float32" and not found.next_difference <= tolerance:
        return f"a log-prob of the next token differs by {found.next_difference:.3g}; {tolerance:g} is allowed"
    for place, (one, other) in enumerate(zip(expected.tokens, found.top, strict=True)):
        if one != other and expected.margins[place] > 2 * tolerance:
            lead = expected.margins[place]
            return f"token {place} of the answer is {other} in place of {one}, which leads by {lead:.3g}"
    if found.tokens is not None and dtype == "float32" and found.tokens != expected.tokens:
        at = _first_place(expected.tokens, found.tokens)
        if at >= len(expected.tokens) or at >= len(found.tokens) or expected.margins[at] > 2 * tolerance:
            return f"the greedy answer differs from token {at} on: {expected.tokens[at:]} and {found.tokens[at:]}"
    return None


def _first_place(one: Sequence[object], other: Sequence[object]) -> int:
    pairs = zip(one, other, strict=False)
    return next((at for at, (left, right) in enumerate(pairs) if left != right), min(len(one), len(other)))


def _first_difference(one: str, other: str) -> str:
    at = _first_place(one, other)
    start = max(0, at - 10)
    return f"{one[start : at + 30]!r} became {other[start : at + 30]!r}"
