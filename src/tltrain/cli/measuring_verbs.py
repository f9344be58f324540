"""The verbs that measure and show: eval, report."""

import json
from pathlib import Path
from typing import Annotated

import typer

from tltrain.cli.failures import resumable
from tltrain.cli.options import (
    EMBEDDED,
    AsJson,
    ConfigFile,
    Data,
    DryRun,
    Model,
    Out,
    Overwrite,
    Resume,
    Seed,
    Settings,
    check_inputs,
    choose_reuse,
)
from tltrain.cli.output import print_config, print_facts, print_json
from tltrain.cli.scores import print_scores


def evaluate(
    data: Data,
    out: Out,
    model: Model = EMBEDDED,
    verdicts: Annotated[
        Path | None,
        typer.Option(help="verdicts.jsonl of `tltrain audit` on DATA: calls that went wrong are no right answers."),
    ] = None,
    max_cases: Annotated[int | None, typer.Option(help="Setting max_cases: most single calls to ask for.")] = None,
    max_episodes: Annotated[int | None, typer.Option(help="Setting max_episodes: most whole tasks to do.")] = None,
    seed: Seed = None,
    config: ConfigFile = None,
    settings: Settings = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Measure a model on single calls and on whole tasks.

    TS, PI and CF: percent of calls with the right tool, the right parameter names, the right values. DE and CE: percent
    of calls with errors of understanding and of calling, lower is better. VA: percent of tasks with a valid answer.
    """
    from tltrain.benches.config import EvalConfig
    from tltrain.config import load_config

    flags = {"max_cases": max_cases, "max_episodes": max_episodes, "seed": seed}
    resolved = load_config(EvalConfig, file=config, flags=flags, settings=settings or ())
    if dry_run:
        return print_config(resolved, {"data": data, "model": model, "verdicts": verdicts, "out": out})
    from tltrain.progress import ProgressLine

    check_inputs(data=data, model=model, verdicts=verdicts)
    reuse = choose_reuse(resume=resume, overwrite=overwrite)
    with resumable(out), ProgressLine("eval") as progress:
        from tltrain.benches.run import evaluate as work

        work(resolved, data=data, model=model, out=out, verdicts=verdicts, reuse=reuse, progress=progress)
    scores = json.loads((out / "scores.json").read_text(encoding="utf-8"))
    if as_json:
        return print_json(scores)
    print_scores({str(model): scores})
    return print_facts({"scores": out / "scores.json", "answers": out / "cases.jsonl", "tasks": out / "episodes.jsonl"})


def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run.")],
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder, or a .html file, for the page; by default RUN/report.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write the page of a run, one HTML file.

    It shows the data, the audit, token weights, curves, scores, answers and episodes, as far as the run has them.
    """
    from tltrain.report.page import report as work

    page = work(run, out)
    if as_json:
        print_json({"report": page})
    else:
        print(page)
