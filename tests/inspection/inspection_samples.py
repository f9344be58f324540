"""Rows that the tests of the page and of explain look at."""

import json
from pathlib import Path
from typing import Any

TOOLS = [
    {
        "name": "find",
        "description": "Finds <b>things</b>.",
        "parameters": {"type": "object", "properties": {"what": {"type": "string"}}, "required": ["what"]},
    }
]
EVIL = "</script><script>window.pwned=1</script><img src=x onerror='window.pwned=1'>"


def call(number: int, arguments: Any, name: str = "find") -> dict[str, Any]:
    text = arguments if isinstance(arguments, str) else json.dumps(arguments)
    return {"id": f"c{number}", "type": "function", "function": {"name": name, "arguments": text}}


def answer(number: int, text: str) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": f"c{number}", "content": text}


def row(identifier: str, *messages: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"id": identifier, "messages": [{"role": "user", "content": "Go."}, *messages], "tools": TOOLS, **fields}


def assistant(*calls: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": "", "tool_calls": list(calls), **fields}


RIGHT = row("right", assistant(call(0, {"what": "a"})), answer(0, '{"found": 1}'))
WRONG = row(
    "wrong",
    assistant(call(0, {"what": "a"}), call(1, {"what": "b"})),
    answer(1, "😀 Error: no such thing"),  # answers are not in the order of the calls
    answer(0, '{"found": 1}'),
    {"role": "assistant", "content": "Sorry."},
)
UNREADABLE = row("unreadable", assistant(call(0, "{broken")))
MASKED = row("masked", assistant(call(0, {"what": "a"}), weight=0), answer(0, "42"))


def write_rows(path: Path, *rows: dict[str, Any] | str) -> Path:
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in rows))
    return path
