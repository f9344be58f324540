"""Scores of result files in BFCL's own layout, whoever wrote them."""

from pathlib import Path

from tltrain.benches.bench_rows import BenchRow
from tltrain.benches.bench_scores import BenchScores, score_rows
from tltrain.benches.bfcl import Bfcl, judge_result
from tltrain.benches.bfcl_cases import load_category
from tltrain.benches.bfcl_results import find_results, read_results
from tltrain.benches.config import EvalConfig
from tltrain.benches.data_folder import DataFolder
from tltrain.benches.policy import Stop
from tltrain.errors import DataError


def score_result_files(
    folder: Path, *, data_dir: Path, underscore_to_dot: bool = False, allow_changed: bool = False
) -> BenchScores:
    """Score the result files of one model; cases without a line are counted in no score.

    Args:
        folder: of one model's results.
        data_dir: holds the test sets.
        underscore_to_dot: the files' model writes `_` for each dot in a tool's name.
        allow_changed: take data that differs from what was published.

    Raises:
        DataError: there is no such file, one cannot be read, or it answers a case that the set does not have.
    """
    data = DataFolder(data_dir, allow_changed=allow_changed)
    found = find_results(folder)
    bench = Bfcl(data, parts=list(found))
    rows = [row for category, path in found.items() for row in _judge_file(path, category, data, underscore_to_dot)]
    return score_rows(rows, EvalConfig(), headline=bench.headline, notes=bench.notes, changed=data.changed)


def _judge_file(path: Path, category: str, data: DataFolder, underscore_to_dot: bool) -> list[BenchRow]:
    cases = {case.id: case for case in load_category(data, category)}
    rows = []
    for result in read_results(path, category):
        if result.id not in cases:
            raise DataError(f"{path}: {category} has no case {result.id!r}; is it a file of another version?")
        case = cases[result.id]
        verdict = judge_result(case, result.result, underscore_to_dot=underscore_to_dot)
        rows.append(
            BenchRow(
                id=case.id,
                bench="bfcl",
                groups=dict(case.groups),
                cluster=case.id,
                prompt_sha256="",
                completion=str(result.result),
                stop=Stop.END,
                syntax="",
                num_tokens=0,
                label=verdict.label,
                ts=verdict.ts,
                pi=verdict.pi,
                cf=verdict.cf,
                details=dict(verdict.details),
            )
        )
    return rows
