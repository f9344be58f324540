"""A file tree: short text files in a few folders, one of them read-only."""

import re
from typing import Annotated, Literal

from tltrain.envs.toolkit import Toolkit, bad_value, refuse, tool

_FOLDERS = ("/home", "/work", "/trips", "/garden", "/school", "/archive")
_TEXTS = {
    "todo.txt": "Buy paint. Call the plumber.",
    "budget.txt": "Rent 900, food 350, travel 120.",
    "packing.txt": "Tent, lantern, rain jacket.",
    "soup.txt": "Leeks, potatoes, cream, thyme.",
    "minutes.txt": "Launch moved to June.",
    "wifi.txt": "Network Heron, password maple27.",
    "goals.txt": "Run a marathon. Learn Finnish.",
    "window.txt": "Frame 120 x 80 cm, oak.",
    "birthdays.txt": "Omar 3 May, Lena 14 July.",
    "seeds.txt": "Carrots in April, beans in May.",
}
_FOLDER_SIZES = (3, 2, 1, 1)
_MAX_CHARACTERS = 120
_NAME_PATTERN = r"[\w-]+\.[a-z]+"
_PATH = Annotated[str, "/folder/name.txt"]
_FOLDER = Annotated[str, "/folder"]


class Files(Toolkit):
    """Text files by path, one folder deep. The read-only file is alone in its folder."""

    name = "files"

    def __init__(self, seed: int):
        super().__init__(seed)
        self.folders: list[str] = self.rng.sample(_FOLDERS, len(_FOLDER_SIZES))
        places = [folder for folder, size in zip(self.folders, _FOLDER_SIZES, strict=True) for _ in range(size)]
        names = self.rng.sample(list(_TEXTS), len(places))
        self.files: dict[str, str] = {
            f"{place}/{name}": _TEXTS[name] for place, name in zip(places, names, strict=True)
        }
        self.read_only: list[str] = [f"{places[-1]}/{names[-1]}"]

    @tool
    def find_files_by_name(self, name: str) -> list[str]:
        """Paths of files whose name contains a text."""
        return sorted(path for path in self.files if name.lower() in path.rpartition("/")[2].lower())

    @tool
    def find_files_by_text(self, text: str) -> list[str]:
        """Paths of files whose content contains a text."""
        return sorted(path for path, content in self.files.items() if text.lower() in content.lower())

    @tool
    def find_files_in_folder(self, folder: _FOLDER) -> list[str]:
        """Paths of all files in a folder."""
        self._check_folder(folder)
        return sorted(path for path in self.files if path.rpartition("/")[0] == folder)

    @tool
    def read_file(self, path: _PATH) -> str:
        """Content of a file."""
        self._check_file(path)
        return self.files[path]

    @tool
    def write_file(self, path: _PATH, text: str, mode: Literal["create", "replace", "append"]) -> dict[str, str | int]:
        """Create a file, replace its text, or append to it."""
        content = text
        if mode == "create":
            _check_path(path)
            self._check_folder(path.rpartition("/")[0])
            self._check_unused(path)
        else:
            self._check_writable(path)
            content = f"{self.files[path]} {text}" if mode == "append" else text
        if len(content) > _MAX_CHARACTERS:
            raise refuse(f"{path!r} would hold {len(content)} characters; at most {_MAX_CHARACTERS} are allowed")
        self.files[path] = content
        return {"path": path, "characters": len(content)}

    @tool
    def move_file(self, path: _PATH, folder: _FOLDER, new_name: str | None = None) -> dict[str, str]:
        """Move a file into a folder and optionally rename it."""
        self._check_writable(path)
        self._check_folder(folder)
        if new_name is not None and not re.fullmatch(_NAME_PATTERN, new_name):
            raise bad_value(f"new_name must look like name.txt, got {new_name!r}")
        target = f"{folder}/{new_name or path.rpartition('/')[2]}"
        self._check_unused(target)
        self.files[target] = self.files.pop(path)
        return {"path": target}

    @tool
    def delete_file(self, path: _PATH) -> str:
        """Delete a file."""
        self._check_writable(path)
        del self.files[path]
        return "deleted"

    def _check_folder(self, folder: str) -> None:
        if folder not in self.folders:
            raise refuse(f"no folder {folder!r}; there are {', '.join(self.folders)}")

    def _check_file(self, path: str) -> None:
        _check_path(path)
        if path not in self.files:
            raise refuse(f"no file {path!r}")

    def _check_writable(self, path: str) -> None:
        self._check_file(path)
        if path in self.read_only:
            raise refuse(f"{path!r} is read-only")

    def _check_unused(self, path: str) -> None:
        if path in self.files:
            raise refuse(f"{path!r} exists already")


def _check_path(path: str) -> None:
    if not re.fullmatch(rf"/\w+/{_NAME_PATTERN}", path):
        raise bad_value(f"path must look like /folder/name.txt, got {path!r}")
