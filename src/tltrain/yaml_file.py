"""YAML files that hold one mapping, with the line of every key for messages."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

import yaml

from tltrain.errors import DataError, UsageError
from tltrain.files import check_file

KeyPath: TypeAlias = tuple[str | int, ...]
"""Keys from the top of a document down to one value."""


@dataclass(frozen=True, kw_only=True, slots=True)
class YamlMapping:
    """What a file holds, and where each of its keys stands."""

    fields: Mapping[str, Any]
    lines: Mapping[KeyPath, str]
    """`file:line` of each key, and the file of the whole, whose path is empty."""


def read_yaml(path: Path) -> YamlMapping:
    """Read a YAML file that holds one mapping.

    Raises:
        UsageError: no such file, not UTF-8, no YAML, a key given twice, or no mapping.
    """
    try:
        check_file(path, "YAML file")
        text = path.read_bytes().decode()
    except DataError as error:
        raise UsageError(str(error)) from None
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: byte {error.start} is not UTF-8; save the file as UTF-8 text") from None
    return parse_yaml(text, source=str(path))


def parse_yaml(text: str, *, source: str) -> YamlMapping:
    """Parse YAML that holds one mapping; `source` names it in messages.

    Raises:
        UsageError: as `read_yaml`.
    """
    loader = None
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        value = loader.construct_document(node) if node else {}
        lines: dict[KeyPath, str] = {(): source}
        lines |= {path: f"{source}:{line}" for path, line in _key_lines(node, ())}
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{source}:{mark.line + 1}" if mark else source
        raise UsageError(f"{place}: no YAML ({error.problem}); correct the line") from None
    except RecursionError:
        raise UsageError(f"{source}: is nested too deeply; write it flat") from None
    except (yaml.YAMLError, ValueError) as error:
        raise UsageError(f"{source}: no YAML ({str(error).splitlines()[0]}); write the file as plain text") from None
    finally:
        if loader:
            loader.dispose()
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise UsageError(f"{source}: should hold lines of `name: value`, and holds a {type(value).__name__}")
    return YamlMapping(fields=value, lines=lines)


class _Loader(yaml.SafeLoader):
    """YAML with the plain scalars of version 1.2: `off` and `no` are texts, 1e-4 is a number, dates are texts."""

    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}  # type: ignore[misc]

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a key is no plain text", key.start_mark)
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key.value} is given twice", key.start_mark)
            seen.add(key.value)
        mapping: dict[Any, Any] = super().construct_mapping(node, deep)
        return mapping


for _tag, _pattern, _first in (
    ("bool", r"true|false|True|False", "tfTF"),
    ("int", r"[-+]?(?:0|[1-9][0-9]*)", "-+0123456789"),
    ("float", r"[-+]?(?:(?:\.[0-9]+|[0-9]+\.[0-9]*)(?:[eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+)", "-+.0123456789"),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"(?:{_pattern})\Z"), list(_first))


def _key_lines(node: Any, path: KeyPath) -> Iterator[tuple[KeyPath, int]]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield (*path, key.value), key.start_mark.line + 1
            yield from _key_lines(value, (*path, key.value))
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield (*path, index), value.start_mark.line + 1
            yield from _key_lines(value, (*path, index))
