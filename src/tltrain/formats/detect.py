"""Which format a file is in: the one that most of its first records can be."""

import difflib
from collections.abc import Iterable, Sequence

from tltrain.errors import DataError, UsageError
from tltrain.formats.base import Format
from tltrain.formats.openai_rows import OPENAI, TLTRAIN
from tltrain.types import Json

_ORDERED: tuple[Format, ...] = (TLTRAIN, OPENAI)
FORMATS: dict[str, Format] = {each.name: each for each in _ORDERED}
"""Every format by its name; of two that fit a file equally, the earlier one is taken, so special ones come first."""
EXTENDS = {"tltrain": "openai"}
"""Formats whose files also hold rows that look like those of a more general one, and read them as it does."""
SAMPLE = 20
"""Records that are looked at."""


def get_format(name: str) -> Format:
    """The format of that name; `-` and `_` are one.

    Raises:
        UsageError: there is none.
    """
    known = name.lower().replace("-", "_")
    if known in FORMATS:
        return FORMATS[known]
    nearest = difflib.get_close_matches(known, FORMATS, cutoff=0.4)
    meant = f"did you mean {' or '.join(nearest)}? " if nearest else ""
    raise UsageError(f"format={name!r} is not known; {meant}choose one of {', '.join(FORMATS)}")


def detect_format(records: Sequence[Json], place: str) -> Format:
    """The format that most of the records can be; of equals the more special one.

    Args:
        records: the first ones that could be decoded.
        place: the file, for the error.

    Raises:
        DataError: none of them is in any known format; lists why each was refused.
    """
    refusals = {name: [each.refuse(record) for record in records] for name, each in FORMATS.items()}
    scores = {name: _score(name, refusals) for name in FORMATS}
    best = max(scores, key=lambda name: scores[name])  # the first of equals
    if scores[best]:
        return FORMATS[best]
    listed = "".join(f"\n  {name}: {_first(reasons)}" for name, reasons in refusals.items())
    raise DataError(
        f"{place}: the format is not known; tried, and refused the first record:{listed}\n"
        "Name the format with --from (in code: format=...) to see what is wrong with each row, or convert the file to "
        "rows of {'messages': [...], 'tools': [...]}"
    )


def _score(name: str, refusals: dict[str, list[str | None]]) -> int:
    """Records that the format reads: its own and, if it has any of its own, those of the format that it extends."""
    own = [reason is None for reason in refusals[name]]
    if not any(own):
        return 0
    base = refusals.get(EXTENDS.get(name, ""), [""] * len(own))
    return sum(is_own or reason is None for is_own, reason in zip(own, base, strict=True))


def _first(reasons: Iterable[str | None]) -> str:
    return next((reason for reason in reasons if reason is not None), "")
