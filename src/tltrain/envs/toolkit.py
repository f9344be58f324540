"""From a class of annotated Python methods to tools: schemas out of signatures, checked calls, refusals.

A kit is a `Toolkit` whose public tools are methods marked `@tool`. The schema comes from the signature
(`Annotated[str, "hint"]` gives a parameter its description, a default makes it optional), the description from the
first line of the docstring.
"""

import copy
import inspect
import random
from collections.abc import Callable, Mapping
from functools import cache
from typing import Annotated, Any, ClassVar, NamedTuple, TypeVar, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter, ValidationError

from tltrain.taxonomy import FeedbackKind
from tltrain.types import Json, Tool

Method = TypeVar("Method", bound=Callable[..., Any])


class ToolFault(Exception):  # noqa: N818 - a fault is an answer here, no bug
    """A call that a tool does not carry out. Raised before any state has changed."""

    def __init__(self, message: str, kind: FeedbackKind = FeedbackKind.REFUSED):
        super().__init__(message)
        self.kind = kind


def refuse(message: str) -> ToolFault:
    """A fault by the tool's own rules: not found, not allowed, not enough."""
    return ToolFault(message, FeedbackKind.REFUSED)


def bad_value(message: str) -> ToolFault:
    """A fault of an argument's value: wrong format, out of range."""
    return ToolFault(message, FeedbackKind.TYPE_OR_VALUE)


def tool(method: Method) -> Method:
    """Mark a method of a `Toolkit` as a tool."""
    method.__is_tool__ = True  # type: ignore[attr-defined]
    return method


class _Parameter(NamedTuple):
    check: TypeAdapter[Any]
    schema: Json
    is_required: bool


class Toolkit:
    """Base of the sandbox's kits: a named set of tools that act on one state.

    Subclasses set `name`, build their state in `__init__` from `self.rng` alone, and keep it in attributes without
    a leading underscore, all of them plain JSON values (lists, dicts, strings, numbers), so that `snapshot` sees them.
    """

    name: ClassVar[str]
    _methods: ClassVar[dict[str, Callable[..., Any]]]

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls._methods = {name: value for name, value in vars(cls).items() if getattr(value, "__is_tool__", False)}

    def __init__(self, seed: int):
        self._rng = random.Random(f"{self.name}:{seed}")

    @property
    def rng(self) -> random.Random:
        """Source of the initial state; tools themselves never draw from it."""
        return self._rng

    @classmethod
    def tools(cls) -> tuple[Tool, ...]:
        """The kit's tools in the order of definition."""
        return tuple(_describe(name, method) for name, method in cls._methods.items())

    def call(self, name: str, arguments: Mapping[str, Json], *, shown_as: str | None = None) -> Json:
        """Check the arguments against the signature and run the tool.

        Args:
            name: of the tool.
            arguments: by parameter.
            shown_as: the name that messages use; None: its own.

        Raises:
            ToolFault: missing, unexpected or ill-typed arguments, or a refusal of the tool itself.
        """
        method = self._methods[name]
        parameters, name = _parameters(method), shown_as or name
        missing = [key for key, parameter in parameters.items() if parameter.is_required and key not in arguments]
        if missing:
            listed = " and ".join(repr(key) for key in missing)
            plural = "" if len(missing) == 1 else "s"
            message = f"{name}() missing {len(missing)} required argument{plural}: {listed}"
            raise ToolFault(message, FeedbackKind.MISSING_ARGUMENT)
        for key in arguments:
            if key not in parameters:
                message = f"{name}() got an unexpected keyword argument {key!r}"
                raise ToolFault(message, FeedbackKind.UNEXPECTED_ARGUMENT)
        for key, value in arguments.items():
            try:
                parameters[key].check.validate_python(value, strict=True)
            except ValidationError as error:
                raise bad_value(f"{name}(): argument {key!r}: {error.errors()[0]['msg']}, got {value!r}") from None
        result: Json = method(self, **copy.deepcopy(dict(arguments)))
        return result

    def snapshot(self) -> Json:
        """The state as JSON; equal for equal states."""
        return copy.deepcopy({key: value for key, value in vars(self).items() if not key.startswith("_")})


@cache
def _parameters(method: Callable[..., Any]) -> dict[str, _Parameter]:
    hints = get_type_hints(method, include_extras=True)
    parameters = {}
    for name, parameter in list(inspect.signature(method).parameters.items())[1:]:
        is_required = parameter.default is inspect.Parameter.empty
        parameters[name] = _Parameter(TypeAdapter(hints[name]), _schema(hints[name]), is_required)
    return parameters


def _schema(hint: Any) -> Json:
    """JSON Schema of one annotation; an optional value is described by its type alone, as tool documents do."""
    description = None
    if get_origin(hint) is Annotated:
        hint, description, *_ = get_args(hint)
    alternatives = [part for part in get_args(hint) if part is not type(None)]
    if len(alternatives) == 1 and type(None) in get_args(hint):
        hint = alternatives[0]
    schema = {key: value for key, value in TypeAdapter(hint).json_schema().items() if key != "title"}
    return schema | {"description": description} if description else schema


@cache
def _describe(name: str, method: Callable[..., Any]) -> Tool:
    parameters = _parameters(method)
    schema: dict[str, Json] = {
        "type": "object",
        "properties": {key: parameter.schema for key, parameter in parameters.items()},
        "required": [key for key, parameter in parameters.items() if parameter.is_required],
    }
    first_line = (inspect.getdoc(method) or "").partition("\n")[0]
    return Tool(name=name, description=first_line, parameters=schema)
