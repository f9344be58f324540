"""xLAM / APIGen: `{"query", "tools", "answers"}`, one user text and the calls that answer it.

`tools` and `answers` are lists or JSON text of lists. A parameter's type is a Python name (`str, optional`); see
`python_types.object_schema` for what becomes of it. Answers that are an empty list mean that no tool fits: then the
trajectory ends with the user's text and `provenance["num_answers"]` is 0.
"""

import json
from collections.abc import Iterator

from tltrain.errors import DataError
from tltrain.formats.base import Companions
from tltrain.formats.python_types import object_schema
from tltrain.formats.untrusted import (
    described,
    expect_object,
    fail,
    keep,
    missing,
    read_call,
    read_text,
    read_tool,
    read_value,
)
from tltrain.types import AnyCall, Json, MalformedCall, Message, Role, Tool, Trajectory

_OWN_FIELDS = frozenset({"id", "query", "tools", "answers"})


class Xlam:
    """See the module."""

    name = "xlam"
    summary = "xLAM / APIGen rows (query, tools and answers)"

    def refuse(self, record: Json) -> str | None:
        """A row has `query`, a text, and `tools` and `answers`, lists or texts."""
        return missing(record, query=str, tools=(str, list), answers=(str, list))

    def read(self, record: Json, *, where: str, companions: Companions) -> Iterator[Trajectory | DataError]:  # noqa: ARG002
        """One trajectory; other fields of the row are kept as provenance."""
        row = expect_object(record, where, "the record")
        calls = tuple(_read_answers(row))
        identifier = row.get("id")
        turn = (Message(role=Role.ASSISTANT, calls=calls),) if calls else ()
        others = keep(row, [key for key in row if key not in _OWN_FIELDS])
        yield Trajectory(
            id=str(identifier) if isinstance(identifier, str | int) and not isinstance(identifier, bool) else "",
            tools=_read_tools(row, where),
            messages=(Message(role=Role.USER, content=read_text(row, "query", where)), *turn),
            provenance=others | {"source": self.name, "num_answers": len(calls)},
        )


def _read_tools(row: dict[str, Json], where: str) -> tuple[Tool, ...]:
    value = row.get("tools")
    if isinstance(value, str):
        try:
            value = read_value(value) if value.strip() else []
        except ValueError as error:
            fail(where, "tools", f"is text, and {error}", "give a list of tools, or JSON text of one")
    if not isinstance(value, list):
        fail(where, "tools", described(value), "give a list of tools, or JSON text of one")
    tools = (read_tool(tool, where, f"tools[{index}]") for index, tool in enumerate(value))
    return tuple(
        Tool(name=tool.name, description=tool.description, parameters=object_schema(tool.parameters)) for tool in tools
    )


def _read_answers(row: dict[str, Json]) -> Iterator[AnyCall]:
    value = row.get("answers")
    if isinstance(value, str):
        text = value
        try:
            value = read_value(text) if text.strip() else []
        except ValueError as error:
            yield MalformedCall(raw=text, reason=f"the answers are {error}")
            return
    for answer in value if isinstance(value, list) else [value]:
        if isinstance(answer, dict):
            yield read_call(answer.get("name"), answer.get("arguments"))
        else:
            raw = answer if isinstance(answer, str) else json.dumps(answer, ensure_ascii=False)
            yield MalformedCall(raw=raw, reason="the answer is no object with name and arguments")


XLAM = Xlam()
