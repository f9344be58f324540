"""Tasks of lm-evaluation-harness on a model folder, run by its own command in a process of its own.

Source: https://github.com/EleutherAI/lm-evaluation-harness, written against 0.4.13: `python -m lm_eval --model hf`.
"""

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from tltrain.benches.general_config import LmEvalConfig
from tltrain.errors import DataError, UsageError

EXTRA = "lm-eval"
_NUM_LAST_LINES = 3


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Metric(_Record):
    """A number as lm_eval gives it; its task says in which unit."""

    value: float
    stderr: float | None
    """Standard error over the questions; None: lm_eval gives none."""
    higher_is_better: bool | None


class TaskScores(_Record):
    """One task, or a group of them."""

    num_questions: int | None
    """None: of a group."""
    version: str
    """Of the task, which changes with its rules."""
    metrics: dict[str, Metric]
    """`acc`, or `exact_match,strict` where a filter has a name."""


class LmEvalScores(_Record):
    """What lm_eval found."""

    version: str
    """Of lm_eval; empty if it does not say."""
    limit: int | None
    """Questions of each task; None: all."""
    tasks: dict[str, TaskScores]


def check_lm_eval(config: LmEvalConfig) -> None:
    """Find what is missing before anything heavy is done.

    Raises:
        UsageError: the interpreter or its lm_eval is not there, or the folder of task files is not.
    """
    if config.include_path is not None and not Path(config.include_path).is_dir():
        raise UsageError(
            f"lm_eval.include_path={config.include_path}: no such folder; name the one with the .yaml files"
        )
    code = "import sys, importlib.util as u; sys.exit(0 if u.find_spec('lm_eval') else 3)"
    try:
        found = subprocess.run([_python(config), "-c", code], capture_output=True, check=False)
    except OSError as error:
        raise UsageError(f"lm_eval.python={config.python}: {error.strerror}; name a Python interpreter") from None
    if found.returncode:
        raise UsageError(
            f"--lm-eval needs the package lm_eval, which {_python(config)} does not have; "
            f'pip install "tltrain[{EXTRA}]", or name an interpreter that has it by --set lm_eval.python=PYTHON'
        )


def run_lm_eval(config: LmEvalConfig, *, model: str | Path, out: Path, precision: str, seed: int) -> LmEvalScores:
    """Run the tasks; lm_eval's results, answers and log are left in `out`.

    Args:
        config: which tasks, and how.
        model: a folder that transformers loads, or a hub id.
        out: made where it does not exist.
        precision: number format of the weights.
        seed: of every draw of lm_eval.

    Raises:
        DataError: a task is not known, its data is not here and cannot be fetched, or lm_eval stopped; the message
            names the log.
    """
    out.mkdir(parents=True, exist_ok=True)
    for leftover in (*out.glob("results*.json"), *out.glob("samples*.jsonl")):
        leftover.unlink()
    log = out / "log.txt"
    with log.open("wb") as file:
        code = subprocess.run(
            _command(config, model, out, precision, seed), stdout=file, stderr=subprocess.STDOUT, check=False
        ).returncode
    found = sorted(out.glob("results*.json"))
    if code or not found:
        raise DataError(f"lm_eval: {_explain(log.read_text(encoding='utf-8', errors='replace'), config)}; see {log}")
    return read_results(json.loads(found[-1].read_text(encoding="utf-8")), limit=config.limit)


def _python(config: LmEvalConfig) -> str:
    return config.python or sys.executable


def _command(config: LmEvalConfig, model: str | Path, out: Path, precision: str, seed: int) -> list[str]:
    # as JSON, since a path may hold the commas and equals signs by which lm_eval would split it
    arguments = json.dumps(
        {"pretrained": str(model.absolute() if isinstance(model, Path) else model), "dtype": precision}
    )
    command = [_python(config), "-m", "lm_eval", "--model", "hf", "--model_args", arguments]
    command += ["--tasks", ",".join(config.tasks), "--output_path", str(out / "results.json"), "--log_samples"]
    command += ["--batch_size", str(config.batch_size), "--seed", str(seed)]
    options = {"--include_path": config.include_path, "--num_fewshot": config.num_fewshot, "--limit": config.limit}
    for name, value in options.items():
        command += [] if value is None else [name, str(value)]
    return [*command, "--apply_chat_template"] if config.apply_chat_template else command


def _explain(log: str, config: LmEvalConfig) -> str:
    """What the log of a run that failed says, and what to do."""
    # the last of each: before it, a traceback shows the line of code that makes the message
    if unknown := re.findall(r"Tasks? (?:were )?not found: (.+)", log):
        return (
            f"there is no task {unknown[-1].strip()}; `{_python(config)} -m lm_eval ls tasks` lists them, and "
            "lm_eval.include_path names a folder of your own"
        )
    unreachable = re.findall(r"Couldn't (?:reach|find) (?:cache for )?'?([^'\s]+)'?", log)
    if unreachable or "OfflineModeIsEnabled" in log:
        name = f"the data set {unreachable[-1]}" if unreachable else "a data set"
        return (
            f"{name} of {', '.join(config.tasks)} is not on this machine, and cannot be fetched from here; fetch it "
            "where there is a network and copy the cache (HF_HOME), or take a task whose .yaml names local files "
            "(lm_eval.include_path)"
        )
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    return " / ".join(lines[-_NUM_LAST_LINES:])[-400:] or "it ended without a word"


def read_results(results: Mapping[str, Any], *, limit: int | None) -> LmEvalScores:
    """The numbers of a results file.

    Args:
        results: the decoded file.
        limit: questions of each task that were asked for.
    """
    better, versions = results.get("higher_is_better") or {}, results.get("versions") or {}
    questions = results.get("n-samples") or {}
    tasks = {
        name: TaskScores(
            num_questions=(questions.get(name) or {}).get("effective"),
            version=str(versions.get(name, "")),
            metrics=_metrics(fields, better.get(name) or {}),
        )
        for name, fields in {**(results.get("groups") or {}), **results["results"]}.items()
    }
    return LmEvalScores(version=str(results.get("lm_eval_version") or ""), limit=limit, tasks=tasks)


def _metrics(fields: Mapping[str, Any], better: Mapping[str, Any]) -> dict[str, Metric]:
    metrics = {}
    for key, value in fields.items():
        name, comma, kind = key.partition(",")
        if not comma or name.endswith("_stderr") or isinstance(value, str | bool):
            continue
        stderr = fields.get(f"{name}_stderr,{kind}")
        metrics[name if kind == "none" else key] = Metric(
            value=value,
            stderr=stderr if isinstance(stderr, int | float) else None,
            higher_is_better=better.get(name),
        )
    return metrics
