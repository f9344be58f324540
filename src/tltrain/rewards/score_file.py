"""Rewards for a plain JSON Lines file of predicted and right calls, for use from outside (`tltrain reward score`)."""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from tltrain.errors import DataError
from tltrain.files import read_json_lines
from tltrain.rewards.rules import PAPER_TABLE, RewardTable, reward
from tltrain.syntax import CallSyntax, get_syntax, parse_single
from tltrain.taxonomy import diagnose
from tltrain.types import AnyCall, Json, MalformedCall, Tool, ToolCall


def score_file(path: Path, syntax: str = "python", table: RewardTable = PAPER_TABLE) -> Iterator[dict[str, Json]]:
    """Score each row {id, tools, gold, pred} of a JSON Lines file.

    `tools` is a list of {name, params}, where `params` (or `parameters`) is a list of names or a JSON Schema; OpenAI's
    {"type": "function", "function": ...} is read as well. `pred` must be one call and nothing else; `gold` is a call,
    or null where no call is right.

    Args:
        path: the file.
        syntax: how `gold` and `pred` are written.
        table: what each error is worth.

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
            yield {"id": _identify(row, line), **score_row(row, reader, table)}
        except DataError as error:
            identity = line if isinstance(row, DataError) else _identify(row, line)
            yield {"id": identity, "line": line, "error": str(error)}


def score_row(row: Mapping[str, Json], syntax: CallSyntax, table: RewardTable = PAPER_TABLE) -> dict[str, Json]:
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
    gold = None if checked.gold is None else _read_gold(checked.gold, syntax, tools)
    result = reward(diagnose(_read_prediction(checked.pred, gold, syntax, tools), tools, gold), table)
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
    gold: str | None
    pred: str


def _identify(row: Mapping[str, Json], line: int) -> Json:
    return row["id"] if row.get("id") is not None else line


def _read_gold(text: str, syntax: CallSyntax, tools: list[Tool]) -> ToolCall:
    gold = parse_single(syntax, text, tools=tools)
    if isinstance(gold, MalformedCall):
        raise DataError(f"gold: not one {syntax.name} call: {gold.reason}; correct it, or write null for no call")
    return gold


def _read_prediction(text: str, gold: ToolCall | None, syntax: CallSyntax, tools: list[Tool]) -> AnyCall | None:
    if gold is None and not syntax.parse(text, tools=tools).calls:
        return None
    return parse_single(syntax, text, tools=tools)
