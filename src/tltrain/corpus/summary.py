"""What was mixed, in numbers."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict

from tltrain.corpus.config import MixConfig
from tltrain.corpus.contamination import TestSet, count_pairs
from tltrain.corpus.plan import MixPlan
from tltrain.corpus.rows import RowFacts
from tltrain.types import Json


def summarise(
    config: MixConfig, rows: Sequence[RowFacts], tests: Sequence[TestSet], plan: MixPlan, num_bad: Sequence[int]
) -> dict[str, Json]:
    """The content of summary.json.

    Args:
        config: what was asked for.
        rows: all rows.
        tests: what they were compared with.
        plan: what became of them.
        num_bad: rows of each training file that could not be read.
    """
    names = [str(file.name) for file in config.train]
    pairs = count_pairs(rows, names, tests, plan.twins)
    trained = [number for number, count in enumerate(plan.copies) if count]
    num_train = sum(plan.copies)
    return {
        "config": config.model_dump(mode="json"),
        "train": {"rows": num_train, **_variety(rows, trained)},
        "validation": {"rows": len(plan.validation), **_variety(rows, sorted(plan.validation))},
        "sources": {
            name: _source(rows, plan, source, bad)
            for source, (name, bad) in enumerate(zip(names, num_bad, strict=True))
        },
        "duplicates": _duplicates(rows, names, plan),
        "contamination": [asdict(pair) for pair in pairs],
    }


def _variety(rows: Sequence[RowFacts], numbers: Sequence[int]) -> dict[str, Json]:
    return {
        "different_rows": len(numbers),
        "tasks": len({rows[number].group for number in numbers}),
        "tasks_told_by_fields": len({rows[number].group for number in numbers if rows[number].has_group_fields}),
        "tool_lists": len({rows[number].toolset for number in numbers}),
    }


def _source(rows: Sequence[RowFacts], plan: MixPlan, source: int, num_bad: int) -> dict[str, Json]:
    numbers = [number for number, row in enumerate(rows) if row.source == source]
    superfluous = {found.row for found in plan.duplicates} & plan.removed
    seen = {twin.row for twin in plan.twins}
    return {
        "bad_rows": num_bad,
        "rows": len(numbers),
        "duplicates_removed": sum(number in superfluous for number in numbers),
        "in_test_sets": sum(number in seen for number in numbers),
        "in_test_sets_removed": sum(number in plan.removed and number in seen for number in numbers),
        "beyond_cap": sum(number in plan.capped for number in numbers),
        "validation": sum(number in plan.validation for number in numbers),
        "train": sum(plan.copies[number] for number in numbers),
    }


def _duplicates(rows: Sequence[RowFacts], names: Sequence[str], plan: MixPlan) -> list[Json]:
    """Counts by the files of a duplicate and of the row that makes it one; found ones, whether removed or not."""
    counts = Counter(
        (rows[found.row].source, rows[found.kept].source, found.similarity is None) for found in plan.duplicates
    )
    pairs = sorted({(source, kept) for source, kept, _ in counts})
    return [
        {
            "source": names[source],
            "first_in": names[kept],
            "equal": counts[source, kept, True],
            "near": counts[source, kept, False],
        }
        for source, kept in pairs
    ]
