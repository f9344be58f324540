"""What a call syntax is, and what comes out of reading text with it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from tltrain.types import AnyCall, Tool

MAX_LENGTH = 1_000_000
"""Longest text, in characters, in which calls are read; in a longer one all is malformed from the first attempt on."""
TOO_LONG = f"the text is longer than {MAX_LENGTH:,} characters"


class Span(NamedTuple):
    """Character offsets into the parsed text; the end is exclusive."""

    start: int
    end: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ParameterSpan:
    """Where one argument of a call is written."""

    name: str
    """The parameter's name, decoded."""
    key: Span
    """Its name as written, without quotes; empty for an argument that is given by position."""
    value: Span
    """Its value as written, with quotes and brackets."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CallSpans:
    """Where one call is written."""

    call: Span
    """All of it, tags included; `raw` of the call is the text there."""
    name: Span | None = None
    """The tool's name without quotes; None for a malformed call."""
    parameters: tuple[ParameterSpan, ...] = ()
    """In the order written."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ParsedText:
    """A model's text, taken apart."""

    text: str
    """What is not call: its pieces stripped, the empty ones left out, joined with line breaks."""
    calls: tuple[AnyCall, ...] = ()
    spans: tuple[CallSpans, ...] = ()
    """One entry for each call."""


class CallSyntax(Protocol):
    """One way to write calls. Reading inverts writing, never executes anything and never raises."""

    @property
    def name(self) -> str:
        """What recipes and files call it."""

    def render(self, text: str, calls: Sequence[AnyCall]) -> str:
        """Write text, then calls; a malformed call is written as its raw text.

        Raises:
            DataError: arguments are nested deeper than the syntax can be read back.
        """

    def parse(self, text: str, *, tools: Sequence[Tool] = ()) -> ParsedText:
        """Read any text, in time linear in its length.

        Args:
            text: what a model wrote.
            tools: give names to arguments that are written by position, where the syntax has such; without the tool
                they are malformed.
        """

    def looks_complete(self, text: str) -> bool:
        """Whether the text holds a call that is written to its end, so that sampling can stop."""


def join_lines(text: str, calls: Sequence[str]) -> str:
    """Text, then the written calls, each from a new line; blank text before calls is left out."""
    return "\n".join([text, *calls] if text.strip() or not calls else calls)


def collect(
    text: str,
    found: Sequence[tuple[AnyCall, CallSpans]],
    *,
    clean: Callable[[str], str] = str.strip,
    separator: str = "",
) -> ParsedText:
    """The result of reading: the calls with their spans, and whatever stands between them as text.

    Args:
        text: what was read.
        found: the calls, in order.
        clean: makes text of a piece between calls.
        separator: what a syntax writes between calls, which is no text there.
    """
    starts = [0, *(spans.call.end for _, spans in found)]
    ends = [*(spans.call.start for _, spans in found), len(text)]
    pieces = [clean(text[start:end]) for start, end in zip(starts, ends, strict=True)]
    between = range(1, len(pieces) - 1)
    return ParsedText(
        text="\n".join(
            piece for index, piece in enumerate(pieces) if piece and not (index in between and piece == separator)
        ),
        calls=tuple(call for call, _ in found),
        spans=tuple(spans for _, spans in found),
    )
