"""The verb convert: trajectories from one format to another."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tltrain.cli.failures import say
from tltrain.cli.options import AsJson
from tltrain.cli.output import print_facts, print_json, print_table
from tltrain.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from tltrain.formats.base import CallMasks, Companions, WritableFormat
    from tltrain.formats.quarantine import Quarantine
    from tltrain.formats.read import Source
    from tltrain.types import Trajectory


def convert(
    data: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="Trajectories in any known format, a file or a folder.")
    ] = None,
    to: Annotated[str | None, typer.Option("--to", metavar="FORMAT", help="What to write; see --formats.")] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="A .jsonl, .json or .parquet file, with .gz behind if wanted."),
    ] = None,
    source: Annotated[
        str | None, typer.Option("--from", metavar="FORMAT", help="What FILE is; by default found out from its rows.")
    ] = None,
    tools: Annotated[
        Path | None, typer.Option("--tools", metavar="FILE", help="Tool documents, for rows that hold none.")
    ] = None,
    answers: Annotated[
        Path | None, typer.Option("--answers", metavar="FILE", help="Right calls, for rows of questions alone.")
    ] = None,
    verdicts: Annotated[
        Path | None, typer.Option("--verdicts", help="verdicts.jsonl of `tltrain audit`: its wrong calls are masked.")
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", help="With --to tokens: whose tokenizer and chat template.")
    ] = None,
    policy: Annotated[
        str, typer.Option("--policy", help="Which verdicts mask a call: paper, strict, lenient or none.")
    ] = "paper",
    strict: Annotated[bool, typer.Option("--strict", help="Stop at the first row that cannot be read.")] = False,
    formats: Annotated[bool, typer.Option("--formats", help="List the formats, and stop.")] = False,
    as_json: AsJson = False,
) -> None:
    """Convert trajectories to another format.

    Loss weights of the file and the masks of an audit go along.

    Rows that cannot be read are listed in a file beside the result; what the new format cannot hold is counted.
    """
    if formats:
        return _print_formats(as_json)
    if data is None or to is None or out is None:
        raise UsageError("convert needs FILE, --to FORMAT and --out FILE; --formats lists the formats")
    from tltrain.formats.base import Companions
    from tltrain.formats.quarantine import quarantined
    from tltrain.formats.read import open_source
    from tltrain.formats.write import HINTS, export_trajectories

    written_as = _writable(to, model)
    if out.exists() and data.exists() and out.samefile(data):
        raise UsageError(f"--out {out} is the file that is read; name another one")
    judged = _read_judged(verdicts, policy)
    opened = open_source(data, format=source)
    companions = Companions(tools=tools, answers=answers)
    quarantine = out.with_name(f"{out.name}.quarantine.jsonl")
    with quarantined(quarantine) as bad:
        trajectories = _good_ones(opened, companions, bad, strict=strict)
        if verdicts is not None:
            trajectories = _judged_ones(trajectories, judged.keys(), verdicts, data)
        result = export_trajectories(trajectories, out, written_as, masks=judged, strict=strict)
    facts: dict[str, object] = {
        "read as": opened.format.name,
        "read": result.num_written + result.num_refused,
        "written as": written_as.name,
        "written": result.num_written,
        "quarantined": bad.count,
        "quarantine": str(quarantine) if bad.count else None,
        "not writable": result.num_refused,
        "lost": result.lost,
        "out": str(out),
    }
    if as_json:
        return print_json(facts)
    print_facts(facts)
    for reason in (*bad.reasons, *result.refused):
        say(reason)
    if hint := HINTS.get(written_as.name):
        say(hint)
    return None


def _writable(to: str, model: str | None) -> "WritableFormat":
    from tltrain.formats.detect import get_writable

    if (to == "tokens") != (model is not None):
        raise UsageError("--to tokens and --model go together: tokens are those of one model; give both, or neither")
    if model is None:
        return get_writable(to)
    from tltrain.render.token_rows import TokenRows

    return TokenRows(model)


def _good_ones(
    opened: "Source", companions: "Companions", bad: "Quarantine", *, strict: bool
) -> "Iterator[Trajectory]":
    from tltrain.errors import DataError
    from tltrain.formats.quarantine import BadRow
    from tltrain.formats.read import read_source

    is_empty = True
    for item in read_source(opened, companions=companions):
        if not isinstance(item, BadRow):
            is_empty = False
            yield item
            continue
        if strict:
            raise DataError(item.reason)
        bad.add(item)
    if is_empty:
        raise bad.nothing_read(opened.path)


def _judged_ones(
    trajectories: "Iterator[Trajectory]", judged: "Collection[str]", verdicts: Path, data: Path
) -> "Iterator[Trajectory]":
    """The trajectories; at the end an error if there are verdicts, and none is on any of them."""
    from tltrain.audit.verdict_file import on_other_rows

    is_met = not judged
    for trajectory in trajectories:
        is_met = is_met or trajectory.id in judged
        yield trajectory
    if not is_met:
        raise on_other_rows(verdicts, data, next(iter(judged)))


def _read_judged(verdicts: Path | None, policy: str) -> "dict[str, CallMasks]":
    """Masked calls with the reason, such as `error: refused`, by id of each trajectory that was judged."""
    from tltrain.audit.policy import BlockPolicy, blocked_calls
    from tltrain.audit.verdict_file import read_verdicts

    if policy not in set(BlockPolicy):
        raise UsageError(f"--policy={policy!r} is not known; choose one of {', '.join(BlockPolicy)}")
    if verdicts is None:
        return {}
    masks: dict[str, dict[int, str]] = {}
    rows = read_verdicts(verdicts)
    blocked = blocked_calls(rows, BlockPolicy(policy))
    for row in rows:
        masks.setdefault(row.trajectory, {})
        if row.number in blocked.get(row.trajectory, ()):
            parts = [row.verdict.label.value, *([row.verdict.kind.value] if row.verdict.kind else [])]
            masks[row.trajectory][row.number] = ": ".join(parts)
    return dict(masks)


def _print_formats(as_json: bool) -> None:
    from tltrain.formats.detect import FORMATS, is_writable

    rows = [
        {"name": each.name, "summary": each.summary, "writable": is_writable(each)}
        for each in sorted(FORMATS.values(), key=lambda each: each.name)
    ]
    if as_json:
        return print_json(rows)
    cells = [(row["name"], "read, write" if row["writable"] else "read", row["summary"]) for row in rows]
    cells.append(("tokens", "write", "token ids with labels and weights, for the model named by --model"))
    return print_table(("format", "can be", "what it is"), cells)
