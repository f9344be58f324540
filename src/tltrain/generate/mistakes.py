"""Wrong calls as language models make them: one proposal function for each kind of error. Pure and seeded.

A proposal is only a candidate: whether it fails, and how, is for the sandbox to say.
"""

import ast
import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tltrain.taxonomy import CallError, json_equal
from tltrain.types import AnyCall, Json, MalformedCall, Tool, ToolCall

Scalar = str | int | float


@dataclass(frozen=True, kw_only=True, slots=True)
class Scene:
    """What lies before a teacher at the moment it errs."""

    right: ToolCall
    """The call that the plan makes here; its tool is on offer."""
    tools: tuple[Tool, ...]
    """The tools on offer."""
    seen: tuple[Scalar, ...] = ()
    """Values that earlier feedback has shown, for mix-ups."""

    @property
    def tool(self) -> Tool:
        """The document of the right call's tool."""
        return next(tool for tool in self.tools if tool.name == self.right.name)

    @property
    def values(self) -> tuple[Scalar, ...]:
        """Values at hand: the right call's own, then those of earlier feedback."""
        own = tuple(value for value in self.right.arguments.values() if isinstance(value, Scalar))
        return own + self.seen


Proposal = Callable[[Scene, random.Random], AnyCall | None]


def propose_mistake(kind: CallError, scene: Scene, rng: random.Random) -> AnyCall | None:
    """A call that errs in this way where the scene's right call belongs; None if that is not possible here."""
    return PROPOSALS[kind](scene, rng)


# Tool hallucination: a plausible name that is not on offer

_VERBS = {
    "add": ("create", "insert", "append"),
    "book": ("reserve", "create_booking"),
    "cancel": ("delete", "revoke"),
    "convert": ("transform", "calculate", "to"),
    "count": ("get_number_of", "tally"),
    "create": ("add", "new", "make"),
    "delete": ("remove", "drop", "erase"),
    "find": ("search", "lookup", "query"),
    "get": ("fetch", "retrieve", "read", "lookup"),
    "list": ("get_all", "show", "enumerate"),
    "move": ("reschedule", "relocate", "update"),
    "read": ("open", "get", "load"),
    "remove": ("delete", "drop"),
    "rename": ("update_name", "change_name"),
    "search": ("find", "query", "lookup"),
    "send": ("post", "submit", "transmit"),
    "set": ("update", "change", "configure"),
    "update": ("edit", "modify", "change", "set"),
    "write": ("save", "put", "store"),
}
_OTHER_VERBS = ("get", "run", "do", "perform")
_TAILS = ("details", "info", "by_name", "v2", "all")


def _propose_undefined_tool(scene: Scene, rng: random.Random) -> AnyCall | None:
    name = scene.right.name
    verb, _, rest = name.partition("_")
    other = rng.choice(_VERBS.get(verb, _OTHER_VERBS))
    names = [
        f"{other}_{rest}" if rest else f"{other}_{name}",
        f"{other}_{rest}" if verb in _VERBS and rest else f"{name}_tool",
        f"{name}_{rng.choice(_TAILS)}",
        re.sub(r"_(\w)", lambda match: match[1].upper(), name) if rest else f"{name}Tool",
        rest or f"{name}s",
        name.removesuffix("s") if name.endswith("s") else f"{name}s",
    ]
    offered = {tool.name for tool in scene.tools}
    undefined = [name for name in names if name not in offered]
    return ToolCall(name=rng.choice(undefined), arguments=scene.right.arguments) if undefined else None


# Wrong tool: a sibling, the more likely the more leading words its name shares


def _propose_sibling(scene: Scene, rng: random.Random) -> AnyCall | None:
    siblings = [tool for tool in scene.tools if tool.name != scene.right.name]
    if not siblings:
        return None
    weights = [1 + 3 * _num_shared_words(tool.name, scene.right.name) for tool in siblings]
    sibling = rng.choices(siblings, weights)[0]
    keeps_arguments = rng.random() < 0.25
    arguments = scene.right.arguments if keeps_arguments else _fit_arguments(sibling, scene, rng)
    return ToolCall(name=sibling.name, arguments=arguments)


def _num_shared_words(name: str, other: str) -> int:
    shared = 0
    for word, other_word in zip(name.split("_"), other.split("_"), strict=False):
        if word != other_word:
            break
        shared += 1
    return shared


def _fit_arguments(tool: Tool, scene: Scene, rng: random.Random) -> dict[str, Json]:
    """Arguments for another tool: values of the right call under their names, the rest filled with what is at hand."""
    arguments: dict[str, Json] = {}
    for name, schema in tool.properties.items():
        if name in scene.right.arguments:
            arguments[name] = scene.right.arguments[name]
        elif name in tool.required:
            arguments[name] = _stand_in(schema, scene, rng)
    return arguments


def _stand_in(schema: Json, scene: Scene, rng: random.Random) -> Json:
    """A value of the schema's type, out of the scene where it has one."""
    details: Mapping[str, Json] = schema if isinstance(schema, Mapping) else {}
    choices = details.get("enum")
    if isinstance(choices, list) and choices:
        return rng.choice(choices)
    match details.get("type"):
        case "integer":
            numbers = [value for value in scene.values if isinstance(value, int) and not isinstance(value, bool)]
            return rng.choice(numbers or [1, 2, 5, 10])
        case "number":
            floats = [value for value in scene.values if not isinstance(value, str | bool)]
            return rng.choice(floats or [1.0, 2.5, 10.0])
        case "boolean":
            return rng.random() < 0.5
        case "array":
            return [_stand_in(details.get("items"), scene, rng)]
        case "object":
            return {}
    texts = [value for value in scene.values if isinstance(value, str) and len(value) <= 60]
    return rng.choice(texts or ["all", "default", "main"])


# Parameters: one that the tool does not have, one too many, one too few

_INVENTED: tuple[tuple[str, Json], ...] = (
    ("user_id", "me"),
    ("timezone", "UTC"),
    ("format", "json"),
    ("verbose", True),
    ("limit", 10),
    ("language", "en"),
    ("include_details", True),
    ("account", "default"),
    ("confirm", True),
    ("reason", "requested by user"),
    ("sort_by", "date"),
    ("page", 1),
)
_PARAMETER_SYNONYMS = {
    "amount": "value",
    "category": "type",
    "city": "location",
    "day": "date",
    "destination": "to",
    "end": "end_time",
    "folder": "directory",
    "name": "full_name",
    "number": "num",
    "origin": "from_city",
    "path": "file_path",
    "query": "q",
    "quantity": "count",
    "start": "start_time",
    "tag": "label",
    "text": "content",
    "title": "name",
    "value": "val",
}


def _propose_invented_parameter(scene: Scene, rng: random.Random) -> AnyCall | None:
    known = scene.tool.properties
    arguments = dict(scene.right.arguments)
    if arguments and rng.random() < 0.5:
        old = rng.choice(list(arguments))
        new = _rename_parameter(old, rng)
        if new in known:
            return None
        return _replace_arguments(scene, {new if name == old else name: value for name, value in arguments.items()})
    name, value = rng.choice([item for item in _INVENTED if item[0] not in known])
    return _replace_arguments(scene, arguments | {name: value})


def _rename_parameter(name: str, rng: random.Random) -> str:
    head, _, tail = name.rpartition("_")
    names = [_PARAMETER_SYNONYMS.get(name, f"{name}_value")]
    if head:
        names += [tail, head, re.sub(r"_(\w)", lambda match: match[1].upper(), name)]
    return rng.choice(names)


def _propose_redundant_parameter(scene: Scene, rng: random.Random) -> AnyCall | None:
    unused = [name for name in scene.tool.properties if name not in scene.right.arguments]
    if not unused:
        return None
    name = rng.choice(unused)
    schema = scene.tool.properties[name]
    value = _stand_in(schema, scene, rng)
    if rng.random() < 0.7:
        value = rng.choice(_spoil(value, schema, scene) or [value])
    return _replace_arguments(scene, {**scene.right.arguments, name: value})


def _propose_missing_parameter(scene: Scene, rng: random.Random) -> AnyCall | None:
    if not scene.right.arguments:
        return None
    dropped = rng.choice(list(scene.right.arguments))
    return _replace_arguments(scene, {name: value for name, value in scene.right.arguments.items() if name != dropped})


def _replace_arguments(scene: Scene, arguments: Mapping[str, Json]) -> ToolCall:
    return ToolCall(name=scene.right.name, arguments=arguments)


# Content: the right parameters with a wrong value

_DAY = re.compile(r"(\d{4})-(\d{2})-(\d{2})")
_TIME = re.compile(r"([01]\d|2[0-3]):([0-5]\d)")
_MONTHS = ("Jan", "Feb", "March", "April", "May", "June", "July", "Aug", "Sept", "Oct", "Nov", "Dec")


def _propose_wrong_value(scene: Scene, rng: random.Random) -> AnyCall | None:
    if not scene.right.arguments:
        return None
    name = rng.choice(list(scene.right.arguments))
    spoilt = _spoil(scene.right.arguments[name], scene.tool.properties.get(name), scene)
    return _replace_arguments(scene, {**scene.right.arguments, name: rng.choice(spoilt)}) if spoilt else None


def _spoil(value: Json, schema: Json, scene: Scene) -> list[Json]:
    """Wrong values that a model may write in place of this one."""
    wrong: list[Json]
    match value:
        case bool():
            wrong = [not value, str(value).lower(), "yes"]
        case int() | float():
            wrong = [str(value), -value, value * 10, 0, f"{value} units"]
        case str():
            wrong = _spoil_text(value, schema)
            wrong += [other for other in scene.values if isinstance(other, str) and len(other) <= 60]
        case list():
            wrong = [", ".join(str(item) for item in value), value[:1], [], *value[:1]]
        case dict():
            wrong = [str(value), dict(list(value.items())[1:])]
        case _:
            wrong = ["none"]
    return [other for other in wrong if not json_equal(other, value)]


def _spoil_text(value: str, schema: Json) -> list[Json]:
    if day := _DAY.fullmatch(value):
        year, month, number = day.groups()
        written = f"{_MONTHS[(int(month) - 1) % 12]} {int(number)}"
        return [
            f"{number}/{month}/{year}",
            written,
            f"{written}, {year}",
            "tomorrow",
            f"{year}-{int(month)}-{int(number)}",
        ]
    if time := _TIME.fullmatch(value):
        hour = int(time[1])
        return [f"{hour % 12 or 12} {'am' if hour < 12 else 'pm'}", f"{hour}h{time[2]}", f"{hour}.{time[2]}", hour]
    if isinstance(schema, Mapping) and "enum" in schema:
        return [f"{value}s", value.title(), value.upper(), "any", ""]
    if any(character.isdigit() for character in value) and " " not in value:
        digits = re.sub(r"\D", "", value)
        last = str((int(value[-1]) + 1) % 10) if value[-1].isdecimal() else "x"
        return [value[:-1], value[:-1] + last, value.swapcase(), f"<{value}>", int(digits) if digits.isascii() else 0]
    return [value[:-1], value.partition(" ")[0], f"the {value}", f"{value}s", "", None, [value]]


# Format: text that is no call

_BREAKAGES: tuple[tuple[str, Callable[[str], str]], ...] = (
    ("a string is never closed", lambda text: re.sub(r"'(?=[^']*$)", "", text, count=1)),
    ("the parenthesis of the call is never closed", lambda text: text[:-1]),
    ("':' in place of '=' after a parameter's name", lambda text: text.replace("=", ": ")),
    ("a comma is missing between two parameters", lambda text: text.replace(", ", " ", 1)),
    ("the call breaks off in the middle", lambda text: text[: max(len(text) * 2 // 3, text.index("(") + 1)]),
)


def _propose_malformed(scene: Scene, rng: random.Random) -> AnyCall | None:
    listed = ", ".join(f"{name}={value!r}" for name, value in scene.right.arguments.items())
    text = f"{scene.right.name}({listed})"
    broken = [(reason, spoil(text)) for reason, spoil in _BREAKAGES]
    unreadable = [(reason, raw) for reason, raw in broken if not _is_python(raw)]
    if not unreadable:
        return None
    reason, raw = rng.choice(unreadable)
    return MalformedCall(raw=raw, reason=reason)


def _is_python(text: str) -> bool:
    try:
        ast.parse(text, mode="eval")
    except SyntaxError:
        return False
    return True


PROPOSALS: Mapping[CallError, Proposal] = {
    CallError.TOOL_HALLUCINATION: _propose_undefined_tool,
    CallError.WRONG_TOOL: _propose_sibling,
    CallError.PARAM_HALLUCINATED: _propose_invented_parameter,
    CallError.PARAM_REDUNDANT: _propose_redundant_parameter,
    CallError.PARAM_MISSING: _propose_missing_parameter,
    CallError.CONTENT: _propose_wrong_value,
    CallError.FORMAT: _propose_malformed,
}


def scalars_of(value: Json) -> Sequence[Scalar]:
    """All texts and numbers inside a decoded result, in order."""
    match value:
        case bool() | None:
            return ()
        case str() | int() | float():
            return (value,)
        case list():
            return tuple(scalar for item in value for scalar in scalars_of(item))
    return tuple(scalar for item in value.values() for scalar in scalars_of(item))
