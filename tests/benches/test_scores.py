import json
from pathlib import Path

import pytest

from tltrain.benches.config import EvalConfig
from tltrain.benches.episodes import EpisodeEnd, EpisodeRow
from tltrain.benches.policy import Stop
from tltrain.benches.scores import Score, compare, read_cases, score_cases, score_episodes, score_single_turn
from tltrain.benches.single_turn import CaseRow
from tltrain.errors import DataError
from tltrain.formats.openai_chat import write_trajectories
from tltrain.types import Message, Role, Tool, ToolCall, Trajectory

CONFIG = EvalConfig(num_resamples=500)
LABELS = {"all_right": 3, "content_mismatch": 2, "param_missing": 1, "wrong_tool": 0, "too_long": 0}
"""Label -> how many of the three scores are right."""


def case(trajectory: str, label: str, *, call: int = 0, kit: str = "k", **fields) -> CaseRow:
    right = LABELS.get(label)
    scores = {name: None if right is None else right > place for place, name in enumerate(("ts", "pi", "cf"))}
    stop = Stop(label) if label in ("too_long", "unwritable") else Stop.END
    values = {
        "id": f"{trajectory}#{call}",
        "query": "",
        "prompt": "",
        "completion": "",
        "gold": "f()",
        "num_tokens": 10,
        "stop": stop,
        "syntax": "python",
    }
    return CaseRow(trajectory=trajectory, call=call, kit=kit, label=label, **{**values, **scores, **fields})


CASES = [
    case("a", "all_right", num_tokens=20),
    case("b", "content_mismatch", kit="l"),
    case("c", "content_mismatch", stop=Stop.LENGTH, num_tokens=96),
    case("d", "param_missing"),
    case("e", "wrong_tool"),
    case("f", "too_long", num_tokens=0),
    case("g", "unwritable", num_tokens=0),
]


def test_single_turn_by_hand():
    scores = score_single_turn(CASES, CONFIG)
    # of 6 with a score: 4 name the tool, 3 the parameters too, 1 the values too
    assert (scores.TS.mean, scores.PI.mean, scores.CF.mean) == pytest.approx((400 / 6, 300 / 6, 100 / 6))
    assert {scores.n, scores.TS.n, scores.PI.n, scores.CF.n} == {6}
    assert scores.errors == {"content_mismatch": 2, "all_right": 1, "param_missing": 1, "wrong_tool": 1, "too_long": 1}
    assert (scores.too_long, scores.unwritable) == (1, 1)
    assert scores.mean_tokens == (20 + 10 + 96 + 10 + 10) / 5  # of the answers that were written
    assert (scores.truncated.mean, scores.truncated.n) == (20, 5)
    assert scores.by_kit.keys() == {"k", "l"}
    assert (scores.by_kit["l"].n, scores.by_kit["l"].PI.mean, scores.by_kit["l"].CF.mean) == (1, 100, 0)
    assert (scores.by_kit["k"].n, scores.by_kit["k"].CF.mean) == (5, 20)
    assert 0 <= scores.CF.low < scores.CF.mean < scores.CF.high <= 100


def test_cases_of_one_conversation_count_as_one_observation():
    # the same 40 cases: in 4 conversations of 10 alike, or each in its own
    alike = [case(f"t{n}", "all_right" if n % 2 else "wrong_tool", call=i) for n in range(4) for i in range(10)]
    apart = [case(f"t{n}-{i}", "all_right" if n % 2 else "wrong_tool") for n in range(4) for i in range(10)]
    alike_scores, apart_scores = score_single_turn(alike, CONFIG).CF, score_single_turn(apart, CONFIG).CF
    assert alike_scores.mean == apart_scores.mean == 50
    assert alike_scores.n == apart_scores.n == 40
    assert alike_scores.high - alike_scores.low > 2 * (apart_scores.high - apart_scores.low)


@pytest.mark.parametrize("rows", [[], [case("a", "unwritable")]])
def test_no_score_over_nothing(rows):
    scores = score_single_turn(rows, CONFIG)
    assert scores.TS == scores.PI == scores.CF == scores.truncated == Score(mean=None, low=None, high=None, n=0)
    assert (scores.n, scores.mean_tokens) == (0, None)
    nothing = score_episodes([], CONFIG)
    assert nothing.success == nothing.DE == nothing.CE == nothing.VA == nothing.malformed == Score()
    assert (nothing.n, nothing.mean_turns, nothing.mean_calls) == (0, None, None)


def test_zero_is_a_score():
    scores = score_single_turn([case("a", "wrong_tool")], CONFIG)
    assert Score(mean=0, low=0, high=0, n=1) == scores.TS


def episode(key: str, *, success: bool | None, valid: bool | None, calls=(0, 0, 0, 0), **fields) -> EpisodeRow:
    num_calls, num_malformed, num_undocumented, num_failed = calls
    values = {"kit": "k", "end": EpisodeEnd.ANSWER, "num_turns": 2, "template": "t", "query": "", "messages": [{}]}
    return EpisodeRow(
        id=key,
        success=success,
        valid_answer=valid,
        num_calls=num_calls,
        num_malformed=num_malformed,
        num_undocumented=num_undocumented,
        num_failed=num_failed,
        num_tokens=9,
        **{**values, **fields},
    )


EPISODES = [
    episode("a", success=True, valid=True, calls=(2, 0, 0, 0)),
    episode("b", success=False, valid=True, calls=(5, 1, 2, 4), kit="l", num_turns=6),
    episode("c", success=False, valid=False, end=EpisodeEnd.MAX_TURNS),
    episode("d", success=None, valid=None, calls=(1, 0, 0, 1), end=EpisodeEnd.UNWRITABLE, num_turns=1),
]


def test_episodes_by_hand():
    scores = score_episodes(EPISODES, CONFIG)
    assert (scores.n, scores.success.n, scores.VA.n, scores.unwritable) == (3, 3, 3, 1)
    assert (scores.success.mean, scores.VA.mean) == pytest.approx((100 / 3, 200 / 3))
    # 8 calls, 7 of them readable: 2 against the documents, 5 with an error for feedback
    assert (scores.DE.mean, scores.DE.n) == (pytest.approx(200 / 7), 7)
    assert (scores.CE.mean, scores.CE.n) == (pytest.approx(500 / 8), 8)
    assert (scores.malformed.mean, scores.malformed.n) == (pytest.approx(100 / 8), 8)
    assert {kit: (found.n, found.success.mean) for kit, found in scores.by_kit.items()} == {"k": (2, 50), "l": (1, 0)}
    assert scores.ends == {"answer": 2, "max_turns": 1, "unwritable": 1}
    assert (scores.mean_turns, scores.mean_calls) == (11 / 4, 8 / 4)


def test_without_calls_there_are_no_call_errors():
    scores = score_episodes([episode("a", success=False, valid=True)], CONFIG)
    assert scores.DE == scores.CE == Score()
    assert scores.VA.mean == 100


def write_cases(path: Path, rows: list[CaseRow]) -> Path:
    path.write_text("".join(row.model_dump_json() + "\n" for row in rows))
    return path


def test_cases_are_scored_again_without_a_model(tmp_path):
    tools = (Tool(name="f", parameters={"properties": {"x": {}}}), Tool(name="g"))
    messages = (
        Message(role=Role.USER, content="Go."),
        Message(role=Role.ASSISTANT, calls=(ToolCall(name="f", arguments={"x": 1}),)),
    )
    write_trajectories(tmp_path / "data.jsonl", [Trajectory(id="t", tools=tools, messages=messages)])

    def rescore(completion: str, label: str) -> dict[str, int]:
        path = write_cases(tmp_path / "cases.jsonl", [case("t", label, completion=completion)])
        return score_cases(path, data=tmp_path / "data.jsonl", config=CONFIG).errors

    # what the row says about itself is not asked
    assert rescore("f(x=1)", "wrong_tool") == {"all_right": 1}
    assert rescore("f(x=2)", "all_right") == {"content_mismatch": 1}
    assert rescore("g(x=1)", "all_right") == {"wrong_tool": 1}
    assert rescore("", "too_long") == {"too_long": 1}
    write_cases(tmp_path / "cases.jsonl", [case("t", "all_right", call=3)])
    with pytest.raises(DataError, match=r"case t#3: .* has no such call"):
        score_cases(tmp_path / "cases.jsonl", data=tmp_path / "data.jsonl")


def test_comparison_by_hand(tmp_path):
    first = [case("a", "wrong_tool"), case("b", "content_mismatch"), case("c", "all_right"), case("d", "all_right")]
    second = [case("a", "all_right"), case("b", "all_right"), case("c", "content_mismatch"), case("e", "all_right")]
    first.append(case("f", "unwritable"))
    second.append(case("f", "all_right"))
    paths = write_cases(tmp_path / "1.jsonl", first), write_cases(tmp_path / "2.jsonl", second)
    found = compare(*paths, CONFIG)
    # a gains all three, b gains content, c loses content; d, e and f have no partner
    assert (found.n, found.num_unpaired) == (3, 3)
    assert (found.TS.mean, found.PI.mean, found.CF.mean) == pytest.approx((100 / 3, 100 / 3, 100 / 3))
    assert (found.CF.low, found.CF.high) == (-100, 100)
    assert compare(*paths[::-1], CONFIG).TS.mean == -found.TS.mean
    same = compare(paths[0], paths[0], CONFIG)
    assert (same.CF.mean, same.CF.low, same.CF.high, same.num_unpaired) == (0, 0, 0, 0)


def test_comparison_is_paired(tmp_path):
    # the second is right on one case more of 40; half of the cases are hard for both
    first = [case(f"t{n}", "all_right" if n % 2 else "wrong_tool") for n in range(40)]
    second = [case("t0", "all_right"), *first[1:]]
    found = compare(write_cases(tmp_path / "1", first), write_cases(tmp_path / "2", second), CONFIG)
    assert found.CF.mean == 2.5
    # either score alone is uncertain by 15 points; their difference is not
    assert found.CF.high - found.CF.low < 10


def test_comparison_without_common_cases(tmp_path):
    paths = [write_cases(tmp_path / name, [case(name, "all_right")]) for name in "ab"]
    assert Score() == compare(*paths, CONFIG).TS


def test_comparison_of_other_data_is_refused(tmp_path):
    paths = [write_cases(tmp_path / gold, [case("a", "all_right", gold=gold)]) for gold in ("f", "g")]
    with pytest.raises(DataError, match=r"case a#0: .* different right calls"):
        compare(*paths)


def test_broken_rows_are_named(tmp_path):
    path = write_cases(tmp_path / "cases.jsonl", CASES)
    rows = path.read_text().splitlines()
    broken = json.loads(rows[2])
    del broken["completion"]
    path.write_text("\n".join([*rows[:2], json.dumps(broken)]))
    with pytest.raises(DataError, match=r"cases.jsonl:3: completion: Field required"):
        read_cases(path)
    path.write_text(rows[0] + "\n{")
    with pytest.raises(DataError, match=r"cases.jsonl:2: not JSON"):
        read_cases(path)
