"""When two values of a parameter count as the same: settings, and the comparison that they make."""

import math
from collections.abc import Iterable, Mapping
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, model_validator

from tltrain.config_mistakes import nearest_of
from tltrain.errors import UsageError
from tltrain.rewards.values import fold_text, read_date, read_quantity
from tltrain.taxonomy import json_equal
from tltrain.types import Json, Tool

TextRule = Literal["exact", "folded", "ignored"]
"""How texts are compared:

- exact: sign by sign.
- folded: without regard to case, blanks and the way in which Unicode writes a character.
- ignored: not at all; any text that is not blank will do where a text is right.
"""
_LEAST = 1e-9
"""Relative difference within which converted quantities are equal: what conversion rounds."""


class ParameterRule(BaseModel):
    """How the values of one parameter are compared; what is not given is as for all."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    text: TextRule | None = None
    number_tolerance: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    relative_tolerance: float | None = Field(default=None, ge=0, lt=1)
    dates: bool | None = None
    units: bool | None = None
    lists_as_sets: bool | None = None


class CompareConfig(BaseModel):
    """How values are compared, at any depth of lists and objects. The defaults are equality as JSON.

    Values that are equal as JSON are the same under every setting, and true is never 1.

    Raises (on construction):
        ValidationError: a field out of its range, or a key of `parameters` that is not of the form `tool.parameter`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    text: TextRule = "exact"
    number_tolerance: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """Numbers are the same that differ by at most this."""
    relative_tolerance: float = Field(default=0.0, ge=0, lt=1)
    """Or by at most this share of the right one; holds for quantities with units too."""
    dates: bool = False
    """Texts are the same that name the same day, moment or time of day in other words; see `read_date`."""
    units: bool = False
    """Texts are the same that are the same quantity in other units, `1.5 km` and `1500 m`; see `read_quantity`."""
    lists_as_sets: bool = False
    """Lists are the same that have the same members, whatever their order and how often they are said."""
    parameters: dict[str, ParameterRule] = Field(default_factory=dict)
    """`tool.parameter` -> what holds for its values in place of the above."""

    _rules: dict[str, "CompareConfig"] = PrivateAttr(default_factory=dict)

    @model_validator(mode="after")
    def _prepare(self) -> Self:
        general = self.model_dump(exclude={"parameters"})
        for key, rule in self.parameters.items():
            tool, _, parameter = key.partition(".")
            if not tool or not parameter:
                raise ValueError(f"parameters: {key!r} is no tool.parameter; write for example find_event.day")
            own = {name: value for name, value in rule.model_dump().items() if value is not None}
            self._rules[key] = CompareConfig(**(general | own))
        return self

    @property
    def _needs_equality(self) -> bool:
        """Whether nothing but equality as JSON counts."""
        defaults = type(self).model_fields
        return all(getattr(self, name) == defaults[name].default for name in defaults if name != "parameters")

    def same_value(self, tool: str, parameter: str, given: Json, wanted: Json) -> bool:
        """Whether a given value is as good as the right one; see `taxonomy.Comparison`."""
        rule = self._rules.get(f"{tool}.{parameter}", self)
        return json_equal(given, wanted) or (not rule._needs_equality and rule._same(given, wanted))

    def _same(self, given: Any, wanted: Any) -> bool:
        if isinstance(given, bool) or isinstance(wanted, bool):
            return given is wanted
        if isinstance(given, str) and isinstance(wanted, str):
            return self._same_text(given, wanted)
        if isinstance(given, int | float) and isinstance(wanted, int | float):
            return self._same_number(given, wanted)
        if isinstance(given, Mapping) and isinstance(wanted, Mapping):
            return given.keys() == wanted.keys() and all(self._same(given[key], wanted[key]) for key in wanted)
        if isinstance(given, list | tuple) and isinstance(wanted, list | tuple):
            return self._same_list(given, wanted)
        return given is None and wanted is None

    def _same_text(self, given: str, wanted: str) -> bool:
        if given == wanted or (self.text == "ignored" and bool(given.strip()) and bool(wanted.strip())):
            return True
        if self.text == "folded" and fold_text(given) == fold_text(wanted):
            return True
        if self.dates and (day := read_date(wanted)) is not None:
            other = read_date(given)
            return type(other) is type(day) and other == day
        if self.units and (quantity := read_quantity(wanted)) is not None:
            found = read_quantity(given)
            tolerance = max(_LEAST, self.relative_tolerance)
            return (
                found is not None
                and found.kind == quantity.kind
                and abs(found.value - quantity.value) <= tolerance * abs(quantity.value)
            )
        return False

    def _same_number(self, given: float, wanted: float) -> bool:
        if given == wanted:
            return True
        try:
            gap, size = abs(float(given) - float(wanted)), abs(float(wanted))
        except OverflowError:  # integers beyond any float
            return False
        return math.isfinite(gap) and (gap <= self.number_tolerance or gap <= self.relative_tolerance * size)

    def _same_list(self, given: list[Any] | tuple[Any, ...], wanted: list[Any] | tuple[Any, ...]) -> bool:
        if not self.lists_as_sets:
            return len(given) == len(wanted) and all(map(self._same, given, wanted))
        # Each pair is compared once at most: a long list of a model costs its length times that of the right one.
        missing = list(wanted)
        for item in given:
            fits = [one for one in wanted if self._same(item, one)]
            if not fits:
                return False
            missing = [one for one in missing if not any(one is fit for fit in fits)] if missing else missing
        return not missing


def check_parameters(compare: CompareConfig, tools: Iterable[Tool]) -> None:
    """Check that the parameters that have a rule of their own are parameters of the tools.

    Raises:
        UsageError: one is not; the message names the nearest that is.
    """
    known = {f"{tool.name}.{name}": None for tool in tools for name in (*tool.properties, *sorted(tool.required))}
    for key in compare.parameters:
        if key not in known:
            raise UsageError(
                f"compare.parameters: {key!r} is no parameter of a tool in the data; {nearest_of(key, known)}"
            )
