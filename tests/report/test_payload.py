import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tltrain.report.data import Stage
from tltrain.report.payload import build_answers, build_tokens, clip, clip_start, count_changes, to_script_json
from tltrain.report.records import CallWeights, Case, Sample, Scores, Token

TEXT = st.text(st.characters(exclude_categories=["Cs"])) | st.sampled_from(["</script>", "<!--", "&lt;", "\u2028]]>"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXT, lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner)
)


def case(number: int, completion: str, *, right: bool, kit: str = "bank") -> Case:
    label = "all_right" if right else "wrong_tool"
    row = {"id": f"c{number}", "kit": kit, "query": "q", "gold": "g", "prompt": "p", "label": label, "cf": right}
    return Case.model_validate(row | {"completion": completion})


def stage(name: str, *cases: Case) -> Stage:
    return Stage(name=name, scores=Scores(), cases=cases, episodes=())


@given(VALUES)
def test_script_json_means_the_same_and_holds_nothing_that_html_reads(value):
    text = to_script_json(value)
    assert json.loads(text) == value
    assert not set(text) & set("<>&\u2028\u2029")


def test_answers_pack_equal_texts_as_references():
    stages = [
        stage("base", case(1, "[a()]", right=False)),
        stage("sft", case(1, "[b()]", right=True)),
        stage("ppo", case(1, "[a()]", right=False), case(2, "[c()]", right=True, kit="shop")),
    ]
    built = build_answers(stages)
    assert built == {
        "stages": ["base", "sft", "ppo"],
        "kits": ["bank", "shop"],
        "labels": ["all_right", "wrong_tool"],
        "total": 2,
        "rows": [
            ["c1", 0, "q", "g", "p", [["[a()]", 1, 0], ["[b()]", 0, 1], [0, 1, 0]]],
            ["c2", 1, "q", "g", "p", [0, 0, ["[c()]", 0, 1]]],
        ],
    }


def test_without_room_changed_cases_stay_then_wrong_ones_in_the_order_of_the_file():
    before = [case(n, "x" * 100, right=n in (1, 4)) for n in range(6)]
    after = [case(n, "y" * 100, right=n in (1, 3, 5)) for n in range(6)]
    # Changed: 3 and 5 were fixed, 4 was broken. Wrong in the end: 0, 2. A row takes some 250 bytes.
    kept = [row[0] for row in build_answers([stage("a", *before), stage("b", *after)], max_bytes=1_100)["rows"]]
    assert kept == ["c0", "c3", "c4", "c5"]
    assert build_answers([stage("a", *before), stage("b", *after)], max_bytes=1_100)["total"] == 6


def test_prompts_come_in_only_as_room_is_left():
    cases = [case(n, "x", right=True).model_copy(update={"prompt": "z" * 300}) for n in range(2)]
    rows = build_answers([stage("a", *cases)], max_bytes=500)["rows"]
    assert [len(row[4]) for row in rows] == [300, 0]


@pytest.mark.parametrize("budget", [2_000, 20_000, 100_000])
def test_answers_keep_to_their_budget(budget):
    cases = [case(n, f"é<{n}>" * 40, right=n % 2 == 0).model_copy(update={"prompt": "ü" * n}) for n in range(500)]
    built = build_answers([stage("a", *cases)], max_bytes=budget)
    assert len(to_script_json(built["rows"]).encode()) <= budget + 2
    assert built["rows"]


def test_changes_are_counted_over_shared_cases():
    before = [case(0, "", right=False), case(1, "", right=True), case(2, "", right=True)]
    after = [case(1, "", right=False), case(0, "", right=True), case(9, "", right=True)]
    assert count_changes(before, after) == {(False, True): 1, (True, False): 1}


def test_context_becomes_one_piece_and_own_tokens_stay_apart():
    tokens = [
        Token(text="a", kind="context"),
        Token(text="b", kind="context"),
        Token(text="[", weight=1, kind="text"),
        Token(text="get", weight=6.50004, kind="key"),
        Token(text="bad", kind="name", blocked=True),
        Token(text="c"),
    ]
    calls = [CallWeights(number=0, num_key=1, num_nonkey=7, weight=6.5)]
    built = build_tokens([Sample(id="t", tokens=tokens, calls=calls)])
    assert built["max_weight"] == 6.50004
    assert built["samples"] == [
        {
            "id": "t",
            "calls": [[0, 1, 7, 6.5, 0]],
            "pieces": [["ab", 2], ["[", 1.0, "text", 0], ["get", 6.5, "key", 0], ["bad", 0.0, "name", 1], ["c", 1]],
        }
    ]


def test_long_context_is_clipped_in_the_middle_but_counted_whole():
    built = build_tokens([Sample(id="t", tokens=[Token(text="ab ") for _ in range(3000)])])
    [[text, number]] = built["samples"][0]["pieces"]
    assert number == 3000
    assert "7,800 characters" in text
    assert len(text) < 1300


def test_samples_are_left_out_where_there_is_no_room_but_never_all():
    samples = [Sample(id=str(n), tokens=[Token(text="x", weight=1, kind="text")] * 100) for n in range(5)]
    assert build_tokens(samples, max_bytes=4_000)["total"] == 5
    assert len(build_tokens(samples, max_bytes=4_000)["samples"]) == 2
    assert len(build_tokens(samples, max_bytes=1)["samples"]) == 1


def test_clips_say_how_much_is_gone():
    assert clip("abcdef", 6) == "abcdef"
    assert clip("abcdef", 2) == "ab … (4 more characters)"
    assert clip_start("abcdef", 2) == "(4 characters before) … ef"
