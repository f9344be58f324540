"""Printing what a plain file gives row by row: JSON Lines, or a table and a histogram; bad rows do not stop it."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import typer

from tltrain.cli.failures import FAILED, say
from tltrain.cli.output import print_bars, print_row, print_table

_MAX_TABLE_ROWS = 30
_MAX_SAID = 5


def print_rows(
    rows: Iterable[Mapping[str, Any]], columns: Sequence[str], *, count_by: str, as_json: bool, mean_of: str = ""
) -> None:
    """Print rows; those with the key `error` could not be used.

    Args:
        rows: results, and `{"line", "error"}` for bad ones.
        columns: fields that a table shows, in order.
        count_by: the field whose values are counted.
        as_json: print every row as JSON instead.
        mean_of: a number field whose mean is printed.

    Raises:
        typer.Exit: with exit code 1 after all rows, if some could not be used.
    """
    shown: list[list[object]] = []
    counts: Counter[str] = Counter()
    bad: list[str] = []
    numbers: list[float] = []
    for row in rows:
        if as_json:
            print_row(row)
        if "error" in row:
            bad.append(_placed(str(row["error"]), row.get("line")))
            continue
        counts[str(row[count_by])] += 1
        if mean_of:
            numbers.append(row[mean_of])
        if len(shown) < _MAX_TABLE_ROWS:
            shown.append([_cell(row.get(column)) for column in columns])
    if not as_json and counts:
        print_table(columns, shown)
        if counts.total() > len(shown):
            print(f"... and {counts.total() - len(shown):,} more rows; --json prints all")
        print_bars(f"{counts.total():,} rows by {count_by.replace('_', ' ')}", dict(counts.most_common()))
        if numbers:
            print(f"mean {mean_of}: {math.fsum(numbers) / len(numbers):.4f}")
    if bad:
        for message in bad[:_MAX_SAID]:
            say(message)
        say(f"{len(bad):,} of {len(bad) + counts.total():,} rows could not be used; correct them, or leave them out")
        raise typer.Exit(FAILED)


def _placed(message: str, line: object) -> str:
    """The message with its line before it, where it does not say `file:line` itself."""
    return message if line is None or f":{line}: " in message else f"line {line}: {message}"


def _cell(value: object) -> object:
    match value:
        case Mapping():
            return ", ".join(f"{name} {part}" for name, part in value.items())
        case list():
            return ", ".join(map(str, value))
        case float():
            return f"{value:.4g}"
    return value
