"""Rows out of the files of a mixture, whatever their format."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from tltrain.corpus.config import DataFile, MixConfig
from tltrain.errors import DataError
from tltrain.files import check_file
from tltrain.formats.base import Companions
from tltrain.formats.quarantine import BadRow
from tltrain.formats.read import iterate_trajectories
from tltrain.types import Trajectory

_ENDINGS = tuple(f"{ending}{zipped}" for ending in (".json", ".jsonl", ".ndjson", ".parquet") for zipped in ("", ".gz"))


def iterate_rows(file: DataFile, set_aside: Callable[[BadRow], None]) -> Iterator[Trajectory]:
    """Stream the rows of a file, or of a folder of files of one kind.

    Args:
        file: which, and how to read it.
        set_aside: given each row that cannot be read.

    Raises:
        DataError: the file as a whole cannot be read, or, at its end, none of its rows could.
        UsageError: no such format.
    """
    companions = Companions(tools=file.tools, answers=file.answers)
    num_good, first_reason, num_bad = 0, "", 0
    for item in iterate_trajectories(file.path, format=file.format, companions=companions):
        if isinstance(item, Trajectory):
            num_good += 1
            yield item
        else:
            num_bad += 1
            first_reason = first_reason or item.reason
            set_aside(item)
    if not num_good:
        raise DataError(f"{file.path}: none of {num_bad} rows can be read. First: {first_reason}")


def input_files(config: MixConfig) -> dict[str, Path]:
    """All files that decide the result, by what they are; a folder stands for the data files in it.

    Raises:
        DataError: one is missing; names what there is of similar names.
    """
    found: dict[str, Path] = {}
    for name, file in _named(config):
        inside = data_files(file.path)
        keys = [name if path == file.path else f"{name}/{path.relative_to(file.path)}" for path in inside]
        found |= dict(zip(keys, inside, strict=True))
        for part, path in (("tools", file.tools), ("answers", file.answers)):
            if path is not None:
                check_file(path, f"file of {part}")
                found[f"{name}.{part}"] = path
    return found


def _named(config: MixConfig) -> Iterator[tuple[str, DataFile]]:
    for train in config.train:
        yield f"train.{train.name}", train
    if config.test:
        yield "test", config.test
    for number, file in enumerate(config.decontaminate.against):
        yield f"against.{number}", file


def data_files(path: Path) -> list[Path]:
    """The file itself, or the data files in a folder and below it, by name.

    Raises:
        DataError: there is no such file, or none in the folder.
    """
    if not path.is_dir():
        check_file(path, "file of trajectories")
        return [path]
    inside = [file for file in sorted(path.rglob("*")) if file.name.endswith(_ENDINGS) and file.is_file()]
    if not inside:
        raise DataError(f"{path}: holds no file that ends in {', '.join(_ENDINGS)}; name another folder")
    return inside


def expand_folders(files: Iterable[DataFile]) -> list[DataFile]:
    """The files, with all data files in and below it in place of each folder.

    Raises:
        DataError: see `data_files`.
    """
    return [file.model_copy(update={"path": path}) for file in files for path in data_files(file.path)]
