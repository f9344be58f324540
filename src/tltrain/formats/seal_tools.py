"""Seal-Tools, in both of its forms; one prompt asks for several calls, and there is no feedback.

- Raw: `{"id", "query", "calling": [{"api", "parameters", "responses"}]}`. The documents stand in a second file
  (`Companions.tools`, tool.jsonl, 4,076 tools); a trajectory lists those of the called tools alone, as the candidates
  that a model was shown are in the other form.
- For fine-tuning: `{"id", "conversations"}` with a prompt that holds `api_list` and `task_instruction` as Python, and
  the calls as a Python list.

A value such as `API_call_2` stands for an output of an earlier call; `provenance["responses"]` lists, for each call,
the names of its outputs.
"""

import json
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from tltrain.errors import DataError
from tltrain.formats.base import Companions
from tltrain.formats.companion_file import file_stamp, load_records, require_file
from tltrain.formats.python_types import convert_schema
from tltrain.formats.untrusted import (
    described,
    expect_object,
    fail,
    missing,
    read_call,
    read_list,
    read_text,
    read_value,
)
from tltrain.types import AnyCall, Json, MalformedCall, Message, Role, Tool, Trajectory

_API_LIST = re.compile(r"^api_list *= *(?P<tools>\[.*)$", re.MULTILINE)
_TASK = re.compile(r'\s*task_instruction *= *"(?P<query>.*)"\s*+(?:Output:)?\s*+\Z', re.DOTALL)


class SealTools:
    """See the module."""

    name = "seal_tools"
    summary = "Seal-Tools: raw rows, which need a second file with the tools, or rows for fine-tuning"

    def refuse(self, record: Json) -> str | None:
        """A row has `query` and `calling`, or a conversation whose first text holds an `api_list`."""
        raw = missing(record, query=str, calling=list)
        if not raw:
            return None
        turns = record.get("conversations") if isinstance(record, dict) else None
        if not isinstance(turns, list):
            return raw
        text = turns[0].get("value") if turns and isinstance(turns[0], dict) else None
        if isinstance(text, str) and _API_LIST.search(text):
            return None
        return "the first text of 'conversations' has no line 'api_list = [...'"

    def read(self, record: Json, *, where: str, companions: Companions) -> Iterator[Trajectory | DataError]:
        """One trajectory."""
        row = expect_object(record, where, "the record")
        if "calling" in row:
            query, tools = read_text(row, "query", where), None
            values = read_list(row, "calling", where)
        else:
            query, tools, values = _read_conversation(row, where)
        calls = tuple(_read_call(value) for value in values)
        if tools is None:
            tools = _called_tools(calls, where, companions)
        identifier = row.get("id")
        turn = (Message(role=Role.ASSISTANT, calls=calls),) if calls else ()
        outputs = [value.get("responses", []) if isinstance(value, dict) else [] for value in values]
        yield Trajectory(
            id=identifier if isinstance(identifier, str) else "",
            tools=tools,
            messages=(Message(role=Role.USER, content=query), *turn),
            provenance={"source": self.name, "responses": outputs},
        )


def _read_conversation(row: dict[str, Json], where: str) -> tuple[str, tuple[Tool, ...], list[Json]]:
    """Query, tools and calls of a row for fine-tuning."""
    turns = read_list(row, "conversations", where)
    if len(turns) != 2:
        fail(where, "conversations", f"has {len(turns)} turns", "give the prompt and the calls")
    prompt, target = (
        read_text(expect_object(turn, where, f"conversations[{index}]"), "value", where, of=f"conversations[{index}]")
        for index, turn in enumerate(turns)
    )
    start = _API_LIST.search(prompt)
    task = start and _TASK.match(prompt, start.end())
    if not start or not task:
        missed = 'task_instruction = "..."\' after the api_list' if start else "api_list = [...'"
        fail(where, "conversations[0].value", f"has no line '{missed}", "give tools and task there")
    try:
        documents = read_value(start["tools"])
    except ValueError as error:
        fail(where, "conversations[0].value", f"has an api_list that cannot be read: {error}", "write it anew")
    assert isinstance(documents, list), "the text begins with a bracket"
    tools = tuple(_read_tool(tool, where, f"api_list[{index}]") for index, tool in enumerate(documents))
    return task["query"], tools, _read_target(target)


def _read_target(text: str) -> list[Json]:
    """The calls of a target text, not yet checked; the text itself where it is no list."""
    try:
        value = read_value(text)
    except ValueError:
        return [text]
    return value if isinstance(value, list) else [text]


def _read_call(value: Json) -> AnyCall:
    if not isinstance(value, dict):
        raw = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        return MalformedCall(raw=raw, reason="not an object with api and parameters")
    return read_call(value.get("api"), value.get("parameters"))


def _read_tool(value: Json, where: str, field: str) -> Tool:
    document = expect_object(value, where, field)
    name, parameters = document.get("api_name"), document.get("parameters")
    if not isinstance(name, str) or not name:
        fail(where, f"{field}.api_name", described(name) if name != "" else "is empty", "give the tool's name")
    if not isinstance(parameters, dict | None):
        fail(where, f"{field}.parameters", described(parameters), "give an object of parameters")
    description = document.get("api_description")
    text = description if isinstance(description, str) else ""
    if document.get("responses"):
        text += f"\nReturns: {json.dumps(document['responses'], ensure_ascii=False)}"
    schema: dict[str, Json] = {}
    if parameters:
        properties = {key: convert_schema(parameter) for key, parameter in parameters.items()}
        required = document.get("required")
        schema = {"type": "object", "properties": properties, "required": required if required is not None else []}
    return Tool(name=name, description=text.strip(), parameters=schema)


def _called_tools(calls: tuple[AnyCall, ...], where: str, companions: Companions) -> tuple[Tool, ...]:
    """Documents of the called tools, in the order of their first call; an undocumented one is left out."""
    path = require_file(companions.tools, where, "tool documents", "--tools tool.jsonl")
    documents = _load_tools(path, file_stamp(path))
    names = dict.fromkeys("" if isinstance(call, MalformedCall) else call.name for call in calls)
    return tuple(documents[name] for name in names if name in documents)


@lru_cache(maxsize=4)
def _load_tools(path: Path, stamp: tuple[int, int]) -> dict[str, Tool]:  # noqa: ARG001 - part of the key
    tools = (_read_tool(value, str(path), f"[{index}]") for index, value in enumerate(load_records(path)))
    return {tool.name: tool for tool in tools}


SEAL_TOOLS = SealTools()
