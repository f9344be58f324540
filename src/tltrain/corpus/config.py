"""Settings of a mixture: which files, how much of each, what is held out, and what is removed."""

from collections import Counter
from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

Deduplicate = Literal["exact", "near", "off"]
"""Which duplicates are removed: equal rows; besides them, rows with the same tools and nearly the same query; none."""

_NO_NAMES = frozenset({"data", "train", "test"})
"""Stems that say nothing without their folder."""


class Action(StrEnum):
    """What happens to a training row that is in a test set."""

    DROP = "drop"
    """It is removed, and listed."""
    REFUSE = "refuse"
    """Nothing is made."""
    WARN = "warn"
    """It stays, and is counted."""


class DataFile(BaseModel):
    """A file of trajectories, and how to read it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: Path
    """In a recipe: relative to its folder."""
    format: str | None = None
    """Name of a format; None finds it out from the file."""
    tools: Path | None = None
    """Second file with the tools, for rows that carry none."""
    answers: Path | None = None
    """Second file with the right calls, for rows that hold questions alone."""


class TrainFile(DataFile):
    """One part of a mixture."""

    name: str | None = Field(default=None, min_length=1)
    """What its rows are called by where their provenance names no source; None: the file's name without its ending."""
    weight: float = Field(default=1.0, gt=0, le=1000)
    """How often each row is in the training data: 2 is twice, 0.5 a half of the rows, 2.5 each twice and a half of them
    once more; the number of rows is rounded. Rows for validation are not repeated."""
    cap: int | None = Field(default=None, ge=1)
    """At most so many different rows, chosen by the seed, after duplicates and test rows are gone."""


class ValidationSplit(BaseModel):
    """Tasks that are kept out of training, so that training can be measured on them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    share: float = Field(gt=0, lt=1)
    """Of the rows; as near to it as whole tasks allow."""
    by: tuple[str, ...] = ()
    """Fields of the provenance whose values together name the task, such as task_id, or template and seed; dots lead
    into objects. Rows without them, and all rows if none is given: the first query with the names of the tools."""
    seed: int | None = None
    """None: the seed of the mixture."""

    @field_validator("by", mode="before")
    @classmethod
    def _wrap(cls, given: Any) -> Any:
        return (given,) if isinstance(given, str) else given

    @field_validator("by")
    @classmethod
    def _strip(cls, given: tuple[str, ...]) -> tuple[str, ...]:
        fields = tuple(field.removeprefix("provenance.") for field in given)
        for field in fields:
            if not all(field.split(".")):
                raise ValueError(f"{field!r} is no field; write one such as provenance.task_id")
        return fields


class Decontaminate(BaseModel):
    """What is done about training rows that are in a test set."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    against: tuple[DataFile, ...] = ()
    """Files or folders, besides the data's own test file, which is always among them."""
    action: Action = Action.WARN
    near_threshold: float = Field(default=0.7, gt=0, le=1)
    """Likeness of two queries over the same tools from which on they count as one; see `corpus.near`."""

    @field_validator("against", mode="before")
    @classmethod
    def _wrap(cls, given: Any) -> Any:
        items = given if isinstance(given, list | tuple) else [given]
        return [_as_file(item) for item in items]


class MixConfig(BaseModel):
    """The data of a run: its `train` and `test` files, and what is done to them.

    Raises (on construction):
        ValidationError: a field out of its range, or two files of one name.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    train: tuple[TrainFile, ...] = Field(min_length=1)
    """One file, or a list of files with their shares."""
    test: DataFile | None = None
    """What the model is measured on; needed where a recipe has `eval`."""
    validation: ValidationSplit | None = None
    deduplicate: Deduplicate = "off"
    """Equal rows are counted in any case."""
    near_threshold: float = Field(default=0.8, gt=0, le=1)
    """Likeness of two queries over the same tools from which on `deduplicate: near` takes them for one."""
    decontaminate: Decontaminate = Decontaminate()
    seed: int = 0

    @field_validator("train", mode="before")
    @classmethod
    def _wrap_train(cls, given: Any) -> Any:
        items = given if isinstance(given, list | tuple) else [given]
        return [_as_file(item) for item in items]

    @field_validator("test", mode="before")
    @classmethod
    def _wrap_test(cls, given: Any) -> Any:
        return _as_file(given)

    @field_validator("train")
    @classmethod
    def _name(cls, files: tuple[TrainFile, ...]) -> tuple[TrainFile, ...]:
        return tuple(
            file.model_copy(update={"name": name}) for file, name in zip(files, source_names(files), strict=True)
        )

    @model_validator(mode="after")
    def _check_names(self) -> Self:
        twice = [name for name, count in Counter(file.name for file in self.train).items() if count > 1]
        if twice:
            raise ValueError(f"train: two files are called {twice[0]}; give one of them another name")
        return self


def source_names(files: tuple[TrainFile, ...]) -> Iterator[str]:
    """A name for each file: its own, or that of the file on disk, with the folder where that alone does not tell."""
    stems = Counter(_stem(file.path) for file in files)
    for file in files:
        stem = _stem(file.path)
        is_plain = stems[stem] == 1 and (len(files) == 1 or stem not in _NO_NAMES)
        yield file.name or (stem if is_plain else f"{file.path.absolute().parent.name}/{stem}")


def _stem(path: Path) -> str:
    return path.name.partition(".")[0] or path.name


def _as_file(given: Any) -> Any:
    """A path alone stands for a file without settings."""
    if isinstance(given, str | Path):
        return {"path": given}
    return dict(given) if isinstance(given, Mapping) else given
