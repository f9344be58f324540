"""What BFCL reads off a model's output: `[{name: {parameter: value}}]`, without evaluating anything.

Source: `model_handler/utils.py` of the package bfcl-eval 2026.3.23, whose reading of Python calls this repeats, quirks
included: arguments by position are dropped, any sign negates the constant it stands before, a name stands for its own
text, a call without keywords for its source. Only arithmetic is narrower here, as nothing is evaluated: numbers, and
texts or lists that are added.
"""

import ast
import json
import operator
import warnings
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

DecodedCall: TypeAlias = Mapping[Any, Mapping[Any, Any]]
"""One call: a mapping of one name to its arguments. Values are Python's, so tuples occur."""

MAX_LENGTH = 100_000
"""Longest text, in characters, that is read as Python."""
_MAX_BITS = 10_000
"""Largest integer that arithmetic in an argument may give."""


class UndecodableError(Exception):
    """The output is no list of calls."""


class PythonCall(NamedTuple):
    """One call as Python writes it."""

    name: str
    positional: list[Any]
    keywords: dict[Any, Any]
    """By name; `**mapping` stands under None."""


def decode_output(result: Any) -> list[DecodedCall]:
    """Decode the `result` of one line of a BFCL result file.

    Args:
        result: text that holds Python calls, or a list of `{name: arguments as JSON text}`.

    Raises:
        UndecodableError: it is neither.
    """
    if isinstance(result, str):
        return [{call.name: call.keywords} for call in read_python_calls(result)]
    try:
        return [_decode_function_call(call) for call in result]
    except (TypeError, ValueError, LookupError, AttributeError, RecursionError) as error:
        raise UndecodableError(f"no list of calls: {error!r}") from None


def _decode_function_call(call: Mapping[str, Any]) -> DecodedCall:
    name, written = list(call.items())[0]  # noqa: RUF015 - an empty one must give an IndexError
    return {name: json.loads(written) if isinstance(written, str) else written}


def is_list_of_calls(decoded: object) -> bool:
    """Whether each item is a mapping of one name to a mapping."""
    return isinstance(decoded, list) and all(
        isinstance(call, dict) and len(call) == 1 and all(isinstance(given, dict) for given in call.values())
        for call in decoded
    )


def read_python_calls(text: str) -> list[PythonCall]:
    """Read `[f(a=1), g(b='x')]`; brackets and a code fence around it are free.

    Raises:
        UndecodableError: it is anything else.
    """
    if len(text) > MAX_LENGTH:
        raise UndecodableError(f"the text is longer than {MAX_LENGTH:,} characters")
    source = text.strip("`\n ")
    source = source if source.startswith("[") else "[" + source
    source = source if source.endswith("]") else source + "]"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd code, on the console
            body = ast.parse(source.strip().strip("'"), mode="eval").body
        nodes = [body] if isinstance(body, ast.Call) else _items(body)
        return [_read_call(node) for node in nodes]
    except (SyntaxError, ValueError, TypeError, ArithmeticError, RecursionError, MemoryError) as error:
        raise UndecodableError(f"no Python calls: {error}") from None


def _items(node: ast.expr) -> list[ast.expr]:
    if isinstance(node, ast.List | ast.Tuple | ast.Set):
        return node.elts
    raise UndecodableError("no list of calls")


def _read_call(node: ast.expr) -> PythonCall:
    if not isinstance(node, ast.Call):
        raise UndecodableError("an item is no call")
    positional = [value for argument in node.args if (value := _read_positional(argument)) is not None]
    return PythonCall(_name(node), positional, _keywords(node))


def _read_positional(node: ast.expr) -> Any:
    """Its value; None where it has none, as the official reading never looks at it."""
    try:
        return _value(node)
    except (UndecodableError, ValueError, TypeError, ArithmeticError):
        return None


def _name(node: ast.Call) -> str:
    parts: list[str] = []
    function = node.func
    while isinstance(function, ast.Attribute):
        parts.append(function.attr)
        function = function.value
    if isinstance(function, ast.Name):
        parts.append(function.id)
    return ".".join(reversed(parts))


def _keywords(node: ast.Call) -> dict[Any, Any]:
    return {keyword.arg: _value(keyword.value) for keyword in node.keywords}


def _value(node: ast.expr | None) -> Any:
    """The value of an argument.

    Raises:
        UndecodableError: code of a kind that is not read.
        TypeError, ValueError, ArithmeticError: arithmetic that fails.
    """
    match node:
        case ast.Constant(value=value):
            return "..." if value is Ellipsis else value
        case ast.UnaryOp(operand=ast.Constant(value=value)):
            return -value  # type: ignore[operator]  # whatever the sign is, and whatever it stands before
        case ast.List(elts=items):
            return [_value(item) for item in items]
        case ast.Tuple(elts=items):
            return tuple(_value(item) for item in items)
        case ast.Dict(keys=keys, values=values):
            return {_value(key): _value(value) for key, value in zip(keys, values, strict=True)}
        case ast.BinOp():
            return _compute(node)
        case ast.Name(id=name):
            return name
        case ast.Call(keywords=[]):
            return ast.unparse(node)
        case ast.Subscript(value=value, slice=index):
            return f"{ast.unparse(value)}[{ast.unparse(index)}]"
        case ast.Call():
            return {_name(node): _keywords(node)}
    raise UndecodableError(f"an argument is {type(node).__name__}")


_OPERATORS: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
    ast.BitAnd: operator.and_,
    ast.BitOr: operator.or_,
    ast.BitXor: operator.xor,
}


def _compute(node: ast.expr) -> Any:
    """Arithmetic with numbers, as in `1/6`, and sums of texts or lists; nothing else is computed."""
    match node:
        case ast.Constant(value=bool() | int() | float() | str() as value):
            return value
        case ast.List() | ast.Tuple():
            return _value(node)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_compute(operand)
        case ast.UnaryOp(op=ast.UAdd(), operand=operand):
            return +_compute(operand)
        case ast.UnaryOp(op=ast.Invert(), operand=operand):
            return ~_compute(operand)
        case ast.BinOp(left=left, op=sign, right=right) if type(sign) in _OPERATORS:
            first, second = _compute(left), _compute(right)
            if not isinstance(sign, ast.Add) and not (_is_number(first) and _is_number(second)):
                raise UndecodableError("arithmetic with something other than numbers")
            if isinstance(sign, ast.Pow) and not _is_small_power(first, second):
                raise UndecodableError("a power is too large")
            if isinstance(sign, ast.Mult) and _bits(first) + _bits(second) > _MAX_BITS:
                raise UndecodableError("a product is too large")
            return _OPERATORS[type(sign)](first, second)
    raise UndecodableError("arithmetic with something other than numbers")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float)


def _bits(number: Any) -> int:
    return number.bit_length() if isinstance(number, int) else 0


def _is_small_power(base: Any, exponent: Any) -> bool:
    return not isinstance(base, int) or not isinstance(exponent, int) or _bits(base) * max(exponent, 0) <= _MAX_BITS
