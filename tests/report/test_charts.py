import pytest

from tltrain.report.charts import (
    Curve,
    draw_curves,
    draw_kits,
    draw_mix,
    draw_mix_over_steps,
    draw_scores,
    running_mean,
)
from tltrain.report.palette import Colour, Outcome
from tltrain.report.records import Score

HOSTILE = "--></svg><script>alert(1)</script> $\\frac$ \x00\n" + "long " * 40


def test_running_mean_takes_up_to_window_neighbours_on_both_sides():
    # (1+2)/2, (1+2+6)/3, (2+6+7)/3, (6+7)/2
    assert running_mean([1, 2, 6, 7], 1) == [1.5, 3.0, 5.0, 6.5]


def test_charts_of_nothing_are_left_out():
    assert draw_curves("a", "A", [Curve("x", [])]) is None
    assert draw_scores("a", "A", ["TS"], {"base": [Score()]}, [Colour.BLUE]) is None
    assert draw_scores("a", "A", [], {}, []) is None
    assert draw_kits("a", "A", {}, ["base"], [Colour.BLUE]) is None
    assert draw_mix("a", "A", {"base": {}}) is None
    assert draw_mix_over_steps("a", "A", [(0, {})]) is None


@pytest.mark.parametrize(
    "draw",
    [
        lambda: draw_scores("a", "A", ["TS"], {HOSTILE: [Score(mean=1)]}, [Colour.BLUE]),
        lambda: draw_kits("a", "A", {HOSTILE: [3.0]}, ["base"], [Colour.BLUE]),
        lambda: draw_mix("a", "A", {HOSTILE: {Outcome.RIGHT: 100.0}}),
        lambda: draw_curves("a", "A", [Curve(HOSTILE, [(0, 1.0)]), Curve("other", [(0, 1.0)])]),
    ],
    ids=["scores", "kits", "mix", "curves"],
)
def test_hostile_names_are_texts_of_the_svg(draw):
    chart = draw()
    assert "<script" not in chart.svg
    assert chart.svg.count("</svg>") == 1
    assert "<!--" not in chart.svg
    assert chart.png.startswith(b"\x89PNG")


def test_summary_says_ends_and_intervals_in_numbers():
    curve = draw_curves("a", "Loss", [Curve("training", [(0, 2.5), (4, 0.125)])])
    scores = draw_scores("a", "Scores", ["TS"], {"sft": [Score(mean=50, low=40.25, high=60)]}, [Colour.BLUE])
    assert curve.summary == "Loss. training: 2.5 at step 0, 0.125 at step 4."
    assert scores.summary == "Scores. sft: TS 50.0 (40.2 to 60.0)."


def test_long_curves_are_thinned():
    short = draw_curves("a", "A", [Curve("x", [(step, step % 7) for step in range(300)])])
    long = draw_curves("a", "A", [Curve("x", [(step, step % 7) for step in range(30_000)])])
    assert len(long.svg) < 1.2 * len(short.svg)


def test_reader_settings_change_nothing():
    import matplotlib as mpl

    drawn = draw_mix("a", "A", {"sft": {Outcome.RIGHT: 60.0, Outcome.CONTENT: 40.0}})
    with mpl.rc_context({"font.size": 20, "axes.grid": False, "svg.fonttype": "path"}):
        again = draw_mix("a", "A", {"sft": {Outcome.RIGHT: 60.0, Outcome.CONTENT: 40.0}})
        assert mpl.rcParams["font.size"] == 20
    assert again == drawn
