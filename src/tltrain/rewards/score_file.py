"""Rewards for a plain JSON Lines file of predicted and right calls, for use from outside (`tltrain reward score`)."""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from tltrain.errors import DataError
from tltrain.files import read_json_lines
from tltrain.rewards.compare import CompareConfig
from tltrain.rewards.gold import read_golds
from tltrain.rewards.rules import PAPER_TABLE, RewardTable, reward_turn
from tltrain.syntax import CallSyntax, get_syntax, parse_single
from tltrain.taxonomy import RightCall, diagnose_calls
from tltrain.types import AnyCall, Json, MalformedCall, Tool


def score_file(
    path: Path, syntax: str = "python", table: RewardTable = PAPER_TABLE, compare: CompareConfig | None = None
) -> Iterator[dict[str, Json]]:
    """Score each row {id, tools, gold, pred} of a JSON Lines file.

    `tools` is a list of {name, params}, where `params` (or `parameters`) is a list of names or a JSON Schema; OpenAI's
    {"type": "function", "function": ...} is read as well. `pred` must be calls and nothing else, one unless
    several are right; `gold` is a call, or null where no call is right, or what else `read_golds` reads.

    Args:
        path: the file.
        syntax: how `gold` and `pred` are written.
        table: what each error is worth.
        compare: when values are the same; None: when they are equal as JSON.

    Yields:
        {id, reward, kind, breakdown}, or {id, line, error} for a row that cannot be scored. A row without an id is
        named by its line number.

    Raises:
        DataError: the file as a whole cannot be read.
        UsageError: there is no such syntax.
    """
    reader = get_syntax(syntax)
    for line, row in read_json_lines(path):
        try:
            if isinstance(row, DataError):
                raise row
            yield {"id": _identify(row, line), **score_row(row, reader, table, compare)}
        except DataError as error:
            identity = line if isinstance(row, DataError) else _identify(row, line)
            yield {"id": identity, "line": line, "error": str(error)}


def score_row(
    row: Mapping[str, Json],
    syntax: CallSyntax,
    table: RewardTable = PAPER_TABLE,
    compare: CompareConfig | None = None,
) -> dict[str, Json]:
    """Score one row; see `score_file`.

    Raises:
        DataError: the row lacks a field, or its right call cannot be read; the message names the field.
    """
    try:
        checked = _Row.model_validate(row)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise DataError(f"{field}: {first['msg']}; a row needs tools, gold and pred") from None
    tools = [entry.to_tool() for entry in checked.tools]
    golds = read_golds(checked.gold, syntax, tools)
    turn = diagnose_calls(_read_prediction(checked.pred, golds, syntax, tools), tools, golds, compare)
    result = reward_turn(turn, table)
    return {"reward": result.total, "kind": result.diagnosis.label, "breakdown": dict(result.parts)}


def summarize(results: Iterable[Mapping[str, Json]]) -> dict[str, Json]:
    """Counts over what `score_file` yields: rows, rows without a score, mean reward (null over none), rows by kind."""
    rewards: list[float] = []
    kinds: Counter[str] = Counter()
    num_rows = 0
    for result in results:
        num_rows += 1
        value = result.get("reward")
        if isinstance(value, int | float):
            rewards.append(value)
            kinds[str(result["kind"])] += 1
    return {
        "num_rows": num_rows,
        "num_errors": num_rows - len(rewards),
        "mean_reward": math.fsum(rewards) / len(rewards) if rewards else None,
        "kinds": dict(kinds.most_common()),
    }


class _ToolEntry(BaseModel):
    model_config = ConfigDict(strict=True)

    name: str = Field(min_length=1)
    params: list[str] | dict[str, Any] | None = None
    parameters: list[str] | dict[str, Any] | None = None

    @model_validator(mode="before")
    @classmethod
    def _unwrap(cls, entry: object) -> object:
        return entry.get("function", entry) if isinstance(entry, dict) else entry

    @field_validator("params", "parameters")
    @classmethod
    def _check_schema(cls, given: object) -> object:
        if isinstance(given, dict) and given and "properties" not in given and given.get("type") != "object":
            raise ValueError("an object here is a JSON Schema, which has 'properties'")
        return given

    def to_tool(self) -> Tool:
        given = self.params if self.params is not None else self.parameters
        schema = given if isinstance(given, dict) else {"properties": {name: {} for name in given or []}}
        return Tool(name=self.name, parameters=schema)


class _Row(BaseModel):
    model_config = ConfigDict(strict=True)

    tools: list[_ToolEntry]
    gold: Any
    pred: str


def _identify(row: Mapping[str, Json], line: int) -> Json:
    return row["id"] if row.get("id") is not None else line


def _read_prediction(text: str, golds: Sequence[RightCall], syntax: CallSyntax, tools: list[Tool]) -> Sequence[AnyCall]:
    if len(golds) == 1:
        return [parse_single(syntax, text, tools=tools)]
    parsed = syntax.parse(text, tools=tools)
    if golds and parsed.text:
        return [MalformedCall(raw=text, reason="there is text beside the calls")]
    return parsed.calls
