"""Folders of `tltrain eval`, read back as outcomes of cases, alike for own trajectories and public test sets."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from tltrain.benches.bench_rows import BenchRow
from tltrain.benches.bench_scores import BenchScores
from tltrain.benches.bfcl_multi_turn import NAME as BFCL_MULTI_TURN
from tltrain.benches.bfcl_multi_turn import MultiTurnRow
from tltrain.benches.episodes import EpisodeRow
from tltrain.benches.general_comparison import INSIDE, GeneralEvaluation, is_general, read_general
from tltrain.benches.public_config import split_spec
from tltrain.benches.row_file import read_rows
from tltrain.benches.scores import read_cases, read_episodes
from tltrain.benches.single_turn import ALL_KITS, CaseRow
from tltrain.benches.tooleyes import QueryRow
from tltrain.errors import DataError, UsageError
from tltrain.files import decode_json
from tltrain.stage import read_stage

CASES, EPISODES, TOOLEYES = "cases", "episodes", "tooleyes"
"""Test sets beside those of single answers: calls and tasks of trajectories, and ToolEyes."""
_WIDER = "part"
"""A breakdown of BFCL above its categories: exec, non_live, live."""


class Share(NamedTuple):
    """What one case adds to a score: so many of so many, such as 1 right of 1 case, or 2 errors in 5 calls."""

    num: float
    of: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """One case of a test set and what one model made of it."""

    id: str
    cluster: str
    """Cases of one cluster are alike, such as those of one conversation, and are resampled together."""
    parts: tuple[str, ...]
    """Parts of the set that the case belongs to, the narrowest last: level, category or kit; empty where there are
    none."""
    label: str
    """What is wrong, or `all_right`; of conversations, how they ended."""
    right: bool | None
    """None: not scored."""
    shares: Mapping[str, Share]
    """Score -> what this case adds to it; scores that the case does not have are left out."""
    query: str = ""
    gold: str = ""
    answer: str = ""
    prompt: str = ""
    syntax: str = ""
    """In which gold and answer are written."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluatedSet:
    """All outcomes of one test set."""

    name: str
    parts_are: str
    """What a part is, such as `level`; empty where there are none."""
    outcomes: Mapping[str, Outcome]
    """Case id -> outcome, in the order of the file."""
    changed_files: tuple[str, ...] = ()
    """Files of a public set that were not as published."""
    notes: tuple[str, ...] = ()
    """What a reader must know about the numbers, a sentence each; of public sets."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """One folder of `tltrain eval`."""

    folder: Path
    name: str
    """Short and unlike those of the other folders."""
    model: str
    """As the folder has it; empty if it does not say."""
    precision: str | None
    config: Mapping[str, Any]
    data: str
    """Checksum of the trajectories; empty for public sets."""
    sets: Mapping[str, EvaluatedSet]
    """None in a folder of `eval general`."""
    general: GeneralEvaluation | None = None


def read_evaluations(folders: Sequence[Path]) -> list[Evaluation]:
    """Read folders of `tltrain eval` that are to be compared; the first is the baseline.

    Raises:
        UsageError: fewer than two folders, one that is none, or one that is named twice.
        DataError: a folder has no results or unfinished ones, or a file of it cannot be read.
    """
    if len(folders) < 2:
        given = f"{folders[0]} alone" if folders else "nothing"
        raise UsageError(f"compare got {given}; give two or more folders of `tltrain eval`, the baseline first")
    for folder in folders:
        if not folder.is_dir():
            raise UsageError(f"{folder} is no folder; give folders that `tltrain eval` wrote")
    paths = [folder.resolve() for folder in folders]
    for place, path in enumerate(paths):
        if path in paths[:place]:
            raise UsageError(f"{folders[place]} is given twice; give each folder once")
    names = _short_names(paths)
    return [_read(folder, name) for folder, name in zip(folders, names, strict=True)]


def _short_names(paths: Sequence[Path]) -> list[str]:
    """The shortest ends of paths that tell them apart; an end that all share, such as `eval`, is left out."""
    shown = [path.parts[1:] for path in paths]
    while all(len(parts) > 1 for parts in shown) and len({parts[-1] for parts in shown}) == 1:
        shown = [parts[:-1] for parts in shown]
    length = 1
    while len({parts[-length:] for parts in shown}) < len(shown) and length < max(map(len, shown)):
        length += 1
    names = ["/".join(parts[-length:]) for parts in shown]
    return names if len(set(names)) == len(names) else [str(path) for path in paths]


def _read(folder: Path, name: str) -> Evaluation:
    record = _read_record(folder)
    if is_general(record):
        own = read_general(folder, record)
        scored = own.scores
        return Evaluation(
            folder=folder,
            name=name,
            model=scored.model,
            precision=scored.precision,
            config={},
            data="",
            sets={},
            general=own,
        )
    config, inputs = record.get("config", {}), record.get("inputs", {})
    scores = _read_scores(folder)
    if "benches" in config:
        names = list(scores.get("benches") or (split_spec(spec)[0] for spec in config["benches"]))
        sets = [_read_public(folder, each, scores, config.get("max_cases")) for each in names]
    else:
        readers: dict[str, Callable[[Path], EvaluatedSet]] = {
            "cases.jsonl": _read_cases,
            "episodes.jsonl": _read_episodes,
        }
        sets = [read(folder / file) for file, read in readers.items() if (folder / file).is_file()]
    if not any(each.outcomes for each in sets):
        raise DataError(
            f"{folder} has neither cases.jsonl nor episodes.jsonl; run `tltrain eval` anew with --overwrite"
        )
    inner = folder / INSIDE
    return Evaluation(
        folder=folder,
        name=name,
        model=str(scores.get("model") or ""),
        precision=scores.get("precision"),
        config=config,
        data=str(inputs.get("data", "")) if "benches" not in config else "",
        sets={each.name: each for each in sets},
        general=read_general(inner, _read_record(inner)) if (inner / "stage.json").is_file() else None,
    )


def _read_record(folder: Path) -> Mapping[str, Any]:
    record = read_stage(folder)
    if record is None:
        inside = sorted(path.parent for path in folder.glob("**/scores.json") if (path.parent / "stage.json").is_file())
        hint = f"such as {inside[0]}" if inside else "which `tltrain eval --out` writes"
        raise DataError(f"{folder} has no results of `tltrain eval`: no stage.json; name a folder that has, {hint}")
    if record.get("stage") != "eval":
        raise DataError(f"{folder} is a folder of `tltrain {record.get('stage')}`; name one of `tltrain eval`")
    if record.get("status") != "done":
        raise DataError(
            f"{folder} holds an evaluation that was interrupted, or in which an endpoint did not answer; "
            "end it by the same `tltrain eval` command with --resume"
        )
    return record


def _read_scores(folder: Path) -> Mapping[str, Any]:
    path = folder / "scores.json"
    remedy = "make it anew with `tltrain eval --overwrite`"
    if not path.is_file():
        raise DataError(f"{folder} has no scores.json; {remedy}")
    try:
        scores = decode_json(path.read_bytes())
    except ValueError as error:
        raise DataError(f"{path}: {error}; {remedy}") from None
    if not isinstance(scores, dict):
        raise DataError(f"{path} is no JSON object; {remedy}")
    return scores


def _read_public(folder: Path, name: str, scores: Mapping[str, Any], max_cases: object) -> EvaluatedSet:
    path = folder / f"{name}.jsonl"
    described = (scores.get("benches") or {}).get(name) or {}
    breakdown = str(described.get("headline") or "")
    if name == TOOLEYES:
        outcomes = [_outcome_of_query(row) for row in read_rows(path, QueryRow)]
    elif name == BFCL_MULTI_TURN:
        outcomes = [_outcome_of_talk(row) for row in read_rows(path, MultiTurnRow)]
    else:
        rows = read_rows(path, BenchRow)
        breakdowns = [each for each in (_WIDER, breakdown) if len({row.groups.get(each) for row in rows}) > 1]
        outcomes = [_outcome_of_answer(row, breakdowns) for row in rows]
    return EvaluatedSet(
        name=name,
        parts_are=breakdown,
        outcomes=_by_id(outcomes, path),
        changed_files=tuple(described.get("changed_files") or ()),
        notes=(*_notes(described), *_choice(max_cases, len(outcomes))),
    )


def _notes(described: Mapping[str, Any]) -> list[str]:
    try:
        found = BenchScores.model_validate(described)
    except ValidationError:  # of another version
        return []
    return [*found.notes, *found.remarks()]


def _choice(max_cases: object, number: int) -> list[str]:
    is_chosen = isinstance(max_cases, int) and number == max_cases
    return [f"{number} cases were chosen of the set (max_cases), balanced over its parts."] if is_chosen else []


def _read_cases(path: Path) -> EvaluatedSet:
    rows = read_cases(path)
    parts_are = "kit" if any(row.kit != ALL_KITS for row in rows) else ""
    return EvaluatedSet(name=CASES, parts_are=parts_are, outcomes=_by_id(list(map(_outcome_of_case, rows)), path))


def _read_episodes(path: Path) -> EvaluatedSet:
    rows = read_episodes(path)
    parts_are = "kit" if any(row.kit != ALL_KITS for row in rows) else ""
    return EvaluatedSet(name=EPISODES, parts_are=parts_are, outcomes=_by_id(list(map(_outcome_of_episode, rows)), path))


def _by_id(outcomes: Sequence[Outcome], path: Path) -> dict[str, Outcome]:
    double = [key for key, number in Counter(outcome.id for outcome in outcomes).items() if number > 1]
    if double:
        raise DataError(f"{path}: case {double[0]!r} occurs twice; make the file anew with `tltrain eval --overwrite`")
    return {outcome.id: outcome for outcome in outcomes}


def _verdicts(verdicts: Mapping[str, bool | None]) -> dict[str, Share]:
    return {name: Share(int(verdict), 1) for name, verdict in verdicts.items() if verdict is not None}


def _outcome_of_case(row: CaseRow) -> Outcome:
    return Outcome(
        id=row.id,
        cluster=row.trajectory,
        parts=() if row.kit == ALL_KITS else (row.kit,),
        label=row.label,
        right=row.cf,
        shares=_verdicts({"TS": row.ts, "PI": row.pi, "CF": row.cf}),
        query=row.query,
        gold=row.gold,
        answer=row.completion,
        prompt=row.prompt,
        syntax=row.syntax,
    )


def _outcome_of_answer(row: BenchRow, breakdowns: Sequence[str]) -> Outcome:
    own = {name: value for name, value in row.details.items() if isinstance(value, bool) and name != "script_crashes"}
    valid = own.get("valid")
    return Outcome(
        id=row.id,
        cluster=row.cluster,
        parts=tuple(row.groups[each] for each in breakdowns if each in row.groups),
        label=row.label,
        right=row.cf if valid is None else valid,
        shares=_verdicts({"TS": row.ts, "PI": row.pi, "CF": row.cf, **own}),
        query=row.query,
        gold=row.gold,
        answer=row.completion,
        syntax=row.syntax,
    )


def _outcome_of_query(row: QueryRow) -> Outcome:
    readable = row.num_calls - row.num_malformed
    counted = {
        "DE": Share(row.num_undocumented, readable),
        "CE": Share(row.num_failed, row.num_calls),
        "malformed": Share(row.num_malformed, row.num_calls),
        "without_call": Share(row.num_without_call, len(row.completions)),
    }
    return Outcome(
        id=row.id,
        cluster=row.id,
        parts=(),
        label=row.end.value,
        right=row.valid_answer,
        shares=counted | _verdicts({"VA": row.valid_answer}),
        query=row.query,
        answer="\n\n".join(row.completions),
        syntax=row.syntax,
    )


def _outcome_of_talk(row: MultiTurnRow) -> Outcome:
    return Outcome(
        id=row.id,
        cluster=row.id,
        parts=(row.category,),
        label=row.label,
        right=row.valid,
        shares={} if row.valid is None else {"CE": Share(row.num_failed, row.num_calls), "valid": Share(row.valid, 1)},
        query=row.query,
        answer="\n\n".join(text for turn in row.completions for text in turn),
        syntax=row.syntax,
    )


def _outcome_of_episode(row: EpisodeRow) -> Outcome:
    counted = {
        "DE": Share(row.num_undocumented, row.num_calls - row.num_malformed),
        "CE": Share(row.num_failed, row.num_calls),
        "malformed": Share(row.num_malformed, row.num_calls),
    }
    valid = None if row.success is None else bool(row.valid_answer)
    if row.score is not None:
        counted["state_score"] = Share(row.score, 1)
    return Outcome(
        id=row.id,
        cluster=row.id,
        parts=() if row.kit == ALL_KITS else (row.kit,),
        label=row.end.value,
        right=row.success,
        shares=counted | _verdicts({"success": row.success, "VA": valid}),
        query=row.query,
        answer="\n\n".join(_said(message) for message in row.messages if message.get("role") == "assistant"),
    )


def _said(message: Mapping[str, Any]) -> str:
    """A turn of the model: its text, then its calls."""
    calls = [call.get("function", call) for call in message.get("tool_calls") or []]
    lines = [str(message.get("content") or ""), *(f"{call.get('name')}({call.get('arguments')})" for call in calls)]
    return "\n".join(line for line in lines if line)
