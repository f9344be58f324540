"""The verbs that measure and show: eval, compare, report."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from tltrain.cli.failures import resumable
from tltrain.cli.options import (
    EMBEDDED,
    AsJson,
    ConfigFile,
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
from tltrain.cli.scores import print_scores, show_score
from tltrain.errors import UsageError

if TYPE_CHECKING:
    from tltrain.benches.public_config import PublicEvalConfig
    from tltrain.stage import Reuse

__all__ = ["AllowChanged", "DataDir", "compare", "evaluate", "report", "show_score"]

DataDir: TypeAlias = Annotated[
    Path | None,
    typer.Option("--data-dir", metavar="DIR", help="Folder of the public test sets; by default TLTRAIN_DATA."),
]
BfclPython: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--bfcl-python",
        metavar="PYTHON",
        help="A Python with bfcl-eval, for BFCL's multi_turn categories; by default TLTRAIN_BFCL_PYTHON.",
    ),
]
AllowChanged: TypeAlias = Annotated[
    bool, typer.Option("--allow-changed", help="Take public test sets that differ from the published files.")
]


def evaluate(
    out: Out,
    data: Annotated[
        Path | None,
        typer.Argument(metavar="DATA", help="Trajectories, in any known format."),
    ] = None,
    model: Model = EMBEDDED,
    bench: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES",
            help="Public test sets in place of DATA: toolalpaca, rotbench, bfcl, tooleyes, with commas between; parts "
            "as in rotbench:clean+heavy or bfcl:exec+live+multi_turn.",
        ),
    ] = None,
    data_dir: DataDir = None,
    bfcl_python: BfclPython = None,
    allow_changed: AllowChanged = False,
    endpoint: Annotated[
        str | None,
        typer.Option(metavar="URL", help="With --bench: an OpenAI-compatible endpoint that serves --model."),
    ] = None,
    tooleyes_tools: Annotated[
        Path | None,
        typer.Option(
            "--tooleyes-tools",
            metavar="FILE.py",
            help="Setting tooleyes_tools, with --bench tooleyes: a Python file that makes the calls, by a function for "
            "each tool or one call(name, arguments); its code is run. Calls it does not know are simulated, as all are "
            "by default, or get an error (--set tooleyes_missing=unanswered).",
        ),
    ] = None,
    verdicts: Annotated[
        Path | None,
        typer.Option(help="verdicts.jsonl of `tltrain audit` on DATA: calls that went wrong are no right answers."),
    ] = None,
    environment: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.py",
            help="Setting environment: a Python file with reset(row), whose code is run; each row of DATA is a task in "
            "it, judged by the state that the model leaves. By default rows made in the sandbox are such tasks.",
        ),
    ] = None,
    max_cases: Annotated[int | None, typer.Option(help="Setting max_cases: most single calls to ask for.")] = None,
    max_episodes: Annotated[int | None, typer.Option(help="Setting max_episodes: most whole tasks to do.")] = None,
    constrain: Annotated[
        str | None,
        typer.Option(
            metavar="off|auto|call",
            help="Setting constrain: let the model write anything (off), text and well-formed calls of tools on offer "
            "(auto), or such calls alone (call); needs tltrain[constrained].",
        ),
    ] = None,
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
    if bench is not None:
        _check_public(
            {"DATA": data, "--verdicts": verdicts, "--max-episodes": max_episodes, "--environment": environment}
        )
        flags: dict[str, object] = {"benches": bench, "max_cases": max_cases, "constrain": constrain, "seed": seed}
        flags |= {"allow_changed": allow_changed or None, "tooleyes_tools": tooleyes_tools}
        if endpoint:
            flags |= {"endpoint.base_url": endpoint, "endpoint.model": model}
        public = _load_public(flags, config, settings)
        if dry_run:
            return print_config(public, {"data-dir": data_dir, "bfcl-python": bfcl_python, "model": model, "out": out})
        reuse = choose_reuse(resume=resume, overwrite=overwrite)
        return _evaluate_public(
            public, data_dir=data_dir, bfcl_python=bfcl_python, model=model, out=out, reuse=reuse, as_json=as_json
        )
    if data is None:
        raise UsageError("give DATA, a file of trajectories, or --bench, names of public test sets")
    if endpoint or data_dir or bfcl_python or allow_changed or tooleyes_tools:
        raise UsageError(
            "--endpoint, --data-dir, --tooleyes-tools, --bfcl-python and --allow-changed are for --bench; leave them "
            "out, or give --bench"
        )
    from tltrain.benches.config import EvalConfig
    from tltrain.config import load_config

    given = {
        "environment": environment,
        "max_cases": max_cases,
        "max_episodes": max_episodes,
        "constrain": constrain,
        "seed": seed,
    }
    resolved = load_config(EvalConfig, file=config, flags=given, settings=settings or ())
    if dry_run:
        return print_config(resolved, {"data": data, "model": model, "verdicts": verdicts, "out": out})
    from tltrain.progress import ProgressLine

    check_inputs(data=data, model=model, verdicts=verdicts)
    reuse = choose_reuse(resume=resume, overwrite=overwrite)
    with resumable(out), ProgressLine("eval") as progress:
        from tltrain.benches.run import evaluate as work

        result = work(resolved, data=data, model=model, out=out, verdicts=verdicts, reuse=reuse, progress=progress)
    scores = json.loads((out / "scores.json").read_text(encoding="utf-8"))
    if as_json:
        return print_json(scores)
    print_scores({str(model): scores})
    for remark in result.remarks:
        print(f"  {remark}")
    return print_facts({"scores": out / "scores.json", "answers": out / "cases.jsonl", "tasks": out / "episodes.jsonl"})


def _check_public(unused: Mapping[str, object]) -> None:
    for name, value in unused.items():
        if value is not None:
            raise UsageError(f"{name} has no meaning with --bench; leave one of the two out")


def _load_public(flags: dict[str, object], file: Path | None, settings: list[str] | None) -> "PublicEvalConfig":
    from tltrain.benches.public_config import PublicEvalConfig
    from tltrain.config import load_config

    return load_config(PublicEvalConfig, file=file, flags=flags, settings=settings or ())


def _evaluate_public(
    config: "PublicEvalConfig",
    *,
    data_dir: Path | None,
    bfcl_python: Path | None,
    model: str,
    out: Path,
    reuse: "Reuse",
    as_json: bool,
) -> None:
    from tltrain.benches.data_folder import resolve_data_dir
    from tltrain.cli.bench_verbs import bfcl_environment, print_benches
    from tltrain.progress import ProgressLine

    folder, environment = resolve_data_dir(data_dir), bfcl_environment(bfcl_python)
    if config.endpoint is None:
        from tltrain.engine.model import resolve_model

        resolve_model(model)
    with resumable(out), ProgressLine("eval") as progress:
        from tltrain.benches.public_run import evaluate_public as work

        result = work(
            config, data_dir=folder, model=model, out=out, reuse=reuse, progress=progress, environment=environment
        )
    if as_json:
        return print_json(result.scores.model_dump(mode="json"))
    print_benches(result.scores.benches)
    for what, why in result.scores.left_out.items():
        print(f"{what} is left out. {why}, and pass --resume.")
    return print_facts({"scores": out / "scores.json", "answers": out})


def compare(
    folders: Annotated[
        list[Path], typer.Argument(metavar="FOLDERS", help="Of `tltrain eval`, two or more; the baseline first.")
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder, or a .html file, for the page.")] = Path("comparison"),
    as_json: AsJson = False,
) -> None:
    """Compare evaluations of two or more models on the same cases.

    Writes a page with scores, paired differences to the first model with intervals and tests, and the cases that
    changed. One HTML file that needs no network, and its charts beside it.
    """
    from tltrain.benches.compare import compare as work
    from tltrain.cli.scores import print_comparison

    result = work(folders, out)
    if as_json:
        return print_json({"page": result.page, **result.comparison.model_dump(mode="json")})
    print_comparison(result.comparison)
    return print_facts({"page": result.page})


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
