"""What becomes of each row of a mixture, decided from the facts of all of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tltrain.corpus.config import Action, MixConfig
from tltrain.corpus.contamination import TestSet, Twin, find_twins
from tltrain.corpus.duplicates import Duplicate, find_duplicates
from tltrain.corpus.queries import shorten
from tltrain.corpus.rows import RowFacts
from tltrain.corpus.sampling import choose_rows, count_copies
from tltrain.corpus.split import choose_validation
from tltrain.errors import DataError

_NUM_NAMED = 3
"""Contaminated rows that a refusal names."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MixPlan:
    """What becomes of each row; rows are named by their places."""

    duplicates: tuple[Duplicate, ...]
    """Those that were looked for; equal rows in any case."""
    twins: tuple[Twin, ...]
    """Rows that are in test sets, among those that are no duplicates to be removed."""
    removed: frozenset[int]
    """Duplicates and twins that do not stay."""
    capped: frozenset[int]
    """Rows beyond the cap of their file."""
    validation: frozenset[int]
    copies: tuple[int, ...]
    """How often each row stands in the training data."""


def plan_mix(config: MixConfig, rows: Sequence[RowFacts], tests: Sequence[TestSet]) -> MixPlan:
    """Decide about all rows.

    Raises:
        DataError: nothing is left to train on, the tasks cannot be split, or rows are in a test set and that is to be
            refused.
    """
    near_threshold = config.near_threshold if config.deduplicate == "near" else None
    duplicates = find_duplicates(rows, near_threshold=near_threshold)
    superfluous = set() if config.deduplicate == "off" else {found.row for found in duplicates}
    twins = [twin for twin in find_twins(rows, tests) if twin.row not in superfluous]
    if twins and config.decontaminate.action is Action.REFUSE:
        raise _refusal(rows, tests, twins)
    seen = {twin.row for twin in twins} if config.decontaminate.action is Action.DROP else set()
    removed = superfluous | seen
    stay = [number for number in range(len(rows)) if number not in removed]
    if not stay:
        raise DataError(f"data: none of {len(rows)} rows is left, {_reasons(superfluous, seen)}; give other files")
    capped = set(_beyond_cap(config, rows, stay))
    stay = [number for number in stay if number not in capped]
    validation = _held_out(config, rows, stay)
    copies = _copies(config, rows, [number for number in stay if number not in validation])
    if not any(copies):
        raise DataError("data: the weights leave no row to train on; raise the weight of a file in data.train")
    return MixPlan(
        duplicates=tuple(duplicates),
        twins=tuple(twins),
        removed=frozenset(removed),
        capped=frozenset(capped),
        validation=frozenset(validation),
        copies=tuple(copies),
    )


def _reasons(superfluous: set[int], seen: set[int]) -> str:
    return f"as {len(superfluous)} are duplicates and {len(seen)} are in test sets"


def _refusal(rows: Sequence[RowFacts], tests: Sequence[TestSet], twins: Sequence[Twin]) -> DataError:
    named = [
        f"\n  {rows[twin.row].id} is like {test.rows[twin.test_rows[0]].id} of {test.name} ({twin.kind}): "
        f"{shorten(rows[twin.row].query)}"
        for twin in twins[:_NUM_NAMED]
        for test in (tests[twin.test],)
    ]
    count = len({twin.row for twin in twins})
    return DataError(
        f"data: {count} training rows are in test sets, and decontaminate.action=refuse; drop leaves them out, warn "
        f"trains on them, `tltrain data check` lists all. First:{''.join(named)}"
    )


def _by_source(config: MixConfig, rows: Sequence[RowFacts], numbers: Sequence[int]) -> Iterator[tuple[int, list[int]]]:
    parts: list[list[int]] = [[] for _ in config.train]
    for number in numbers:
        parts[rows[number].source].append(number)
    return enumerate(parts)


def _beyond_cap(config: MixConfig, rows: Sequence[RowFacts], numbers: Sequence[int]) -> Iterator[int]:
    for source, part in _by_source(config, rows, numbers):
        cap = config.train[source].cap
        if cap is not None and cap < len(part):
            chosen = set(choose_rows([rows[number].key for number in part], cap, seed=config.seed))
            yield from (number for place, number in enumerate(part) if place not in chosen)


def _held_out(config: MixConfig, rows: Sequence[RowFacts], numbers: Sequence[int]) -> set[int]:
    split = config.validation
    if split is None:
        return set()
    if split.by and not any(rows[number].has_group_fields for number in numbers):
        raise DataError(
            f"validation.by={', '.join(split.by)}: no row has {'this field' if len(split.by) == 1 else 'these fields'} "
            "in its provenance; name others, or leave validation.by out"
        )
    groups = [rows[number].group for number in numbers]
    chosen = choose_validation(groups, share=split.share, seed=config.seed if split.seed is None else split.seed)
    return {number for number in numbers if rows[number].group in chosen}


def _copies(config: MixConfig, rows: Sequence[RowFacts], numbers: Sequence[int]) -> list[int]:
    copies = [0] * len(rows)
    for source, part in _by_source(config, rows, numbers):
        counts = count_copies([rows[number].key for number in part], config.train[source].weight, seed=config.seed)
        for number, count in zip(part, counts, strict=True):
            copies[number] = count
    return copies
