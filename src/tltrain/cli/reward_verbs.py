"""The verbs around the reward: scores of plain files, and an audit of the reward on trajectories."""

from typing import TYPE_CHECKING, Annotated

import typer

from tltrain.cli.failures import FAILED, say
from tltrain.cli.options import (
    AnswersFile,
    AsJson,
    ConfigFile,
    Data,
    DataFormat,
    DryRun,
    Settings,
    ToolsFile,
    Verdicts,
    check_inputs,
)
from tltrain.cli.output import print_bars, print_config, print_json, print_table

if TYPE_CHECKING:
    from tltrain.rewards.audit import KindTally, RewardAudit

_MAX_LISTED = 20


def audit(
    data: Data,
    syntax: Annotated[
        list[str] | None, typer.Option("--syntax", help="Audit this one only; may be given several times.")
    ] = None,
    turns: Annotated[
        str | None, typer.Option("--turns", help="Setting turns: one_call, calls or all.", show_default=False)
    ] = None,
    verdicts: Verdicts = None,
    format: DataFormat = None,
    tools: ToolsFile = None,
    answers: AnswersFile = None,
    config: ConfigFile = None,
    settings: Settings = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Audit the reward on your own data, before any training.

    Every right call must earn the highest reward, and wrong answers made from it what the rules say. Exit code 1 if any
    does not.
    """
    from tltrain.config import load_config
    from tltrain.rl.reward_audit import RewardAuditConfig

    flags = {"syntaxes": syntax or None, "turns": turns}
    resolved = load_config(RewardAuditConfig, file=config, flags=flags, settings=settings or ())
    if dry_run:
        return print_config(resolved, {"data": data, "verdicts": verdicts})
    from tltrain.formats.base import Companions
    from tltrain.rl.reward_audit import audit_reward

    check_inputs(data=data, verdicts=verdicts)
    companions = Companions(tools=tools, answers=answers)
    result = audit_reward(resolved, data, verdicts=verdicts, format=format, companions=companions)
    if as_json:
        print_json(result.to_json())
    else:
        for one in result.audits:
            _print_audit(one)
        if result.left_out:
            print_bars("left out", result.left_out)
        if result.num_bad_rows:
            say(f"{result.num_bad_rows:,} rows could not be read; `tltrain audit` lists them with reasons")
    if not result.is_clean:
        wrong = sum(one.num_out_of_line for one in result.audits)
        bad = sum(len(one.bad_gold) for one in result.audits)
        say(
            f"{wrong:,} answers earn something else than the rules say, and {bad:,} right answers not the most; "
            "correct or drop the rows named (--json has all), or change the settings of the reward"
        )
        raise typer.Exit(FAILED)
    return None


def _print_audit(audit: "RewardAudit") -> None:
    columns = ("answer", "n", "expected", "min", "mean", "max", "out of line")
    title = f"{audit.syntax}: {audit.num_turns:,} turns, {audit.rewards.total():,} answers"
    print_table(columns, [_row_of(tally) for tally in audit.kinds], title=title)
    print_bars(f"{audit.syntax}: answers by reward", audit.histogram)
    for tally in audit.kinds:
        for example in tally.examples:
            print(
                f"out of line: {tally.kind}, {example['id']}: earns {example['reward']} and not {example['expected']}"
            )
    for bad in audit.bad_gold[:_MAX_LISTED]:
        print(f"bad gold: {bad.id}: {bad.reason}")
    if len(audit.bad_gold) > _MAX_LISTED:
        print(f"... and {len(audit.bad_gold) - _MAX_LISTED:,} more; --json lists all")


def _row_of(tally: "KindTally") -> list[object]:
    least, most = min(tally.expected), max(tally.expected)
    expected = f"{least:.4g}" if least == most else f"{least:.4g} to {most:.4g}"
    numbers = (tally.lowest, tally.total / tally.n, tally.highest)
    return [tally.kind, tally.n, expected, *(f"{number:.4g}" for number in numbers), tally.num_out_of_line]
