"""Values and calls that a file writes as Python source. The text is parsed, never evaluated.

Deep nesting, huge numbers and whatever is no plain value give a `ValueError`, as any other mistake does.
"""

import ast
import math
import re
import warnings

from tltrain.syntax.literals import MAX_DEPTH
from tltrain.types import Json

MAX_LENGTH = 1_000_000
"""Longest text, in characters, that is read."""
_MAX_NUMBER = 1e15
"""Largest number that arithmetic may give: beyond, floats are no longer exact to one."""
_BRACKET = re.compile(r"[\[({]|[\])}]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_NAMES: dict[str, Json] = {"true": True, "false": False, "null": None}
"""JSON's constants, which models mix into Python."""


def read_python(text: str) -> Json:
    """The value of a literal; tuples become lists.

    Raises:
        ValueError: one sentence on what is wrong.
    """
    return to_json(parse_expression(text))


def parse_expression(text: str) -> ast.expr:
    """The syntax tree of one expression.

    Raises:
        ValueError: too long, nested too deeply, or no Python expression.
    """
    if len(text) > MAX_LENGTH:
        raise ValueError(f"the text is longer than {MAX_LENGTH:,} characters")
    if _depth(text) > 2 * MAX_DEPTH:  # brackets within strings are counted too, and rarely matter
        raise ValueError(f"values are nested deeper than {MAX_DEPTH} levels")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of escapes that Python will refuse one day
            return ast.parse(text.strip(), mode="eval").body
    except SyntaxError as error:
        raise ValueError(f"not Python: {error.msg}") from None
    except (ValueError, RecursionError, MemoryError):
        raise ValueError("not Python that can be read") from None


def to_json(node: ast.expr, *, arithmetic: bool = False, depth: int = 0) -> Json:
    """The JSON value of a literal's syntax tree.

    Args:
        node: from `parse_expression`.
        arithmetic: read `1/6` or `500*500` as the number it gives; else it is no literal.
        depth: lists and objects around it.

    Raises:
        ValueError: no literal of a JSON value.
    """
    if depth > MAX_DEPTH:
        raise ValueError(f"values are nested deeper than {MAX_DEPTH} levels")
    match node:
        case ast.Constant(value=value):
            return _constant(value)
        case ast.List(elts=items) | ast.Tuple(elts=items):
            return [to_json(item, arithmetic=arithmetic, depth=depth + 1) for item in items]
        case ast.Dict(keys=keys, values=values):
            return {
                _key(key): to_json(value, arithmetic=arithmetic, depth=depth + 1)
                for key, value in zip(keys, values, strict=True)
            }
        case ast.Name(id=name) if name in _NAMES:
            return _NAMES[name]
        case ast.UnaryOp(op=ast.USub() | ast.UAdd(), operand=operand):
            number = _number(to_json(operand, arithmetic=arithmetic, depth=depth + 1))
            return -number if isinstance(node.op, ast.USub) else number
        case ast.BinOp(left=left, op=operator, right=right) if arithmetic:
            first, second = (_number(to_json(side, arithmetic=True, depth=depth + 1)) for side in (left, right))
            return _calculate(first, operator, second)
    raise ValueError(f"a Python {type(node).__name__} is no plain value")


def _depth(text: str) -> int:
    depth = deepest = 0
    for bracket in _BRACKET.finditer(text):
        depth += 1 if bracket.group() in "[({" else -1
        deepest = max(deepest, depth)
    return deepest


def _constant(value: object) -> Json:
    if isinstance(value, str):
        if not _SURROGATE.search(value):
            return value
        try:  # joins the pairs that JSON writes as two escapes
            return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le")
        except UnicodeDecodeError:
            raise ValueError("a string holds half of a surrogate pair") from None
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    raise ValueError(f"a Python {type(value).__name__} is no JSON value")


def _key(node: ast.expr | None) -> str:
    key = to_json(node) if isinstance(node, ast.Constant) else None
    if not isinstance(key, str):
        raise ValueError("a key is no quoted string")
    return key


def _number(value: Json) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("arithmetic with something that is no number")
    return value


def _calculate(first: int | float, operator: ast.operator, second: int | float) -> int | float:
    if max(abs(first), abs(second)) > _MAX_NUMBER:
        raise ValueError("arithmetic with a number that is too large")
    match operator:
        case ast.Add():
            return first + second
        case ast.Sub():
            return first - second
        case ast.Mult():
            return first * second
        case ast.Div() if second:
            return first / second
    raise ValueError(f"a Python {type(operator).__name__} is no plain value")
