"""Several models' general ability side by side: what `eval general` left in their folders, and differences."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from tltrain.benches.general_run import WINDOWS, GeneralScores
from tltrain.benches.general_scores import Estimate, TextScores, WindowRow, change_in_bits
from tltrain.benches.lm_eval_run import Metric
from tltrain.benches.row_file import read_rows
from tltrain.benches.scores import Resampling
from tltrain.errors import DataError

INSIDE = "general"
"""Folder within that of another evaluation of the same model, in which `compare` looks too."""
_ALIKE = ("window", "stride", "text_field")
"""Settings that change what is measured a little, so that a reader must know of them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GeneralEvaluation:
    """One folder of `eval general`."""

    folder: Path
    scores: GeneralScores
    rows: Sequence[WindowRow]
    """Of the text; none without one."""
    text_hash: str
    config: Mapping[str, Any]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ComparedText(_Record):
    """One model on the text."""

    model: str
    """Name of its folder, as elsewhere in the comparison."""
    num_tokens: int
    num_windows: int
    bits_per_byte: Estimate
    perplexity: Estimate
    """Per token: comparable between models with one tokenizer."""
    change: Estimate | None
    """Bits per byte minus the baseline's, more than 0: worse; None for the baseline itself, and without one. Without an
    interval where the two have other windows, as two tokenizers give them."""
    base: str | None
    """What the three below compare it with."""
    kl: Estimate | None
    """KL(base || model), nats per token."""
    reverse_kl: Estimate | None
    """KL(model || base)."""
    top1_agreement: Estimate | None
    """Percent of tokens for which both find the same one most likely."""


class ComparedTask(_Record):
    """One metric of a task of lm_eval."""

    task: str
    metric: str
    higher_is_better: bool | None
    values: dict[str, Metric]
    """Model -> value."""
    num_questions: dict[str, int | None]


class GeneralComparison(_Record):
    """What the models have kept of their general ability."""

    text: str
    """Name of the file, which is the same for all; empty if there is none."""
    num_bytes: int
    is_whole: bool
    models: list[ComparedText]
    tasks: list[ComparedTask]


def is_general(record: Mapping[str, Any]) -> bool:
    """Whether a stage.json is one of `eval general`."""
    return "lm_eval" in record.get("config", {})


def read_general(folder: Path, record: Mapping[str, Any]) -> GeneralEvaluation:
    """Read a finished folder of `eval general`.

    Raises:
        DataError: a file of it cannot be read.
    """
    path = folder / "scores.json"
    try:
        scores = GeneralScores.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        first = str(error).splitlines()[0]
        raise DataError(f"{path}: {first}; make it anew with `tltrain eval general --overwrite`") from None
    return GeneralEvaluation(
        folder=folder,
        scores=scores,
        rows=[] if scores.general is None else read_rows(folder / WINDOWS, WindowRow),
        text_hash=str(record.get("inputs", {}).get("text", "")),
        config=record.get("config", {}),
    )


def compare_general(
    found: Mapping[str, GeneralEvaluation], baseline: str, config: Resampling
) -> GeneralComparison | None:
    """Put models side by side; None where no folder has results.

    Args:
        found: name -> results, of the models that have any.
        baseline: name of the model that others are compared with, where it has results.
        config: of the intervals.

    Raises:
        DataError: two models were measured on different texts.
    """
    if not found:
        return None
    on_text = {name: each for name, each in found.items() if each.scores.general is not None}
    _check_same_text(list(on_text.values()))
    before = on_text.get(baseline)
    texts = [each.scores.general for each in on_text.values() if each.scores.general is not None]
    return GeneralComparison(
        text=texts[0].text if texts else "",
        num_bytes=texts[0].num_bytes if texts else 0,
        is_whole=all(text.is_whole for text in texts),
        models=[
            _line(name, text, change_in_bits(before.rows, each.rows, config) if before and each is not before else None)
            for (name, each), text in zip(on_text.items(), texts, strict=True)
        ],
        tasks=list(_tasks(found)),
    )


def _check_same_text(found: Sequence[GeneralEvaluation]) -> None:
    for other in found[1:]:
        first = found[0]
        both = f"{first.folder} and {other.folder}"
        remedy = "compare evaluations on the same text"
        if first.text_hash != other.text_hash:
            told = f"SHA-256 {first.text_hash[:12]}… and {other.text_hash[:12]}…"
            raise DataError(f"{both} were measured on different texts: {told}; {remedy}")
        if first.config.get("max_bytes") != other.config.get("max_bytes"):
            told = f"{first.config.get('max_bytes')} and {other.config.get('max_bytes')}"
            raise DataError(f"{both} were measured on other lengths of a text: max_bytes is {told}; {remedy}")


def _line(name: str, text: TextScores, change: Estimate | None) -> ComparedText:
    base = text.base
    return ComparedText(
        model=name,
        num_tokens=text.num_tokens,
        num_windows=text.num_windows,
        bits_per_byte=text.bits_per_byte,
        perplexity=text.perplexity,
        change=change,
        base=base.model if base else None,
        kl=base.kl if base else None,
        reverse_kl=base.reverse_kl if base else None,
        top1_agreement=base.top1_agreement if base else None,
    )


def _tasks(found: Mapping[str, GeneralEvaluation]) -> Iterator[ComparedTask]:
    ran = {name: each.scores.lm_eval.tasks for name, each in found.items() if each.scores.lm_eval is not None}
    keys = dict.fromkeys((task, key) for tasks in ran.values() for task, own in tasks.items() for key in own.metrics)
    for task, key in keys:
        having = {name: tasks[task] for name, tasks in ran.items() if task in tasks and key in tasks[task].metrics}
        values = {name: own.metrics[key] for name, own in having.items()}
        yield ComparedTask(
            task=task,
            metric=key,
            higher_is_better=next(iter(values.values())).higher_is_better,
            values=values,
            num_questions={name: own.num_questions for name, own in having.items()},
        )


def general_remarks(found: Mapping[str, GeneralEvaluation]) -> list[str]:
    """What a reader must know before trusting a difference in general ability, a sentence each."""
    remarks = []
    (first_name, first), *others = found.items()
    for name, other in others:
        pairs = {key: (first.config.get(key), other.config.get(key)) for key in _ALIKE}
        pairs["base"] = (_base(first), _base(other))
        pairs["lm_eval"] = (_tasks_setting(first), _tasks_setting(other))
        pairs["number format"] = (first.scores.precision, other.scores.precision)
        remarks += [
            f"General ability: {key} is {one or 'none'} in {first_name} and {two or 'none'} in {name}."
            for key, (one, two) in pairs.items()
            if one != two
        ]
    return remarks


def _base(found: GeneralEvaluation) -> str | None:
    text = found.scores.general
    return text.base.model if text and text.base else None


def _tasks_setting(found: GeneralEvaluation) -> str | None:
    """The settings of lm_eval that change its numbers."""
    own = found.config.get("lm_eval")
    shown = {key: value for key, value in (own or {}).items() if key not in ("python", "batch_size", "include_path")}
    return ", ".join(f"{key}={value}" for key, value in shown.items()) or None
