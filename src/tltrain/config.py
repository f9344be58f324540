"""Config objects out of YAML files, flags and `field=value` texts."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from tltrain.config_mistakes import dotted, explain, section_classes, short
from tltrain.errors import UsageError
from tltrain.yaml_file import KeyPath, YamlMapping, parse_yaml, read_yaml

Config = TypeVar("Config", bound=BaseModel)
_NO_LINES: Mapping[KeyPath, str] = {}


def load_config(
    kind: type[Config], *, file: Path | None = None, flags: Mapping[str, object] = {}, settings: Sequence[str] = ()
) -> Config:
    """Put a config together; what comes later wins.

    Args:
        kind: the config's class; its defaults fill what nothing sets, in nested sections too.
        file: YAML with some of its fields.
        flags: dotted field name -> value; None means: not given.
        settings: texts `field.sub=value`, the value in YAML.

    Raises:
        UsageError: the file or a text cannot be read, a field is not known, or a value breaks a rule.
    """
    document = read_yaml(file) if file else YamlMapping(fields={}, lines={})
    given = override(document, flags=flags, settings=settings)
    return check_config(kind, given.fields, lines=given.lines)


def override(document: YamlMapping, *, flags: Mapping[str, object], settings: Iterable[str]) -> YamlMapping:
    """A document with flags and settings of the command line over it; see `load_config`.

    Raises:
        UsageError: a setting cannot be read.
    """
    given = merge(unfold({name: value for name, value in flags.items() if value is not None}), parse_settings(settings))
    lines = {**document.lines, **dict.fromkeys(_paths(given, ()), "command line")}
    return YamlMapping(fields=merge(document.fields, given), lines=lines)


def _paths(fields: Mapping[str, Any], above: KeyPath) -> Iterator[KeyPath]:
    for name, value in fields.items():
        yield (*above, name)
        if isinstance(value, Mapping):
            yield from _paths(value, (*above, name))


def check_config(kind: type[Config], given: Mapping[str, Any], *, lines: Mapping[KeyPath, str] = _NO_LINES) -> Config:
    """Build a config from plain values.

    Raises:
        UsageError: with a line for each field that is wrong: where, field, value, rule, remedy.
    """
    try:
        config = kind.model_validate(fill_sections(kind, given))
    except ValidationError as error:
        raise UsageError(explain(error, kind, lines=lines)) from None
    for path, value in _bools_read_as_numbers(given, config.model_dump(mode="json"), ()):
        where = f"{lines[path]}: " if path in lines else ""
        raise UsageError(f"{where}{dotted(path)}={short(value)} should be a number; write one")
    return config


def _bools_read_as_numbers(given: Any, built: Any, path: KeyPath) -> Iterator[tuple[KeyPath, bool]]:
    """Pydantic takes true for 1."""
    if isinstance(given, Mapping) and isinstance(built, Mapping):
        for key in given.keys() & built.keys():
            yield from _bools_read_as_numbers(given[key], built[key], (*path, key))
    elif isinstance(given, bool) and not isinstance(built, bool):
        yield path, given


def dump_config(config: BaseModel) -> str:
    """The config as YAML that `read_yaml` reads back."""
    text: str = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=100)
    return text


def parse_settings(settings: Iterable[str]) -> dict[str, Any]:
    """Nested fields out of texts such as `optimizer.learning_rate=1e-4`; the value is read as YAML.

    Raises:
        UsageError: a text without `=` or name, or a value that is no YAML.
    """
    found: dict[str, Any] = {}
    for text in settings:
        name, sign, value = text.partition("=")
        if not sign or not all(name.strip().split(".")):
            raise UsageError(f"--set {text}: is not of the form field=value; write for example --set seed=1")
        try:
            document = parse_yaml(f"value: {value}", source="value")
        except UsageError:
            raise UsageError(f"--set {text}: {value!r} is no YAML value; quote a text that has signs in it") from None
        found = merge(found, unfold({name.strip(): document.fields["value"]}))
    return found


def unfold(flat: Mapping[str, object]) -> dict[str, Any]:
    """Nested mappings out of dotted names."""
    nested: dict[str, Any] = {}
    for name, value in flat.items():
        *sections, last = name.split(".")
        inner: dict[str, Any] = {last: value}
        for section in reversed(sections):
            inner = {section: inner}
        nested = merge(nested, inner)
    return nested


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Both mappings in one, nested ones too; `over` wins, and replaces a mapping of another `kind` as a whole."""
    if over.get("kind", base.get("kind")) != base.get("kind"):
        return dict(over)
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = merge(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return merged


def fill_sections(kind: type[BaseModel], given: Mapping[str, Any]) -> dict[str, Any]:
    """The given fields, with the rest of each section that is given in part from the section's default."""
    filled = dict(given)
    for name, value in given.items():
        field = kind.model_fields.get(name)
        if field is None or not isinstance(value, Mapping):
            continue
        section = merge(field.default.model_dump(mode="json"), value) if isinstance(field.default, BaseModel) else value
        classes = [one for one in section_classes(field.annotation) if issubclass(one, BaseModel)]
        filled[name] = fill_sections(classes[0], section) if len(classes) == 1 else section
    return filled
