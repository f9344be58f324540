"""The folder that holds the public test sets: files found, their checksums compared, their content decoded.

Nothing is fetched. A set that is not there is named, with what to fetch and where to put it.
"""

import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from tltrain.benches.checksums import CHECKSUMS, TOOL_LIBRARY
from tltrain.errors import DataError, UsageError
from tltrain.files import decode_json, hash_file, read_json_lines
from tltrain.types import Json

VARIABLE = "TLTRAIN_DATA"
"""Environment variable that names the folder where no option does."""

SOURCES = {
    "toolalpaca": "data/eval_real.json of github.com/tangqiaoyu/ToolAlpaca at 189069998d64a7baf1b4a1c3c4b2e75eb9d05532",
    "rotbench": "Data/First_Turn of github.com/Junjie-Ye/RoTBench at 637e43ae9a978036774c92bb2ab11a83609e304b",
    "bfcl": "bfcl_eval/data of the PyPI package bfcl-eval 2026.3.23",
    "tooleyes": "Test_Data and Tool_Library/**/config_gpt4.json of github.com/Junjie-Ye/ToolEyes at "
    "c818fcebe017951570a25e552a7984e40093fd52",
}
"""Set -> where its files come from."""


def resolve_data_dir(option: Path | None) -> Path:
    """The folder that an option or the environment names.

    Raises:
        UsageError: neither names one, or there is no such folder.
    """
    named = option or (Path(os.environ[VARIABLE]) if os.environ.get(VARIABLE) else None)
    if named is None:
        raise UsageError(f"no folder of test sets; give --data-dir, or set {VARIABLE}")
    if not named.is_dir():
        origin = "--data-dir" if option else VARIABLE
        raise UsageError(f"{origin}={named} is no folder; name the one that holds {', '.join(SOURCES)}")
    return named


class DataFolder:
    """Reads files of the test sets.

    Args:
        root: holds a folder for each set.
        allow_changed: take files whose checksum is not the published one; `changed` lists them.
        more: set -> a folder of its files, for those that `root` lacks.
    """

    def __init__(self, root: Path, *, allow_changed: bool = False, more: Mapping[str, Path] | None = None):
        self._root = root
        self._more = more or {}
        self._allow_changed = allow_changed
        self.changed: list[str] = []
        """Files read so far that differ from the published ones."""

    def find(self, name: str) -> Path:
        """The path of a file such as `rotbench/First_Turn/clean.json`, once its checksum is compared.

        Raises:
            DataError: it is not there, or differs from the published one.
        """
        path = self._root / name
        part, _, rest = name.partition("/")
        if not path.is_file() and part in self._more and (self._more[part] / rest).is_file():
            path = self._more[part] / rest
        if not path.is_file():
            raise DataError(f"{path} is missing; fetch {SOURCES[part]}, and put it there")
        self._compare(name, path, hash_file(path), CHECKSUMS.get(name, ()))
        return path

    def read_json(self, name: str) -> Json:
        """A file that is one JSON document.

        Raises:
            DataError: as for `find`, or the file is no JSON.
        """
        path = self.find(name)
        try:
            return decode_json(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise DataError(f"{path}: {error}; fetch it anew") from None

    def read_rows(self, name: str) -> Iterator[tuple[str, dict[str, Json]]]:
        """Where each row stands, and the row, of a JSON Lines file.

        Raises:
            DataError: as for `find`, or a line is no JSON object.
        """
        path = self.find(name)
        for number, row in read_json_lines(path):
            if isinstance(row, DataError):
                raise row
            yield f"{path}:{number}", row

    def read_tool_library(self) -> dict[str, Json]:
        """The tool documents of ToolEyes: folder below `tooleyes`, such as `Tool_Library/IP/IP` -> its list of tools.

        Raises:
            DataError: as for `read_json`.
        """
        root = self._root / "tooleyes"
        paths = sorted(path.relative_to(root).as_posix() for path in root.glob("Tool_Library/*/*/config_gpt4.json"))
        if not paths:
            raise DataError(f"{root / 'Tool_Library'} is missing; fetch {SOURCES['tooleyes']}, and put it there")
        lines = "".join(f"{hash_file(root / path)}  {path}\n" for path in paths)
        found = hashlib.sha256(lines.encode()).hexdigest()
        self._compare("tooleyes/Tool_Library", root / "Tool_Library", found, (TOOL_LIBRARY,))
        library: dict[str, Json] = {}
        for path in paths:
            try:
                library[path.rpartition("/")[0]] = decode_json((root / path).read_text(encoding="utf-8"))
            except ValueError as error:
                raise DataError(f"{root / path}: {error}; fetch it anew") from None
        return library

    def _compare(self, name: str, path: Path, found: str, known: tuple[str, ...]) -> None:
        if found in known or name in self.changed:
            return
        if not self._allow_changed:
            published = " or ".join(known) or "none that is known"
            raise DataError(
                f"{path} has SHA-256 {found}, the published one is {published}; scores on changed data "
                "compare with nothing: fetch it anew, or pass --allow-changed"
            )
        self.changed.append(name)
