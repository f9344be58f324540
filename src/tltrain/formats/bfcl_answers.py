"""Answers of BFCL: `{"id", "ground_truth"}`, in three shapes, as calls.

- `[{name: {parameter: [alternatives]}}]`: the calls of the one turn. The first alternative is taken; `""` among them
  or none at all mean that the parameter may be left out, and it is, unless its tool requires it. The fields of an
  object have alternatives of their own.
- `["f(a=1)", ...]`: the calls of the one turn as Python source.
- `[["f(a=1)", ...], ...]`: the calls of each turn as Python source.

Source is parsed and never executed. Arguments are literals or arithmetic with numbers (`p=1/6`); those by position
take the tool's parameters in order.
"""

import ast
from collections.abc import Mapping, Sequence

from tltrain.formats.python_text import parse_expression, to_json
from tltrain.formats.untrusted import described, expect_object, fail, read_list
from tltrain.types import AnyCall, Json, MalformedCall, Tool, ToolCall

LEFT_OUT = ""
"""Alternative that stands for leaving the parameter out."""


def read_answer(answer: Mapping[str, Json], tools: Sequence[Tool], where: str) -> list[tuple[AnyCall, ...]]:
    """The right calls of each turn.

    Raises:
        DataError: the answer has none of the three shapes.
    """
    truth = read_list(answer, "ground_truth", where, of="answer")
    documents = {tool.name: tool for tool in tools}
    if truth and all(isinstance(item, list) for item in truth):
        return [tuple(_read_text(text, documents, where) for text in turn) for turn in truth if isinstance(turn, list)]
    calls = []
    for index, item in enumerate(truth):
        if isinstance(item, str):
            calls.append(read_source(item, documents))
        else:
            calls.append(_read_alternatives(item, documents, where, f"answer.ground_truth[{index}]"))
    return [tuple(calls)]


def _read_text(text: Json, documents: Mapping[str, Tool], where: str) -> AnyCall:
    if not isinstance(text, str):
        fail(where, "answer.ground_truth", f"has a call that {described(text)}", "write each call as text")
    return read_source(text, documents)


def _read_alternatives(value: Json, documents: Mapping[str, Tool], where: str, field: str) -> ToolCall:
    call = expect_object(value, where, field)
    if len(call) != 1:
        fail(where, field, f"has {len(call)} names", "give one tool with its arguments")
    ((name, given),) = call.items()
    required = documents[name].required if name in documents else frozenset[str]()
    arguments: dict[str, Json] = {}
    for parameter, alternatives in expect_object(given, where, f"{field}.{name}").items():
        if not isinstance(alternatives, list):
            fail(where, f"{field}.{name}.{parameter}", described(alternatives), "give a list of alternatives")
        may_be_left_out = not alternatives or LEFT_OUT in alternatives
        if not may_be_left_out or parameter in required:
            arguments[parameter] = _value(alternatives)
    return ToolCall(name=name, arguments=arguments)


def _value(alternatives: list[Json]) -> Json:
    """The first alternative that is a value, with those of its fields chosen likewise; none at all: an empty list."""
    if not alternatives:
        return []
    value = next((item for item in alternatives if item != LEFT_OUT), LEFT_OUT)
    if isinstance(value, list):
        return [_fields(item) if isinstance(item, dict) else item for item in value]
    return _fields(value) if isinstance(value, dict) else value


def _fields(value: Mapping[str, Json]) -> dict[str, Json]:
    """An object whose fields have alternatives; one level, as the leaderboard reads them."""
    chosen: dict[str, Json] = {}
    for name, alternatives in value.items():
        if not isinstance(alternatives, list):
            chosen[name] = alternatives
        elif alternatives and LEFT_OUT not in alternatives:
            chosen[name] = alternatives[0]
    return chosen


def read_source(text: str, documents: Mapping[str, Tool]) -> AnyCall:
    """A call that is written as Python source; malformed if it is none, or its arguments are no plain values."""
    try:
        return _to_call(parse_expression(text), text, documents)
    except ValueError as error:
        return MalformedCall(raw=text, reason=str(error))


def _to_call(node: ast.expr, text: str, documents: Mapping[str, Tool]) -> ToolCall:
    if not isinstance(node, ast.Call):
        raise ValueError("no call")
    name = _dotted_name(node.func)
    names = list(documents[name].properties) if name in documents else []
    if len(node.args) > len(names):
        raise ValueError(f"argument {len(names) + 1} is given by position, and {name} documents no parameter for it")
    arguments = {parameter: to_json(value, arithmetic=True) for parameter, value in zip(names, node.args, strict=False)}
    for keyword in node.keywords:
        if keyword.arg is None:
            raise ValueError("arguments by ** are no plain values")
        if keyword.arg in arguments:
            raise ValueError(f"the parameter {keyword.arg!r} is given twice")
        arguments[keyword.arg] = to_json(keyword.value, arithmetic=True)
    return ToolCall(name=name, arguments=arguments, raw=text)


def _dotted_name(node: ast.expr) -> str:
    """`a.b.c` as written."""
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        raise ValueError("the call's name is no name")
    return ".".join([node.id, *reversed(parts)])
