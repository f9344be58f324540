"""Values in other words: text folded, dates and quantities brought to one form. Nothing ambiguous is read."""

import re
import unicodedata
from datetime import UTC, date, datetime, time
from typing import NamedTuple

_MAX_LENGTH = 64
"""Characters; a longer text is no date and no quantity."""
_SPACE = re.compile(r"\s+")


def fold_text(text: str) -> str:
    """The form that texts share which differ only in case, in blanks, and in how Unicode writes a character."""
    return _SPACE.sub(" ", unicodedata.normalize("NFKC", text).casefold()).strip()


_MONTHS = (
    *("january", "february", "march", "april", "may", "june"),
    *("july", "august", "september", "october", "november", "december"),
)
_MONTH = "|".join(f"{name}|{name[:3]}" for name in _MONTHS) + "|sept"
_CLOCK = re.compile(
    r"(?P<hour>\d{1,2})(?::(?P<minute>\d{2})(?::(?P<second>\d{2}))?)?\s*(?P<half>[ap]\.?m\.?)?", re.IGNORECASE
)
_ISO = re.compile(r"\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}.*)?")
_DAY = "|".join(
    (
        r"(?P<y1>\d{4})[/.-](?P<m1>\d{1,2})[/.-](?P<d1>\d{1,2})",
        rf"(?P<d2>\d{{1,2}})(?:st|nd|rd|th)?\s+(?:of\s+)?(?P<m2>{_MONTH})\.?,?\s+(?P<y2>\d{{4}})",
        rf"(?P<m3>{_MONTH})\.?\s+(?P<d3>\d{{1,2}})(?:st|nd|rd|th)?,?\s+(?P<y3>\d{{4}})",
    )
)
_WRITTEN = re.compile(rf"(?:{_DAY})(?:(?:,|\s+at)?\s+(?P<clock>.+))?", re.IGNORECASE)


def read_date(text: str) -> date | datetime | time | None:
    """A day, a moment or a time of day; None where the text is none, or can mean two.

    Read are ISO 8601, `2025/3/14`, `14 March 2025`, `Mar 14th, 2025`, each also with a time, and `15:00` or `3 pm`.
    `03/04/2025` can mean two days. A moment with a zone is given in UTC.
    """
    text = text.strip()
    if len(text) > _MAX_LENGTH:
        return None
    try:
        if _ISO.fullmatch(text):
            return _read_iso(text)
        if written := _WRITTEN.fullmatch(text):
            day = _day_of(written)
            clock = written["clock"] and _read_clock(written["clock"])
            return datetime.combine(day, clock) if clock else None if written["clock"] else day
        return _read_clock(text)
    except ValueError:  # such as day 31 of February
        return None


def _read_iso(text: str) -> date | datetime:
    if len(text) == len("2025-03-14"):
        return date.fromisoformat(text)
    moment = datetime.fromisoformat(text)
    return moment.astimezone(UTC) if moment.tzinfo else moment


def _day_of(written: re.Match[str]) -> date:
    number = next(number for number in "123" if written[f"y{number}"])
    month = written[f"m{number}"].lower()
    if not month.isdigit():
        month = next(place for place, name in enumerate(_MONTHS, start=1) if name[:3] == month[:3])
    return date(int(written[f"y{number}"]), int(month), int(written[f"d{number}"]))


def _read_clock(text: str) -> time | None:
    found = _CLOCK.fullmatch(text.strip())
    if not found or not (found["minute"] or found["half"]):
        return None
    hour = int(found["hour"])
    if found["half"]:
        if not 1 <= hour <= 12:
            return None
        hour = hour % 12 + (12 if found["half"][0] in "pP" else 0)
    return time(hour, int(found["minute"] or 0), int(found["second"] or 0))


class Quantity(NamedTuple):
    """A number in the base unit of its kind."""

    kind: str
    """Such as `length`."""
    value: float


_UNITS: dict[str, dict[float, str]] = {
    "length": {
        0.001: "mm millimetre millimeter",
        0.01: "cm centimetre centimeter",
        1: "m metre meter",
        1000: "km kilometre kilometer",
        0.0254: "in inch inche",
        0.3048: "ft foot feet",
        0.9144: "yd yard",
        1609.344: "mi mile",
    },
    "mass": {
        1e-6: "mg milligram",
        0.001: "g gram",
        1: "kg kilogram kilo",
        1000: "t tonne",
        0.45359237: "lb pound",
        0.028349523125: "oz ounce",
    },
    "time": {
        0.001: "ms millisecond",
        1: "s sec second",
        60: "min minute",
        3600: "h hr hour",
        86400: "d day",
        604800: "week",
    },
    "volume": {0.001: "ml mL millilitre milliliter", 0.01: "cl centilitre centiliter", 1: "l L litre liter"},
    "data": {1: "B byte", 1e3: "kB KB kilobyte", 1e6: "MB megabyte", 1e9: "GB gigabyte", 1e12: "TB terabyte"},
    "share": {0.01: "% percent"},
}
_FACTORS = {
    name: (kind, factor) for kind, units in _UNITS.items() for factor, words in units.items() for name in words.split()
}
_DEGREES = {"c": 0.0, "celsius": 0.0, "k": -273.15, "kelvin": -273.15}
_QUANTITY = re.compile(r"(?P<number>[+-]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?)\s*(?P<unit>%|°?\s?[A-Za-z]+)")


def read_quantity(text: str) -> Quantity | None:
    """A number with a unit, in the base unit of its kind; None where the text is none.

    Known are the common units of length, mass, time, volume, data, degrees and percent. A symbol is read as it is
    written (`m` is no `M`), a word in any case, also in the plural.
    """
    text = text.strip()
    found = _QUANTITY.fullmatch(text) if len(text) <= _MAX_LENGTH else None
    if found is None:
        return None
    number, unit = float(found["number"].replace(",", "")), found["unit"].replace(" ", "")
    word = unit.lower().removeprefix("°")
    if unit[0] == "°" or len(word) > 1:
        if word in ("f", "fahrenheit"):
            return Quantity("temperature", (number - 32) / 1.8)
        if word in _DEGREES:
            return Quantity("temperature", number + _DEGREES[word])
    names = (unit, *((word, word.removesuffix("s")) if len(word) > 2 else ()))
    known = next((_FACTORS[name] for name in names if name in _FACTORS), None)
    return Quantity(known[0], number * known[1]) if known else None
