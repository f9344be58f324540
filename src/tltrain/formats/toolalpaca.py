"""ToolAlpaca: one record describes an API and holds instructions with golden calls, and, in some files, trajectories.

Record: `{"Name", "Function_Description": {tool: text}, "Instructions": [text]}` with

- `Golden_Answers: [[{"Action", "Action_Input"}]]`, the steps that answer each instruction: the calls of a trajectory
  without feedback, each in a message of its own, as one may need the feedback of another;
- `Instances: [{"input", "output", "Final Thought", "intermediate_steps": [[[tool, input, text], feedback]]}]`, what a
  model did. Where a record has both, the instances are read and the golden steps go into `provenance["golden"]`.

A tool's text is its description, a line `Parameters: {parameter: "Required. type. One of: [a, b]. description"}` and
its output. A called tool without a text is in no list of tools: nothing that a model is shown describes it.
Golden inputs such as `{"symbols": "symbols": ["EUR"]}` are no JSON: a key that stands twice before its value is read
once; whatever else cannot be read, such as `${id from search}`, is kept as malformed.
"""

import re
from collections.abc import Iterator, Mapping

from tltrain.errors import DataError
from tltrain.formats.base import Companions
from tltrain.formats.python_types import read_type
from tltrain.formats.untrusted import (
    described,
    expect_object,
    fail,
    keep,
    missing,
    read_call,
    read_list,
    read_object,
    read_text,
    read_value_at,
)
from tltrain.types import AnyCall, Json, MalformedCall, Message, Role, Tool, Trajectory

_PARAMETERS = re.compile(r"^Parameters:[ \t]*(?=\{)", re.MULTILINE)
_REQUIRED = re.compile(r"Required\.\s*+")
_ENUM = re.compile(r"One of:\s*\[([^\[\]]*)\]\.?\s*")
_DOUBLED_KEY = re.compile(r'("(?:[^"\\]|\\.)*+"\s*+:\s*+)(?=\1)')
_ACTION = re.compile(r"(?:ASSISTANT )?Action:")
_LOST_OUTPUT = re.compile(r"Could not parse LLM output: `(.*)`\s*\Z", re.DOTALL)
_NO_TOOL = "components"
"""Entry of `Function_Description` that describes output formats."""


class ToolAlpaca:
    """See the module."""

    name = "toolalpaca"
    summary = "ToolAlpaca APIs with instructions and golden calls, or with trajectories (Instances)"

    def refuse(self, record: Json) -> str | None:
        """A record has `Function_Description` and `Instructions` or `Instances`."""
        reason = missing(record, Function_Description=dict)
        if reason or not isinstance(record, dict):
            return reason
        if isinstance(record.get("Instructions"), list) or isinstance(record.get("Instances"), list):
            return None
        return "it has neither 'Instructions' nor 'Instances', lists"

    def read(self, record: Json, *, where: str, companions: Companions) -> Iterator[Trajectory | DataError]:  # noqa: ARG002
        """One trajectory for each instruction; `provenance["case"]` is its number, from 0."""
        api = expect_object(record, where, "the record")
        tools = _read_tools(read_object(api, "Function_Description", where), where)
        key = "Instances" if isinstance(api.get("Instances"), list) else "Instructions"
        cases = read_list(api, key, where)
        if not cases:
            fail(where, key, "is empty", "drop the record")
        for number in range(len(cases)):
            try:
                messages, provenance = (_read_instance if key == "Instances" else _read_case)(api, number, where)
            except DataError as error:
                yield error
                continue
            shared = {"source": self.name} | keep(api, ("Name", "Category")) | {"case": number}
            yield Trajectory(id="", tools=tools, messages=tuple(messages), provenance=shared | provenance)


def _read_tools(descriptions: Mapping[str, Json], where: str) -> tuple[Tool, ...]:
    tools = []
    for name in descriptions:
        field = f"Function_Description[{name!r}]"
        if not name:
            fail(where, field, "has an empty name", "give the tool's name")
        if name != _NO_TOOL:
            tools.append(
                _read_tool(name, read_text(descriptions, name, where, of="Function_Description"), where, field)
            )
    return tuple(tools)


def _read_tool(name: str, text: str, where: str, field: str) -> Tool:
    start = _PARAMETERS.search(text)
    if not start:
        return Tool(name=name, description=text.strip())
    try:
        parameters, end = read_value_at(text, start.end())
    except ValueError as error:
        fail(where, field, f"has parameters that are no JSON: {error}", "write them as {parameter: text}")
    assert isinstance(parameters, dict), "the text begins with a brace"
    description = text[: start.start()].strip() + "\n" + text[end:].strip()
    return Tool(name=name, description=description.strip(), parameters=_schema(parameters))


def _schema(parameters: Mapping[str, Json]) -> dict[str, Json]:
    """JSON Schema of `{parameter: "Required. type. One of: [a, b]. description"}`."""
    if not parameters:
        return {}
    properties: dict[str, Json] = {}
    required: list[Json] = []
    for name, text in parameters.items():
        document = text if isinstance(text, str) else ""
        mark = _REQUIRED.match(document)
        if mark:
            required.append(name)
        properties[name] = _property(document[mark.end() :] if mark else document)
    return {"type": "object", "properties": properties, "required": required}


def _property(text: str) -> dict[str, Json]:
    """JSON Schema of `type. One of: [a, b]. description`; all of the text is the description if it names no type."""
    written, _, rest = text.partition(".")
    if "{" in written:  # the type of an object lists its fields, with full stops: keep it all as description
        kind = "array" if written.lower().startswith("array") else "object"
        return {"type": kind, "description": text}
    schema = read_type(written).schema
    if not schema or "x-type" in schema:
        return {"description": text} if text else {}
    result: dict[str, Json] = dict(schema)
    enum = _ENUM.match(rest.strip())
    if enum:
        result["enum"] = [item.strip() for item in enum[1].split(",")]
        rest = rest.strip()[enum.end() :]
    if rest.strip():
        result["description"] = rest.strip()
    return result


# Golden calls


def _read_case(api: Mapping[str, Json], number: int, where: str) -> tuple[list[Message], dict[str, Json]]:
    instruction = _instruction(api, number, where)
    messages = [Message(role=Role.USER, content=instruction)]
    messages += [Message(role=Role.ASSISTANT, calls=(call,)) for call in _golden_calls(api, number, where)]
    return messages, {}


def _instruction(api: Mapping[str, Json], number: int, where: str) -> str:
    instructions = read_list(api, "Instructions", where)
    field = f"Instructions[{number}]"
    instruction = instructions[number] if number < len(instructions) else None
    if not isinstance(instruction, str):
        fail(where, field, described(instruction), "give the user's text")
    return instruction


def _golden_calls(api: Mapping[str, Json], number: int, where: str) -> list[AnyCall]:
    answers = api.get("Golden_Answers")
    if answers is None:
        return []
    field = f"Golden_Answers[{number}]"
    steps = answers[number] if isinstance(answers, list) and number < len(answers) else None
    if not isinstance(steps, list):
        fail(where, field, described(steps), "give a list of {Action, Action_Input} for each instruction")
    rows = [expect_object(step, where, f"{field}[{index}]") for index, step in enumerate(steps)]
    return [read_golden_call(row.get("Action"), row.get("Action_Input")) for row in rows]


def read_golden_call(name: Json, arguments: Json) -> AnyCall:
    """A golden call; input that is no JSON is read again with each key that stands doubled before its value once."""
    call = read_call(name, arguments)
    if isinstance(call, MalformedCall) and isinstance(arguments, str):
        repaired = read_call(name, _DOUBLED_KEY.sub("", arguments))
        return call if isinstance(repaired, MalformedCall) else repaired
    return call


# Trajectories


def _read_instance(api: Mapping[str, Json], number: int, where: str) -> tuple[list[Message], dict[str, Json]]:
    field = f"Instances[{number}]"
    instance = expect_object(read_list(api, "Instances", where)[number], where, field)
    query = instance.get("input")
    messages = [Message(role=Role.USER, content=query if isinstance(query, str) else _instruction(api, number, where))]
    for index, step in enumerate(_steps(instance, where, field)):
        messages += _read_step(step, where, f"{field}.intermediate_steps[{index}]")
    error, output = instance.get("error"), instance.get("output")
    thought = instance.get("Final Thought")
    if isinstance(output, str):
        content = "\n".join(text.strip() for text in (thought, output) if isinstance(text, str) and text.strip())
        messages.append(Message(role=Role.ASSISTANT, content=content))
    elif isinstance(error, str) and (lost := _LOST_OUTPUT.search(error)):
        reason = "the file says that this output could not be parsed"
        messages.append(Message(role=Role.ASSISTANT, content=lost[1].strip(), weight=0.0, mask_reason=reason))
    provenance = keep(instance, ("error",))
    golden = api.get("Golden_Answers")
    if isinstance(golden, list) and number < len(golden):
        provenance["golden"] = golden[number]
    return messages, provenance


def _steps(instance: Mapping[str, Json], where: str, field: str) -> list[Json]:
    if instance.get("intermediate_steps") is None:
        if not isinstance(instance.get("error"), str) and not isinstance(instance.get("output"), str):
            fail(where, field, "has no intermediate_steps, output or error", "drop it, or give what the model did")
        return []
    return read_list(instance, "intermediate_steps", where, of=field)


def _read_step(step: Json, where: str, field: str) -> list[Message]:
    """`[[tool, input, text], feedback]`: the model's turn and the feedback."""
    action = step[0] if isinstance(step, list) and len(step) == 2 else None
    if not isinstance(action, list) or len(action) not in {2, 3}:
        fail(where, field, "is not [[tool, input, text], feedback]", "give the four texts of the step")
    name, arguments = action[0], action[1]
    text = action[2] if len(action) == 3 else ""
    feedback = step[1] if isinstance(step, list) else None
    if not isinstance(feedback, str) or not isinstance(text, str):
        fail(where, field, "has a text or a feedback that is no text", "give the four texts of the step")
    mark = _ACTION.search(text)
    thought, raw = (text[: mark.start()], text[mark.start() :]) if mark else (text, "")
    call = read_call(name, arguments, raw=raw.strip())
    return [
        Message(role=Role.ASSISTANT, content=thought.strip(), calls=(call,)),
        Message(role=Role.TOOL, content=feedback, name=name if isinstance(name, str) else None),
    ]


TOOLALPACA = ToolAlpaca()
