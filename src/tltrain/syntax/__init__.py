"""Text <-> calls, for the ways in which models are trained to write them. Knows no tokens."""

import difflib
from collections.abc import Sequence

from tltrain.errors import UsageError
from tltrain.syntax.base import CallSpans, CallSyntax, ParameterSpan, ParsedText, Span
from tltrain.syntax.hermes import OPEN, HermesSyntax
from tltrain.syntax.python_call import PythonCallSyntax
from tltrain.syntax.react import ReactSyntax
from tltrain.types import AnyCall, MalformedCall, Tool

__all__ = [
    "SYNTAXES",
    "CallSpans",
    "CallSyntax",
    "ParameterSpan",
    "ParsedText",
    "Span",
    "detect_syntax",
    "get_syntax",
    "parse_single",
]

SYNTAXES: dict[str, CallSyntax] = {
    syntax.name: syntax for syntax in (PythonCallSyntax(), HermesSyntax(), ReactSyntax())
}
"""Every syntax by its name."""


def get_syntax(name: str) -> CallSyntax:
    """The syntax of that name.

    Raises:
        UsageError: there is none.
    """
    if name in SYNTAXES:
        return SYNTAXES[name]
    nearest = difflib.get_close_matches(name, SYNTAXES, cutoff=0.4)
    meant = f"did you mean {' or '.join(nearest)}? " if nearest else ""
    raise UsageError(f"syntax={name!r} is not known; {meant}choose one of {', '.join(SYNTAXES)}")


def detect_syntax(chat_template: str | None) -> CallSyntax:
    """The syntax that a model's chat template writes calls in; Python calls where it writes none that is known."""
    return SYNTAXES["hermes" if chat_template and OPEN in chat_template else "python"]


def parse_single(syntax: CallSyntax, text: str, *, tools: Sequence[Tool] = ()) -> AnyCall:
    """Read a text that must be one call and nothing else; anything more or less is malformed."""
    parsed = syntax.parse(text, tools=tools)
    if len(parsed.calls) == 1 and not parsed.text:
        return parsed.calls[0]
    if not parsed.calls:
        reason = "there is no call"
    elif len(parsed.calls) > 1:
        reason = f"there are {len(parsed.calls)} calls, and one is wanted"
    else:
        reason = "there is text beside the call"
    return MalformedCall(raw=text, reason=reason)
