"""Answers whose reward is known beforehand, right and wrong ones, made out of the right calls of a turn.

What each is worth is taken from the table, not from a diagnosis, so that the two can be held against each other.
"""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import count
from typing import TypeAlias

from tltrain.errors import DataError
from tltrain.rewards.rules import RewardTable
from tltrain.syntax import CallSyntax, get_syntax
from tltrain.types import Json, Tool, ToolCall

JUNK_TOKENS = 10_000
"""Words and signs of the junk answer."""
PROSE = "I do not have what it takes to answer that, so let me say in words what I think of it."
_BEFORE, _AFTER = "Let me look that up first.", "That should settle it."
_NESTED: Json = {"a": [1, {"b": [None, True, {"c": "}"}]}, []], "empty": {}}
_NESTED_OTHER: Json = {"a": [1, {"b": [None, True, {"d": "}"}]}, []], "empty": {}}
_UNICODE: Json = "naïve 東京 🙂 \u202e' \" \\ \n\t</tool_call> e\u0301"


@dataclass(frozen=True, kw_only=True, slots=True)
class Turn:
    """A turn of the data with the calls that are right there."""

    id: str
    tools: tuple[Tool, ...]
    golds: tuple[ToolCall, ...]
    """In the order of the data; none: plain text is right."""
    text: str = ""
    """The right text, where no call is right."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer to a turn."""

    kind: str
    """Such as `wrong tool`."""
    text: str
    expected: float
    """What the rules say that it is worth."""
    golds: tuple[ToolCall, ...]
    """The right calls it is held against; for most kinds those of the turn."""


def gold_text(turn: Turn, syntax: CallSyntax) -> str:
    """The right answer as the syntax writes it.

    Raises:
        DataError: the syntax cannot write a call.
    """
    return syntax.render("", turn.golds) if turn.golds else turn.text


def make_answers(turn: Turn, syntax: CallSyntax, table: RewardTable) -> Iterator[Answer]:
    """All kinds of answer that the turn can have; those that it cannot (no argument to leave out) are passed over."""
    kinds = _KINDS if turn.golds else _KINDS_WITHOUT_CALL
    for kind, make in kinds.items():
        try:
            made = make(_Maker(turn, syntax, table))
        except DataError:  # the syntax cannot write it; the right answer's own fault is found elsewhere
            continue
        if made is not None:
            yield Answer(kind, *made)


_Made: TypeAlias = tuple[str, float, tuple[ToolCall, ...]] | None
"""Text, what it is worth, the right calls it is held against; None: the turn has no such answer."""


@dataclass(frozen=True, slots=True)
class _Maker:
    turn: Turn
    syntax: CallSyntax
    table: RewardTable

    @property
    def first(self) -> ToolCall:
        """The call that is changed."""
        return self.turn.golds[0]

    @property
    def known(self) -> dict[str, None]:
        """Parameters that the first call's tool has."""
        same = [tool for tool in self.turn.tools if tool.name == self.first.name]
        return {name: None for tool in same for name in (*tool.properties, *sorted(tool.required))}

    def made(self, text: str, value: float, golds: tuple[ToolCall, ...] | None = None) -> _Made:
        return text, value, self.turn.golds if golds is None else golds

    def rest_right(self, value: float) -> float:
        """The mean over all calls, where one has this value and the rest are right."""
        return (value + self.table.right * (len(self.turn.golds) - 1)) / len(self.turn.golds)

    def changed(self, call: ToolCall, value: float) -> _Made:
        """The first call replaced by another one of this value."""
        return self.made(self.syntax.render("", (call, *self.turn.golds[1:])), self.rest_right(value))

    def other_tool(self) -> str | None:
        """A tool on offer that no right call names."""
        right = {gold.name for gold in self.turn.golds}
        return next((tool.name for tool in self.turn.tools if tool.name and tool.name not in right), None)


def _shuffled(maker: _Maker) -> _Made:
    """Arguments, and calls where there are several, in the opposite order."""
    golds = maker.turn.golds
    calls = [
        ToolCall(name=gold.name, arguments=dict(reversed(list(gold.arguments.items())))) for gold in reversed(golds)
    ]
    is_shuffled = len(golds) > 1 or len(maker.first.arguments) > 1
    return maker.made(maker.syntax.render("", calls), maker.table.right) if is_shuffled else None


def _in_prose(maker: _Maker) -> _Made:
    return maker.made(f"{maker.syntax.render(_BEFORE, maker.turn.golds)}\n{_AFTER}", maker.table.right)


def _wrong_tool(maker: _Maker) -> _Made:
    name = maker.other_tool()
    return maker.changed(ToolCall(name=name, arguments=maker.first.arguments), maker.table.wrong_tool) if name else None


def _invented_tool(maker: _Maker) -> _Made:
    taken = {tool.name for tool in maker.turn.tools} | {gold.name for gold in maker.turn.golds}
    name = _free_name("invented_tool", taken)
    return maker.changed(ToolCall(name=name, arguments=maker.first.arguments), maker.table.tool_hallucination)


def _invented_parameter(maker: _Maker) -> _Made:
    name = _free_name("invented_parameter", maker.known.keys() | maker.first.arguments.keys())
    return maker.changed(_with(maker.first, {name: "x"}), maker.table.hallucinated)


def _redundant_parameter(maker: _Maker) -> _Made:
    name = next((name for name in maker.known if name not in maker.first.arguments), None)
    return None if name is None else maker.changed(_with(maker.first, {name: "x"}), maker.table.redundant)


def _missing_parameter(maker: _Maker) -> _Made:
    names = list(maker.first.arguments)
    if not names:
        return None
    rest = {name: maker.first.arguments[name] for name in names[1:]}
    return maker.changed(ToolCall(name=maker.first.name, arguments=rest), maker.table.missing)


def _other_value(maker: _Maker) -> _Made:
    for name, value in maker.first.arguments.items():
        # No setting makes an object the same as what it holds.
        return maker.changed(_with(maker.first, {name: {"changed": value}}), maker.table.content)
    return None


def _duplicated(maker: _Maker) -> _Made:
    return maker.made(maker.syntax.render("", (*maker.turn.golds, maker.first)), maker.table.format)


def _one_more(maker: _Maker) -> _Made:
    name = maker.other_tool() or _free_name("invented_tool", {gold.name for gold in maker.turn.golds})
    return maker.made(maker.syntax.render("", (*maker.turn.golds, ToolCall(name=name))), maker.table.format)


def _unclosed_quote(maker: _Maker) -> _Made:
    *others, last = maker.turn.golds
    written = maker.syntax.render("", [last])
    cut = max(written.rfind('"'), written.rfind("'"))
    if cut < 0:
        return None
    before = maker.syntax.render("", others) + "\n" if others else ""
    return maker.made(before + written[:cut], maker.rest_right(maker.table.format))


def _junk(maker: _Maker) -> _Made:
    return maker.made(_junk_text(maker.syntax.name), maker.table.format)


def _valued(value: Json, answered: Json) -> Callable[[_Maker], _Made]:
    """The first argument replaced, in the right call and in the answer."""

    def make(maker: _Maker) -> _Made:
        if not maker.first.arguments:
            return None
        name = next(iter(maker.first.arguments))
        golds = (_with(maker.first, {name: value}), *maker.turn.golds[1:])
        given = (_with(maker.first, {name: answered}), *maker.turn.golds[1:])
        worth = maker.table.right if value is answered else maker.rest_right(maker.table.content)
        return maker.made(maker.syntax.render("", given), worth, golds)

    return make


def _call_without_need(maker: _Maker) -> _Made:
    name = maker.other_tool()
    return maker.made(maker.syntax.render("", [ToolCall(name=name)]), maker.table.format) if name else None


_KINDS: Mapping[str, Callable[[_Maker], _Made]] = {
    "right call": lambda maker: maker.made(gold_text(maker.turn, maker.syntax), maker.table.right),
    "right call, arguments shuffled": _shuffled,
    "right call inside prose": _in_prose,
    "right call, nested value": _valued(_NESTED, _NESTED),
    "right call, unicode value": _valued(_UNICODE, _UNICODE),
    "nested value, another one inside": _valued(_NESTED, _NESTED_OTHER),
    "another value": _other_value,
    "missing parameter": _missing_parameter,
    "redundant parameter": _redundant_parameter,
    "invented parameter": _invented_parameter,
    "wrong tool": _wrong_tool,
    "invented tool": _invented_tool,
    "call duplicated": _duplicated,
    "one call too many": _one_more,
    "unclosed quote": _unclosed_quote,
    "prose": lambda maker: maker.made(PROSE, maker.table.format),
    "empty": lambda maker: maker.made("", maker.table.format),
    f"junk, {JUNK_TOKENS:,} tokens": _junk,
}
_KINDS_WITHOUT_CALL: Mapping[str, Callable[[_Maker], _Made]] = {
    "right text": lambda maker: maker.made(maker.turn.text, maker.table.right),
    "other text": lambda maker: maker.made(PROSE, maker.table.right),
    "call where none is right": _call_without_need,
}


KINDS = (*_KINDS, *_KINDS_WITHOUT_CALL)
"""All kinds of answer, in the order of reports."""


def _with(call: ToolCall, arguments: Mapping[str, Json]) -> ToolCall:
    return ToolCall(name=call.name, arguments={**call.arguments, **arguments})


def _free_name(name: str, taken: "set[str] | Mapping[str, None]") -> str:
    return next(free for number in count() if (free := name + "_" * number) not in taken)


_JUNK = (*"()[]{}\"',:=\n*<>\\", "<tool_call>", "Action:", "Action Input:", "find(", "null", "东", "\u202e")


@lru_cache
def _junk_text(syntax_name: str) -> str:
    """Words and signs at random, among them all that a call is made of, in which no call can be read."""
    syntax = get_syntax(syntax_name)
    for seed in count():
        rng = random.Random(seed)
        tokens: Sequence[str] = [
            rng.choice(_JUNK) if rng.random() < 0.5 else f"word{rng.randrange(999)}" for _ in range(JUNK_TOKENS)
        ]
        text = " ".join(tokens)
        if not any(isinstance(call, ToolCall) for call in syntax.parse(text).calls):
            return text
    raise AssertionError("no end of seeds")
