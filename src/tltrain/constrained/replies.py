"""The grammar of a reply: what a model may write in a call syntax, given the tools on offer."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

from tltrain.constrained.lark import Grammar, escape, quote
from tltrain.constrained.values import Spelling, Values
from tltrain.errors import DataError, UsageError
from tltrain.syntax import CallSyntax
from tltrain.syntax.python_call import PythonCallSyntax
from tltrain.types import Json, Tool, ToolCall

_BLANKS = r"\t\x0b-\r\x1c-\x1f \x85\xa0\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}"
"""All that Python's `str.isspace` holds true for, but the line break."""
_B = f"[{_BLANKS}]"
_IN_NAME = rf"A-Za-z0-9_.\-[\x{{80}}-\x{{10ffff}}&&[^{_BLANKS}]]"
"""What a bare name may hold, and more: all letters that are not ASCII."""
_QUOTED = "|".join(rf"{mark}(?:[^{mark}\\\n]|\\[^\n])*(?:{mark}(?:[^(\n][^\n]*)?)?" for mark in "'\"")
_NO_PYTHON_CALL = (
    rf"{_B}*(?:[{_IN_NAME}]+(?:[^{_IN_NAME}(\n][^\n]*)?|{_QUOTED}|[^{_IN_NAME}{_BLANKS}'\x22\n][^\n]*)|{_B}+"
)
"""A line that starts with neither a name nor a quoted string before an opening bracket."""


class _Form(NamedTuple):
    """How a syntax writes calls, as far as its own writer cannot be asked."""

    spelling: Spelling
    line: str
    """A terminal: a line of text, not empty, that is no attempt at a call for the syntax's reader."""


_FORMS: Mapping[str, _Form] = {
    "python": _Form("python", quote(_NO_PYTHON_CALL)),
    "tool_code": _Form("python", rf"/[^\n]+/ & ~/{_B}*```tool_code[^\n]*/"),
    "hermes": _Form("json", r"/[^\n]+/ & ~/[^\n]*<tool_call>[^\n]*/"),
    "react": _Form("json", rf"/[^\n]+/ & ~/{_B}*Action{_B}*:[^\n]*/"),
    "llama": _Form("json", rf"/[^\n]+/ & ~/{_B}*\{{[^\n]*/ & ~/[^\n]*<\|python_tag\|>[^\n]*/"),
}


def check_syntax(syntax: CallSyntax) -> None:
    """Raise `UsageError` for a syntax that has no grammar here."""
    if syntax.name not in _FORMS:
        raise UsageError(
            f"constrain: there is no grammar of calls in the syntax {syntax.name!r} of this model's chat template, "
            f"only of {', '.join(_FORMS)}; use constrain=off"
        )


def reply_grammar(
    syntax: CallSyntax,
    tools: Sequence[Tool],
    mode: Literal["auto", "call"],
    *,
    marks: Mapping[str, int],
    text_marks: Mapping[str, int],
) -> str:
    """The grammar of all replies that a model may write.

    auto: lines of text that are no attempt at a call, then calls or none; call: calls at once. Calls are of tools on
    offer, with all required parameters, no unknown ones, and values that their schemas allow; they are written and
    separated as the syntax's writer does it, and start a line. Nothing follows them.

    Args:
        syntax: how calls are written.
        tools: what is on offer.
        mode: see above.
        marks: texts that are tokens of their own, and those tokens; calls are written with the tokens.
        text_marks: such as text may have, on lines without other text, where they start no call: `<think>`, say.

    Raises:
        UsageError: the syntax is not supported.
        DataError: calls are asked for and there is no tool, or a tool has too many parameters.
    """
    check_syntax(syntax)
    if mode == "call" and not tools:
        raise DataError("constrain=call, and no tool is on offer; use constrain=auto")
    form = _FORMS[syntax.name]
    grammar = Grammar()
    values = Values(grammar, form.spelling)
    literal = _Literals(grammar, marks)
    call = grammar.add("call", " | ".join(_calls(syntax, tools, grammar, values, literal))) if tools else ""
    calls = f"{call} ({literal(_separator(syntax))} {call})*"
    if mode == "call":
        return grammar.text(calls)
    line, new_line = grammar.add("LINE", form.line), grammar.terminal("newline", r"\n")
    free = [f"<[{token}]>" for mark, token in text_marks.items() if not syntax.parse(mark).calls]
    text = grammar.add("text", " | ".join([line, f"({' | '.join(free)})+"] if free else [line]))
    return grammar.text(f"({text}? {new_line})* ({text}{f' | {calls}' if tools else ''})?")


class _Literals:
    """Makes the body of exactly one text."""

    def __init__(self, grammar: Grammar, marks: Mapping[str, int]):
        self._grammar, self._marks = grammar, marks
        self._pattern = re.compile("|".join(map(re.escape, sorted(marks, key=len, reverse=True))) or "(?!)")

    def __call__(self, text: str) -> str:
        """The text's terminals and, where it holds marks, their tokens."""
        found, plain = self._pattern.findall(text), self._pattern.split(text)
        pieces = [self._grammar.terminal("literal", escape(piece)) if piece else "" for piece in plain]
        for place, mark in enumerate(found):
            pieces[place] += f" <[{self._marks[mark]}]>"
        return " ".join(filter(None, pieces))


def _calls(
    syntax: CallSyntax, tools: Sequence[Tool], grammar: Grammar, values: Values, literal: _Literals
) -> Iterator[str]:
    """The body of a call of each tool."""
    is_python = _FORMS[syntax.name].spelling == "python"
    for tool in tools:
        written = syntax.render("", [ToolCall(name=tool.name)])
        brackets = "()" if is_python else "{}"
        before, _, after = written.rpartition(brackets)
        try:
            found = values.members(tool.parameters)
            items = [
                (_argument(name, schema, values, grammar) if is_python else values.member(name, schema), needed)
                for name, (schema, needed) in found.items()
            ]
        except DataError as error:
            raise DataError(f"tool {tool.name!r}: {error}") from None
        yield f"{literal(before + brackets[0])} {values.any_order(items, values.bracket(brackets[1]))} {literal(after)}"


def _argument(name: str, schema: Json, values: Values, grammar: Grammar) -> str:
    """`name=value`, or `**{'odd name': value}`, as the writer has it."""
    written = PythonCallSyntax().render("", [ToolCall(name="f", arguments={name: 0})])
    before, _, after = written.removeprefix("f(").removesuffix(")").rpartition("0")
    ending = f" {values.bracket(after)}" if after else ""
    return f"{grammar.terminal('keyword', escape(before))} {values.value(schema)}{ending}"


def _separator(syntax: CallSyntax) -> str:
    one, two = (syntax.render("", [ToolCall(name="x")] * number) for number in (1, 2))
    return two[len(one) : len(two) - len(one)]
