import pytest

from tltrain.report.data import Stage
from tltrain.report.palette import Colour, Outcome, outcome_of, outcome_shares, printable, stage_colours, words
from tltrain.report.records import Scores, VerdictRow
from tltrain.report.views import (
    SummaryGroup,
    count_rows,
    error_counts,
    group_summary,
    kit_scores,
    score_rows,
    source_rows,
)


def stage(name: str, **single) -> Stage:
    scores = Scores.model_validate({"single": single} if single else {})
    return Stage(name=name, scores=scores, cases=(), episodes=())


def verdict(label: str, source: str) -> VerdictRow:
    return VerdictRow(id="t", call=0, label=label, source=source)


def test_score_rows_show_measured_metrics_and_the_change_from_first_to_last():
    rows = score_rows([stage("base", TS=40), stage("sft", TS={"mean": 55.5, "low": 50, "high": 60})])
    [row] = rows
    assert row.metric.field == "TS"
    assert row.change == pytest.approx(15.5)
    assert [score.has_interval for score in row.scores] == [False, True]


def test_fewer_errors_are_better_and_lower_scores_worse():
    def rows(first, last):
        stages = [
            Stage(name=name, scores=Scores.model_validate({"episodes": part}), cases=(), episodes=())
            for name, part in (("base", first), ("ppo", last))
        ]
        return {row.metric.field: row.verdict for row in score_rows(stages)}

    assert rows({"CE": 9, "VA": 50, "DE": 1}, {"CE": 4, "VA": 40, "DE": 1}) == {
        "CE": "better",
        "VA": "worse",
        "DE": "same",
    }


def test_no_change_is_said_where_one_end_was_not_measured():
    [row] = score_rows([stage("base"), stage("sft", TS=5)])
    assert row.change is None
    assert row.scores[0].mean is None


def test_hardest_kit_of_the_last_stage_comes_first_and_unmeasured_ones_last():
    first = stage("base", by_kit={"bank": {"n": 1, "CF": 10}, "shop": {"n": 1, "CF": 90}, "gone": {"n": 1, "CF": 5}})
    last = stage("ppo", by_kit={"bank": {"n": 1, "CF": 80}, "shop": {"n": 1, "CF": 70}})
    assert list(kit_scores([first, last], "CF")) == ["shop", "bank", "gone"]


def test_right_answers_are_the_cases_without_an_error_where_the_counts_leave_them_out():
    assert error_counts(stage("base", n=10, errors={"wrong_tool": 3})) == {"wrong_tool": 3, "all_right": 7}
    assert error_counts(stage("base", n=3, errors={"wrong_tool": 3})) == {"wrong_tool": 3}


def test_error_rates_are_shares_of_calls_with_the_worst_source_first():
    verdicts = [verdict("ok", "a"), verdict("error", "a"), verdict("error", "b"), verdict("ambiguous", "a")]
    rows = source_rows(verdicts)
    assert [(row.source, row.num_calls, row.num_errors, row.num_ambiguous) for row in rows] == [
        ("b", 1, 1, 0),
        ("a", 3, 1, 1),
    ]
    assert rows[1].error_rate == pytest.approx(100 / 3)


def test_counts_come_with_shares():
    rows = count_rows(["b", "a", "a", ""])
    assert [tuple(row) for row in rows] == [("a", 2, 50.0), ("(none)", 1, 25.0), ("b", 1, 25.0)]


def test_a_free_summary_becomes_groups_of_facts_and_tables():
    summary = {"calls": 3, "kits": {"bank": 2}, "train": {"n": 7, "deep": {"er": {"x": 1}, "y": None}}, "none": {}}
    assert group_summary(summary) == [
        SummaryGroup("", [("calls", 3)], {"kits": {"bank": 2}}),
        SummaryGroup("train", [("n", 7)], {"deep · er": {"x": 1}, "deep": {"y": None}}),
    ]
    assert group_summary({}) == []


@pytest.mark.parametrize(
    ("label", "outcome"),
    [
        ("all_right", Outcome.RIGHT),
        ("param_hallucination+param_missing", Outcome.PARAMETERS),
        ("param_redundant", Outcome.PARAMETERS),
        ("unwanted_call", Outcome.UNWANTED_CALL),
        ("param_missing+content_mismatch", Outcome.OTHER),
        ("something_new", Outcome.OTHER),
    ],
)
def test_labels_fall_into_outcomes(label, outcome):
    assert outcome_of(label) is outcome


def test_every_error_of_the_taxonomy_has_an_outcome():
    from tltrain.taxonomy import CallError

    assert Outcome.OTHER not in {outcome_of(error) for error in CallError}


def test_outcome_shares_add_up_to_100_in_a_fixed_order():
    shares = outcome_shares({"param_missing": 1, "param_redundant": 1, "all_right": 2})
    assert list(shares.items()) == [(Outcome.RIGHT, 50.0), (Outcome.PARAMETERS, 50.0)]
    assert outcome_shares({}) == {}


def test_stages_start_grey_and_end_blue():
    assert stage_colours(["base", "sft", "ppo"]) == [Colour.GREY, Colour.ORANGE, Colour.BLUE]
    assert stage_colours(["base", "ppo"]) == [Colour.GREY, Colour.BLUE]
    assert stage_colours(["ppo"]) == [Colour.BLUE]
    assert stage_colours([]) == []
    assert len(stage_colours([str(n) for n in range(12)])) == 12


def test_labels_of_charts_are_one_short_line():
    assert printable("a\n\tb\x00") == "a b�"
    assert printable("x" * 50) == "x" * 39 + "…"
    assert words("param_missing+param_redundant") == "param missing + param redundant"
