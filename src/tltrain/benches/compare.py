"""The page of a comparison: evaluations side by side in one HTML file, and its charts as PNG files beside it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from tltrain.benches.bench_scores import GroupScores
from tltrain.benches.changes import build_changes
from tltrain.benches.comparison import ERRORS, MAIN, Comparison, Difference, compare_evaluations, is_conversation
from tltrain.benches.evaluations import Evaluation, read_evaluations
from tltrain.benches.published import COLUMNS, NOTES, SOURCE, WHEN
from tltrain.benches.scores import Score as MeasuredScore
from tltrain.errors import UsageError
from tltrain.files import write_text_atomic
from tltrain.report.charts import Chart, draw_levels, draw_mix, draw_scores
from tltrain.report.page import environment, hash_of, read_script, read_style, writable
from tltrain.report.palette import outcome_shares, stage_colours
from tltrain.report.payload import to_script_json
from tltrain.report.records import Score

_TITLES = {
    "cases": "Single calls of the test file",
    "episodes": "Whole tasks of the test file",
    "toolalpaca": "ToolAlpaca",
    "rotbench": "RoTBench",
    "bfcl": "BFCL",
    "bfcl_multi_turn": "BFCL, multi-turn",
    "tooleyes": "ToolEyes",
}
_LEADING = {"episodes": "success", "tooleyes": "VA", "bfcl": "valid", "bfcl_multi_turn": "valid"}
"""The score by which a set is summed up, if it is not CF."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CompareResult:
    """The page, and the numbers on it."""

    page: Path
    comparison: Comparison


def compare(folders: Sequence[Path], out: Path) -> CompareResult:
    """Compare evaluations of two or more models, and write the page; it needs no network and no other file.

    Args:
        folders: what `tltrain eval` wrote, the baseline first.
        out: folder for index.html and charts/*.png; or a name that ends in .html, with the charts beside it.

    Raises:
        UsageError: fewer than two folders, one that is none, or one named twice; or `out` is a file.
        DataError: a folder has no results or unfinished ones, or they are of different data.
    """
    page = out if out.suffix == ".html" else out / "index.html"
    if page.is_dir() or (page.parent.exists() and not page.parent.is_dir()):
        raise UsageError(f"--out {out}: give a folder, or a name that ends in .html")
    evaluations = read_evaluations(folders)
    comparison = compare_evaluations(evaluations)
    drawn = draw_comparison(comparison)
    (page.parent / "charts").mkdir(parents=True, exist_ok=True)
    for chart in (chart for charts in drawn.values() for chart in charts):
        (page.parent / "charts" / f"{chart.name}.png").write_bytes(chart.png)
    write_text_atomic(page, render_comparison(comparison, evaluations, drawn))
    return CompareResult(page=page, comparison=comparison)


def leading_score(comparison: Comparison, name: str) -> str:
    """The score by which a test set is summed up: right answers, or what comes nearest."""
    wanted = _LEADING.get(name, "CF")
    return wanted if any(wanted in scores.scores for scores in comparison.scores[name].values()) else "CF"


def draw_comparison(comparison: Comparison) -> dict[str, list[Chart]]:
    """Section of the page -> its charts."""
    names = [model.name for model in comparison.models]
    colours = dict(zip(names, stage_colours(names), strict=True))
    sections: dict[str, list[Chart | None]] = {"scores": [], "noise": [_draw_noise(comparison)], "errors": []}
    for name, scores in comparison.scores.items():
        chosen = [colours[model] for model in scores]
        metrics = [each for each in _columns(scores.values(), main=True) if each not in ERRORS]
        bars = {model: [_shown(each.scores.get(metric)) for metric in metrics] for model, each in scores.items()}
        if len(metrics) > 1:
            sections["scores"].append(draw_scores(f"scores_{name}", _TITLES[name], metrics, bars, chosen))
        if not is_conversation(name):
            mixes = {model: outcome_shares(each.errors) for model, each in scores.items()}
            sections["errors"].append(draw_mix(f"errors_{name}", f"{_TITLES[name]}: answers", mixes))
    return {section: [chart for chart in charts if chart] for section, charts in sections.items()}


def _draw_noise(comparison: Comparison) -> Chart | None:
    scores = comparison.scores.get("rotbench", {})
    levels = list(dict.fromkeys(level for each in scores.values() for level in each.parts))
    names = [model.name for model in comparison.models]
    colours = [colour for name, colour in zip(names, stage_colours(names), strict=True) if name in scores]
    none = GroupScores(n=0, scores={})
    panels = {
        metric: {
            model: [_shown(each.parts.get(level, none).scores.get(metric)) for level in levels]
            for model, each in scores.items()
        }
        for metric in ("TS", "PI", "CF")
    }
    return draw_levels("noise", "RoTBench: from clean names to noise", levels, panels, colours) if scores else None


def _shown(score: MeasuredScore | None) -> Score:
    return Score() if score is None else Score(mean=score.mean, low=score.low, high=score.high, n=score.n)


def render_comparison(
    comparison: Comparison, evaluations: Sequence[Evaluation], drawn: Mapping[str, Sequence[Chart]]
) -> str:
    """The HTML of a comparison, with charts by section."""
    script = read_script("compare.js")
    names = [model.name for model in comparison.models]
    changes = build_changes(evaluations)
    html = (
        environment()
        .get_template("compare.html.j2")
        .render(
            comparison=comparison,
            drawn=drawn,
            style=read_style(),
            script=script,
            script_hash=hash_of(script),
            colours=dict(zip(names, stage_colours(names), strict=True)),
            titles=_TITLES,
            headlines=[(pair, headlines(comparison, pair.differences)) for pair in comparison.pairs],
            tables=[_score_table(comparison, name) for name in comparison.scores],
            pairs=[(pair, pair_rows(comparison, pair.differences)) for pair in comparison.pairs],
            errors=[(name, _error_rows(comparison, name)) for name in comparison.scores],
            published_source=f"{WHEN} · {SOURCE}",
            when=WHEN,
            is_conversation=is_conversation,
            lacks_texts=_lacks_texts(evaluations),
            num_changed=changes["total"],
            change_json=to_script_json(changes),
        )
    )
    return writable(html)


class DifferenceRow(NamedTuple):
    """One line of a table of differences."""

    name: str
    """Of the test set."""
    found: Difference

    @property
    def is_error(self) -> bool:
        """Lower is better."""
        return self.found.score in ERRORS

    @property
    def verdict(self) -> str:
        """Better or worse where the interval lies on one side of 0, else same."""
        low, high = self.found.difference.low, self.found.difference.high
        if low is None or high is None or low <= 0 <= high:
            return "same"
        return "better" if (low > 0) is not self.is_error else "worse"


def headlines(comparison: Comparison, differences: Mapping[str, Sequence[Difference]]) -> list[DifferenceRow]:
    """The leading score of each test set, and of the cases of BFCL that the paper reports."""
    return [
        DifferenceRow(name, each)
        for name, found in differences.items()
        for each in found
        if (each.part, each.score) in (("", leading_score(comparison, name)), ("exec", "CF"))
    ]


def pair_rows(comparison: Comparison, differences: Mapping[str, Sequence[Difference]]) -> dict[str, Any]:
    """Rows of a pair: whole, main scores of whole test sets; more, their other scores; parts, by test set."""
    whole = [DifferenceRow(name, each) for name, found in differences.items() for each in found if not each.part]
    parts = {
        name: [DifferenceRow(name, each) for each in _leading_of_parts(comparison, name, differences[name])]
        for name in differences
    }
    return {
        "whole": [row for row in whole if row.found.score in MAIN],
        "more": [row for row in whole if row.found.score not in MAIN],
        "parts": {name: rows for name, rows in parts.items() if rows},
    }


def _leading_of_parts(comparison: Comparison, name: str, found: Sequence[Difference]) -> list[Difference]:
    """The leading score of each part; CF where the part has no such score."""
    wanted = leading_score(comparison, name)
    having = {each.part for each in found if each.score == wanted and each.n}
    return [each for each in found if each.part and each.score == (wanted if each.part in having else "CF")]


def _columns(groups: Any, *, main: bool) -> list[str]:
    """Scores that any of the groups has, of the main ones or of the others."""
    names = dict.fromkeys(name for group in groups for name, score in group.scores.items() if score.n)
    return [name for name in names if (name in MAIN) is main]


def _score_table(comparison: Comparison, name: str) -> dict[str, Any]:
    """Our scores of a test set, part by part and model by model, and the published ones apart from them."""
    scores = comparison.scores[name]
    parts = list(dict.fromkeys(part for each in scores.values() for part in each.parts))
    rows: list[tuple[str, list[tuple[str, GroupScores]]]] = [("all", list(scores.items()))]
    rows += [
        (part, [(model, each.parts[part]) for model, each in scores.items() if part in each.parts]) for part in parts
    ]
    groups = [*scores.values(), *(part for each in scores.values() for part in each.parts.values())]
    return {
        "name": name,
        "parts_are": comparison.parts_are[name],
        "rows": rows,
        "columns": {"main": _columns(groups, main=True), "more": _columns(groups, main=False)},
        "published": comparison.published_2024.get(name, []),
        "published_columns": COLUMNS.get(name, ()),
        "note": NOTES.get(name, ""),
    }


def _error_rows(comparison: Comparison, name: str) -> list[tuple[str, list[tuple[int, float]]]]:
    """(label, (number, percent) for each model), right answers first, then the most frequent."""
    counts = [each.errors for each in comparison.scores[name].values()]
    totals = [sum(count.values()) for count in counts]
    labels = {label for count in counts for label in count}
    ordered = sorted(
        labels, key=lambda label: (label != "all_right", -sum(count.get(label, 0) for count in counts), label)
    )
    return [
        (label, [(c.get(label, 0), 100 * c.get(label, 0) / total) for c, total in zip(counts, totals, strict=True)])
        for label in ordered
    ]


def _lacks_texts(evaluations: Sequence[Evaluation]) -> list[str]:
    """Folders whose rows carry no query, since an older version wrote them."""
    return [
        str(each.folder)
        for each in evaluations
        if any(not outcome.query for found in each.sets.values() for outcome in found.outcomes.values())
    ]
