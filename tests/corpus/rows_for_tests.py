"""Rows made in a line, for tests of this folder."""

import json
from collections.abc import Sequence
from pathlib import Path

from tltrain.corpus.rows import RowFacts, RowReader
from tltrain.types import Message, Role, Tool, ToolCall, Trajectory


def trajectory(
    query: str, *, id: str = "a", tools: Sequence[str] = ("find",), reply: str = "", **provenance
) -> Trajectory:
    return Trajectory(
        id=id,
        tools=tuple(Tool(name=name) for name in tools),
        messages=(
            Message(role=Role.USER, content=query),
            Message(role=Role.ASSISTANT, content=reply, calls=() if reply else (ToolCall(name="find"),)),
        ),
        provenance=provenance,
    )


def facts(
    *trajectories: Trajectory, group_fields: Sequence[str] = (), reader: RowReader | None = None
) -> list[RowFacts]:
    reader = reader or RowReader(group_fields)
    return [reader.read(each, 0) for each in trajectories]


def chat(query: str, *, tools: Sequence[str] = ("find",), **fields) -> dict:
    return {
        "messages": [{"role": "user", "content": query}, {"role": "assistant", "content": "done"}],
        "tools": [{"name": name, "parameters": {}} for name in tools],
        **fields,
    }


def write(path: Path, *rows: dict) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def read(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]
