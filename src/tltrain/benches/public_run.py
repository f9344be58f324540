"""The stage `eval --bench`: a model and public test sets in, answers and scores out."""

import json
from collections.abc import Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from tltrain.benches.bench_case import BenchCase
from tltrain.benches.bench_rows import BenchRow, rejudge
from tltrain.benches.bench_scores import BenchScores, score_queries, score_rows, score_talks
from tltrain.benches.bfcl import Bfcl
from tltrain.benches.bfcl_environment import NEEDED, BfclEnvironment
from tltrain.benches.bfcl_multi_turn import NAME, MultiTurnRow, TalkEnd, rejudge_talk, run_multi_turn
from tltrain.benches.bfcl_results import result_of, write_results
from tltrain.benches.data_folder import DataFolder
from tltrain.benches.journal import Journal
from tltrain.benches.live_tools import LiveTools
from tltrain.benches.policy import Policy
from tltrain.benches.public_config import PublicEvalConfig
from tltrain.benches.public_loading import TOOLEYES, LoadedSet, load_sets
from tltrain.benches.recorded_tools import FILE as RECORDING
from tltrain.benches.recorded_tools import read_recording
from tltrain.benches.rotbench import PromptStyle
from tltrain.benches.row_file import read_rows
from tltrain.benches.tool_answers import LIVE_FILE, ToolAnswers
from tltrain.benches.tooleyes import Query, QueryRow, describe_queries, rejudge_query, run_queries
from tltrain.errors import DataError, UsageError
from tltrain.files import encode_line, write_json_atomic, write_text_atomic
from tltrain.stage import Progress, Reuse, Stage, read_stage
from tltrain.syntax import get_syntax

_CHUNK_BATCHES = 4
"""Batches whose replies are kept together; what a kill can cost."""


class PublicScores(BaseModel):
    """scores.json."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    precision: str | None
    """Number format that the model ran in; None for an endpoint."""
    benches: dict[str, BenchScores]
    left_out: dict[str, str] = {}
    """What was asked for and not run -> why, and what to do."""


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
    environment: BfclEnvironment | None = None,
) -> PublicEvalResult:
    """Test a model on public test sets.

    Writes into `out`: a file of rows for each test set, scores.json, and, for bfcl, `bfcl_result/`, which
    `bfcl evaluate` scores. A run that was killed goes on where it stopped. A run in which an endpoint failed to answer
    stays open: it has scores, which count those cases apart, and a resumed one asks for them again. So does one from
    which multi-turn categories were left out for want of an environment.

    Args:
        config: settings.
        data_dir: holds the test sets, see `DataFolder`.
        model: see `load_model`; with an endpoint but a name for the results.
        out: folder of the stage.
        reuse: what to do with a folder that was used before.
        progress: told how far it is.
        policy: who is tested in place of the model.
        environment: where BFCL's multi-turn categories make their calls; its process is ended at the end.

    Raises:
        DataError: a file of a test set is missing or changed.
        ModelError: the model cannot be loaded.
        UsageError: the folder is in use, or was begun with other settings; or there is nothing but multi-turn
            categories to run, and no environment, or one that does not work; or the file of live tools cannot be used.
    """
    name = config.endpoint.model if config.endpoint else str(model)
    inputs = {} if config.endpoint else {"model": Path(model)}
    if config.tooleyes_replay:
        read_recording(config.tooleyes_replay)  # before anything is asked
        inputs["tooleyes_replay"] = config.tooleyes_replay
    if config.tooleyes_tools:
        _live_tools(config)
        inputs["tooleyes_tools"] = config.tooleyes_tools
    stage = Stage(out, name="eval", config=config, inputs=inputs, reuse=reuse)
    if stage.is_done:
        return PublicEvalResult(folder=out, scores=PublicScores.model_validate_json((out / "scores.json").read_bytes()))
    with closing(environment) if environment else nullcontext():
        return _evaluate(config, stage, data_dir, model, name, out, progress or (lambda *_: None), policy, environment)


def _evaluate(
    config: PublicEvalConfig,
    stage: Stage,
    data_dir: Path,
    model: str | Path,
    name: str,
    out: Path,
    progress: Progress,
    policy: Policy | None,
    environment: BfclEnvironment | None,
) -> PublicEvalResult:
    loading = load_sets(
        config, data_dir, allow_changed=config.allow_changed, limit=config.max_cases, environment=environment
    )
    precision = None
    if policy is None:
        policy, precision = _make_policy(config, model, out)
    found: dict[str, BenchScores] = {}
    journal = Journal(out / "replies.jsonl", policy, chunk_size=_CHUNK_BATCHES * config.batch_size)
    with closing(journal):
        for each in loading.sets:
            found[each.name] = _test(each, config, journal, out, name, loading.data, progress, environment)
    scores = PublicScores(model=name, precision=precision, benches=found, left_out=loading.left_out)
    write_text_atomic(out / "scores.json", scores.model_dump_json(indent=2) + "\n")
    if not loading.left_out and not any(bench.failed for bench in found.values()):
        stage.finish({key: bench.n for key, bench in found.items()})
        (out / "replies.jsonl").unlink()
        (out / LIVE_FILE).unlink(missing_ok=True)
    return PublicEvalResult(folder=out, scores=scores)


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
        keep_mib=config.keep_mib,
    )
    return policy, precision


def _test(
    loaded: LoadedSet,
    config: PublicEvalConfig,
    policy: Policy,
    out: Path,
    model: str,
    data: DataFolder,
    progress: Progress,
    environment: BfclEnvironment | None,
) -> BenchScores:
    """Have one test set answered, and write it down."""
    path = out / f"{loaded.name}.jsonl"
    told: Progress = lambda done, total, remark: progress(done, total, f"{loaded.name}: {remark}")  # noqa: E731
    at_once = max(config.batch_size, config.endpoint.num_parallel if config.endpoint else 1)
    if loaded.talks:
        assert environment is not None
        talks = run_multi_turn(
            loaded.talks, policy, environment, max_steps=loaded.max_steps, at_once=at_once, progress=told
        )
        _write(path, talks)
        _export_talks(talks, out / "bfcl_result", model)
        return score_talks(talks, config, notes=loaded.notes, changed=_changed(data, "bfcl"))
    if loaded.bench is None:
        answers = _tool_answers(config, out)
        with closing(answers):
            queries = run_queries(
                loaded.queries,
                policy,
                max_turns=config.max_turns,
                at_once=at_once,
                style=config.style,
                answers=answers,
                progress=told,
            )
        _write(path, queries)
        answers.write(out / RECORDING)
        return score_queries(queries, config, notes=describe_queries(answers), changed=_changed(data, TOOLEYES))
    bench, cases = loaded.bench, loaded.cases
    replies = policy.answer([case.request for case in cases], lambda done: progress(done, len(cases), loaded.name))
    rows = [BenchRow.from_reply(bench, case, reply, policy.syntax) for case, reply in zip(cases, replies, strict=True)]
    _write(path, rows)
    if isinstance(bench, Bfcl):
        _export(rows, out / "bfcl_result", model, {case.id: case for case in cases})
    return score_rows(rows, config, headline=bench.headline, notes=bench.notes, changed=_changed(data, bench.name))


def _tool_answers(config: PublicEvalConfig, out: Path) -> ToolAnswers:
    recording = read_recording(config.tooleyes_replay) if config.tooleyes_replay else None
    live = _live_tools(config)
    return ToolAnswers(recording, config.tooleyes_missing, live=live, journal=out / LIVE_FILE if live else None)


def _live_tools(config: PublicEvalConfig) -> LiveTools | None:
    path = config.tooleyes_tools
    return LiveTools(path, timeout_s=config.tooleyes_timeout_s, max_chars=config.tooleyes_max_chars) if path else None


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


def _export_talks(rows: Sequence[MultiTurnRow], folder: Path, model: str) -> None:
    """Write the scored conversations in BFCL's own layout, in which one that was broken off is a text."""
    results: dict[str, list[tuple[str, Any, Any]]] = {}
    for row in rows:
        if row.valid is not None:
            is_full = row.end is TalkEnd.CONTEXT_FULL
            result = "Error during inference: the model's context is full" if is_full else row.result
            results.setdefault(row.category, []).append((row.id, result, row.num_tokens))
    write_results(folder, Path(model).name, results)


def _write(path: Path, rows: Sequence[BaseModel]) -> None:
    write_text_atomic(path, "".join(encode_line(row.model_dump(mode="json")) for row in rows))


def score_again(
    run: Path, *, data_dir: Path, allow_changed: bool = False, environment: BfclEnvironment | None = None
) -> PublicScores:
    """Judge all answers of a run anew, without the model, and write its rows and scores.

    Args:
        run: folder of the run.
        data_dir: holds the test sets that it was made from.
        allow_changed: take data that differs from what was published, even if the run did not.
        environment: where BFCL's multi-turn categories make their calls; its process is ended at the end.

    Raises:
        DataError: the folder is no run on public test sets, or a file of it or of the data cannot be read.
        UsageError: the run has multi-turn categories, and there is no environment, or one that does not work.
    """
    record = read_stage(run)
    try:
        config = PublicEvalConfig.model_validate((record or {}).get("config", {}))
        old = PublicScores.model_validate_json((run / "scores.json").read_bytes())
    except (ValidationError, OSError) as error:
        first = str(error).splitlines()[0]
        raise DataError(f"{run} is no finished run of `tltrain eval --bench`: {first}; name such a folder") from None
    changed = allow_changed or config.allow_changed
    with closing(environment) if environment else nullcontext():
        loading = load_sets(config, data_dir, allow_changed=changed, limit=None, environment=environment)
        found = {
            loaded.name: _score_again(
                loaded,
                run / f"{loaded.name}.jsonl",
                config,
                loading.data,
                environment,
                old.benches[loaded.name].notes,
            )
            for loaded in loading.sets
            if loaded.name in old.benches
        }
    if NAME in old.benches.keys() - found.keys():
        raise UsageError(f"{run} holds conversations of BFCL: {NEEDED}")
    scores = old.model_copy(update={"benches": found})
    write_json_atomic(run / "scores.json", json.loads(scores.model_dump_json()))
    return scores


def _score_again(
    loaded: LoadedSet,
    path: Path,
    config: PublicEvalConfig,
    data: DataFolder,
    environment: BfclEnvironment | None,
    old_notes: Sequence[str],
) -> BenchScores:
    if loaded.talks:
        assert environment is not None
        talks = _rejudge_talks(read_rows(path, MultiTurnRow), loaded, environment)
        _write(path, talks)
        return score_talks(talks, config, notes=loaded.notes, changed=_changed(data, "bfcl"))
    if loaded.bench is None:
        made = path.parent / RECORDING
        answers = ToolAnswers(read_recording(made) if made.is_file() and made.stat().st_size else None)
        queries = _rejudge_queries(read_rows(path, QueryRow), loaded.queries, answers)
        _write(path, queries)
        return score_queries(queries, config, notes=old_notes, changed=_changed(data, TOOLEYES))
    bench = loaded.bench
    rows = rejudge(read_rows(path, BenchRow), bench, {case.id: case for case in loaded.cases})
    _write(path, rows)
    return score_rows(rows, config, headline=bench.headline, notes=bench.notes, changed=_changed(data, bench.name))


def _rejudge_talks(rows: Sequence[MultiTurnRow], loaded: LoadedSet, environment: BfclEnvironment) -> list[MultiTurnRow]:
    known = {talk.id: talk for talk in loaded.talks}
    unknown = next((row.id for row in rows if row.id not in known), None)
    if unknown is not None:
        raise DataError(f"bfcl has no conversation {unknown!r}; name the data that the run was made from")
    return [rejudge_talk(row, known[row.id], environment, max_steps=loaded.max_steps) for row in rows]


def _rejudge_queries(rows: Sequence[QueryRow], queries: Sequence[Query], answers: ToolAnswers) -> list[QueryRow]:
    known = {query.id: query for query in queries}
    unknown = next((row.id for row in rows if row.id not in known), None)
    if unknown is not None:
        raise DataError(f"tooleyes has no query {unknown!r}; name the data that the run was made from")
    return [rejudge_query(row, known[row.id], answers) for row in rows]
