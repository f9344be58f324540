"""The stage `eval --bench`: a model and public test sets in, answers and scores out."""

import json
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from tltrain.benches.balance import choose_balanced
from tltrain.benches.bench_case import Bench, BenchCase
from tltrain.benches.bench_rows import BenchRow, rejudge
from tltrain.benches.bench_scores import BenchScores, score_queries, score_rows
from tltrain.benches.bfcl import Bfcl
from tltrain.benches.bfcl_results import result_of, write_results
from tltrain.benches.data_folder import DataFolder
from tltrain.benches.journal import Journal
from tltrain.benches.policy import Policy
from tltrain.benches.public_config import PublicEvalConfig, split_spec
from tltrain.benches.rotbench import LEVELS, PromptStyle, RoTBench
from tltrain.benches.row_file import read_rows
from tltrain.benches.toolalpaca import ToolAlpaca
from tltrain.benches.tooleyes import NOTES, Query, QueryRow, load_queries, rejudge_query, run_queries
from tltrain.errors import DataError
from tltrain.files import encode_line, write_json_atomic, write_text_atomic
from tltrain.stage import Progress, Reuse, Stage, read_stage
from tltrain.syntax import get_syntax

_CHUNK_BATCHES = 4
"""Batches whose replies are kept together; what a kill can cost."""
TOOLEYES = "tooleyes"


class PublicScores(BaseModel):
    """scores.json."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    precision: str | None
    """Number format that the model ran in; None for an endpoint."""
    benches: dict[str, BenchScores]


@dataclass(frozen=True, kw_only=True, slots=True)
class PublicEvalResult:
    """Where the results are, and the scores."""

    folder: Path
    """Holds a .jsonl file for each test set, and scores.json."""
    scores: PublicScores


def evaluate_public(
    config: PublicEvalConfig,
    *,
    data_dir: Path,
    model: str | Path,
    out: Path,
    reuse: Reuse = Reuse.REFUSE,
    progress: Progress | None = None,
    policy: Policy | None = None,
) -> PublicEvalResult:
    """Test a model on public test sets.

    Writes into `out`: a file of rows for each test set, scores.json, and, for bfcl, `bfcl_result/`, which
    `bfcl evaluate` scores. A run that was killed goes on where it stopped. A run in which an endpoint failed to answer
    stays open: it has scores, which count those cases apart, and a resumed one asks for them again.

    Args:
        config: settings.
        data_dir: holds the test sets, see `DataFolder`.
        model: see `load_model`; with an endpoint but a name for the results.
        out: folder of the stage.
        reuse: what to do with a folder that was used before.
        progress: told how far it is.
        policy: who is tested in place of the model.

    Raises:
        DataError: a file of a test set is missing or changed.
        ModelError: the model cannot be loaded.
        UsageError: the folder is in use, or was begun with other settings.
    """
    name = config.endpoint.model if config.endpoint else str(model)
    inputs = {} if config.endpoint else {"model": Path(model)}
    stage = Stage(out, name="eval", config=config, inputs=inputs, reuse=reuse)
    if stage.is_done:
        return PublicEvalResult(folder=out, scores=PublicScores.model_validate_json((out / "scores.json").read_bytes()))
    data = DataFolder(data_dir, allow_changed=config.allow_changed)
    loaded = [_load(spec, config, data, config.max_cases) for spec in config.benches]
    precision = None
    if policy is None:
        policy, precision = _make_policy(config, model, out)
    found: dict[str, BenchScores] = {}
    journal = Journal(out / "replies.jsonl", policy, chunk_size=_CHUNK_BATCHES * config.batch_size)
    with closing(journal):
        for each in loaded:
            found[each.name] = _test(each, config, journal, out, name, data, progress or (lambda *_: None))
    scores = PublicScores(model=name, precision=precision, benches=found)
    write_text_atomic(out / "scores.json", scores.model_dump_json(indent=2) + "\n")
    if not any(bench.failed for bench in found.values()):
        stage.finish({key: bench.n for key, bench in found.items()})
        (out / "replies.jsonl").unlink()
    return PublicEvalResult(folder=out, scores=scores)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Loaded:
    """A test set with what is chosen of it; ToolEyes has queries in place of a bench and cases."""

    name: str
    bench: Bench | None = None
    cases: Sequence[BenchCase] = ()
    queries: Sequence[Query] = ()


def _load(spec: str, config: PublicEvalConfig, data: DataFolder, limit: int | None) -> _Loaded:
    name, parts = split_spec(spec)

    if name == TOOLEYES:
        queries = load_queries(data)
        chosen = choose_balanced([(query.scenario, query.path) for query in queries], limit, seed=config.seed)
        return _Loaded(name=name, queries=[queries[index] for index in chosen])
    bench: Bench
    if name == "rotbench":
        bench = RoTBench(data, levels=parts or LEVELS, style=config.style)
    elif name == "bfcl":
        bench = Bfcl(data, parts=parts or ("exec",), first_call=config.first_call)
    else:
        bench = ToolAlpaca(data, openapi=config.openapi)
    cases = bench.load()
    chosen = choose_balanced([tuple(case.groups.values()) for case in cases], limit, seed=config.seed)
    return _Loaded(name=name, bench=bench, cases=[cases[index] for index in chosen])


def _make_policy(config: PublicEvalConfig, model: str | Path, out: Path) -> tuple[Policy, str | None]:
    syntax = get_syntax("react") if config.style is PromptStyle.ORIGINAL else None
    if config.endpoint:
        from tltrain.benches.endpoint_policy import EndpointPolicy

        return EndpointPolicy(config.endpoint, max_new_tokens=config.max_new_tokens, syntax=syntax), None
    from tltrain.benches.model_policy import ModelPolicy
    from tltrain.benches.run import settle_precision

    precision = settle_precision(config.precision, out)
    policy = ModelPolicy(
        model,
        max_new_tokens=config.max_new_tokens,
        batch_size=config.batch_size,
        precision=precision,
        syntax=syntax,
        constrain=config.constrain,
    )
    return policy, precision


def _test(
    loaded: _Loaded,
    config: PublicEvalConfig,
    policy: Policy,
    out: Path,
    model: str,
    data: DataFolder,
    progress: Progress,
) -> BenchScores:
    """Have one test set answered, and write it down."""
    path = out / f"{loaded.name}.jsonl"
    if loaded.bench is None:
        told: Progress = lambda done, total, remark: progress(done, total, f"{loaded.name}: {remark}")  # noqa: E731
        queries = run_queries(loaded.queries, policy, max_turns=config.max_turns, style=config.style, progress=told)
        _write(path, queries)
        return score_queries(queries, config, notes=NOTES, changed=_changed(data, TOOLEYES))
    bench, cases = loaded.bench, loaded.cases
    replies = policy.answer([case.request for case in cases], lambda done: progress(done, len(cases), loaded.name))
    rows = [BenchRow.from_reply(bench, case, reply, policy.syntax) for case, reply in zip(cases, replies, strict=True)]
    _write(path, rows)
    if isinstance(bench, Bfcl):
        _export(rows, out / "bfcl_result", model, {case.id: case for case in cases})
    return score_rows(rows, config, headline=bench.headline, notes=bench.notes, changed=_changed(data, bench.name))


def _changed(data: DataFolder, name: str) -> list[str]:
    return [file for file in data.changed if file.startswith(f"{name}/")]


def _export(rows: Sequence[BenchRow], folder: Path, model: str, cases: Mapping[str, BenchCase]) -> None:
    """Write the answers in BFCL's own layout."""
    results: dict[str, list[tuple[str, str | list[dict[str, str]], int]]] = {}
    for row in rows:
        calls = get_syntax(row.syntax).parse(row.completion, tools=cases[row.id].request.tools).calls
        entry = (row.id, result_of(row.completion, calls), row.num_tokens)
        results.setdefault(row.groups["category"], []).append(entry)
    write_results(folder, Path(model).name, results)


def _write(path: Path, rows: Sequence[BaseModel]) -> None:
    write_text_atomic(path, "".join(encode_line(row.model_dump(mode="json")) for row in rows))


def score_again(run: Path, *, data_dir: Path, allow_changed: bool = False) -> PublicScores:
    """Judge all answers of a run anew, without the model, and write its rows and scores.

    Args:
        run: folder of the run.
        data_dir: holds the test sets that it was made from.
        allow_changed: take data that differs from what was published, even if the run did not.

    Raises:
        DataError: the folder is no run on public test sets, or a file of it or of the data cannot be read.
    """
    record = read_stage(run)
    try:
        config = PublicEvalConfig.model_validate((record or {}).get("config", {}))
        old = PublicScores.model_validate_json((run / "scores.json").read_bytes())
    except (ValidationError, OSError) as error:
        first = str(error).splitlines()[0]
        raise DataError(f"{run} is no finished run of `tltrain eval --bench`: {first}; name such a folder") from None
    data = DataFolder(data_dir, allow_changed=allow_changed or config.allow_changed)
    found: dict[str, BenchScores] = {}
    for spec in config.benches:
        name, _ = split_spec(spec)
        path = run / f"{name}.jsonl"
        loaded = _load(spec, config, data, None)
        if loaded.bench is None:
            queries = _rejudge_queries(read_rows(path, QueryRow), loaded.queries)
            _write(path, queries)
            found[name] = score_queries(queries, config, notes=NOTES, changed=_changed(data, TOOLEYES))
            continue
        rows = rejudge(read_rows(path, BenchRow), loaded.bench, {case.id: case for case in loaded.cases})
        _write(path, rows)
        bench = loaded.bench
        found[name] = score_rows(
            rows, config, headline=bench.headline, notes=bench.notes, changed=_changed(data, bench.name)
        )
    scores = old.model_copy(update={"benches": found})
    write_json_atomic(run / "scores.json", json.loads(scores.model_dump_json()))
    return scores


def _rejudge_queries(rows: Sequence[QueryRow], queries: Sequence[Query]) -> list[QueryRow]:
    known = {query.id: query for query in queries}
    unknown = next((row.id for row in rows if row.id not in known), None)
    if unknown is not None:
        raise DataError(f"tooleyes has no query {unknown!r}; name the data that the run was made from")
    return [rejudge_query(row, known[row.id]) for row in rows]
