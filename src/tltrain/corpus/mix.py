"""Makes the data of a run out of several files: reads, compares, chooses, and writes what stays.

The order of work: rows are read and get ids that are theirs alone; duplicates go; rows of test sets go; each file's cap
is applied; tasks are held out; the rest is repeated by the weights.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from tltrain.corpus.config import Action, DataFile, MixConfig
from tltrain.corpus.contamination import TestSet
from tltrain.corpus.plan import MixPlan, plan_mix
from tltrain.corpus.pool import Pool, open_pool
from tltrain.corpus.queries import shorten
from tltrain.corpus.reading import expand_folders, iterate_rows
from tltrain.corpus.rows import RowFacts, RowReader
from tltrain.corpus.summary import summarise
from tltrain.files import atomic_file, decode_line, encode_line, write_json_atomic
from tltrain.formats.openai_chat import row_from_trajectory
from tltrain.formats.quarantine import Quarantine, quarantined
from tltrain.types import Json

Progress = Callable[[int, int, str], None]
"""Told the number of files that are done, of all files, and a short remark."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MixResult:
    """What was made."""

    train: Path
    validation: Path | None
    """None where nothing was to be held out."""
    test: Path | None
    summary: Path
    removed: Path
    """JSON Lines of the rows that were left out, each with the reason."""
    num_train: int
    """Rows, with all copies."""
    num_validation: int
    num_test: int
    num_duplicates: int
    """Found, whether they were removed or not."""
    num_in_test_sets: int
    """Training rows, whether they were removed or not."""
    num_removed: int
    num_bad_rows: int
    """Rows that could not be read; listed in quarantine.jsonl."""


def mix(config: MixConfig, out: Path, *, progress: Progress | None = None) -> MixResult:
    """Make train.jsonl, removed.jsonl, summary.json and, as asked for, validation.jsonl and test.jsonl in `out`.

    Bad rows go to quarantine.jsonl. Each file is written whole or not at all. Equal configs and inputs give equal
    files.

    Args:
        config: what to make.
        out: folder; made if it is not there, its files replaced.
        progress: told after every file, and now and then.

    Raises:
        DataError: a file cannot be read, nothing is left to train on, the tasks cannot be split, or rows are in a test
            set and that is to be refused.
    """
    reader = RowReader(config.validation.by if config.validation else ())
    num_files = len(config.train) + 1

    def tell(num_done: int, num_rows: int) -> None:
        if progress:
            progress(num_done, num_files, f"{num_rows:,} rows read")

    for name in ("validation.jsonl", "test.jsonl"):
        (out / name).unlink(missing_ok=True)
    with open_pool(out, reader) as pool, quarantined(out / "quarantine.jsonl") as bad:
        tests, num_test = _take_tests(config, out, reader, bad)
        pool.read(config, bad, tell)
        plan = plan_mix(config, pool.rows, tests)
        _write_rows(pool, plan, out, has_validation=config.validation is not None)
        num_removed = _write_removed(config, pool.rows, tests, plan, out / "removed.jsonl")
        summary = summarise(config, pool.rows, tests, plan, pool.num_bad)
        write_json_atomic(out / "summary.json", {**summary, "test": {"rows": num_test}})
        result = MixResult(
            train=out / "train.jsonl",
            validation=out / "validation.jsonl" if config.validation else None,
            test=out / "test.jsonl" if config.test else None,
            summary=out / "summary.json",
            removed=out / "removed.jsonl",
            num_train=sum(plan.copies),
            num_validation=len(plan.validation),
            num_test=num_test,
            num_duplicates=len(plan.duplicates),
            num_in_test_sets=len({twin.row for twin in plan.twins}),
            num_removed=num_removed,
            num_bad_rows=bad.count,
        )
    if progress:
        progress(num_files, num_files, describe(result))
    return result


def describe(result: MixResult) -> str:
    """One line about what was made, with what deserves a look."""
    parts = [f"{result.num_train:,} rows to train on"]
    if result.num_removed:
        parts.append(f"{result.num_removed:,} left out")
    if result.num_in_test_sets:
        parts.append(f"{result.num_in_test_sets:,} training rows are in test sets")
    return ", ".join(parts)


def _take_tests(config: MixConfig, out: Path, reader: RowReader, bad: Quarantine) -> tuple[list[TestSet], int]:
    """The test sets to compare with; the data's own test file is copied on the way, as rows of tltrain."""
    threshold = config.decontaminate.near_threshold
    tests = []
    if config.test:
        own = _copy_test(config.test, out / "test.jsonl", reader, bad)
        tests.append(TestSet(str(config.test.path), own, near_threshold=threshold))
    for file in expand_folders(config.decontaminate.against):
        rows = [reader.read(trajectory, 0) for trajectory in iterate_rows(file, bad.add)]
        tests.append(TestSet(str(file.path), rows, near_threshold=threshold))
    return tests, len(tests[0].rows) if config.test else 0


def _copy_test(file: DataFile, target: Path, reader: RowReader, bad: Quarantine) -> list[RowFacts]:
    rows = []
    with atomic_file(target) as copy:
        for trajectory in iterate_rows(file, bad.add):
            rows.append(reader.read(trajectory, 0))
            copy.write(encode_line(row_from_trajectory(trajectory)).encode())
    return rows


def _write_rows(pool: Pool, plan: MixPlan, out: Path, *, has_validation: bool) -> None:
    with ExitStack() as stack:
        train = stack.enter_context(atomic_file(out / "train.jsonl"))
        validation = stack.enter_context(atomic_file(out / "validation.jsonl")) if has_validation else None
        for number, line in enumerate(pool.encoded()):
            if validation is not None and number in plan.validation:
                validation.write(line)
            if not plan.copies[number]:
                continue
            train.write(line)
            for _ in range(plan.copies[number] - 1):
                row = decode_line(line.rstrip(b"\n"), "a row of the mixture")
                train.write(encode_line({**row, "id": pool.claim_copy_id(pool.rows[number].id)}).encode())


def _write_removed(
    config: MixConfig, rows: Sequence[RowFacts], tests: Sequence[TestSet], plan: MixPlan, path: Path
) -> int:
    count = 0
    with atomic_file(path) as file:
        for entry in _removals(config, rows, tests, plan):
            file.write(encode_line(entry).encode())
            count += 1
    return count


def _removals(
    config: MixConfig, rows: Sequence[RowFacts], tests: Sequence[TestSet], plan: MixPlan
) -> Iterator[dict[str, Json]]:
    def entry(number: int, reason: str, like: dict[str, Json], similarity: float) -> dict[str, Json]:
        row = rows[number]
        name = str(config.train[row.source].name)
        about: dict[str, Json] = {"id": row.id, "source": name, "reason": reason}
        return about | like | {"similarity": round(similarity, 4), "query": shorten(row.query)}

    if config.deduplicate != "off":
        for found in plan.duplicates:
            kept = rows[found.kept]
            like: dict[str, Json] = {"kept": kept.id, "kept_source": config.train[kept.source].name}
            if found.similarity is None:
                yield entry(found.row, "duplicate", like, 1.0)
            else:
                yield entry(found.row, "near_duplicate", like, found.similarity)
    if config.decontaminate.action is Action.DROP:
        dropped: set[int] = set()
        for twin in plan.twins:
            if twin.row not in dropped:
                dropped.add(twin.row)
                test = tests[twin.test]
                like = {"test": test.name, "test_id": test.rows[twin.test_rows[0]].id}
                yield entry(twin.row, twin.kind.value, like, twin.similarity)
