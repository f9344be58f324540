"""One wide picture of a run, for a README: scores, error mix, reward."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from tltrain.report.charts import Curve, chart_style, plot_curve, plot_mix, plot_scores
from tltrain.report.data import RunData, read_run
from tltrain.report.gallery import points
from tltrain.report.palette import Colour, outcome_shares, printable, stage_colours
from tltrain.report.views import describe_change, error_counts, score_rows

_SIZE_PX = (1600, 700)


class _Panel(NamedTuple):
    title: str
    width: float
    plot: Callable[[Any], None]


def summary_picture(run: Path, out: Path | None = None) -> Path:
    """Draw a run's scores by stage, error mix and reward into one PNG of 1600 x 700.

    Args:
        run: folder of the run; parts that it lacks are left out of the picture.
        out: file to write; by default report/summary.png in the run.

    Raises:
        UsageError: there is no such run.
    """
    target = out or run / "report" / "summary.png"
    data = read_run(run)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(draw_summary(data))
    return target


def draw_summary(data: RunData) -> bytes:
    """The summary picture as the bytes of a PNG."""
    import io

    from matplotlib.figure import Figure

    panels = [panel for panel in (_scores(data), _mix(data), _curve(data)) if panel is not None]
    with chart_style(**{"font.size": 13, "lines.linewidth": 2.4, "axes.titlesize": 15}):
        figure = Figure(figsize=(_SIZE_PX[0] / 100, _SIZE_PX[1] / 100), facecolor=str(Colour.PAPER))
        _write_head(figure, data)
        if not panels:
            figure.text(0.04, 0.5, "Nothing in this run has been measured yet.", color=str(Colour.MUTED))
        else:
            widths = [panel.width for panel in panels]
            grid = figure.add_gridspec(
                1, len(panels), width_ratios=widths, left=0.055, right=0.975, bottom=0.25, top=0.73, wspace=0.28
            )
            for column, panel in enumerate(panels):
                axes = figure.add_subplot(grid[column])
                panel.plot(axes)
                axes.set_title(panel.title, loc="left", pad=16, weight="bold")
                _write_legend(axes)
        picture = io.BytesIO()
        figure.savefig(picture, format="png", dpi=100, facecolor=str(Colour.PAPER), metadata={"Software": None})
    return picture.getvalue()


def _write_head(figure: Any, data: RunData) -> None:
    model = printable(data.model.rstrip("/").rpartition("/")[2] or data.name, 60)
    figure.text(0.04, 0.925, model, fontsize=24, weight="bold", va="center")
    figure.text(0.975, 0.925, "tltrain", color=str(Colour.MUTED), ha="right", va="center")
    told = [f"{len(data.trajectories):,} training trajectories"] if data.trajectories else []
    change = describe_change(data)
    figure.text(0.04, 0.86, "  ·  ".join([*told, change] if change else told), color=str(Colour.MUTED), va="center")


def _write_legend(axes: Any) -> None:
    handles, labels = axes.get_legend_handles_labels()
    if len(labels) > 1:
        columns = 3 if len(labels) != 4 else 2
        axes.legend(
            handles, labels, loc="upper left", bbox_to_anchor=(-0.02, -0.16), ncols=columns, fontsize=12,
            columnspacing=1.2, handletextpad=0.5,
        )  # fmt: skip


_LONG_NAMES = {"TS": "right\ntool", "PI": "right\nparameters", "CF": "all\nright", "success": "episodes\nsolved"}


def _scores(data: RunData) -> _Panel | None:
    shown = [row for row in score_rows(data.stages) if row.metric.field in _LONG_NAMES]
    if not shown:
        return None
    names = [_LONG_NAMES[row.metric.field] for row in shown]
    bars = {stage.name: [row.scores[place] for row in shown] for place, stage in enumerate(data.stages)}
    return _Panel("Scores", 1.35, lambda axes: plot_scores(axes, names, bars, stage_colours(list(bars))))


_FEWEST_REWARDS = 5
"""Steps of PPO that make a curve; each has other prompts, so a line through fewer shows their luck."""


def _mix(data: RunData) -> _Panel | None:
    mixes = {stage.name: outcome_shares(error_counts(stage)) for stage in data.stages}
    mixes = {stage: shares for stage, shares in mixes.items() if shares}
    if not mixes:
        return None
    return _Panel("What answers get wrong", 1.2, lambda axes: plot_mix(axes, mixes, is_numbered=True))


def _curve(data: RunData) -> _Panel | None:
    reward = points(data.ppo_steps, lambda step: step.reward)
    loss = points(data.sft_steps, lambda step: step.loss)
    if reward and (len(reward) >= _FEWEST_REWARDS or not loss):
        return _Panel("Reward during PPO", 1.0, lambda axes: _plot_line(axes, reward, "mean reward"))
    return _Panel("Loss during SFT", 1.0, lambda axes: _plot_line(axes, loss, "nats")) if loss else None


def _plot_line(axes: Any, line: list[tuple[float, float]], unit: str) -> None:
    plot_curve(axes, Curve(unit, line), is_labelled=False)
    axes.set_xlabel("step")
    axes.set_ylabel(unit)
