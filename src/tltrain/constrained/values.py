"""JSON Schemas as rules of a grammar, for values written as JSON or as Python literals.

The rules hold to what `tltrain.audit.json_schema` reads, and as there a schema that makes no sense allows everything.
llguidance's own `%json` is not used: it wants the members of an object in the order of the schema, which data sets do
not keep, and knows no Python spelling. Here members come in any order, each at most once.

Stricter than the audit in five ways: an object that lists its properties has no others; numbers have at most 30 digits
before and behind the point and exponents at most two, so that all are finite; blanks between tokens are at most 8;
values without a schema are nested at most 8 levels deep; a value of a list is spelled as the list has it.

What no grammar can hold to: an object that does not list its properties may be given a key twice, which is malformed.
"""

import json
from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Literal

from tltrain.audit.json_schema import types_of
from tltrain.constrained.lark import BLANK, Grammar, escape, one_of
from tltrain.errors import DataError
from tltrain.syntax.literals import JSON, PYTHON, write_value
from tltrain.types import Json

Spelling = Literal["json", "python"]

MAX_MEMBERS = 63
"""Most properties of an object: which of them are written is kept in the bits of one number."""

_UNICODE = (
    r"u(?:[0-9a-ce-fA-CE-F][0-9a-fA-F]{3}|[dD][0-7][0-9a-fA-F]{2}"
    r"|[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})"
)
_STRING: Mapping[Spelling, str] = {
    "json": rf'"(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|{_UNICODE}))*"',
    "python": "|".join(
        rf"{mark}(?:[^{mark}\\\x00-\x1f]|\\(?:['\"\\/bfnrtav]|x[0-9a-fA-F]{{2}}|{_UNICODE}))*{mark}" for mark in "'\""
    ),
}
"""Half a surrogate pair is no escape."""
_INTEGER = r"-?(?:0|[1-9][0-9]{0,29})"
_SCALARS = {"integer": rf"{_INTEGER}(?:\.0)?", "number": rf"{_INTEGER}(?:\.[0-9]{{1,30}})?(?:[eE][+-]?[0-9]{{1,2}})?"}
_CONSTANTS: Mapping[str, tuple[Json, ...]] = {"boolean": (True, False), "null": (None,)}
_ALL_TYPES = frozenset({"string", "number", "boolean", "null", "array", "object"})
_MAX_SCHEMA_DEPTH = 12
_MAX_FREE_DEPTH = 8


class Values:
    """Rules for values.

    Args:
        grammar: where rules are put.
        spelling: how values are written.
    """

    def __init__(self, grammar: Grammar, spelling: Spelling):
        self._grammar, self._spelling = grammar, spelling

    def value(self, schema: Json, depth: int = 0) -> str:
        """The name of the rule for the values that a schema allows.

        Raises:
            DataError: an object has too many properties.
        """
        if not isinstance(schema, Mapping) or depth > _MAX_SCHEMA_DEPTH:
            return self._any(0)
        rule = self._rule(schema, depth)
        return self._either([rule, self._constants([None])]) if schema.get("nullable") is True else rule

    def members(self, schema: Mapping[str, Json]) -> dict[str, tuple[Json, bool]]:
        """Name -> schema of each property and whether it is required; those that are required alone included.

        Raises:
            DataError: they are too many.
        """
        properties, required = schema.get("properties"), schema.get("required")
        wanted = [name for name in required if isinstance(name, str)] if isinstance(required, list) else []
        found = {**(properties if isinstance(properties, Mapping) else {})}
        found |= {name: True for name in wanted if name not in found}
        if len(found) > MAX_MEMBERS:
            raise DataError(
                f"an object has {len(found)} properties, and constrained decoding does with {MAX_MEMBERS} at most; "
                "turn it off (constrain=off)"
            )
        return {name: (inner, name in wanted) for name, inner in found.items()}

    def any_order(self, items: Sequence[tuple[str, bool]], closing: str) -> str:
        """A rule for items in any order, each at most once, with commas between and the closing behind.

        Args:
            items: the body of each, and whether it must be there.
            closing: name of a terminal.
        """
        ordered = sorted(items, key=lambda item: not item[1])
        if not ordered:
            return closing
        num_needed = sum(needed for _, needed in ordered)
        first, then = self._grammar.fresh("first"), self._grammar.fresh("then")
        options = (f"{body} {then}::set_bit({bit}) %if bit_clear({bit})" for bit, (body, _) in enumerate(ordered))
        self._grammar.put(f"{first}::_: {' | '.join(options)}")
        is_enough = f"is_ones([0:{num_needed}])" if num_needed else "true"
        self._grammar.put(
            f"{then}::_: {closing} %if {is_enough} | {self.comma} {first}::_ %if not(is_ones([0:{len(ordered)}]))"
        )
        return self._grammar.add("items", f"{first}::0" if num_needed else f"{closing} | {first}::0")

    def bracket(self, mark: str) -> str:
        """The terminal of an opening or closing bracket with the blanks inside."""
        pattern = escape(mark) + BLANK if mark in "([{" else BLANK + escape(mark)
        return self._grammar.terminal("bracket", pattern)

    @property
    def comma(self) -> str:
        """The terminal between items."""
        return self._grammar.terminal("comma", f"{BLANK},{BLANK}")

    def member(self, name: str, schema: Json, depth: int = 0) -> str:
        """The body of a member of an object: its name, a colon and its value."""
        key = self._grammar.terminal("key", f"{one_of(self._spellings(name))}{BLANK}:{BLANK}")
        return f"{key} {self.value(schema, depth)}"

    def _rule(self, schema: Mapping[str, Json], depth: int) -> str:
        for word in ("anyOf", "oneOf", "allOf"):
            parts = schema.get(word)
            if isinstance(parts, list) and parts and all(isinstance(part, Mapping) for part in parts):
                rest = {key: value for key, value in schema.items() if key != word}
                options = [reduce(_merged, parts, rest)] if word == "allOf" else [_merged(rest, one) for one in parts]
                return self._either([self.value(option, depth + 1) for option in options])
        types = types_of(schema)
        allowed = [schema["const"]] if "const" in schema else schema.get("enum")
        if isinstance(allowed, list) and allowed:
            if "array" in types and not any(isinstance(one, list) for one in allowed):
                return self._array({"items": {"enum": allowed}}, depth)  # the values of the items, see the audit
            return self._constants(allowed)
        if not types:
            told = "object" if "properties" in schema else "array" if "items" in schema else None
            types = frozenset({told}) if told else _ALL_TYPES
        if types >= _ALL_TYPES:
            return self._any(0)
        return self._either([self._of_type(kind, schema, depth) for kind in sorted(types)])

    def _of_type(self, kind: str, schema: Mapping[str, Json], depth: int) -> str:
        if kind == "array":
            return self._array(schema, depth)
        if kind == "object":
            found = self.members(schema)
            if not found:
                return self._free_object(0)
            items = [(self.member(name, inner, depth + 1), needed) for name, (inner, needed) in found.items()]
            return self._grammar.add("object", f"{self.bracket('{')} {self.any_order(items, self.bracket('}'))}")
        return self._scalar(kind)

    def _array(self, schema: Mapping[str, Json], depth: int) -> str:
        return self._list(self.value(schema.get("items"), depth + 1))

    def _scalar(self, kind: str) -> str:
        if kind in _CONSTANTS:
            return self._constants(_CONSTANTS[kind])
        return self._grammar.terminal(kind, _STRING[self._spelling] if kind == "string" else _SCALARS[kind])

    def _any(self, depth: int) -> str:
        scalars = [self._scalar(kind) for kind in ("string", "number", "boolean", "null")]
        if depth == _MAX_FREE_DEPTH:
            return self._either(scalars)
        return self._either([*scalars, self._list(self._any(depth + 1)), self._free_object(depth)])

    def _free_object(self, depth: int) -> str:
        colon = self._grammar.terminal("colon", f"{BLANK}:{BLANK}")
        return self._list(f"{self._scalar('string')} {colon} {self._any(depth + 1)}", "{", "}")

    def _list(self, item: str, opening: str = "[", closing: str = "]") -> str:
        start, end = self.bracket(opening), self.bracket(closing)
        return self._grammar.add("list", f"{start} {end} | {start} {item} ({self.comma} {item})* {end}")

    def _constants(self, values: Sequence[Json]) -> str:
        spellings = (spelling for value in values for spelling in self._spellings(value))
        return self._grammar.terminal("constant", one_of(spellings))

    def _spellings(self, value: Json) -> list[str]:
        spellings = [json.dumps(value, ensure_ascii=False), json.dumps(value), write_value(value, JSON)]
        return [*spellings, write_value(value, PYTHON)] if self._spelling == "python" else spellings

    def _either(self, names: Sequence[str]) -> str:
        names = list(dict.fromkeys(names))
        return names[0] if len(names) == 1 else self._grammar.add("either", " | ".join(names))


def _merged(first: Mapping[str, Json], second: Json) -> dict[str, Json]:
    """What both schemas ask for; where they say the same word, the second counts, but properties are joined."""
    assert isinstance(second, Mapping), "looked at before"
    merged = {**first, **second}
    for word in ("properties", "required"):
        one, other = first.get(word), second.get(word)
        if isinstance(one, dict) and isinstance(other, dict):
            merged[word] = {**one, **other}
        elif isinstance(one, list) and isinstance(other, list):
            merged[word] = [*one, *other]
    return merged
