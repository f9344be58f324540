"""Result files in BFCL's own layout: those that `bfcl evaluate` scores, and those that it wrote.

    RESULT/{model, / as _}/{non_live|live|multi_turn}/BFCL_v4_{category}_result.json

The files of version 3 lie beside one another, `RESULT/{model}/BFCL_v3_{category}_result.json`, and say `simple` for
`simple_python`. Each line is `{"id", "result", ...}`; a result is text, or a list of `{name: arguments as JSON text}`;
of a conversation it is a list of turns, each a list of such results, one a reply.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tltrain.benches.bfcl_cases import LIVE, MULTI_TURN, PARTS
from tltrain.errors import DataError
from tltrain.files import encode_line, read_json_lines, write_text_atomic
from tltrain.types import AnyCall, ToolCall

_OLD_NAMES = {"simple_python": "simple"}


@dataclass(frozen=True, kw_only=True, slots=True)
class ResultRow:
    """One line of a result file."""

    id: str
    result: Any
    """As the model's handler left it."""


def result_path(folder: Path, model: str, category: str) -> Path:
    """Where the results of a category lie; exec, which version 4 does not run, lies with non_live."""
    part = "live" if category in LIVE else "multi_turn" if category in MULTI_TURN else "non_live"
    return folder / model.replace("/", "_") / part / f"BFCL_v4_{category}_result.json"


def result_of(text: str, calls: Sequence[AnyCall]) -> str | list[dict[str, str]]:
    """An answer as a result: its calls, or its text where it has none or one cannot be read."""
    readable = [call for call in calls if isinstance(call, ToolCall)]
    if not readable or len(readable) < len(calls):
        return text
    return [{call.name: json.dumps(dict(call.arguments), ensure_ascii=False)} for call in readable]


def write_results(folder: Path, model: str, rows: Mapping[str, Sequence[tuple[str, Any, Any]]]) -> list[Path]:
    """Write result files.

    Args:
        folder: the `result` folder of a BFCL project.
        model: the name under which BFCL's configuration knows the model.
        rows: category -> (id, result, tokens written) of each case; tokens of conversations turn by turn, as results.

    Returns:
        The files.
    """
    paths = []
    for category, answered in rows.items():
        path = result_path(folder, model, category)
        lines = (
            {"id": key, "result": result, "output_token_count": num_tokens} for key, result, num_tokens in answered
        )
        write_text_atomic(path, "".join(map(encode_line, lines)))
        paths.append(path)
    return paths


def find_results(folder: Path) -> dict[str, Path]:
    """Category -> its result file, of one model's folder; files of categories that are not run here are left out.

    Raises:
        DataError: the folder holds none.
    """
    found: dict[str, Path] = {}
    for category in (category for categories in PARTS.values() for category in categories):
        names = [f"BFCL_v4_{category}_result.json", f"BFCL_v3_{_OLD_NAMES.get(category, category)}_result.json"]
        paths = [path for name in names for path in sorted(folder.rglob(name))]
        if paths:
            found[category] = paths[0]
    if not found:
        raise DataError(f"{folder} holds no BFCL_v4_*_result.json; name the folder of one model's results")
    return found


def read_results(path: Path, category: str) -> Iterator[ResultRow]:
    """Read a result file; ids of version 3 become those of version 4.

    Raises:
        DataError: the file cannot be read, or a line has no id and result.
    """
    old = _OLD_NAMES.get(category)
    for number, row in read_json_lines(path):
        if isinstance(row, DataError):
            raise row
        key = row.get("id")
        if not isinstance(key, str) or "result" not in row:
            raise DataError(f"{path}:{number}: no id or no result; it is no line of a BFCL result file")
        if old and key.startswith(f"{old}_") and not key.startswith(f"{category}_"):
            key = category + key.removeprefix(old)
        yield ResultRow(id=key, result=row["result"])
