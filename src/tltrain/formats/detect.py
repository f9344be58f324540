"""Which format a file is in: the one that most of its first records can be."""

import difflib
from collections.abc import Sequence
from typing import TypeGuard

from tltrain.errors import DataError, UsageError
from tltrain.files import json_type
from tltrain.formats.anthropic import ANTHROPIC
from tltrain.formats.axolotl import AXOLOTL
from tltrain.formats.axolotl_segments import AXOLOTL_SEGMENTS
from tltrain.formats.base import Format, WritableFormat
from tltrain.formats.hermes import HERMES
from tltrain.formats.llama_factory import LLAMA_FACTORY, LLAMA_FACTORY_V1
from tltrain.formats.ms_swift import MS_SWIFT
from tltrain.formats.openai_rows import OPENAI, TLTRAIN
from tltrain.formats.research import RESEARCH_FORMATS
from tltrain.formats.trl import TRL
from tltrain.formats.verl import VERL
from tltrain.types import Json

_ORDERED: tuple[Format, ...] = (
    TLTRAIN,
    *RESEARCH_FORMATS,
    AXOLOTL_SEGMENTS,
    LLAMA_FACTORY,
    HERMES,
    ANTHROPIC,
    LLAMA_FACTORY_V1,
    MS_SWIFT,
    AXOLOTL,
    VERL,
    TRL,
    OPENAI,
)
FORMATS: dict[str, Format] = {each.name: each for each in _ORDERED}
"""Every format by its name; of two that fit a file equally, the earlier one is taken, so special ones come first."""
EXTENDS = dict.fromkeys(
    ("tltrain", "hermes", "anthropic", "llama_factory_v1", "ms_swift", "axolotl", "verl", "trl"), "openai"
) | {"llama_factory": "hermes"}
"""Formats whose files also hold rows that look like those of a more general one, and read them as it does."""
SAMPLE = 20
"""Records that are looked at."""
_MAX_FIELDS = 12
"""Fields of a record that an error lists."""


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


def get_writable(name: str) -> WritableFormat:
    """The format of that name, if trajectories can be written in it.

    Raises:
        UsageError: there is none, or it can only be read.
    """
    found = get_format(name)
    if is_writable(found):
        return found
    writable = ", ".join(each.name for each in FORMATS.values() if is_writable(each))
    raise UsageError(f"format={name!r} can be read but not written; choose one of {writable}")


def is_writable(format: Format) -> TypeGuard[WritableFormat]:
    """Whether trajectories can be written in the format."""
    return hasattr(format, "write")


def detect_format(records: Sequence[Json], place: str) -> Format:
    """The format that most of the records can be; of equals the more special one.

    Args:
        records: the first ones that could be decoded.
        place: the file, for the error.

    Raises:
        DataError: none of them is in any known format; says what the first one has, and why each format refused it.
    """
    refusals = {name: [each.refuse(record) for record in records] for name, each in FORMATS.items()}
    scores = {name: _score(name, refusals) for name in FORMATS}
    best = max(scores, key=lambda name: scores[name])  # the first of equals
    if scores[best]:
        return FORMATS[best]
    names: dict[str, list[str]] = {}
    for name, reasons in refusals.items():
        names.setdefault(reasons[0] or "", []).append(name)
    telling = sorted(names.items(), key=lambda pair: pair[0].endswith("is missing"))
    listed = "".join(f"\n  {reason}: {', '.join(refusing)}" for reason, refusing in telling)
    raise DataError(
        f"{place}: the format is not known. {_described(records[0])}, and is refused because{listed}\n"
        "Name the format with --format (--from in convert, format=... in code) to see what is wrong with each row, or "
        "convert the file to rows of {'messages': [...], 'tools': [...]}"
    )


def _score(name: str, refusals: dict[str, list[str | None]]) -> int:
    """Records that the format reads: its own and, if it has any of its own, those of the format that it extends."""
    own = [reason is None for reason in refusals[name]]
    if not any(own):
        return 0
    base = refusals.get(EXTENDS.get(name, ""), [""] * len(own))
    return sum(is_own or reason is None for is_own, reason in zip(own, base, strict=True))


def _described(record: Json) -> str:
    if not isinstance(record, dict):
        return f"The first record is a JSON {json_type(record)}"
    fields = ", ".join(map(repr, list(record)[:_MAX_FIELDS])) or "no fields"
    return f"The first record has {fields}{', ...' if len(record) > _MAX_FIELDS else ''}"
