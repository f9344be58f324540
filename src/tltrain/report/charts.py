"""Charts of a run as SVG, to be inlined, and PNG. The same data give the same bytes.

An inlined chart has no background and names its colours by the page's CSS variables. Fonts, sizes and colours are
fixed here; a `matplotlibrc` of the reader's machine changes nothing.
"""

import io
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

from tltrain.report.palette import OUTCOME_COLOURS, Colour, Outcome, printable
from tltrain.report.records import Score

_STYLE: dict[str, object] = {
    "font.size": 9.5,
    "axes.edgecolor": Colour.GRID,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "axes.labelcolor": Colour.MUTED,
    "axes.spines.left": False,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.facecolor": "none",
    "grid.color": Colour.GRID,
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "legend.handlelength": 1.2,
    "lines.linewidth": 1.8,
    "text.color": Colour.INK,
    "text.parse_math": False,
    "xtick.color": Colour.MUTED,
    "xtick.major.size": 0,
    "ytick.color": Colour.MUTED,
    "ytick.major.size": 0,
    "svg.fonttype": "none",
    "svg.hashsalt": "tltrain",
}
_SIZE = (4.0, 2.6)
_WIDE = (4.8, 3.1)
_CHARACTERS_PER_INCH = 13
_MAX_POINTS = 300
_SMOOTHING = 25
"""A curve is shown with its running mean over this part (1/25) of its points."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Chart:
    """One drawn chart."""

    name: str
    """File name without suffix; also makes the ids inside its SVG unique on a page."""
    title: str
    summary: str
    """What it shows, in numbers, for those who do not see it."""
    svg: str
    png: bytes


class Curve(NamedTuple):
    """One line of a chart over steps."""

    label: str
    points: Sequence[tuple[float, float]]
    colour: Colour = Colour.BLUE
    is_sparse: bool = False
    """Measured now and then: drawn with markers, without smoothing."""


@contextmanager
def chart_style(**changes: object) -> Iterator[None]:
    """The look of all charts; glyphs that the font lacks are drawn as boxes without a warning."""
    import matplotlib as mpl

    with mpl.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")
        mpl.rcdefaults()
        mpl.rcParams.update({key: str(value) if isinstance(value, Colour) else value for key, value in _STYLE.items()})
        mpl.rcParams.update(changes)
        yield


def draw(
    name: str,
    title: str,
    summary: str,
    plot: Callable[[Any], None],
    *,
    size: tuple[float, float] = _SIZE,
    columns: int = 1,
) -> Chart:
    """Draw one chart, `size` inches wide and high: `plot` fills the axes, a list of them if there are more columns."""
    from matplotlib.figure import Figure

    with chart_style():
        figure = Figure(figsize=size, layout="constrained")
        axes = list(figure.subplots(1, columns, sharey=True, squeeze=False)[0])
        plot(axes[0] if columns == 1 else axes)
        _write_title(figure, axes[0], title)
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # it is laid out now, and need not be again for each format
        drawing, picture = io.StringIO(), io.BytesIO()
        figure.savefig(drawing, format="svg", transparent=True, metadata={"Date": None})
        figure.savefig(picture, format="png", dpi=160, facecolor=str(Colour.PAPER), metadata={"Software": None})
    return Chart(name=name, title=title, summary=summary, svg=_inline(drawing.getvalue(), name), png=picture.getvalue())


def _write_title(figure: Any, axes: Any, title: str) -> None:
    """Title and legend, above the axes."""
    handles, labels = axes.get_legend_handles_labels()
    font = {"weight": "bold", "size": 10.5}
    if not labels:
        figure.suptitle(title, x=0.012, ha="left", **font)
        return
    columns = int(figure.get_figwidth() * _CHARACTERS_PER_INCH / (max(map(len, labels)) + 5))
    figure.legend(
        handles, labels, loc="outside upper left", ncols=max(1, min(columns, len(labels))), columnspacing=1.2,
        borderaxespad=0, title=title, title_fontproperties=font, alignment="left",
    )  # fmt: skip


def _inline(svg: str, name: str) -> str:
    """Make an SVG file part of a page: no prologue or metadata, its own ids, colours by variable."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r'(url\(|href=")#', rf"\1#{name}-", svg)
    for colour in Colour:
        svg = svg.replace(f": {colour}", f": var({colour.variable}, {colour})")
    return svg.strip()


def draw_curves(name: str, title: str, curves: Sequence[Curve], *, unit: str = "") -> Chart | None:
    """Lines over training steps; None if there is nothing to draw."""
    curves = [curve for curve in curves if curve.points]
    if not curves:
        return None

    def plot(axes: Any) -> None:
        for curve in curves:
            plot_curve(axes, curve, is_labelled=len(curves) > 1)
        axes.set_xlabel("step")
        axes.set_ylabel(unit)
        axes.margins(x=0.02)

    ends = "; ".join(
        f"{curve.label}: {curve.points[0][1]:.4g} at step {curve.points[0][0]:g}, "
        f"{curve.points[-1][1]:.4g} at step {curve.points[-1][0]:g}"
        for curve in curves
    )
    return draw(name, title, f"{title}. {ends}.", plot)


def plot_curve(axes: Any, curve: Curve, *, is_labelled: bool = True) -> None:
    """Add a line; a dense one is drawn faint, under its running mean."""
    xs, ys = zip(*_thin(curve.points), strict=True)
    label, colour = printable(curve.label) if is_labelled else None, str(curve.colour)
    window = len(ys) // _SMOOTHING
    if curve.is_sparse or window < 2:
        marker = "o" if curve.is_sparse or len(ys) == 1 else None
        axes.plot(xs, ys, color=colour, marker=marker, markersize=4, label=label)
        return
    axes.plot(xs, ys, color=colour, linewidth=0.8, alpha=0.3)
    axes.plot(xs, running_mean(ys, window), color=colour, label=label)


def running_mean(values: Sequence[float], window: int) -> list[float]:
    """Mean of each value and up to `window` values on either side of it."""
    means = []
    for index in range(len(values)):
        near = values[max(0, index - window) : index + window + 1]
        means.append(sum(near) / len(near))
    return means


def _thin(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most `_MAX_POINTS` points: means of runs of neighbours."""
    size = -(-len(points) // _MAX_POINTS)
    runs = [points[start : start + size] for start in range(0, len(points), size)]
    return [(sum(x for x, _ in run) / len(run), sum(y for _, y in run) / len(run)) for run in runs]


def draw_scores(
    name: str, title: str, metrics: Sequence[str], stages: Mapping[str, Sequence[Score]], colours: Sequence[Colour]
) -> Chart | None:
    """Bars with intervals: a group for each metric, a bar for each stage; scores in percent."""
    if not metrics or not any(score.mean is not None for scores in stages.values() for score in scores):
        return None
    told = "; ".join(
        f"{stage}: " + ", ".join(f"{metric} {_told(score)}" for metric, score in zip(metrics, scores, strict=True))
        for stage, scores in stages.items()
    )
    return draw(name, title, f"{title}. {told}.", lambda axes: plot_scores(axes, metrics, stages, colours), size=_WIDE)


def plot_scores(
    axes: Any, metrics: Sequence[str], stages: Mapping[str, Sequence[Score]], colours: Sequence[Colour]
) -> None:
    """Fill axes with the bars of `draw_scores`."""
    width = 0.8 / len(stages)
    for index, (stage, scores) in enumerate(stages.items()):
        offset = (index - (len(stages) - 1) / 2) * width
        shown = [(place + offset, score) for place, score in enumerate(scores) if score.mean is not None]
        means = [score.mean for _, score in shown]
        axes.bar([x for x, _ in shown], means, width * 0.92, color=str(colours[index]), label=printable(stage))
        for x, score in shown:
            top = _plot_interval(axes, x, score)
            if len(stages) <= 4:
                axes.text(x, top + 1.5, f"{score.mean:.0f}", ha="center", va="bottom", fontsize="x-small")
    axes.set_xticks(range(len(metrics)), metrics)
    axes.set_ylim(0, 108)
    axes.set_yticks(range(0, 101, 25))
    axes.set_ylabel("percent")


def _plot_interval(axes: Any, x: float, score: Score) -> float:
    """Draw the interval of a bar, if it has one; returns the height of whatever ends higher."""
    if not score.has_interval:
        return score.mean or 0.0
    axes.plot([x, x], [score.low, score.high], color=str(Colour.INK), linewidth=1.1, solid_capstyle="butt")
    return max(score.mean or 0.0, score.high or 0.0)


def _told(score: Score) -> str:
    if score.mean is None:
        return "not measured"
    return f"{score.mean:.1f}" + (f" ({score.low:.1f} to {score.high:.1f})" if score.has_interval else "")


def draw_kits(
    name: str, title: str, kits: Mapping[str, Sequence[float | None]], stages: Sequence[str], colours: Sequence[Colour]
) -> Chart | None:
    """A row for each kit, a dot for each stage, joined by a line; scores in percent."""
    if not kits:
        return None

    def plot(axes: Any) -> None:
        names = list(kits)
        for place, kit in enumerate(names):
            known = [score for score in kits[kit] if score is not None]
            if known:
                axes.plot([min(known), max(known)], [place, place], color=str(Colour.GRID), linewidth=3, zorder=1)
        for index, stage in enumerate(stages):
            dots = [(kits[kit][index], place) for place, kit in enumerate(names) if kits[kit][index] is not None]
            if dots:
                xs, ys = zip(*dots, strict=True)
                axes.scatter(xs, ys, s=34, color=str(colours[index]), label=printable(stage), zorder=2 + index)
        axes.set_yticks(range(len(names)), [printable(kit, 24) for kit in names])
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.set_xlim(-3, 103)
        axes.set_xlabel("percent")
        axes.grid(axis="x")
        axes.grid(visible=False, axis="y")

    told = "; ".join(
        f"{kit}: " + ", ".join("not measured" if score is None else f"{score:.0f}" for score in scores)
        for kit, scores in kits.items()
    )
    return draw(name, title, f"{title}. {told}.", plot, size=(_SIZE[0], 1.1 + 0.24 * len(kits)))


def draw_levels(
    name: str,
    title: str,
    levels: Sequence[str],
    panels: Mapping[str, Mapping[str, Sequence[Score]]],
    colours: Sequence[Colour],
) -> Chart | None:
    """A panel for each metric, in it a curve with intervals for each model, over levels of noise; scores in percent."""
    if len(levels) < 2 or not panels:
        return None

    def plot(axes: Any) -> None:
        panel_axes = axes if isinstance(axes, list) else [axes]
        for one, (metric, models) in zip(panel_axes, panels.items(), strict=True):
            for index, (model, scores) in enumerate(models.items()):
                _plot_level_curve(one, model, scores, str(colours[index]), (index - (len(models) - 1) / 2) * 0.08)
            one.set_title(metric, loc="left", fontsize="medium", color=str(Colour.MUTED))
            one.set_xticks(range(len(levels)), levels)
            one.set_xlim(-0.4, len(levels) - 0.6)
            one.set_ylim(0, 104)
            one.set_yticks(range(0, 101, 25))
        panel_axes[0].set_ylabel("percent")

    told = "; ".join(
        f"{metric}, {model}: "
        + ", ".join(f"{level} {_told(score)}" for level, score in zip(levels, scores, strict=True))
        for metric, models in panels.items()
        for model, scores in models.items()
    )
    size = (3.1 * len(panels), 3.2)
    return draw(name, title, f"{title}. {told}.", plot, size=size, columns=len(panels))


def _plot_level_curve(axes: Any, model: str, scores: Sequence[Score], colour: str, offset: float) -> None:
    """One curve of `draw_levels`, a little aside so that intervals stay apart; levels without a score are gaps."""
    means = [float("nan") if score.mean is None else score.mean for score in scores]
    axes.plot(
        [place + offset for place in range(len(scores))], means, color=colour, marker="o", markersize=4,
        label=printable(model, 24),
    )  # fmt: skip
    for place, score in enumerate(scores):
        if score.has_interval:
            axes.plot([place + offset] * 2, [score.low, score.high], color=colour, linewidth=0.9, alpha=0.6)


def draw_mix(name: str, title: str, stages: Mapping[str, Mapping[Outcome, float]]) -> Chart | None:
    """A bar of 100% for each stage, divided by outcome."""
    stages = {stage: shares for stage, shares in stages.items() if shares}
    if not stages:
        return None
    told = "; ".join(
        f"{stage}: " + ", ".join(f"{outcome} {share:.1f}%" for outcome, share in shares.items())
        for stage, shares in stages.items()
    )
    size = (_WIDE[0], 1.8 + 0.42 * len(stages))
    return draw(name, title, f"{title}. {told}.", lambda axes: plot_mix(axes, stages), size=size)


def plot_mix(axes: Any, stages: Mapping[str, Mapping[Outcome, float]], *, is_numbered: bool = False) -> None:
    """Fill axes with the bars of `draw_mix`; numbers inside suit light backgrounds only."""
    left = [0.0] * len(stages)
    for outcome in Outcome:
        shares = [mix.get(outcome, 0.0) for mix in stages.values()]
        if not any(shares):
            continue
        axes.barh(
            range(len(stages)), shares, 0.68, left=left, label=str(outcome), linewidth=0.8,
            color=str(OUTCOME_COLOURS[outcome]), edgecolor=str(Colour.PAPER),
        )  # fmt: skip
        for place, (start, share) in enumerate(zip(left, shares, strict=True)):
            if is_numbered and share >= 5:
                colour = Colour.PAPER if outcome in (Outcome.FORMAT, Outcome.MISSING_CALL) else Colour.INK
                axes.text(start + share / 2, place, f"{share:.0f}", color=str(colour), ha="center", va="center")
        left = [start + share for start, share in zip(left, shares, strict=True)]
    axes.set_yticks(range(len(stages)), [printable(stage, 16) for stage in stages])
    axes.set_ylim(len(stages) - 0.5, -0.5)
    axes.set_xlim(0, 100)
    axes.set_xlabel("percent of cases")
    axes.grid(visible=False)


def draw_mix_over_steps(name: str, title: str, mixes: Sequence[tuple[int, Mapping[Outcome, float]]]) -> Chart | None:
    """The outcome of rollouts over training steps, stacked to 100%."""
    mixes = [(step, shares) for step, shares in mixes if shares]
    if not mixes:
        return None
    outcomes = [outcome for outcome in Outcome if any(outcome in shares for _, shares in mixes)]

    def plot(axes: Any) -> None:
        thinned = [_thin([(step, shares.get(outcome, 0.0)) for step, shares in mixes]) for outcome in outcomes]
        steps = [x for x, _ in thinned[0]]
        axes.stackplot(
            steps, [[y for _, y in points] for points in thinned], labels=[str(outcome) for outcome in outcomes],
            colors=[str(OUTCOME_COLOURS[outcome]) for outcome in outcomes], edgecolor=str(Colour.PAPER), linewidth=0.4,
        )  # fmt: skip
        axes.set_xlim(steps[0], max(steps[-1], steps[0] + 1))
        axes.set_ylim(0, 100)
        axes.set_xlabel("step")
        axes.set_ylabel("percent of rollouts")
        axes.grid(visible=False)

    told = "; ".join(
        f"step {step}: " + ", ".join(f"{outcome} {share:.1f}%" for outcome, share in shares.items())
        for step, shares in (mixes[0], mixes[-1])
    )
    return draw(name, title, f"{title}. {told}.", plot)
