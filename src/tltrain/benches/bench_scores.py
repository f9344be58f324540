"""From rows of public test sets to scores, in percent with bootstrap intervals. No model is needed.

A score over nothing is None with n 0, never a number.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict

from tltrain.benches.bench_rows import BenchRow
from tltrain.benches.bfcl_multi_turn import MultiTurnRow, TalkEnd
from tltrain.benches.policy import Stop
from tltrain.benches.scores import Resampling, Score, share_score
from tltrain.benches.tooleyes import QueryEnd, QueryRow


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class GroupScores(_Record):
    """Scores of a set, or of a part of it."""

    n: int
    """Cases, those without a score included."""
    scores: dict[str, Score]
    """TS, PI, CF, then the set's own; or DE, CE, VA."""


class BenchScores(GroupScores):
    """Scores of one test set."""

    headline: str
    """Name of the breakdown by which the set is reported; empty: as a whole."""
    groups: dict[str, dict[str, GroupScores]]
    """Breakdown -> its values -> scores."""
    errors: dict[str, int]
    """Label, or how queries ended -> cases, the most frequent first."""
    mean_tokens: float | None
    """Tokens of an answer, over the cases that were answered."""
    truncated: int
    """Answers that were cut off at the limit."""
    too_long: int
    """Cases whose prompt leaves no room in the model's context; scored as wrong."""
    unwritable: int
    """Cases whose prompt the model's chat template cannot write; not scored."""
    failed: int
    """Cases to which an endpoint gave no answer; not scored."""
    script_crashes: int
    """Answers at which the official scorer would end with an exception."""
    unscored: int = 0
    """Cases whose environments or checker gave nothing; not scored."""
    notes: list[str]
    """What a reader must know about the numbers."""
    changed_files: list[str] = []
    """Files of the set that are not as published."""

    def remarks(self) -> list[str]:
        """What a reader must know about how the answers came out, a sentence each."""
        counted = {
            "answers were cut off at the limit of tokens": self.truncated,
            "prompts leave no room in the model's context, and count as wrong": self.too_long,
            "prompts cannot be written by the model's chat template, and are not scored": self.unwritable,
            "cases got no answer from the endpoint, and are not scored; --resume asks for them again": self.failed,
            "answers would end the official scorer with an exception": self.script_crashes,
            "cases got no result or verdict from their environment, and are not scored": self.unscored,
        }
        remarks = [f"{number} {what}." for what, number in counted.items() if number]
        return remarks + [f"{file} is not as published." for file in self.changed_files]


def score_rows(
    rows: Sequence[BenchRow], config: Resampling, *, headline: str, notes: Sequence[str], changed: Sequence[str] = ()
) -> BenchScores:
    """Scores of a set of single answers; intervals resample clusters of cases."""
    answered = [row for row in rows if row.stop in (Stop.END, Stop.LENGTH)]
    return BenchScores(
        n=len(rows),
        scores=_case_scores(rows, config),
        headline=headline,
        groups=_by_group(rows, lambda row: row.groups, lambda part: _case_scores(part, config)),
        errors=dict(Counter(row.label for row in rows).most_common()),
        mean_tokens=sum(row.num_tokens for row in answered) / len(answered) if answered else None,
        truncated=sum(row.stop is Stop.LENGTH for row in rows),
        too_long=sum(row.stop is Stop.TOO_LONG for row in rows),
        unwritable=sum(row.stop is Stop.UNWRITABLE for row in rows),
        failed=sum(row.stop is Stop.FAILED for row in rows),
        script_crashes=sum(bool(row.details.get("script_crashes")) for row in rows),
        notes=list(notes),
        changed_files=list(changed),
    )


def score_queries(
    rows: Sequence[QueryRow], config: Resampling, *, notes: Sequence[str], changed: Sequence[str] = ()
) -> BenchScores:
    """DE, CE, VA of ToolEyes; intervals resample queries."""
    ends = Counter(row.end.value for row in rows)
    num_turns = sum(len(row.completions) for row in rows)
    return BenchScores(
        n=len(rows),
        scores=_query_scores(rows, config),
        headline="",
        groups=_by_group(rows, lambda row: {"scenario": row.scenario}, lambda part: _query_scores(part, config)),
        errors=dict(ends.most_common()),
        mean_tokens=sum(row.num_tokens for row in rows) / num_turns if num_turns else None,
        truncated=0,
        too_long=ends[QueryEnd.CONTEXT_FULL],
        unwritable=ends[QueryEnd.UNWRITABLE],
        failed=ends[QueryEnd.FAILED],
        script_crashes=0,
        notes=list(notes),
        changed_files=list(changed),
    )


def score_talks(
    rows: Sequence[MultiTurnRow], config: Resampling, *, notes: Sequence[str], changed: Sequence[str] = ()
) -> BenchScores:
    """Share of valid conversations, and of calls whose result is an error; intervals resample conversations."""
    ends = Counter(row.end for row in rows)
    tokens = [number for row in rows for turn in row.num_tokens for number in turn]
    return BenchScores(
        n=len(rows),
        scores=_talk_scores(rows, config),
        headline="category",
        groups=_by_group(rows, lambda row: {"category": row.category}, lambda part: _talk_scores(part, config)),
        errors=dict(Counter(row.label for row in rows).most_common()),
        mean_tokens=sum(tokens) / len(tokens) if tokens else None,
        truncated=sum(row.num_cut_off for row in rows),
        too_long=ends[TalkEnd.CONTEXT_FULL],
        unwritable=ends[TalkEnd.UNWRITABLE],
        failed=ends[TalkEnd.FAILED],
        script_crashes=0,
        unscored=ends[TalkEnd.LOST],
        notes=list(notes),
        changed_files=list(changed),
    )


def _by_group(
    rows: Sequence[Any], groups_of: Callable[[Any], dict[str, str]], score: Callable[[list[Any]], dict[str, Score]]
) -> dict[str, dict[str, GroupScores]]:
    """Each breakdown's values, in the order in which the rows bring them."""
    found: defaultdict[str, defaultdict[str, list[Any]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        for name, value in groups_of(row).items():
            found[name][value].append(row)
    return {
        name: {value: GroupScores(n=len(part), scores=score(part)) for value, part in parts.items()}
        for name, parts in found.items()
    }


def _case_scores(rows: Sequence[BenchRow], config: Resampling) -> dict[str, Score]:
    own = dict.fromkeys(
        name
        for row in rows
        for name, value in row.details.items()
        if isinstance(value, bool) and name != "script_crashes"
    )
    scores = {
        "TS": _case_share(rows, lambda row: row.ts, config),
        "PI": _case_share(rows, lambda row: row.pi, config),
        "CF": _case_share(rows, lambda row: row.cf, config),
    }
    return scores | {name: _case_share(rows, _detail(name), config) for name in own}


def _detail(name: str) -> Callable[[BenchRow], Any]:
    return lambda row: row.details.get(name)


def _case_share(rows: Iterable[BenchRow], test: Callable[[BenchRow], Any], config: Resampling) -> Score:
    passed: Counter[str] = Counter()
    total: Counter[str] = Counter()
    for row in rows:
        verdict = test(row)
        if verdict is not None:
            passed[row.cluster] += bool(verdict)
            total[row.cluster] += 1
    return share_score([passed[key] for key in total], list(total.values()), config)


def _query_scores(rows: Sequence[QueryRow], config: Resampling) -> dict[str, Score]:
    calls = [row.num_calls for row in rows]
    readable = [row.num_calls - row.num_malformed for row in rows]
    turns = [len(row.completions) for row in rows]
    scored = [row for row in rows if row.valid_answer is not None]
    return {
        "DE": share_score([row.num_undocumented for row in rows], readable, config),
        "CE": share_score([row.num_failed for row in rows], calls, config),
        "VA": share_score([bool(row.valid_answer) for row in scored], [1] * len(scored), config),
        "malformed": share_score([row.num_malformed for row in rows], calls, config),
        "without_call": share_score([row.num_without_call for row in rows], turns, config),
    }


def _talk_scores(rows: Sequence[MultiTurnRow], config: Resampling) -> dict[str, Score]:
    scored = [row for row in rows if row.valid is not None]
    return {
        "valid": share_score([bool(row.valid) for row in scored], [1] * len(scored), config),
        "CE": share_score([row.num_failed for row in scored], [row.num_calls for row in scored], config),
    }
