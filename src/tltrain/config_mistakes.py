"""What is wrong with a config, in words: where, field, value, rule, remedy."""

import difflib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from types import NoneType
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, PydanticUndefined

from tltrain.yaml_file import KeyPath

_MAX_SHOWN = 8


def explain(error: ValidationError, kind: Any, *, lines: Mapping[KeyPath, str]) -> str:
    """One line for each mistake: where, field, value, rule, remedy.

    Args:
        error: what pydantic found.
        kind: the class that was to be built.
        lines: `file:line` of keys, where known.
    """
    details = error.errors()
    # An item that is wrong makes its list wrong too; the item says it all.
    inner = {detail["loc"][:end] for detail in details for end in range(len(detail["loc"]))}
    found = [_explain_one(detail, kind, lines) for detail in details if detail["loc"] not in inner]
    more = [f"... and {len(found) - _MAX_SHOWN} more"] if len(found) > _MAX_SHOWN else []
    return "\n".join(found[:_MAX_SHOWN] + more)


def _explain_one(detail: ErrorDetails, kind: Any, lines: Mapping[KeyPath, str]) -> str:
    place = _find(kind, detail["loc"])
    line = lines.get(place.path[:-1] if detail["type"] == "missing" else place.path)
    where = f"{line}: " if line else ""
    name = dotted(place.path)
    message = detail["msg"].removeprefix("Value error, ").removeprefix("Input ")
    match detail["type"]:
        case "extra_forbidden" | "unexpected_keyword_argument":
            return f"{where}{name} is not known; {suggest(str(place.path[-1]), place.names)}"
        case "missing":
            return f"{where}{name} is missing; {place.remedy or 'give it a value'}"
        case "value_error" | "assertion_error":
            # The message of a rule of our own names field, value and remedy itself.
            return f"{where}{name}: {message}" if name else f"{where}{message}"
        case "model_type" | "dict_type" | "dataclass_type":
            message = "should be a section of lines `name: value`"
    value = detail["input"]
    choices = re.findall(r"'([^']*)'", message) if detail["type"] in ("literal_error", "enum") else []
    near = difflib.get_close_matches(value, choices, n=1) if isinstance(value, str) else []
    remedy = f"did you mean {near[0]}?" if near else place.remedy
    return f"{where}{name}={short(value)} {message}" + (f"; {remedy}" if remedy else "")


def suggest(name: str, names: Iterable[str]) -> str:
    """The names most like a wrong one, compared by their last part, or all those without a dot."""
    names = list(names)
    last_parts = {known.rpartition(".")[2]: known for known in reversed(names)}
    near = difflib.get_close_matches(name, last_parts, n=2, cutoff=0.6)
    if near:
        return f"did you mean {' or '.join(last_parts[part] for part in near)}?"
    return f"known are {', '.join(known for known in names if '.' not in known) or 'none'}"


def nearest_of(name: str, names: Iterable[str]) -> str:
    """The names most like a wrong one as a whole, or the first few."""
    names = list(names)
    near = difflib.get_close_matches(name, names, n=2, cutoff=0.6)
    if near:
        return f"did you mean {' or '.join(near)}?"
    more = ", ..." if len(names) > _MAX_SHOWN else ""
    return f"known are {', '.join(names[:_MAX_SHOWN]) or 'none'}{more}"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Place:
    """Where in a tree of config classes a mistake lies."""

    path: KeyPath
    names: tuple[str, ...]
    """What may stand where the last part of the path does, then dotted names of fields in sections below."""
    remedy: str


def _find(kind: Any, location: Sequence[str | int]) -> _Place:
    """Follow pydantic's location, which names the tag of a union besides fields."""
    path: list[str | int] = []
    names: tuple[str, ...] = ()
    default: Any = PydanticUndefined
    candidates = section_classes(kind)
    is_key = False
    for part in location:
        if isinstance(part, str) and part.startswith("("):
            continue  # the tag of a form that a value may have, such as `(word)`
        tagged = [one for one in candidates if isinstance(one, type) and _tag_of(one) == part]
        if tagged:
            candidates = tagged
            continue
        path.append(part)
        if isinstance(part, int) or is_key:
            is_key = False
            continue
        is_key = any(get_origin(_field_types(one).get(part)) is dict for one in candidates)
        names = tuple(name for one in candidates for name in _field_types(one))
        names += tuple(name for one in candidates for name in _nested_names(one))
        default = next((_default_of(one, part) for one in candidates if part in _field_types(one)), PydanticUndefined)
        candidates = [inner for one in candidates for inner in section_classes(_field_types(one).get(part))]
    is_plain = isinstance(default, bool | int | float | str)
    return _Place(path=tuple(path), names=names, remedy=f"the default is {default}" if is_plain else "")


def section_classes(annotation: Any) -> list[type]:
    """The config classes among the alternatives of an annotation."""
    if get_origin(annotation) is Annotated:
        return section_classes(get_args(annotation)[0])
    if isinstance(annotation, type) and (issubclass(annotation, BaseModel) or is_dataclass(annotation)):
        return [annotation]
    return [found for part in get_args(annotation) if part is not NoneType for found in section_classes(part)]


def _field_types(kind: type) -> dict[str, Any]:
    if issubclass(kind, BaseModel):
        return {name: field.annotation for name, field in kind.model_fields.items()}
    return {field.name: field.type for field in fields(kind)} if is_dataclass(kind) else {}


def _nested_names(kind: type) -> Iterator[str]:
    for name, annotation in _field_types(kind).items():
        for section in section_classes(annotation):
            yield from (f"{name}.{inner}" for inner in (*_field_types(section), *_nested_names(section)))


def _default_of(kind: type, name: str) -> Any:
    if issubclass(kind, BaseModel):
        return kind.model_fields[name].default
    default = next(field.default for field in fields(kind) if field.name == name) if is_dataclass(kind) else None
    return PydanticUndefined if default is MISSING else default


def _tag_of(kind: type) -> Any:
    return _default_of(kind, "kind") if "kind" in _field_types(kind) else None


def dotted(path: KeyPath) -> str:
    """The path as people write it."""
    return ".".join(str(part) for part in path)


def short(value: Any) -> str:
    """The value as JSON, cut to 60 characters."""
    try:
        text = json.dumps(value, ensure_ascii=False, default=str)
    except (TypeError, ValueError):
        text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
