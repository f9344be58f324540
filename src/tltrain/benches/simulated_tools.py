"""Tools that are known by their documents alone: calls are checked, and answered without doing anything.

A call that goes against the documents fails with the error that Python would give for it. Any other call succeeds, with
an answer that depends on the tool's description and the arguments alone; it is made up, and says so.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence

from tltrain.envs.base import Feedback
from tltrain.taxonomy import FeedbackKind
from tltrain.types import AnyCall, Json, MalformedCall, Tool, ToolCall

UNREADABLE = (
    "Your output format does not match the specified format, please revise your answer: call one of the given tools."
)
_PYTHON_TYPES: dict[str, tuple[tuple[type, ...], str]] = {
    # Services take text and numbers alike in the places that documents call strings.
    "string": ((str, int, float, bool), "str"),
    "integer": ((int,), "int"),
    "number": ((int, float), "float"),
    "boolean": ((bool,), "bool"),
    "array": ((list,), "list"),
    "object": ((dict,), "dict"),
}


class SimulatedTools:
    """Answers calls of tools.

    Args:
        tools: their documents. A call of a name that stands for several is right if it fits one of them.
    """

    def __init__(self, tools: Sequence[Tool]):
        self._tools = tools

    def offers(self, call: ToolCall) -> bool:
        """Whether the call names one of the tools."""
        return any(tool.name == call.name for tool in self._tools)

    def execute(self, call: AnyCall) -> Feedback:
        """The answer to one call, or its error."""
        if isinstance(call, MalformedCall):
            return Feedback(text=UNREADABLE, error=FeedbackKind.TYPE_OR_VALUE)
        namesakes = [tool for tool in self._tools if tool.name == call.name]
        if not namesakes:
            return Feedback(text=f"name '{call.name}' is not defined", error=FeedbackKind.TOOL_NOT_DEFINED)
        failures = [failure for tool in namesakes if (failure := _find_failure(call, tool))]
        if len(failures) == len(namesakes):
            return failures[-1]
        return Feedback(text=_answer(call, namesakes[0]))


def _find_failure(call: ToolCall, tool: Tool) -> Feedback | None:
    """The first thing that Python would complain about."""
    known = dict.fromkeys((*tool.properties, *sorted(tool.required)))
    for name in call.arguments:
        if name not in known:
            text = f"{tool.name}() got an unexpected keyword argument '{name}'"
            return Feedback(text=text, error=FeedbackKind.UNEXPECTED_ARGUMENT)
    missing = [name for name in known if name in tool.required and name not in call.arguments]
    if missing:
        text = f"{tool.name}() missing {_count_arguments(missing)}"
        return Feedback(text=text, error=FeedbackKind.MISSING_ARGUMENT)
    for name, value in call.arguments.items():
        wanted = _wrong_type(value, tool.properties.get(name))
        if wanted:
            text = f"{tool.name}() argument '{name}' must be {wanted}, not {type(value).__name__}"
            return Feedback(text=text, error=FeedbackKind.TYPE_OR_VALUE)
    return None


def _count_arguments(names: Sequence[str]) -> str:
    quoted = [f"'{name}'" for name in names]
    if len(quoted) == 1:
        return f"1 required positional argument: {quoted[0]}"
    listed = " and ".join(quoted) if len(quoted) == 2 else f"{', '.join(quoted[:-1])}, and {quoted[-1]}"
    return f"{len(quoted)} required positional arguments: {listed}"


def _wrong_type(value: Json, schema: Json) -> str | None:
    """Python's name of the type that is wanted; None if the value has it, or the schema names none."""
    kind = schema.get("type") if isinstance(schema, Mapping) else None
    if not isinstance(kind, str) or kind not in _PYTHON_TYPES:
        return None
    types, name = _PYTHON_TYPES[kind]
    is_right = isinstance(value, types) and (bool in types or not isinstance(value, bool))
    return None if is_right else name


def _answer(call: ToolCall, tool: Tool) -> str:
    written = json.dumps(dict(call.arguments), ensure_ascii=False, sort_keys=True)
    mark = hashlib.sha256(f"{tool.name}\n{written}".encode()).hexdigest()[:8]
    answer = {"result": f"Simulated result {mark}. {tool.description}".strip(), "arguments": dict(call.arguments)}
    return json.dumps(answer, ensure_ascii=False)
