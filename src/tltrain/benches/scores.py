"""From rows of cases and episodes to scores, in percent with bootstrap intervals. No model is needed.

A score over nothing is None with n 0, never a number.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict

from tltrain.benches.config import EvalConfig
from tltrain.benches.episodes import EpisodeEnd, EpisodeRow
from tltrain.benches.policy import Stop
from tltrain.benches.row_file import read_rows
from tltrain.benches.single_turn import CaseRow
from tltrain.benches.statistics import ratio_interval
from tltrain.errors import DataError
from tltrain.formats.read import read_trajectories
from tltrain.syntax import get_syntax
from tltrain.types import ToolCall, Trajectory, iterate_calls


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Score(_Record):
    """A share in percent, or a difference of two in percentage points, with its interval."""

    mean: float | None = None
    """None: nothing was measured."""
    low: float | None = None
    high: float | None = None
    n: int = 0
    """What it is a share of: cases, episodes or calls."""


class KitScores(_Record):
    """Single-turn scores; each stage implies the one before."""

    n: int
    """Cases with a score."""
    TS: Score
    """Tool selection: the right tool is called, once."""
    PI: Score
    """Parameter identification: and with the right set of parameter names."""
    CF: Score
    """Content filling: and with the right values."""


class SingleTurnScores(KitScores):
    """Scores of all single-turn cases."""

    errors: dict[str, int]
    """Label -> cases, the most frequent first."""
    by_kit: dict[str, KitScores]
    mean_tokens: float | None
    """Tokens of an answer, over the cases that were answered."""
    truncated: Score
    """Share of the answers that were cut off at the limit."""
    too_long: int
    """Cases whose prompt leaves no room in the model's context; scored as wrong."""
    unwritable: int
    """Cases whose prompt the model's chat template cannot write; not scored."""


class KitSuccess(_Record):
    """Episodes of one kit."""

    n: int
    success: Score


class EpisodeScores(_Record):
    """Scores of whole conversations, after ToolEyes (Ye et al. 2025, COLING) as TL-Training reports them.

    DE and CE are shares of calls, whose intervals resample episodes.
    """

    n: int
    """Episodes with a score."""
    success: Score
    """Share of the episodes that ended with a valid answer in the right state."""
    state_score: Score = Score()
    """Mean score of the final state, in percent, where an environment of the user's scores it; 0 without a valid
    answer."""
    DE: Score
    """Documentation understanding errors: of the calls that can be read, the share that names an unknown tool or
    parameter, or lacks a required one. Unreadable calls understand or misunderstand nothing: see `malformed`."""
    CE: Score
    """Call errors: of all calls, the share whose feedback is an error; unreadable ones are among them."""
    VA: Score
    """Valid answers: the share of the episodes that ended by themselves, with an answer that does not give up."""
    malformed: Score
    """Of all calls, the share that cannot be read."""
    by_kit: dict[str, KitSuccess]
    ends: dict[str, int]
    """How the episodes ended -> how many."""
    mean_turns: float | None
    mean_calls: float | None
    unwritable: int
    """Episodes that ended because the model's chat template cannot write the conversation; success and VA leave them
    out."""
    failed: int = 0
    """Episodes in which the user's environment raised; success and VA leave them out."""


class Scores(_Record):
    """scores.json."""

    single: SingleTurnScores
    episodes: EpisodeScores
    left_out: dict[str, int]
    """Why calls made no case and rows no episode -> how many; and the bad rows of the file."""
    precision: str | None
    """Number format that the model ran in; None for a policy that is no model."""


class Comparison(_Record):
    """What the second of two models gains over the first, on the cases that both answered."""

    n: int
    TS: Score
    PI: Score
    CF: Score
    num_unpaired: int
    """Cases that only one of them has a score for."""


def score_single_turn(rows: Sequence[CaseRow], config: EvalConfig) -> SingleTurnScores:
    """Scores of answered cases.

    Intervals resample trajectories, since cases of one conversation are alike.
    """
    answered = [row for row in rows if row.stop in (Stop.END, Stop.LENGTH)]
    kits = sorted({row.kit for row in rows})
    return SingleTurnScores(
        **_stage_scores(rows, config),
        errors=dict(Counter(row.label for row in rows if row.cf is not None).most_common()),
        by_kit={kit: KitScores(**_stage_scores([row for row in rows if row.kit == kit], config)) for kit in kits},
        mean_tokens=_mean(row.num_tokens for row in answered),
        truncated=_case_share(answered, lambda row: row.stop is Stop.LENGTH, config),
        too_long=sum(row.stop is Stop.TOO_LONG for row in rows),
        unwritable=sum(row.stop is Stop.UNWRITABLE for row in rows),
    )


def _stage_scores(rows: Sequence[CaseRow], config: EvalConfig) -> dict[str, Any]:
    return {
        "n": sum(row.cf is not None for row in rows),
        "TS": _case_share(rows, lambda row: row.ts, config),
        "PI": _case_share(rows, lambda row: row.pi, config),
        "CF": _case_share(rows, lambda row: row.cf, config),
    }


def score_episodes(rows: Sequence[EpisodeRow], config: EvalConfig) -> EpisodeScores:
    """Scores of episodes."""
    scored = [row for row in rows if row.success is not None]
    by_kit: defaultdict[str, list[EpisodeRow]] = defaultdict(list)
    for row in sorted(scored, key=lambda row: row.kit):
        by_kit[row.kit].append(row)
    num_calls = [row.num_calls for row in rows]
    states = [row.score for row in scored if row.score is not None]
    return EpisodeScores(
        n=len(scored),
        success=_success(scored, config),
        state_score=share_score(states, [1] * len(states), config),
        DE=share_score(
            [row.num_undocumented for row in rows], [row.num_calls - row.num_malformed for row in rows], config
        ),
        CE=share_score([row.num_failed for row in rows], num_calls, config),
        VA=share_score([row.valid_answer or 0 for row in scored], [1] * len(scored), config),
        malformed=share_score([row.num_malformed for row in rows], num_calls, config),
        by_kit={kit: KitSuccess(n=len(group), success=_success(group, config)) for kit, group in by_kit.items()},
        ends=dict(Counter(row.end.value for row in rows).most_common()),
        mean_turns=_mean(row.num_turns for row in rows),
        mean_calls=_mean(num_calls),
        unwritable=sum(row.end is EpisodeEnd.UNWRITABLE for row in rows),
        failed=sum(row.end is EpisodeEnd.FAILED for row in rows),
    )


def _success(rows: Sequence[EpisodeRow], config: EvalConfig) -> Score:
    return share_score([row.success or 0 for row in rows], [1] * len(rows), config)


def score_cases(path: Path, *, data: Path, config: EvalConfig | None = None) -> SingleTurnScores:
    """Score cases.jsonl again without the model: its completions are read and compared anew.

    Args:
        path: cases.jsonl of an evaluation.
        data: the trajectories it was made from; they have tools and right calls.
        config: of the intervals.

    Raises:
        DataError: a file cannot be read, or the data has no such call.
    """
    trajectories = {trajectory.id: trajectory for trajectory in read_trajectories(data).trajectories}
    rows = [_rejudge(row, trajectories, data) for row in read_cases(path)]
    return score_single_turn(rows, config or EvalConfig())


def _rejudge(row: CaseRow, trajectories: Mapping[str, Trajectory], data: Path) -> CaseRow:
    trajectory = trajectories.get(row.trajectory)
    steps = list(iterate_calls(trajectory)) if trajectory else []
    gold = steps[row.call].call if 0 <= row.call < len(steps) else None
    if trajectory is None or not isinstance(gold, ToolCall):
        raise DataError(f"case {row.id}: {data} has no such call; name the file that the cases were made from")
    return row.rejudged(get_syntax(row.syntax), trajectory.tools, gold)


def compare(first: Path, second: Path, config: EvalConfig | None = None) -> Comparison:
    """Second minus first, over the cases that two evaluations have in common, with paired intervals.

    Trajectories are resampled, each with both answers to its cases, so what makes a case hard for both cancels; an
    interval without 0 says that the two differ.

    Args:
        first: cases.jsonl of one evaluation.
        second: of the other.
        config: of the intervals.

    Raises:
        DataError: a file cannot be read, or a case of one name has another right call.
    """
    config = config or EvalConfig()
    before, after = ({row.id: row for row in read_cases(path) if row.cf is not None} for path in (first, second))
    common = [key for key in before if key in after]
    for key in common:
        if before[key].gold != after[key].gold and before[key].syntax == after[key].syntax:
            raise DataError(
                f"case {key}: {first} and {second} have different right calls; compare runs on one data set"
            )

    def gain(field: str) -> Score:
        gains: defaultdict[str, float] = defaultdict(float)
        counts: Counter[str] = Counter()
        for key in common:
            gains[before[key].trajectory] += getattr(after[key], field) - getattr(before[key], field)
            counts[before[key].trajectory] += 1
        return share_score(list(gains.values()), list(counts.values()), config)

    return Comparison(
        n=len(common),
        TS=gain("ts"),
        PI=gain("pi"),
        CF=gain("cf"),
        num_unpaired=len(before.keys() ^ after.keys()),
    )


def read_cases(path: Path) -> list[CaseRow]:
    """Read cases.jsonl.

    Raises:
        DataError: the file is missing, empty or holds a row that is no case; names file, line and field.
    """
    return read_rows(path, CaseRow)


def read_episodes(path: Path) -> list[EpisodeRow]:
    """Read episodes.jsonl.

    Raises:
        DataError: as for `read_cases`.
    """
    return read_rows(path, EpisodeRow)


def _case_share(rows: Iterable[CaseRow], test: Callable[[CaseRow], bool | None], config: EvalConfig) -> Score:
    """Share of the cases that pass, trajectory by trajectory; those without a verdict are left out."""
    passed: Counter[str] = Counter()
    total: Counter[str] = Counter()
    for row in rows:
        verdict = test(row)
        if verdict is not None:
            passed[row.trajectory] += verdict
            total[row.trajectory] += 1
    return share_score([passed[key] for key in total], list(total.values()), config)


class Resampling(Protocol):
    """How intervals are made; see `EvalConfig`."""

    @property
    def confidence(self) -> float: ...  # noqa: D102
    @property
    def num_resamples(self) -> int: ...  # noqa: D102
    @property
    def seed(self) -> int: ...  # noqa: D102


def share_score(numerators: Sequence[float], denominators: Sequence[float], config: Resampling) -> Score:
    """A ratio of sums in percent; None where there is nothing to share."""
    if not sum(denominators):
        return Score()
    interval = ratio_interval(
        numerators,
        denominators,
        confidence=config.confidence,
        num_resamples=config.num_resamples,
        seed=config.seed,
    )
    return Score(mean=100 * interval.mean, low=100 * interval.low, high=100 * interval.high, n=round(sum(denominators)))


def _mean(values: Iterable[float]) -> float | None:
    found = list(values)
    return sum(found) / len(found) if found else None
