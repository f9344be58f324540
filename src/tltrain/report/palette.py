"""Colours and words that charts and page share.

Colours are those of Okabe and Ito (https://jfly.uni-koeln.de/color/), which stay apart for colour-blind readers. Each
is also a CSS variable of the page, so that an inlined chart follows the reader's light or dark theme.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum

from tltrain.taxonomy import PARAMETER_ERRORS, CallError


class Colour(StrEnum):
    """Every colour of a chart, as drawn on paper; the name is the CSS variable's."""

    INK = "#1d2125"
    MUTED = "#59636d"
    GRID = "#e2e5e8"
    ORANGE = "#e69f00"
    SKY = "#56b4e9"
    GREEN = "#009e73"
    YELLOW = "#f0e442"
    BLUE = "#0072b2"
    VERMILLION = "#d55e00"
    PURPLE = "#cc79a7"
    GREY = "#9aa1a8"
    PAPER = "#fdfdfc"

    @property
    def variable(self) -> str:
        """The CSS variable that holds it."""
        return f"--{self.name.lower()}"


class Outcome(StrEnum):
    """What an answer is, coarse enough for one picture; the value is what readers see."""

    RIGHT = "all right"
    CONTENT = "content mismatch"
    PARAMETERS = "parameter names"
    WRONG_TOOL = "wrong tool"
    TOOL_HALLUCINATION = "tool hallucination"
    FORMAT = "format error"
    MISSING_CALL = "missing call"
    UNWANTED_CALL = "unwanted call"
    OTHER = "other"


OUTCOME_COLOURS: Mapping[Outcome, Colour] = {
    Outcome.RIGHT: Colour.GREEN,
    Outcome.CONTENT: Colour.SKY,
    Outcome.PARAMETERS: Colour.ORANGE,
    Outcome.WRONG_TOOL: Colour.VERMILLION,
    Outcome.TOOL_HALLUCINATION: Colour.PURPLE,
    Outcome.FORMAT: Colour.INK,
    Outcome.MISSING_CALL: Colour.BLUE,
    Outcome.UNWANTED_CALL: Colour.YELLOW,
    Outcome.OTHER: Colour.GREY,
}

_OUTCOME_BY_LABEL: Mapping[str, Outcome] = {
    "all_right": Outcome.RIGHT,
    CallError.CONTENT: Outcome.CONTENT,
    CallError.WRONG_TOOL: Outcome.WRONG_TOOL,
    CallError.TOOL_HALLUCINATION: Outcome.TOOL_HALLUCINATION,
    CallError.FORMAT: Outcome.FORMAT,
    CallError.MISSING_CALL: Outcome.MISSING_CALL,
    CallError.UNWANTED_CALL: Outcome.UNWANTED_CALL,
}

_OUTCOME_BY_CHECK: Mapping[str, Outcome] = {
    "value_error": Outcome.CONTENT,
    "type_error": Outcome.CONTENT,
    "dict_checker": Outcome.CONTENT,
    "list_dict_checker": Outcome.CONTENT,
    "missing_required": Outcome.PARAMETERS,
    "missing_optional": Outcome.PARAMETERS,
    "unexpected_param": Outcome.PARAMETERS,
    "wrong_func_name": Outcome.WRONG_TOOL,
    "ast_decoder": Outcome.FORMAT,
}
"""Either side of the colon in labels of BFCL's checker; those that say nothing of one call's fault are left out."""


def outcome_of(label: str) -> Outcome:
    """The outcome that a diagnosis label belongs to; any mix of parameter errors is one outcome."""
    if label in _OUTCOME_BY_LABEL:
        return _OUTCOME_BY_LABEL[label]
    checked = [_OUTCOME_BY_CHECK[part] for part in label.split(":") if part in _OUTCOME_BY_CHECK]
    if ":" in label and checked:
        return checked[0]
    parts = label.split("+")
    return Outcome.PARAMETERS if all(part in PARAMETER_ERRORS for part in parts) else Outcome.OTHER


def outcome_shares(counts: Mapping[str, float]) -> dict[Outcome, float]:
    """Share of each outcome that occurs, in percent of all, in the order of `Outcome`; empty counts give nothing."""
    total = sum(counts.values())
    if total <= 0:
        return {}
    shares = dict.fromkeys(Outcome, 0.0)
    for label, count in counts.items():
        shares[outcome_of(label)] += 100 * count / total
    return {outcome: share for outcome, share in shares.items() if share > 0}


def stage_colours(names: Sequence[str]) -> list[Colour]:
    """A colour for each stage: grey for where training started, blue for where it ended."""
    between = [Colour.ORANGE, Colour.GREEN, Colour.PURPLE, Colour.SKY, Colour.VERMILLION, Colour.YELLOW]
    if len(names) == 1:
        return [Colour.BLUE]
    middle = [between[index % len(between)] for index in range(len(names) - 2)]
    return [Colour.GREY, *middle, Colour.BLUE][: len(names)]


def words(identifier: str) -> str:
    """An identifier as words: `param_missing+param_redundant` reads `param missing + param redundant`."""
    return identifier.replace("_", " ").replace("+", " + ")


def printable(text: str, max_length: int = 40) -> str:
    """A label for a chart: one line, no control characters, not longer than `max_length`."""
    line = re.sub(r"[^\S ]+", " ", "".join(char if char.isprintable() or char.isspace() else "�" for char in text))
    return line if len(line) <= max_length else line[: max_length - 1] + "…"


def mean(values: Iterable[float | None]) -> float | None:
    """Mean of what was measured; None if nothing was."""
    measured = [value for value in values if value is not None]
    return sum(measured) / len(measured) if measured else None
