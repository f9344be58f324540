"""The verbs that show data before it trains: inspect, explain."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from tltrain.cli.options import AnswersFile, AsJson, ConfigFile, DataFormat, Settings, Strict, ToolsFile, Verdicts
from tltrain.cli.output import print_bars, print_facts, print_json

if TYPE_CHECKING:
    from tltrain.inspection.page import InspectResult
    from tltrain.inspection.source import RowSource

File: TypeAlias = Annotated[Path, typer.Argument(metavar="FILE", help="Trajectories, in any known format.")]
Tokenizer: TypeAlias = Annotated[
    str | None,
    typer.Option("--model", help="Show the tokens of this model or tokenizer, with their weights in the loss."),
]
Policy: TypeAlias = Annotated[
    str | None, typer.Option("--policy", help="What is blocked: paper (the default), strict, lenient or none.")
]


def inspect(
    file: File,
    out: Annotated[Path, typer.Option("--out", metavar="PAGE.html", help="The page to write.", show_default=False)],
    verdicts: Verdicts = None,
    model: Tokenizer = None,
    policy: Policy = None,
    max_rows: Annotated[int, typer.Option(help="Most rows of the page; the first ones are taken.", min=1)] = 20_000,
    format: DataFormat = None,
    tools: ToolsFile = None,
    answers: AnswersFile = None,
    strict: Strict = None,
    config: ConfigFile = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Write a page to read trajectories before they train.

    It shows conversations, verdicts with their evidence, what is blocked, and token weights.

    One HTML file that needs no network. --config and --set take the settings of audit.
    """
    from tltrain.inspection.page import inspect as work
    from tltrain.progress import ProgressLine

    source = _source(file, verdicts, policy, format, tools, answers, strict, config, settings)
    with ProgressLine("inspect") as progress:
        result = work(source, out, model=model, max_rows=max_rows, progress=progress)
    return print_json(asdict(result)) if as_json else _print_written(result)


def _print_written(result: "InspectResult") -> None:
    counts = result.counts
    rows = f"first {counts.num_rows:,} rows; --max-rows takes more" if result.is_cut else f"{counts.num_rows:,} rows"
    print_bars(f"{counts.num_calls:,} calls, {rows}", counts.labels)
    print_facts(
        {
            "blocked calls": f"{counts.num_blocked:,}",
            "rows that could not be read": counts.num_skipped or None,
            "page": f"{result.page} ({result.num_bytes / 1e6:.1f} MB)",
        }
    )


def explain(
    file: File,
    row: Annotated[str, typer.Option("--row", metavar="ID", help="Id of the row.", show_default=False)],
    call: Annotated[int | None, typer.Option("--call", help="Only this call, counted from 0.", min=0)] = None,
    verdicts: Verdicts = None,
    model: Tokenizer = None,
    policy: Policy = None,
    format: DataFormat = None,
    tools: ToolsFile = None,
    answers: AnswersFile = None,
    strict: Strict = None,
    config: ConfigFile = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Show one row on the terminal: calls and verdicts.

    Each call has its verdict with rule and evidence, who is to blame, and what is trained of it.

    --config and --set take the settings of audit.
    """
    from tltrain.inspection.explain import explain as work
    from tltrain.inspection.explain import explained_json

    source = _source(file, verdicts, policy, format, tools, answers, strict, config, settings)
    explained = work(source, row, call=call, model=model)
    if as_json:
        return print_json(explained_json(explained))
    from tltrain.cli.explained import print_explained

    return print_explained(explained)


def _source(
    file: Path,
    verdicts: Path | None,
    policy: str | None,
    format: str | None,
    tools: Path | None,
    answers: Path | None,
    strict: bool | None,
    config: Path | None,
    settings: list[str] | None,
) -> "RowSource":
    from tltrain.audit.config import AuditConfig
    from tltrain.config import load_config
    from tltrain.inspection.source import RowSource

    flags = {"block": policy, "format": format, "tools": tools, "answers": answers, "strict": strict}
    resolved = load_config(AuditConfig, file=config, flags=flags, settings=settings or ())
    return RowSource(file=file, verdicts=verdicts, config=resolved)
