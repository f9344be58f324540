"""What a model keeps of its general ability, on the command line: `eval general`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
    choose_reuse,
)
from tltrain.cli.output import print_config, print_facts, print_json, print_table

if TYPE_CHECKING:
    from tltrain.benches.general_run import GeneralScores
    from tltrain.benches.general_scores import BaseScores, Estimate, TextScores
    from tltrain.benches.lm_eval_run import Metric

_FEW_WINDOWS = 20
"""Fewer do not show how much a value varies."""


def evaluate_general(
    out: Out,
    text: Annotated[
        Path | None,
        typer.Argument(
            metavar="TEXT", help="Plain text, or .jsonl with a `text` field, in UTF-8; none of it was trained."
        ),
    ] = None,
    model: Model = EMBEDDED,
    base: Annotated[
        str | None, typer.Option(metavar="MODEL", help="The model that --model was made from; it needs one tokenizer.")
    ] = None,
    max_bytes: Annotated[int | None, typer.Option(help="Setting max_bytes: most of the text to measure.")] = None,
    lm_eval: Annotated[
        str | None,
        typer.Option(
            "--lm-eval",
            metavar="TASKS",
            help="Tasks of lm-evaluation-harness too, with commas between; needs tltrain[lm-eval].",
        ),
    ] = None,
    include_path: Annotated[
        Path | None,
        typer.Option("--include-path", metavar="DIR", help="With --lm-eval: a folder of your own task files."),
    ] = None,
    seed: Seed = None,
    config: ConfigFile = None,
    settings: Settings = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Measure what a model keeps of its general ability.

    On any text: nll and perplexity per token, bits per byte; and, with --base, KL(base || model) per token in nats, the
    share of tokens for which both find the same one most likely, and what the model lost in nll. `tltrain compare`
    shows the results of several models, also where they lie in EVALUATION/general beside others.
    """
    from tltrain.benches.general_config import GeneralConfig
    from tltrain.config import load_config

    flags: dict[str, object] = {"max_bytes": max_bytes, "seed": seed, "lm_eval.tasks": lm_eval}
    flags |= {"lm_eval.include_path": None if include_path is None else str(include_path)}
    resolved = load_config(GeneralConfig, file=config, flags=flags, settings=settings or ())
    if dry_run:
        return print_config(resolved, {"text": text, "model": model, "base": base, "out": out})
    from tltrain.progress import ProgressLine

    reuse = choose_reuse(resume=resume, overwrite=overwrite)
    with resumable(out), ProgressLine("eval") as progress:
        from tltrain.benches.general_run import evaluate_general as work

        result = work(resolved, model=model, out=out, text=text, base=base, reuse=reuse, progress=progress)
    if as_json:
        return print_json(result.scores.model_dump(mode="json"))
    print_general(result.scores, confidence=resolved.confidence)
    return print_facts({"scores": out / "scores.json"})


def print_general(scores: "GeneralScores", *, confidence: float) -> None:
    """Print a row for the model and one for its base, what sets them apart, and the tasks of lm_eval."""
    if scores.general is not None:
        _print_text(scores.general, scores.model, f"{100 * confidence:.0f}% interval")
    if scores.lm_eval is not None:
        rows = [
            [task, found.num_questions, name, *show_metric(metric)]
            for task, found in scores.lm_eval.tasks.items()
            for name, metric in found.metrics.items()
        ]
        print_table(("task", "n", "metric", "value"), rows, title=f"lm_eval {scores.lm_eval.version}")


def _print_text(found: "TextScores", model: str, interval: str) -> None:
    part = "" if found.is_whole else ", the beginning of the file"
    title = f"{found.text}: {found.num_tokens:,} tokens, {found.num_bytes:,} bytes, {found.num_windows} windows{part}"
    columns = ("", "bits per byte", "perplexity", "nll per token")
    states = {} if found.base is None else {found.base.model: _show_nll(found.base)}
    rows = [[name, *cells] for name, cells in (*states.items(), (model, _show_nll(found)))]
    print_table(columns, rows, title=f"{title}; with {interval}")
    if found.base is not None:
        facts = {
            "KL(base || model), nats per token": show_estimate(found.base.kl, 4),
            "KL(model || base), nats per token": show_estimate(found.base.reverse_kl, 4),
            "same most likely token, percent": show_estimate(found.base.top1_agreement, 1),
            "nll, model minus base": show_estimate(found.base.nll_change, 4, signed=True),
            "bits per byte, model minus base": show_estimate(found.base.bits_per_byte_change, 4, signed=True),
        }
        print_facts(facts)
    if found.num_windows < _FEW_WINDOWS:
        print(f"{found.num_windows} windows are few for an interval; give more text, or a smaller window and stride")


def _show_nll(found: "TextScores | BaseScores") -> list[str | None]:
    return [show_estimate(found.bits_per_byte), show_estimate(found.perplexity, 2), show_estimate(found.nll)]


def show_estimate(found: "Estimate | None", digits: int = 3, *, signed: bool = False) -> str | None:
    """A value and its interval."""
    if found is None:
        return None
    sign = "+" if signed else ""
    shown = f"{found.mean:{sign},.{digits}f}"
    if found.low is None or found.high is None:
        return shown
    return f"{shown} ({found.low:{sign},.{digits}f} to {found.high:{sign},.{digits}f})"


def show_short(found: "Estimate | None", digits: int = 3, *, signed: bool = False) -> str | None:
    """A value with half of its interval."""
    if found is None or found.low is None or found.high is None:
        return show_estimate(found, digits, signed=signed)
    shown = show_estimate(found.model_copy(update={"low": None}), digits, signed=signed)
    return f"{shown} ±{(found.high - found.low) / 2:.{digits}f}"


def show_metric(metric: "Metric | None") -> list[str | None]:
    """The cell of a metric: its value and standard error."""
    if metric is None:
        return [None]
    return [f"{metric.value:.4g}" if metric.stderr is None else f"{metric.value:.4g} ± {metric.stderr:.2g}"]
