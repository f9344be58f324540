"""Text <-> calls, for the ways in which models are trained to write them. Knows no tokens."""

import difflib
from collections.abc import Sequence

from tltrain.errors import UsageError
from tltrain.syntax.base import CallSpans, CallSyntax, ParameterSpan, ParsedText, Span
from tltrain.syntax.deepseek import OPEN as DEEPSEEK_MARK
from tltrain.syntax.deepseek import DeepseekSyntax
from tltrain.syntax.glm import GlmSyntax
from tltrain.syntax.harmony import TO as HARMONY_MARK
from tltrain.syntax.harmony import HarmonySyntax
from tltrain.syntax.hermes import OPEN as HERMES_MARK
from tltrain.syntax.hermes import HermesSyntax
from tltrain.syntax.llama import LlamaSyntax
from tltrain.syntax.mistral import OPEN as MISTRAL_MARK
from tltrain.syntax.mistral import MistralSyntax
from tltrain.syntax.python_call import PythonCallSyntax
from tltrain.syntax.react import ReactSyntax
from tltrain.syntax.tool_code import OPEN as TOOL_CODE_MARK
from tltrain.syntax.tool_code import ToolCodeSyntax
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
    syntax.name: syntax
    for syntax in (
        PythonCallSyntax(),
        HermesSyntax(),
        ReactSyntax(),
        MistralSyntax(),
        DeepseekSyntax(),
        HarmonySyntax(),
        ToolCodeSyntax(),
        GlmSyntax(),
        LlamaSyntax(),
    )
}
"""Every syntax by its name."""

_MARKS = {
    DEEPSEEK_MARK: "deepseek",
    HARMONY_MARK: "harmony",
    MISTRAL_MARK: "mistral",
    HERMES_MARK: "hermes",
    TOOL_CODE_MARK: "tool_code",
    "<|observation|>": "glm",
    '"parameters": ': "llama",
}
"""What the source of a chat template holds that writes calls in a syntax; the first that is found counts."""


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
    """The syntax that a model's chat template writes calls in, told by its source.

    Python calls where it writes none that is known. A template that writes calls itself is better asked to, see
    `tltrain.render.conventions`.
    """
    return SYNTAXES[next((name for mark, name in _MARKS.items() if mark in (chat_template or "")), "python")]


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
