"""Printing results to stdout: JSON for programs, tables for people."""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from tltrain.launcher import launched_rank

if TYPE_CHECKING:
    from pydantic import BaseModel
    from rich.console import Console

_WIDTH_OF_FILES = 120
"""Columns where stdout is no terminal."""


def print_json(value: object) -> None:
    """Print one JSON document; paths become text."""
    print(json.dumps(value, ensure_ascii=False, indent=2, default=str))


def print_row(row: Mapping[str, Any]) -> None:
    """Print one line of JSON Lines."""
    print(json.dumps(row, ensure_ascii=False))


def print_config(config: "BaseModel", inputs: Mapping[str, object]) -> None:
    """Print settings as YAML that --config reads back, with the other arguments as comments."""
    from tltrain.config import dump_config

    for name, value in inputs.items():
        if value is not None:
            print(f"# {name}: {value}")
    print(dump_config(config), end="")


def print_result(result: Any, *, as_json: bool) -> None:
    """Print a stage's result, a dataclass; of several processes only the first does."""
    if launched_rank() > 0:
        return
    fields = asdict(result)
    if as_json:
        print_json(fields)
    else:
        print_facts(fields)


def print_facts(facts: Mapping[str, object]) -> None:
    """Print names and values in two columns; nested ones indented, empty ones left out."""
    rows = [(name, value) for name, value in _flatten(facts, "") if value not in (None, "")]
    width = max((len(name) for name, _ in rows), default=0)
    for name, value in rows:
        print(f"{name:<{width}}  {value}")


def _flatten(facts: Mapping[str, object], prefix: str) -> Iterable[tuple[str, object]]:
    for name, value in facts.items():
        words = f"{prefix}{name.replace('_', ' ')}"
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{words}: ")
        else:
            yield words, f"{value:.4g}" if isinstance(value, float) else value


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, title: str = "") -> None:
    """Print a table; columns after the first are set to the right where all their cells are numbers."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    cells = [["–" if cell is None else visible_text(str(cell)) for cell in row] for row in rows]
    table = Table(title=Text(title) if title else None, title_justify="left", box=SIMPLE_HEAD)
    for place, name in enumerate(columns):
        is_number = place > 0 and all(row[place][:1].isdigit() or row[place][:1] in "-–" for row in cells)
        table.add_column(Text(name), justify="right" if is_number else "left", overflow="fold")
    for row in cells:
        table.add_row(*map(Text, row))
    make_console().print(table)


def print_bars(title: str, counts: Mapping[str, int]) -> None:
    """Print counts with bars."""
    total = sum(counts.values()) or 1
    width = max((len(name) for name in counts), default=0)
    print(title)
    for name, count in counts.items():
        print(f"  {name:<{width}}  {count:>7,}  {100 * count / total:5.1f}%  {'█' * round(40 * count / total)}")


def visible_text(text: str) -> str:
    """Without the control characters by which a text could drive the terminal."""
    return "".join(sign if sign.isprintable() or sign == "\n" else "\N{REPLACEMENT CHARACTER}" for sign in text)


def make_console() -> "Console":
    """Stdout for texts as they are: nothing in them is read as markup."""
    from rich.console import Console

    return Console(markup=False, emoji=False, highlight=False, width=None if sys.stdout.isatty() else _WIDTH_OF_FILES)
