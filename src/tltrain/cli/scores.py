"""Printing scores and runs."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tltrain.cli.output import print_table, visible_text

if TYPE_CHECKING:
    from tltrain.benches.comparison import Comparison
    from tltrain.benches.general_comparison import GeneralComparison
    from tltrain.benches.scores import Score as BenchScore
    from tltrain.report.records import Score
    from tltrain.run import RunResult


def print_scores(scores: Mapping[str, Mapping[str, Any]]) -> None:
    """Print a row for each model or state of one.

    Args:
        scores: name -> what scores.json holds.
    """
    from tltrain.report.records import MultiTurn, Scores, SingleTurn

    rows = []
    for name, found in scores.items():
        read = Scores.model_validate(found)
        single, episodes = read.single or SingleTurn(), read.episodes or MultiTurn()
        measured = (single.TS, single.PI, single.CF, episodes.success, episodes.DE, episodes.CE, episodes.VA)
        rows.append([name, *map(show_score, measured)])
    title = "Percent ± half of the 95% interval"
    print_table(("", "TS", "PI", "CF", "success", "DE", "CE", "VA"), rows, title=title)


def show_score(score: "Score | BenchScore | None") -> str | None:
    """A score with half of its interval; None if there is none."""
    if score is None or score.mean is None:
        return None
    if score.low is None or score.high is None:
        return f"{score.mean:.1f}"
    return f"{score.mean:.1f} ±{(score.high - score.low) / 2:.0f}"


def print_comparison(comparison: "Comparison") -> None:
    """Print a table for each pair of models, and in what the evaluations are not alike."""
    from tltrain.benches.comparison import MAIN

    interval = f"{100 * comparison.confidence:.0f}% interval"
    for pair in comparison.pairs:
        rows = [
            [
                f"{name} {each.score}",
                each.n,
                None if each.first is None else f"{each.first:.1f}",
                None if each.second is None else f"{each.second:.1f}",
                _show_difference(each.difference),
                each.right_to_wrong,
                each.wrong_to_right,
                None if each.p_value is None else "<0.001" if each.p_value < 0.001 else f"{each.p_value:.3f}",
                each.only_first + each.only_second,
            ]
            for name, found in pair.differences.items()
            for each in found
            if not each.part and each.score in MAIN
        ]
        columns = ("", "n", pair.first, pair.second, "difference", "right→wrong", "wrong→right", "p", "left out")
        if rows:
            print_table(columns, rows, title=f"{pair.second} against {pair.first}: percent, points with {interval}")
    if comparison.general is not None:
        _print_general(comparison.general, interval)
    for remark in comparison.remarks:
        print(f"  {visible_text(remark)}")


def _print_general(found: "GeneralComparison", interval: str) -> None:
    from tltrain.cli.general_verbs import show_metric, show_short

    if found.models:
        columns = ("", "bits per byte", "change", "perplexity", "KL(base || model)", "same top token, %")
        rows = [
            [
                each.model,
                show_short(each.bits_per_byte),
                show_short(each.change, 4, signed=True),
                show_short(each.perplexity, 2),
                show_short(each.kl, 4),
                show_short(each.top1_agreement, 1),
            ]
            for each in found.models
        ]
        print_table(
            columns, rows, title=f"general ability, {found.text}, {found.num_bytes:,} bytes; ± half of the {interval}"
        )
    if found.tasks:
        models = list(dict.fromkeys(name for task in found.tasks for name in task.values))
        lines = [
            [f"{each.task} {each.metric}", *(cell for name in models for cell in show_metric(each.values.get(name)))]
            for each in found.tasks
        ]
        print_table(("", *models), lines, title="general ability, tasks of lm_eval; ± standard error")


def _show_difference(score: "BenchScore") -> str | None:
    if score.mean is None:
        return None
    return f"{score.mean:+.1f} ({score.low:+.1f} to {score.high:+.1f})"


def print_run(result: "RunResult") -> None:
    """Print what a run took and what came out of it."""
    from tltrain.progress import duration

    rows = [
        [
            name,
            None if stage.seconds is None else duration(stage.seconds),
            None if stage.peak_memory_mb is None else f"{stage.peak_memory_mb:,.0f} MB",
            "unchanged, skipped" if stage.is_skipped else "done",
        ]
        for name, stage in result.stages.items()
    ]
    print_table(("stage", "time", "peak memory", ""), rows)
    if result.scores:
        print_scores(result.scores)
    if result.report:
        print(f"report: {result.report}")
