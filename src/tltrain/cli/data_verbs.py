"""The verbs that make and judge data: generate, audit."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tltrain.cli.failures import resumable, say
from tltrain.cli.options import (
    AnswersFile,
    AsJson,
    ConfigFile,
    DataFormat,
    DryRun,
    LabelsFile,
    Out,
    Overwrite,
    Resume,
    Seed,
    Settings,
    Strict,
    ToolsFile,
    check_inputs,
    choose_reuse,
)
from tltrain.cli.output import print_bars, print_config, print_facts, print_json, print_result, print_table
from tltrain.cli.rows import print_rows
from tltrain.errors import UsageError

_MAX_ROWS = 20
_MAX_GROUPS = 10

if TYPE_CHECKING:
    from tltrain.generate.run import GenerateResult


def generate(
    out: Out,
    num_train: Annotated[int | None, typer.Option(help="Setting num_train: training trajectories.")] = None,
    num_test: Annotated[int | None, typer.Option(help="Setting num_test: test trajectories.")] = None,
    mistake_rate: Annotated[float | None, typer.Option(help="Setting mistake_rate: share of wrong calls.")] = None,
    seed: Seed = None,
    config: ConfigFile = None,
    settings: Settings = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Make training and test trajectories in the sandbox.

    A scripted teacher, or any OpenAI-compatible endpoint, does tasks with tools that keep state and refuse bad calls.
    """
    from tltrain.config import load_config
    from tltrain.generate.config import GenerateConfig

    flags = {"num_train": num_train, "num_test": num_test, "mistake_rate": mistake_rate, "seed": seed}
    resolved = load_config(GenerateConfig, file=config, flags=flags, settings=settings or ())
    if dry_run:
        return print_config(resolved, {"out": out})
    from tltrain.data_stages import generate as work
    from tltrain.progress import ProgressLine

    reuse = choose_reuse(resume=resume, overwrite=overwrite)
    with resumable(out), ProgressLine("generate") as progress:
        result = work(resolved, out=out, reuse=reuse, progress=progress)
    return print_result(result, as_json=True) if as_json else _print_made(result)


def _print_made(result: "GenerateResult") -> None:
    summary = json.loads(result.summary.read_text(encoding="utf-8"))
    facts: dict[str, object] = {}
    for side, path in (("train", result.train), ("test", result.test)):
        counts = summary[side]
        facts[side] = f"{path} ({counts['trajectories']:,} trajectories, {counts['calls']:,} calls)"
    share = summary["train"]["mistake_share"]
    facts["wrong calls in train"] = None if share is None else f"{100 * share:.1f}%"
    facts["tool lists in train"] = summary["train"]["tool_lists"]
    facts["tasks that failed"] = result.num_failed or None
    print_facts(facts | {"counts": result.summary})


def audit(
    data: Annotated[
        Path | None,
        typer.Argument(metavar="DATA", help="Trajectories, in any known format."),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder for verdicts.jsonl and summary.json.")] = None,
    feedback: Annotated[
        Path | None,
        typer.Option(help="Judge single feedbacks instead: JSON Lines of {id, tool, feedback}.", metavar="FILE"),
    ] = None,
    format: DataFormat = None,
    tools: ToolsFile = None,
    answers: AnswersFile = None,
    labels: LabelsFile = None,
    strict: Strict = None,
    config: ConfigFile = None,
    settings: Settings = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Find the wrong calls in trajectories.

    Each call is ok, error, ambiguous or unanswered, with the kind of error, who is to blame, and the evidence: the
    call against its tool's document, the feedback, and what the assistant does next.

    tltrain audit rules lists the rules; preview DATA shows what changed settings would change; label OUT labels what
    no rule can tell, by hand or by a judge.
    """
    from tltrain.audit.config import AuditConfig
    from tltrain.config import load_config

    flags = {"format": format, "tools": tools, "answers": answers, "labels": labels, "strict": strict}
    resolved = load_config(AuditConfig, file=config, flags=flags, settings=settings or ())
    if dry_run:
        return print_config(resolved, {"data": data, "out": out, "feedback": feedback})
    if feedback is not None:
        if data is not None or out is not None:
            raise UsageError("--feedback judges one file and prints the verdicts; leave DATA and --out away")
        from tltrain.audit.run import audit_feedback_file

        columns = ("id", "label", "kind", "blame", "evidence")
        return print_rows(audit_feedback_file(feedback, resolved), columns, count_by="label", as_json=as_json)
    if data is None or out is None:
        raise UsageError("audit needs DATA and --out DIR, or --feedback FILE; see tltrain audit --help")
    from tltrain.data_stages import audit as work

    if not data.is_dir():
        check_inputs(data=data)
    reuse = choose_reuse(resume=resume, overwrite=overwrite)
    with resumable(out):
        result = work(resolved, data=data, out=out, reuse=reuse)
    return print_json(result.summary) if as_json else _print_summary(result.summary, result.verdicts)


def _print_summary(summary: Any, verdicts: Path) -> None:
    from tltrain.audit.call_check import UNREADABLE

    print_bars(f"{summary['num_calls']:,} calls of {summary['num_trajectories']:,} trajectories", summary["labels"])
    if summary["kinds"]:
        print_bars("kinds of errors", summary["kinds"])
        print_bars("who is to blame", summary["blames"])
    _print_tables(summary)
    facts: dict[str, object] = {}
    for name in ("precision", "recall", "num_silent"):
        if summary["truth"]:
            facts[f"against the truth: {name}"] = summary["truth"][name]
    if unreadable := sum(summary[counts].get(UNREADABLE, 0) for counts in ("rules", "beside")):
        facts["calls that cannot be read"] = f"{unreadable}; they never train, whatever their label"
    if summary["num_bad_rows"]:
        facts["bad rows"] = f"{summary['num_bad_rows']}, listed in {verdicts.parent / 'quarantine.jsonl'}"
    if summary["num_doubtful_groups"]:
        facts["feedback that no rule can tell"] = verdicts.parent / "doubtful.jsonl"
    print_facts(facts | {"verdicts": verdicts})
    if not summary["num_calls"]:
        say("no row has a call; if some have, their format is another one: name it with --format")


def _print_tables(summary: Any) -> None:
    """Errors by all that is known of them, error rates, masks, and what no rule could tell."""
    if summary["errors"]:
        columns = ("kind", "blame", "tool", "source", "num_calls")
        rows = [[row[column] for column in columns] for row in summary["errors"]]
        print_table((*columns[:-1], "errors"), rows[:_MAX_ROWS], title="errors")
        _say_rest(len(rows))
        names = ("num_calls", "num_errors", "num_ambiguous")
        rates = [
            [source, *(counts[name] for name in names), f"{100 * counts['error_rate']:.1f}%"]
            for source, counts in summary["sources"].items()
        ]
        print_table(("source", "calls", "errors", "ambiguous", "error rate"), rates[:_MAX_ROWS])
        _say_rest(len(rates))
    masks = [
        [policy, counts["num_calls"], counts["num_turns"], counts["num_trajectories"]]
        for policy, counts in summary["masks"].items()
    ]
    print_table(("policy", "calls blocked", "turns fully blocked", "trajectories touched"), masks)
    if summary["doubtful"]:
        doubtful = [[row["count"], row["kind"], row["tool"], row["form"][:90]] for row in summary["doubtful"]]
        print_table(("times", "is", "tool", "feedback"), doubtful[:_MAX_GROUPS], title="what no rule can tell")
        if summary["num_doubtful_groups"] > _MAX_GROUPS:
            print(f"... and {summary['num_doubtful_groups'] - _MAX_GROUPS:,} more groups")


def _say_rest(number: int) -> None:
    if number > _MAX_ROWS:
        print(f"... and {number - _MAX_ROWS:,} more rows in summary.json")
