"""Reading a run folder: whatever is there, and a line about each thing that is not or is broken."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from tltrain.errors import DataError, UsageError
from tltrain.files import decode_json, read_json_lines
from tltrain.report.records import (
    Case,
    Episode,
    Mixture,
    PpoStep,
    Record,
    Rollout,
    RunRecord,
    Sample,
    Scores,
    SftStep,
    VerdictRow,
)
from tltrain.types import Json, Trajectory

AnyRecord = TypeVar("AnyRecord", bound=Record)

_KNOWN_STAGES = ("base", "sft", "ppo")
_MAX_PROBLEMS_PER_FILE = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """What one state of the model scored."""

    name: str
    scores: Scores
    cases: tuple[Case, ...]
    episodes: tuple[Episode, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class RunData:
    """Everything a report shows. Absent parts are empty; `notes` says why."""

    name: str
    """Name of the run's folder."""
    config_text: str
    config: Mapping[str, Any]
    record: RunRecord
    generated: Mapping[str, Json]
    """generate/summary.json."""
    mixture: Mixture | None
    """data/summary.json; None where the data was generated."""
    trajectories: Mapping[str, Trajectory]
    """Training trajectories by id."""
    verdicts: tuple[VerdictRow, ...]
    audited: Mapping[str, Json]
    """audit/summary.json."""
    sft_steps: tuple[SftStep, ...]
    samples: tuple[Sample, ...]
    ppo_steps: tuple[PpoStep, ...]
    rollouts: tuple[Rollout, ...]
    stages: tuple[Stage, ...]
    """In the order of training: base, then the stages as they ran."""
    notes: Mapping[str, str]
    """File -> one line on why nothing of it is shown."""
    problems: tuple[str, ...]
    """One line for each broken file or row."""

    @property
    def model(self) -> str:
        """Name of the model that was trained, as the config has it; empty if it does not say."""
        return _find_model(self.config)


def read_run(folder: Path) -> RunData:
    """Read a run folder; parts that are missing or broken become notes and problems, never errors.

    Raises:
        UsageError: there is no such folder.
    """
    if not folder.is_dir():
        raise UsageError(f"run={folder} is no folder; give the folder of a run, which `tltrain run` writes")
    reader = _Reader(folder)
    config_text = reader.read_text("config.yaml")
    record = reader.read_record("run.json", RunRecord) or RunRecord()
    made_in = "data" if (folder / "data").is_dir() else "generate"
    return RunData(
        name=folder.resolve().name,
        config_text=config_text,
        config=reader.parse_config("config.yaml", config_text),
        record=record,
        generated=reader.read_object("generate/summary.json") if made_in == "generate" else {},
        mixture=reader.read_record("data/summary.json", Mixture) if made_in == "data" else None,
        trajectories=reader.read_trajectories(f"{made_in}/train.jsonl"),
        verdicts=reader.read_rows("audit/verdicts.jsonl", VerdictRow),
        audited=reader.read_object("audit/summary.json"),
        sft_steps=reader.read_rows("sft/metrics.jsonl", SftStep),
        samples=reader.read_rows("sft/samples.jsonl", Sample),
        ppo_steps=reader.read_rows("ppo/metrics.jsonl", PpoStep),
        rollouts=reader.read_rows("ppo/rollouts.jsonl", Rollout),
        stages=tuple(reader.read_stage(name) for name in _stage_names(folder, record)),
        notes=reader.notes,
        problems=tuple(reader.problems),
    )


class _Reader:
    """Reads files of one folder and keeps what went wrong."""

    def __init__(self, folder: Path):
        self._folder = folder
        self.notes: dict[str, str] = {}
        self.problems: list[str] = []

    def read_text(self, name: str) -> str:
        path = self._folder / name
        if not path.is_file():
            self.notes[name] = f"{name} is not in this run."
            return ""
        try:
            return path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            self._broken(name, _first_line(error))
            return ""

    def read_object(self, name: str) -> dict[str, Json]:
        text = self.read_text(name)
        if name in self.notes:
            return {}
        try:
            value = decode_json(text)
        except ValueError as error:
            self._broken(name, _first_line(error))
            return {}
        if not isinstance(value, dict):
            self._broken(name, "not a JSON object")
            return {}
        return value

    def read_record(self, name: str, kind: type[AnyRecord]) -> AnyRecord | None:
        value = self.read_object(name)
        if name in self.notes:
            return None
        try:
            return kind.model_validate(value)
        except ValidationError as error:
            self._broken(name, _explain(error))
            return None

    def read_rows(self, name: str, kind: type[AnyRecord]) -> tuple[AnyRecord, ...]:
        path = self._folder / name
        if not path.is_file():
            self.notes[name] = f"{name} is not in this run."
            return ()
        rows: list[AnyRecord] = []
        bad: list[str] = []
        try:
            for number, value in read_json_lines(path):
                row = _check_row(value, kind)
                if isinstance(row, str):
                    bad.append(f"{name} line {number}: {row}")
                else:
                    rows.append(row)
        except (DataError, OSError) as error:
            self._broken(name, self._inside(error))
        self.problems += [self._inside(line) for line in bad[:_MAX_PROBLEMS_PER_FILE]]
        if len(bad) > _MAX_PROBLEMS_PER_FILE:
            self.problems.append(f"{name}: {len(bad) - _MAX_PROBLEMS_PER_FILE:,} more lines are left out")
        if bad and not rows:
            self.notes[name] = f"{name} has no line that can be read."
        return tuple(rows)

    def read_trajectories(self, name: str) -> dict[str, Trajectory]:
        from tltrain.formats.read import read_trajectories

        path = self._folder / name
        if not path.is_file():
            self.notes[name] = f"{name} is not in this run."
            return {}
        try:
            result = read_trajectories(path)
        except (DataError, OSError) as error:
            self._broken(name, self._inside(error))
            return {}
        if result.num_bad:
            first = self._inside(result.reasons[0]) if result.reasons else ""
            self.problems.append(f"{name}: {result.num_bad:,} rows are left out, the first: {first}")
        return {trajectory.id: trajectory for trajectory in result.trajectories}

    def read_stage(self, name: str) -> Stage:
        return Stage(
            name=name,
            scores=self.read_record(f"eval/{name}/scores.json", Scores) or Scores(),
            cases=self.read_rows(f"eval/{name}/cases.jsonl", Case),
            episodes=self.read_rows(f"eval/{name}/episodes.jsonl", Episode),
        )

    def parse_config(self, name: str, text: str) -> Mapping[str, Any]:
        import yaml

        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError as error:
            self.problems.append(f"{name} is no YAML: {_first_line(error)}")
            return {}
        return value if isinstance(value, Mapping) else {}

    def _broken(self, name: str, problem: str) -> None:
        self.problems.append(problem if problem.startswith(name) else f"{name}: {problem}")
        self.notes[name] = f"{name} cannot be read; see the top of this page."

    def _inside(self, problem: object) -> str:
        """The first line of a message, with paths relative to the run."""
        return _first_line(problem).replace(f"{self._folder}/", "")


def _check_row(value: dict[str, Json] | DataError, kind: type[AnyRecord]) -> AnyRecord | str:
    if isinstance(value, DataError):
        return re.sub(r"^.*?:\d+: ", "", _first_line(value))
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        return _explain(error)


def _explain(error: ValidationError) -> str:
    """The first thing wrong with a record: field and rule."""
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"])
    return f"{field}: {first['msg']}" if field else first["msg"]


def _first_line(error: object) -> str:
    return str(error).partition("\n")[0][:300]


def _stage_names(folder: Path, record: RunRecord) -> list[str]:
    """Evaluated stages, in the order of training."""
    if not (folder / "eval").is_dir():
        return []
    found = sorted(path.name for path in (folder / "eval").iterdir() if path.is_dir() and not path.name.startswith("."))
    ran = [re.sub(r"^eval[/_:. -]", "", name) for name in record.stages]
    order = list(dict.fromkeys(["base", *ran, *_KNOWN_STAGES]))
    return sorted(found, key=lambda name: order.index(name) if name in order else len(order))


def _find_model(config: Mapping[str, Any]) -> str:
    value = config.get("model")
    if isinstance(value, Mapping):
        value = next((value[key] for key in ("name", "path", "id", "model") if value.get(key)), None)
    return value if isinstance(value, str) else ""
