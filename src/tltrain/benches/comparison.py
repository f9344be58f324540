"""Several evaluations on the same cases: scores side by side, paired differences, and which cases changed.

Pure: outcomes in, numbers out. A score or difference over nothing is None with n 0, never a number.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict

from tltrain.benches.bench_scores import GroupScores
from tltrain.benches.config import EvalConfig
from tltrain.benches.evaluations import EPISODES, TOOLEYES, EvaluatedSet, Evaluation, Outcome, Share
from tltrain.benches.general_comparison import GeneralComparison, compare_general, general_remarks
from tltrain.benches.published import published_rows
from tltrain.benches.scores import Resampling, Score, share_score
from tltrain.benches.statistics import mcnemar_test, ratio_difference
from tltrain.errors import DataError

COUNTED = ("DE", "CE", "malformed", "without_call")
"""Scores that are shares of calls or turns."""
GRADED = ("state_score",)
"""Scores that are means over cases, each from 0 to 1. All that are in neither are shares of cases, right or wrong."""
ERRORS = COUNTED
"""Scores of which lower is better."""
MAIN = ("TS", "PI", "CF", "valid", "success", "DE", "CE", "VA")
"""Scores that are reported first."""
_NO_MATTER = frozenset(
    {"benches", "batch_size", "precision", "endpoint", "allow_changed", "num_resamples", "confidence"}
)
"""Settings of an evaluation that decide neither cases nor verdicts, or that show otherwise."""


class Change(StrEnum):
    """What became of a case between two models."""

    BROKEN = "right_to_wrong"
    FIXED = "wrong_to_right"
    OTHER = "other"
    """Right or wrong as before, but with another error, or with another of the scores."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ComparedModel(_Record):
    """One of the evaluations."""

    name: str
    folder: str
    model: str
    """As the folder has it; empty if it does not say."""
    precision: str | None


class ModelScores(GroupScores):
    """Scores of one model on one test set."""

    parts: dict[str, GroupScores]
    errors: dict[str, int]
    """Label, or how conversations ended -> cases, the most frequent first."""


class Difference(_Record):
    """Second model minus first, in one score of a test set or of a part of it, over the cases that both have."""

    part: str
    """Empty: the whole set."""
    score: str
    n: int
    """Cases that both have a score for."""
    num_clusters: int
    """Independent groups of these cases, which the interval resamples."""
    only_first: int
    """Cases that only the first has a score for; they count nowhere here."""
    only_second: int
    first: float | None
    """Percent, over the common cases; None where they are shares of nothing, such as calls where none was made."""
    second: float | None
    difference: Score
    """In percentage points; n is what the scores are shares of."""
    right_to_wrong: int | None
    """Cases; None where the score is no share of cases."""
    wrong_to_right: int | None
    p_value: float | None
    """Of McNemar's exact test; None where the score is no share of cases, or n is 0."""


class Pair(_Record):
    """The baseline and another model."""

    first: str
    second: str
    differences: dict[str, list[Difference]]
    """Test set -> differences; the whole set before its parts."""
    changes: dict[str, dict[Change, int]]
    """Test set -> what became of its cases -> how many."""


class Published(_Record):
    """A row of the paper, never measured here."""

    model: str
    table: str
    scores: dict[str, float]


class Comparison(_Record):
    """What `tltrain compare --json` prints."""

    models: list[ComparedModel]
    """The baseline first."""
    parts_are: dict[str, str]
    """Test set -> what its parts are, such as `level`."""
    scores: dict[str, dict[str, ModelScores]]
    """Test set -> model -> scores over all its own cases."""
    pairs: list[Pair]
    published_2024: dict[str, list[Published]]
    """Test set -> rows of arXiv:2412.15495."""
    notes: dict[str, list[str]]
    """Test set -> what a reader must know about its numbers; what holds for some models only names them."""
    general: GeneralComparison | None
    """None: no folder has results of `eval general`."""
    confidence: float
    remarks: list[str]
    """In what the evaluations are not alike."""


def compare_evaluations(evaluations: Sequence[Evaluation], config: Resampling | None = None) -> Comparison:
    """Put evaluations side by side; the first is the baseline.

    Args:
        evaluations: two or more.
        config: of the intervals.

    Raises:
        DataError: they were made from different data, or have no case in common.
    """
    config = config or EvalConfig()
    first, *others = evaluations
    for other in others:
        _check_same_data(first, other)
    names = list(dict.fromkeys(name for evaluation in evaluations for name in evaluation.sets))
    found = {name: {each.name: each.sets[name] for each in evaluations if name in each.sets} for name in names}
    general = {each.name: each.general for each in evaluations if each.general is not None}
    return Comparison(
        models=[
            ComparedModel(name=each.name, folder=str(each.folder), model=each.model, precision=each.precision)
            for each in evaluations
        ],
        parts_are={name: next(iter(sets.values())).parts_are for name, sets in found.items()},
        scores={
            name: {model: _score_set(each, config) for model, each in sets.items()} for name, sets in found.items()
        },
        pairs=[_compare_pair(first, other, config) for other in others],
        published_2024={
            name: [Published(**row._asdict()) for row in rows] for name in names if (rows := published_rows(name))
        },
        notes={name: _notes(sets) for name, sets in found.items()},
        general=compare_general(general, first.name, config),
        confidence=config.confidence,
        remarks=[
            *(remark for other in others for remark in _remarks(first, other)),
            *(general_remarks(general) if general else ()),
        ],
    )


def change_of(before: Outcome, after: Outcome) -> Change | None:
    """What became of a case; None if nothing did, or if one side has no score."""
    if before.right is None or after.right is None:
        return None
    if before.right is not after.right:
        return Change.BROKEN if before.right else Change.FIXED
    verdicts = ({name: share for name, share in each.shares.items() if name not in COUNTED} for each in (before, after))
    return Change.OTHER if before.label != after.label or next(verdicts) != next(verdicts) else None


def _check_same_data(first: Evaluation, other: Evaluation) -> None:
    both = f"{first.folder} and {other.folder}"
    remedy = "compare evaluations on the same data"
    if first.data and other.data and first.data != other.data:
        raise DataError(
            f"{both} were made from different data: SHA-256 {first.data[:12]}… and {other.data[:12]}…; {remedy}"
        )
    common = [name for name in first.sets if name in other.sets]
    if not common and first.general and other.general:
        return
    if not common:
        had = [", ".join(each.sets) or "general ability" for each in (first, other)]
        raise DataError(f"{both} have no test set in common: {'; '.join(had)}; {remedy}")
    for name in common:
        one, two = first.sets[name], other.sets[name]
        if one.changed_files != two.changed_files:
            file = sorted({*one.changed_files} ^ {*two.changed_files})[0]
            raise DataError(f"{both} were made from different data: {file} was as published for one only; {remedy}")
        for key in (key for key in one.outcomes if key in two.outcomes):
            _check_same_case(one.outcomes[key], two.outcomes[key], f"{name}: case {key!r}", both)
    if not any(first.sets[name].outcomes.keys() & other.sets[name].outcomes.keys() for name in common):
        raise DataError(f"{both} have no case in common; evaluate both on the same data with the same max_cases")


def _check_same_case(one: Outcome, two: Outcome, where: str, both: str) -> None:
    if one.cluster != two.cluster:
        raise DataError(f"{where} belongs to different groups in {both}; compare evaluations on the same data")
    if one.query and two.query and one.query != two.query:
        raise DataError(f"{where} has different queries in {both}; compare evaluations on the same data")
    if one.gold and two.gold and one.gold != two.gold and one.syntax == two.syntax:
        raise DataError(f"{where} has different right answers in {both}; compare evaluations on the same data")


def _notes(sets: Mapping[str, EvaluatedSet]) -> list[str]:
    models: defaultdict[str, list[str]] = defaultdict(list)
    for model, each in sets.items():
        for note in each.notes:
            models[note].append(model)
    common = [note for note, having in models.items() if len(having) == len(sets)]
    return common + [f"{', '.join(having)}: {note}" for note, having in models.items() if note not in common]


def _score_set(found: EvaluatedSet, config: Resampling) -> ModelScores:
    outcomes = list(found.outcomes.values())
    return ModelScores(
        n=len(outcomes),
        scores=_scores(outcomes, config),
        parts={part: GroupScores(n=len(group), scores=_scores(group, config)) for part, group in _by_part(outcomes)},
        errors=dict(Counter(outcome.label for outcome in outcomes).most_common()),
    )


def _by_part(outcomes: Iterable[Outcome]) -> list[tuple[str, list[Outcome]]]:
    """Outcomes by part, in the order of the file; nothing where the set has no parts."""
    found: defaultdict[str, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        for part in outcome.parts:
            found[part].append(outcome)
    return list(found.items())


def score_names(outcomes: Iterable[Outcome]) -> list[str]:
    """Names of all scores, the main ones first."""
    names = list(dict.fromkeys(name for outcome in outcomes for name in outcome.shares))
    return sorted(names, key=lambda name: MAIN.index(name) if name in MAIN else len(MAIN))


def _scores(outcomes: Sequence[Outcome], config: Resampling) -> dict[str, Score]:
    return {name: _score(outcomes, name, config) for name in score_names(outcomes)}


def _score(outcomes: Sequence[Outcome], name: str, config: Resampling) -> Score:
    sums = _sum_clusters(outcomes, name)
    return share_score([share.num for share in sums.values()], [share.of for share in sums.values()], config)


def _sum_clusters(outcomes: Iterable[Outcome], name: str) -> dict[str, Share]:
    sums: dict[str, Share] = {}
    for outcome in outcomes:
        if share := outcome.shares.get(name):
            before = sums.get(outcome.cluster, Share(0, 0))
            sums[outcome.cluster] = Share(before.num + share.num, before.of + share.of)
    return sums


def _compare_pair(first: Evaluation, second: Evaluation, config: Resampling) -> Pair:
    differences: dict[str, list[Difference]] = {}
    changes: dict[str, dict[Change, int]] = {}
    for name in (name for name in first.sets if name in second.sets):
        one, two = first.sets[name].outcomes, second.sets[name].outcomes
        found = (change_of(one[key], two[key]) for key in one if key in two)
        counts = Counter(change for change in found if change)
        changes[name] = {change: counts[change] for change in Change}
        parts: dict[str, Any] = {part: ([], []) for part in ["", *_parts(one, two)]}
        for side, outcomes in enumerate((one, two)):
            parts[""][side].extend(outcomes.values())
            for part, group in _by_part(outcomes.values()):
                parts[part][side].extend(group)
        differences[name] = [
            _difference(before, after, part, score, config)
            for part, (before, after) in parts.items()
            for score in score_names([*before, *after])
        ]
    return Pair(first=first.name, second=second.name, differences=differences, changes=changes)


def _parts(one: Mapping[str, Outcome], two: Mapping[str, Outcome]) -> list[str]:
    return [part for part, _ in _by_part([*one.values(), *two.values()])]


def _difference(
    before: Sequence[Outcome], after: Sequence[Outcome], part: str, score: str, config: Resampling
) -> Difference:
    ones, twos = ({each.id: each for each in side if score in each.shares} for side in (before, after))
    common = [key for key in ones if key in twos]
    sums = _sum_clusters((ones[key] for key in common), score), _sum_clusters((twos[key] for key in common), score)
    measured = all(sum(share.of for share in side.values()) for side in sums)
    difference = Score()
    if measured:
        interval = ratio_difference(
            list(sums[0].values()),
            [sums[1][cluster] for cluster in sums[0]],
            confidence=config.confidence,
            num_resamples=config.num_resamples,
            seed=config.seed,
        )
        ends = 100 * interval.mean, 100 * interval.low, 100 * interval.high
        difference = Score(mean=ends[0], low=ends[1], high=ends[2], n=sum(share.of for share in sums[0].values()))
    is_verdict = score not in (*COUNTED, *GRADED)
    moves = Counter((ones[key].shares[score].num, twos[key].shares[score].num) for key in common)
    return Difference(
        part=part,
        score=score,
        n=len(common),
        num_clusters=len(sums[0]),
        only_first=len(ones) - len(common),
        only_second=len(twos) - len(common),
        first=_percent(sums[0].values()),
        second=_percent(sums[1].values()),
        difference=difference,
        right_to_wrong=moves[1, 0] if is_verdict else None,
        wrong_to_right=moves[0, 1] if is_verdict else None,
        p_value=mcnemar_test(moves[1, 0], moves[0, 1]) if is_verdict and common else None,
    )


def _percent(shares: Iterable[Share]) -> float | None:
    found = list(shares)
    total = sum(share.of for share in found)
    return 100 * sum(share.num for share in found) / total if total else None


def _remarks(first: Evaluation, other: Evaluation) -> list[str]:
    """What a reader must know before trusting a difference, a sentence each."""
    names = [name for name in {**first.config, **other.config} if name not in _NO_MATTER]
    remarks = [
        f"{name} is {first.config.get(name)} in {first.name} and {other.config.get(name)} in {other.name}."
        for name in names
        if first.config.get(name) != other.config.get(name)
    ]
    for one, two in ((first, other), (other, first)):
        missing = [name for name in one.sets if name not in two.sets]
        if missing:
            remarks.append(f"{two.name} has no results on {', '.join(missing)}.")
        if one.general and not two.general:
            remarks.append(f"{two.name} has no results on general ability.")
    if first.precision != other.precision and (first.sets or other.sets):
        told = [str(each.precision or "a number format it does not say") for each in (first, other)]
        remarks.append(f"{first.name} ran in {told[0]}, {other.name} in {told[1]}.")
    changed = [file for found in first.sets.values() for file in found.changed_files]
    return remarks + [f"{file} is not as published." for file in changed]


def is_conversation(name: str) -> bool:
    """Whether a test set's labels say how conversations ended, not what is wrong with an answer."""
    return name in (EPISODES, TOOLEYES)
