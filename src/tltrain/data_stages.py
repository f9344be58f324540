"""The stages `generate`, `mix` and `audit`: their work, with the bookkeeping of a stage folder around it."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from tltrain.audit.run import AuditConfig
from tltrain.audit.run import audit as audit_file
from tltrain.corpus.config import MixConfig
from tltrain.corpus.mix import MixResult
from tltrain.corpus.mix import mix as mix_files
from tltrain.corpus.reading import input_files
from tltrain.generate.config import EndpointSettings, GenerateConfig
from tltrain.generate.run import _FREE_ON_RESUME as FREE_ON_RESUME
from tltrain.generate.run import GenerateResult
from tltrain.generate.run import generate as generate_files
from tltrain.stage import Progress, Reuse, Stage
from tltrain.types import Json


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditResult:
    """Where the verdicts are, and what they say."""

    verdicts: Path
    summary: Mapping[str, Json]
    """The fields of `audit.summary.AuditSummary`, as summary.json holds them."""


def generate(
    config: GenerateConfig, *, out: Path, reuse: Reuse = Reuse.REFUSE, progress: Progress | None = None
) -> GenerateResult:
    """Make train.jsonl, test.jsonl and summary.json in `out`; see `generate.run.generate`.

    Resumed, it goes on where a kill stopped it, and tries again what a teacher failed to do.

    Args:
        config: what to make.
        out: folder of the stage.
        reuse: what to do with a folder that was used before.
        progress: told how far it is.

    Raises:
        UsageError: the folder is in use, or was begun with other settings, or the settings cannot be met.
        DataError: the teacher did not do a single task.
    """
    stage = Stage(out, name="generate", config=lasting(config), inputs={}, reuse=reuse)
    if not stage.is_done or stage.result["num_failed"]:
        tell = (lambda done, total: progress(done, total, "")) if progress else None
        made = generate_files(config, out, progress=tell)
        stage.finish({"num_train": made.num_train, "num_test": made.num_test, "num_failed": made.num_failed})
    return GenerateResult(
        train=out / "train.jsonl", test=out / "test.jsonl", summary=out / "summary.json", **stage.result
    )


def lasting(config: GenerateConfig) -> GenerateConfig:
    """The config as its stage records it: with defaults for the settings that may differ when work is taken up again.

    These leave no trace in the data, such as a teacher's time-out.
    """
    if not isinstance(config.teacher, EndpointSettings):
        return config
    defaults = {name: EndpointSettings.model_fields[name].default for name in FREE_ON_RESUME}
    return config.model_copy(update={"teacher": config.teacher.model_copy(update=defaults)})


def mix(config: MixConfig, *, out: Path, reuse: Reuse = Reuse.REFUSE, progress: Progress | None = None) -> MixResult:
    """Make train.jsonl and, as asked for, validation.jsonl and test.jsonl out of files; see `corpus.mix.mix`.

    A start that was killed begins anew.

    Args:
        config: which files, and what is done to them.
        out: folder of the stage.
        reuse: what to do with a folder that was used before.
        progress: told how far it is.

    Raises:
        DataError: a file is missing or cannot be read, nothing is left to train on, or rows are in a test set and that
            is to be refused.
        UsageError: the folder is in use, or was begun with other settings or files.
    """
    stage = Stage(out, name="mix", config=config, inputs=input_files(config), reuse=reuse)
    if not stage.is_done:
        made = mix_files(config, out, progress=progress)
        stage.finish({name: count for name, count in asdict(made).items() if isinstance(count, int)})
    return MixResult(
        train=out / "train.jsonl",
        validation=out / "validation.jsonl" if config.validation else None,
        test=out / "test.jsonl" if config.test else None,
        summary=out / "summary.json",
        removed=out / "removed.jsonl",
        **stage.result,
    )


def audit(
    config: AuditConfig, *, data: Path, out: Path, reuse: Reuse = Reuse.REFUSE, progress: Progress | None = None
) -> AuditResult:
    """Judge every call of a file of trajectories; writes verdicts.jsonl and summary.json; see `audit.run.audit`.

    Args:
        config: settings.
        data: trajectories, of any format that `formats.read` knows.
        out: folder of the stage.
        reuse: what to do with a folder that was used before.
        progress: told when it is done.

    Raises:
        DataError: the file cannot be read, or holds no good row.
        UsageError: the folder is in use, or was begun with other settings.
    """
    inputs = {"data": data, "labels": config.labels, "tools": config.tools, "answers": config.answers}
    inputs |= {f"packs.{number}": path for number, path in enumerate(config.packs)}
    stage = Stage(out, name="audit", config=config, inputs=inputs, reuse=reuse)
    if not stage.is_done:
        made = audit_file(config, data, out)
        stage.finish({"num_calls": made.num_calls, "num_bad_rows": made.num_bad_rows})
        if progress:
            progress(made.num_calls, made.num_calls, "calls judged")
    summary = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    return AuditResult(verdicts=out / "verdicts.jsonl", summary=summary)
