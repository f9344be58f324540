"""From what a run holds to what the page says: tables and counts. Pure functions."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from tltrain.report.data import RunData, Stage
from tltrain.report.palette import mean
from tltrain.report.records import Score, VerdictRow
from tltrain.types import Json


class Metric(NamedTuple):
    """One score of the headline table."""

    field: str
    """In the words of the papers."""
    meaning: str
    part: str
    """Part of scores.json that holds it."""
    is_error: bool = False
    """Lower is better."""


METRICS = (
    Metric("TS", "tool selection", "single"),
    Metric("PI", "parameter identification", "single"),
    Metric("CF", "content filling", "single"),
    Metric("success", "episodes solved", "episodes"),
    Metric("DE", "documentation understanding errors", "episodes", is_error=True),
    Metric("CE", "call errors", "episodes", is_error=True),
    Metric("VA", "valid answers", "episodes"),
)


class ScoreRow(NamedTuple):
    """One metric over the stages."""

    metric: Metric
    scores: list[Score]
    change: float | None
    """Last stage minus first, in percent points."""

    @property
    def verdict(self) -> str:
        """better, worse or same."""
        if not self.change or abs(self.change) < 0.05:
            return "same"
        return "better" if (self.change > 0) is not self.metric.is_error else "worse"


def score_rows(stages: Sequence[Stage]) -> list[ScoreRow]:
    """The headline table: metrics that any stage has."""
    rows = []
    for metric in METRICS:
        scores = [score_of(stage, metric) for stage in stages]
        if any(score.mean is not None for score in scores):
            first, last = scores[0].mean, scores[-1].mean
            change = last - first if len(scores) > 1 and first is not None and last is not None else None
            rows.append(ScoreRow(metric, scores, change))
    return rows


def score_of(stage: Stage, metric: Metric) -> Score:
    """A stage's score; one without a mean if it was not measured."""
    part = getattr(stage.scores, metric.part)
    score: Score = Score() if part is None else getattr(part, metric.field)
    return score


def kit_scores(stages: Sequence[Stage], field: str) -> dict[str, list[Score]]:
    """Kit -> a score for each stage, the worst kit of the last stage first."""
    tables = [stage.scores.single.by_kit if stage.scores.single else {} for stage in stages]
    kits = sorted({kit for table in tables for kit in table})
    scores = {kit: [getattr(table[kit], field) if kit in table else Score() for table in tables] for kit in kits}
    return dict(sorted(scores.items(), key=lambda item: (item[1][-1].mean is None, item[1][-1].mean or 0.0)))


def error_counts(stage: Stage) -> Mapping[str, int]:
    """Number of single-turn answers by label, right ones included."""
    single = stage.scores.single
    counts = dict(single.errors) if single else Counter(case.label for case in stage.cases)
    if single and "all_right" not in counts and single.n > sum(counts.values()):
        counts["all_right"] = single.n - sum(counts.values())
    return counts


class CountRow(NamedTuple):
    """One line of a table of counts."""

    name: str
    num: int
    share: float
    """Of the table's total, in percent."""


def count_rows(names: Iterable[str]) -> list[CountRow]:
    """How often each name occurs, the most frequent first."""
    counts = Counter(names)
    total = counts.total()
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [CountRow(name or "(none)", count, 100 * count / total) for name, count in ordered]


class SourceRow(NamedTuple):
    """Error rate of one source of data."""

    source: str
    num_calls: int
    num_errors: int
    num_ambiguous: int
    error_rate: float
    """In percent of calls."""


def source_rows(verdicts: Sequence[VerdictRow], field: str = "source") -> list[SourceRow]:
    """Errors by source, or by another field of the verdicts; the highest rate first."""
    labels: dict[str, list[str]] = defaultdict(list)
    for verdict in verdicts:
        labels[getattr(verdict, field) or "(none)"].append(verdict.label)
    rows = [
        SourceRow(
            name,
            len(found),
            found.count("error"),
            found.count("ambiguous"),
            100 * found.count("error") / len(found),
        )
        for name, found in labels.items()
    ]
    return sorted(rows, key=lambda row: (-row.error_rate, row.source))


class SummaryGroup(NamedTuple):
    """A part of a free-form summary."""

    title: str
    """Empty for what stands at the top."""
    facts: list[tuple[str, Json]]
    tables: dict[str, dict[str, Json]]
    """Title -> name -> value."""


def group_summary(summary: Mapping[str, Json]) -> list[SummaryGroup]:
    """Cut a free-form summary into groups: one for each field that holds tables of its own, after the top's.

    Within a group, what is no object is a fact, and objects are tables, named by their path.
    """
    inner = {name: value for name, value in summary.items() if _holds_tables(value)}
    top = {name: value for name, value in summary.items() if name not in inner}
    groups = [_flatten(title, value) for title, value in [("", top), *inner.items()] if isinstance(value, Mapping)]
    return [group for group in groups if group.facts or group.tables]


def _holds_tables(value: Json) -> bool:
    return isinstance(value, Mapping) and any(isinstance(item, Mapping) for item in value.values())


def _flatten(title: str, value: Mapping[str, Json]) -> SummaryGroup:
    group = SummaryGroup(title, [], {})

    def add(path: str, value: Mapping[str, Json]) -> None:
        for name, item in value.items():
            if isinstance(item, Mapping):
                add(f"{path} · {name}" if path else name, item)
            elif path:
                group.tables.setdefault(path, {})[name] = item
            else:
                group.facts.append((name, item))

    add("", value)
    return group


def describe_change(data: RunData) -> str:
    """One sentence on what came of the run; empty if nothing was scored."""
    rows = {row.metric.field: row for row in score_rows(data.stages)}
    row = rows.get("CF") or next(iter(rows.values()), None)
    if row is None:
        return ""
    first, last = row.scores[0], row.scores[-1]
    if first.mean is None or last.mean is None or len(row.scores) < 2:
        return ""
    before, after = data.stages[0].name, data.stages[-1].name
    return f"{row.metric.meaning.capitalize()} went from {first.mean:.1f}% ({before}) to {last.mean:.1f}% ({after})."


def mean_reward(data: RunData, *, share: float = 0.1) -> tuple[float | None, float | None]:
    """Mean reward over the first and the last tenth of the steps."""
    size = max(1, round(len(data.ppo_steps) * share))
    return mean(step.reward for step in data.ppo_steps[:size]), mean(step.reward for step in data.ppo_steps[-size:])
