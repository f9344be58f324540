"""BFCL's check of calls against right answers that list the allowed values of each parameter, for Python.

Source: `eval_checker/ast_eval/ast_checker.py` of the package bfcl-eval 2026.3.23, whose verdicts and error types these
are, case by case. What follows is its rules, not its text.

A parameter's allowed values hold "" where it may be left out. Values compare by type first (an integer passes for a
float), then: strings without case and without blanks and `,./-_*^`; lists item by item, their strings likewise; objects
key by key, each key with allowed values of its own; anything else by equality. Where all allowed values are of another
type than the document says, a value of that type stands for a variable, and is compared by equality.
"""

import re
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, NamedTuple

from tltrain.benches.bfcl_decode import DecodedCall

_OPTIONAL = ""
_TYPES: dict[str, type] = {
    "string": str,
    "any": str,
    "integer": int,
    "float": float,
    "boolean": bool,
    "array": list,
    "tuple": list,
    "dict": dict,
}
_NESTED = ("array", "tuple")
_IGNORED = re.compile(r"[ ,./\-_*^]")


class CallCount(StrEnum):
    """How many calls a category asks for, and of what."""

    SIMPLE = "simple"
    """One call; one tool is on offer."""
    MULTIPLE = "multiple"
    """One call; the tool is to be chosen."""
    PARALLEL = "parallel"
    """Several calls, in any order."""


class Fault(NamedTuple):
    """Why an answer is wrong."""

    error_type: str
    """In the official words."""
    parameter: str = ""


CRASH = "checker_crash"
"""Error type, of ours, of an answer at which the official checker ends with an exception."""


def count_of(category: str) -> CallCount:
    """How many calls a category of that name asks for."""
    return next((count for count in (CallCount.PARALLEL, CallCount.MULTIPLE) if count in category), CallCount.SIMPLE)


def check_answer(
    calls: Sequence[DecodedCall],
    documents: Sequence[Mapping[str, Any]],
    wanted: Sequence[Mapping[str, Mapping[str, Sequence[Any]]]],
    count: CallCount,
    *,
    underscore_to_dot: bool = False,
) -> Fault | None:
    """Check the calls of one answer.

    Args:
        calls: as decoded.
        documents: the tools on offer, as the question lists them.
        wanted: for each right call its name and the allowed values of its parameters.
        count: of the category.
        underscore_to_dot: the model was shown, and writes, `_` for each dot in a tool's name.

    Returns:
        None if the answer is right.
    """
    try:
        return _check_answer(calls, documents, wanted, count, underscore_to_dot)
    except (TypeError, LookupError, AttributeError, ArithmeticError, RecursionError):
        # Shapes that the rules do not foresee, such as text where a list of objects is due, and all allowed values.
        return Fault(CRASH)


def _check_answer(
    calls: Sequence[DecodedCall],
    documents: Sequence[Mapping[str, Any]],
    wanted: Sequence[Mapping[str, Mapping[str, Sequence[Any]]]],
    count: CallCount,
    underscore_to_dot: bool,
) -> Fault | None:
    if count is CallCount.SIMPLE:
        if len(calls) != 1:
            return Fault("simple_function_checker:wrong_count")
        return _check_call(calls[0], documents[0], wanted[0], underscore_to_dot)
    if len(calls) != len(wanted):
        checker = "multiple_function_checker" if count is CallCount.MULTIPLE else "parallel_function_checker_no_order"
        return Fault(f"{checker}:wrong_count")
    if count is CallCount.MULTIPLE:
        return _check_call(calls[0], _find(documents, wanted[0]), wanted[0], underscore_to_dot)
    left = list(calls)
    for right in wanted:
        document = _find(documents, right)
        fitting = (i for i, call in enumerate(left) if _check_call(call, document, right, underscore_to_dot) is None)
        position = next(fitting, None)
        if position is None:
            return Fault("parallel_function_checker_no_order:cannot_find_match")
        del left[position]
    return None


def _find(documents: Sequence[Mapping[str, Any]], right: Mapping[str, Any]) -> Mapping[str, Any]:
    """The tool of a right call. Raises IndexError if the question does not list it."""
    return [document for document in documents if document["name"] == next(iter(right))][0]  # noqa: RUF015


def _check_call(
    call: DecodedCall, document: Mapping[str, Any], right: Mapping[str, Any], underscore_to_dot: bool
) -> Fault | None:
    name: str = document["name"]
    name = name.replace(".", "_") if underscore_to_dot else name
    if name not in call:
        return Fault("simple_function_checker:wrong_func_name")
    given, allowed = call[name], next(iter(right.values()))
    fault = check_names(given, document, allowed)
    if fault is not None and fault.error_type.endswith("missing_required"):
        return fault
    properties = document["parameters"]["properties"]
    for parameter, value in given.items():
        if parameter not in properties or parameter not in allowed:
            return Fault("simple_function_checker:unexpected_param", str(parameter))
        error_type = _value_error(value, properties[parameter], allowed[parameter])
        if error_type:
            return Fault(error_type, parameter)
    return fault


def check_names(given: Mapping[Any, Any], document: Mapping[str, Any], allowed: Mapping[str, Any]) -> Fault | None:
    """Check the names of a call's parameters alone: required ones, unknown ones, those that may not be left out."""
    for parameter in document["parameters"]["required"]:
        if parameter not in given:
            return Fault("simple_function_checker:missing_required", parameter)
    for parameter in given:
        if parameter not in document["parameters"]["properties"] or parameter not in allowed:
            return Fault("simple_function_checker:unexpected_param", str(parameter))
    for parameter, values in allowed.items():
        if parameter not in given and _OPTIONAL not in values:
            return Fault("simple_function_checker:missing_optional", parameter)
    return None


def _value_error(value: Any, schema: Mapping[str, Any], allowed: Sequence[Any]) -> str | None:
    """Error type of one value."""
    kind = schema["type"]
    expected = _TYPES[kind]
    inner = _TYPES[schema["items"]["type"]] if kind in _NESTED else None
    if kind == "tuple" and isinstance(value, tuple):
        value = list(value)
    if kind == "float" and type(value) is int:
        value = float(value)
    error_type, is_variable = _type_error(value, allowed, expected, inner)
    if error_type:
        return error_type
    if not is_variable:
        if expected is dict:
            return _object_error(value, allowed)
        if expected is list and inner is dict:
            return _objects_error(value, allowed)
        if expected is str:
            texts = [_standard(item) for item in allowed if isinstance(item, str)]
            return None if _standard(value) in texts else "value_error:string"
        if expected is list:
            lists = [_standard_items(item) for item in allowed]
            return None if _standard_items(value) in lists else "value_error:list/tuple"
    return None if value in allowed else "value_error:others"


def _type_error(value: Any, allowed: Sequence[Any], expected: type, inner: type | None) -> tuple[str | None, bool]:
    """Error type, and whether the value stands for a variable."""
    seen = next((type(item) for item in allowed if item != _OPTIONAL), None)
    is_variable = seen is not None and seen is not expected
    given = type(value)
    if given is expected:
        if inner is None or any(_items_fit(value, item, inner) for item in allowed):
            return None, is_variable
        return ("type_error:nested" if given is seen else "type_error:simple"), is_variable
    if given is seen:
        return None, True
    return "type_error:simple", is_variable


def _items_fit(value: Sequence[Any], allowed: Any, inner: type) -> bool:
    """Whether all items have the documented type, or that of the allowed list's first item. "" allows any items."""
    return type(allowed) is not list or all(_type_error(item, allowed, inner, None)[0] is None for item in value)


def _standard(text: str) -> str:
    return _IGNORED.sub("", text).lower().replace("'", '"')


def _standard_items(items: Any) -> list[Any]:
    return [_standard(items[i]) if isinstance(items[i], str) else items[i] for i in range(len(items))]


def _object_error(value: Mapping[Any, Any], alternatives: Sequence[Any]) -> str | None:
    """None if the object fits an alternative, else what is wrong next to the last one."""
    error_type = "dict_checker:unclear"
    for wanted in alternatives:
        if wanted == _OPTIONAL:
            continue
        found = _keys_error(value, wanted)
        if found is None:
            return None
        error_type = found
    return error_type


def _keys_error(value: Mapping[Any, Any], wanted: Mapping[str, Sequence[Any]]) -> str | None:
    error_type = None
    for key, item in value.items():
        if key not in wanted:
            error_type = "value_error:dict_key"
            break
        given = _standard(item) if isinstance(item, str) else item
        if given not in _standard_items(wanted[key]):
            error_type = "value_error:dict_value"
            break
    # a key that is missing outweighs a value that is wrong
    is_complete = all(key in value or _OPTIONAL in allowed for key, allowed in wanted.items())
    return error_type if is_complete else "value_error:dict_key"


def _objects_error(value: Sequence[Any], alternatives: Sequence[Any]) -> str | None:
    """As `_object_error`, for lists of objects in order."""
    error_type: str | None = "list_dict_checker:unclear"
    for wanted in alternatives:
        if len(value) != len(wanted):
            error_type = "value_error:list_dict_count"
            continue
        errors = (_object_error(item, [right]) for item, right in zip(value, wanted, strict=True))
        error_type = next((error for error in errors if error), None)
        if error_type is None:
            return None
    return error_type
