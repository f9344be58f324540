"""The verbs around an audit: its rules, what other settings would change, and labels for what no rule can tell."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tltrain.cli import data_verbs
from tltrain.cli.default_verb import DEFAULT, DefaultVerbGroup
from tltrain.cli.failures import say
from tltrain.cli.options import AnswersFile, AsJson, ConfigFile, DataFormat, LabelsFile, Settings, Strict, ToolsFile
from tltrain.cli.output import print_bars, print_facts, print_json, print_table
from tltrain.errors import UsageError

if TYPE_CHECKING:
    from tltrain.audit.groups import Group
    from tltrain.audit.labels import Label

_KEYS = {"o": "ok", "e": "error", "a": "ambiguous"}


GROUP = typer.Typer(cls=DefaultVerbGroup, help="Find the wrong calls in trajectories.", rich_markup_mode=None)
GROUP.command(DEFAULT, hidden=True, epilog="Example: tltrain audit data/train.jsonl --out audit")(data_verbs.audit)


@GROUP.command(epilog="Example: tltrain audit rules --set packs='[mine.yaml]'")
def rules(config: ConfigFile = None, settings: Settings = None, as_json: AsJson = False) -> None:
    """List the rules in the order in which they are asked: name, where they look, kind, blame, an example."""
    from tltrain.audit.config import AuditConfig
    from tltrain.audit.rule_list import list_rules
    from tltrain.config import load_config

    listed = list_rules(load_config(AuditConfig, file=config, settings=settings or ()))
    if as_json:
        return print_json([rule.to_json() for rule in listed])
    columns = ("name", "reach", "label", "kind", "blame", "example or meaning")
    rows = [
        (rule.name, rule.reach, rule.label, rule.kind, rule.blame, (rule.meaning or rule.examples[0])[:70])
        for rule in listed
    ]
    return print_table(columns, rows)


@GROUP.command(epilog="Example: tltrain audit preview data/train.jsonl --set off='[nothing_found]'")
def preview(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="Trajectories, in any known format.")],
    against: Annotated[
        Path | None, typer.Option(metavar="FILE.yaml", help="Settings to compare with; the defaults if not given.")
    ] = None,
    examples: Annotated[int, typer.Option(help="Changed calls to show.", min=0)] = 10,
    format: DataFormat = None,
    tools: ToolsFile = None,
    answers: AnswersFile = None,
    labels: LabelsFile = None,
    strict: Strict = None,
    config: ConfigFile = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Show which verdicts changed settings would change, without writing anything."""
    from tltrain.audit.config import AuditConfig
    from tltrain.audit.preview import preview as compare
    from tltrain.config import load_config

    flags = {"format": format, "tools": tools, "answers": answers, "labels": labels, "strict": strict}
    after = load_config(AuditConfig, file=config, flags=flags, settings=settings or ())
    before = load_config(AuditConfig, file=against)
    found = compare(before, after, data, max_examples=examples).to_json()
    return print_json(found) if as_json else _print_preview(found)


def _print_preview(found: dict[str, Any]) -> None:
    print(f"{found['num_changed']:,} of {found['num_calls']:,} verdicts change")
    counts = [[name, *pair] for part in ("labels", "kinds") for name, pair in found[part].items()]
    print_table(("label or kind", "before", "after"), counts)
    if found["changes"]:
        print_bars("changes", found["changes"])
    for example in found["examples"]:
        print(f"\n{example['trajectory']}, call {example['call']} ({example['tool']})")
        print(f"  {example['before']} by {example['before_rule']} -> {example['after']} by {example['after_rule']}")
        print(f"  {example['feedback']!r}")
    if found["num_bad_rows"]:
        print_facts({"bad rows": found["num_bad_rows"]})


@GROUP.command(epilog="Example: tltrain audit label audit --labels labels.jsonl")
def label(
    audited: Annotated[Path, typer.Argument(metavar="OUT", help="Folder of an audit, which has doubtful.jsonl.")],
    labels: Annotated[Path, typer.Option("--labels", metavar="FILE", help="File of labels; it grows.")],
    judge: Annotated[
        bool, typer.Option("--judge", help="Ask an OpenAI-compatible endpoint: --set base_url=... --set model=...")
    ] = False,
    blank: Annotated[
        bool, typer.Option("--blank", help="Write rows of label null, to fill in with an editor; ask nobody.")
    ] = False,
    max_groups: Annotated[int | None, typer.Option(help="Groups to label, the most frequent first.", min=1)] = None,
    config: ConfigFile = None,
    settings: Settings = None,
    as_json: AsJson = False,
) -> None:
    """Label feedback that no rule can tell, and use it again: tltrain audit DATA --labels FILE.

    One label holds for all feedback of a tool that differs only in numbers, ids and quoted names. By hand: o for ok, e
    for error, a for ambiguous, s to skip, q to stop; what was said so far is kept.
    """
    from tltrain.audit.groups import read_groups
    from tltrain.audit.judge import open_groups
    from tltrain.audit.labels import read_labels, write_labels

    if judge and blank:
        raise UsageError("--judge and --blank exclude each other; give one")
    if not judge and (config or settings):
        raise UsageError("--config and --set are settings of a judge; add --judge")
    known = list(read_labels(labels).labels) if labels.exists() else []
    doubtful = audited / "doubtful.jsonl"
    groups = read_groups(doubtful) if doubtful.exists() or not (audited / "summary.json").exists() else []
    waiting = open_groups(groups, known)[:max_groups]
    if judge:
        made, failed = _ask_judge(waiting, config, settings or [], lambda new: write_labels(labels, [*known, *new]))
    elif blank:
        made, failed = _blank(waiting), 0
    else:
        made, failed = _ask_person(waiting, lambda new: write_labels(labels, [*known, *new])), 0
    if made:
        write_labels(labels, [*known, *made])
    if blank:
        facts = {"to be filled in": len(made)}
    else:
        facts = {"labelled": len(made), "left open": len(waiting) - len(made), "without a readable answer": failed}
    return print_json(facts | {"labels": labels}) if as_json else print_facts(facts | {"labels": labels})


def _blank(groups: "list[Group]") -> "list[Label]":
    from tltrain.audit.judge import shown_text
    from tltrain.audit.labels import Label

    return [Label(key=group.key, tool=group.tool, feedback=shown_text(group), label=None) for group in groups]


def _ask_judge(groups: "list[Group]", config: Path | None, settings: list[str], save: Any) -> "tuple[list[Label], int]":
    from tltrain.audit.judge import Judge, JudgeSettings
    from tltrain.audit.labels import Label
    from tltrain.config import load_config

    judge = Judge(load_config(JudgeSettings, file=config, settings=settings))
    made: list[Label] = []
    failed = 0
    for answer in judge.label(groups):
        if isinstance(answer, Label):
            made.append(answer)
            save(made)
        else:
            failed += 1
            say(f"{answer.key}: {answer.reason}")
    return made, failed


def _ask_person(groups: "list[Group]", save: Any) -> "list[Label]":
    from tltrain.audit.judge import shown_text
    from tltrain.audit.labels import LABEL_KINDS, Label, LabelChoice
    from tltrain.taxonomy import FeedbackKind

    made: list[Label] = []
    for number, group in enumerate(groups, start=1):
        say(f"\n{number} of {len(groups)}: {group.tool or 'unknown tool'}, {group.count:,} times {group.kind}")
        for example in group.examples:
            say(f"  {example.feedback!r}")
        key = _ask("[o]k, [e]rror, [a]mbiguous, [s]kip, [q]uit", [*_KEYS, "s", "q"])
        if key == "q":
            break
        if key == "s":
            continue
        choice = LabelChoice(_KEYS[key])
        kind = None
        if choice is LabelChoice.ERROR:
            names = [one.value for one in LABEL_KINDS]
            kind = FeedbackKind(_ask(f"kind: {', '.join(names)}", names, otherwise="uncategorised"))
        made.append(Label(key=group.key, tool=group.tool, feedback=shown_text(group), label=choice, kind=kind))
        save(made)
    return made


def _ask(question: str, allowed: Sequence[str], *, otherwise: str = "q") -> str:
    """One of the allowed answers; an unknown one is asked again, the end of the input means `otherwise`."""
    while True:
        print(f"{question} > ", end="", file=sys.stderr, flush=True)
        line = sys.stdin.readline()
        answer = line.strip().lower()
        if not line or (not answer and otherwise in allowed and otherwise != "q"):
            return otherwise
        if answer in allowed:
            return answer
