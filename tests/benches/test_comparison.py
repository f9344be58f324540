import json
import random
import shutil
from itertools import product
from pathlib import Path

import pytest
from policies import Oracle, TextPolicy, reply
from public_sets import write_public_sets

from tltrain.benches.comparison import Change, change_of, compare_evaluations
from tltrain.benches.config import EvalConfig
from tltrain.benches.evaluations import Outcome, Share, read_evaluations
from tltrain.benches.policy import Stop
from tltrain.benches.public_config import PublicEvalConfig
from tltrain.benches.public_run import evaluate_public, score_again
from tltrain.benches.run import evaluate
from tltrain.errors import DataError, UsageError
from tltrain.formats.openai_chat import write_trajectories

CONFIG = EvalConfig(max_cases=None, max_episodes=None, num_resamples=100, batch_size=1)
ALL = ("toolalpaca", "rotbench:clean", "bfcl:simple_python+irrelevance", "tooleyes")


def compare(*folders, **options):
    return compare_evaluations(read_evaluations(folders), CONFIG, **options)


def find(pair, name, score, part=""):
    (found,) = [each for each in pair.differences[name] if (each.score, each.part) == (score, part)]
    return found


@pytest.fixture
def own(data, trajectories, tmp_path):
    """Three evaluations on own trajectories: all right, each second reply empty, and nothing but one tool."""
    oracle = Oracle(trajectories)
    flaw = random.Random(0)

    def half(request):
        return oracle.answer([request])[0] if flaw.random() < 0.5 else reply("")

    policies = {
        "right": oracle,
        "half": TextPolicy(half),
        "one": TextPolicy(lambda request: f"{request.tools[0].name}()"),
    }
    for name, policy in policies.items():
        evaluate(CONFIG, data=data, model=name, out=tmp_path / name, policy=policy)
    return tmp_path


@pytest.fixture
def data_dir(tmp_path):
    return write_public_sets(tmp_path / "sets")


def run_public(data_dir, out, write, benches=ALL, **fields):
    config = PublicEvalConfig(benches=benches, allow_changed=True, num_resamples=100, **fields)
    return evaluate_public(config, data_dir=data_dir, model="stub", out=out, policy=TextPolicy(write)).scores


def look(request):
    tools = [tool.name for tool in request.tools]
    if any(message.role == "tool" for message in request.messages):
        return "finish(answer='It is there.')"
    return "No." if "1" in request.messages[-1].content else f"{tools[0]}(key='a')"


# -------------------------------------------------------------------------------------------------------- the numbers


def test_scores_are_those_that_the_evaluations_report(own):
    found = compare(own / "right", own / "half", own / "one")
    assert list(found.scores) == ["cases", "episodes"]
    for name in ("right", "half", "one"):
        scores = json.loads((own / name / "scores.json").read_text())
        for part, mine in (("single", "cases"), ("episodes", "episodes")):
            mine = json.loads(found.scores[mine][name].model_dump_json())
            assert mine["n"] == scores[part]["n"] > 0
            assert {key: scores[part][key] for key in mine["scores"]} == mine["scores"]
            by_kit = {
                kit: {key: each[key] for key in each if key != "n"} for kit, each in scores[part]["by_kit"].items()
            }
            kept = {kit: {key: each["scores"][key] for key in by_kit[kit]} for kit, each in mine["parts"].items()}
            assert kept == by_kit
        assert found.scores["cases"][name].errors == scores["single"]["errors"]
        assert found.scores["episodes"][name].errors == scores["episodes"]["ends"]


def test_public_scores_are_those_that_the_evaluations_report(data_dir, tmp_path):
    reported = run_public(data_dir, tmp_path / "a", look).benches
    run_public(data_dir, tmp_path / "b", lambda request: f"{request.tools[0].name}(key='b')")
    found = compare(tmp_path / "a", tmp_path / "b")
    for name, bench in reported.items():
        assert {key: value for key, value in bench.scores.items() if value.n} == {
            key: value for key, value in found.scores[name]["a"].scores.items() if value.n
        }
        assert found.scores[name]["a"].errors == bench.errors
    assert {name: part.n for name, part in found.scores["bfcl"]["a"].parts.items()} == {
        "simple_python": 1,
        "irrelevance": 1,
    }
    assert found.published_2024.keys() == {"toolalpaca", "rotbench", "bfcl", "tooleyes"}
    assert "rotbench/First_Turn/clean.json is not as published." in found.remarks


def test_differences_by_hand(own):
    (pair,) = compare(own / "right", own / "half").pairs
    rows = [json.loads(line) for line in (own / "half" / "cases.jsonl").read_text().splitlines()]
    num_wrong = sum(not row["cf"] for row in rows)
    found = find(pair, "cases", "CF")
    assert 0 < num_wrong < len(rows)
    assert (found.n, found.only_first, found.only_second) == (len(rows), 0, 0)
    assert (found.right_to_wrong, found.wrong_to_right) == (num_wrong, 0)
    assert found.difference.mean == pytest.approx(-100 * num_wrong / len(rows))
    assert found.difference.low < found.difference.mean < found.difference.high <= 0
    assert found.p_value == pytest.approx(2 * 0.5**num_wrong)
    assert found.num_clusters == len({row["trajectory"] for row in rows})
    assert pair.changes["cases"] == {Change.BROKEN: num_wrong, Change.FIXED: 0, Change.OTHER: 0}
    swapped = find(compare(own / "half", own / "right").pairs[0], "cases", "CF")
    assert (swapped.difference.mean, swapped.p_value) == (pytest.approx(-found.difference.mean), found.p_value)


def test_intervals_resample_conversations(own):
    verdicts = {}
    for name in ("right", "half"):
        path = own / name / "cases.jsonl"
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        for place, row in enumerate(rows):
            row["trajectory"] = f"t{place // 3}"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        verdicts[name] = [row["cf"] for row in rows]
    found = find(compare(own / "right", own / "half").pairs[0], "cases", "CF")
    groups = [{name: sum(cf[start : start + 3]) for name, cf in verdicts.items()} for start in range(0, 12, 3)]
    sums = [
        sum(groups[place]["half"] - groups[place]["right"] for place in drawn) for drawn in product(range(4), repeat=4)
    ]
    # 4 ** 4 ways to draw, of which 100 at random were taken: the ends lie within what is possible
    assert found.num_clusters == 4
    assert (found.difference.low, found.difference.high) == pytest.approx(
        [100 * value / 12 for value in (sorted(sums)[6], sorted(sums)[249])], abs=100 / 12
    )


def test_shares_of_calls_have_a_difference_and_no_test(own):
    (pair,) = compare(own / "right", own / "one").pairs
    found = find(pair, "episodes", "CE")
    scores = [
        json.loads((own / name / "scores.json").read_text())["episodes"]["CE"]["mean"] for name in ("right", "one")
    ]
    assert (found.first, found.second) == (pytest.approx(scores[0]), pytest.approx(scores[1]))
    assert found.difference.mean == pytest.approx(scores[1] - scores[0])
    assert found.difference.mean > 0
    assert (found.p_value, found.right_to_wrong, found.wrong_to_right) == (None, None, None)


def test_cases_that_only_one_has_are_left_out_and_counted(own):
    path = own / "half" / "cases.jsonl"
    rows = path.read_text().splitlines(keepends=True)
    unscored = json.loads(rows[1]) | {"ts": None, "pi": None, "cf": None, "label": "unwritable"}
    path.write_text("".join([json.dumps(unscored) + "\n", *rows[2:]]))  # the first is gone, the second has no score
    (pair,) = compare(own / "right", own / "half").pairs
    found = find(pair, "cases", "TS")
    assert (found.n, found.only_first, found.only_second) == (len(rows) - 2, 2, 0)
    assert found.first == 100
    assert sum(pair.changes["cases"].values()) == found.right_to_wrong


def test_a_score_over_nothing_is_none(own):
    for name, gone in (("right", True), ("half", False)):
        path = own / name / "cases.jsonl"
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        for row in rows:
            if (row["kit"] == "shop") is gone:
                row |= {"ts": None, "pi": None, "cf": None}
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = compare(own / "right", own / "half")
    assert "CF" not in found.scores["cases"]["right"].parts["shop"].scores
    none = find(found.pairs[0], "cases", "CF")
    assert (none.n, none.difference.mean, none.first, none.second, none.p_value) == (0, None, None, None, None)
    assert none.only_first > 0
    assert none.only_second > 0


def outcome(right, label="x", **verdicts):
    shares = {name: Share(int(value), 1) for name, value in verdicts.items()} | {"DE": Share(1, random.randint(1, 9))}
    return Outcome(id="a", cluster="a", parts=(), label=label, right=right, shares=shares)


def test_right_is_what_the_official_checker_says_where_there_is_no_content_to_fill(data_dir, tmp_path):
    benches = ["bfcl:simple_python+irrelevance"]
    run_public(data_dir, tmp_path / "a", look, benches)
    run_public(data_dir, tmp_path / "b", lambda request: f"{request.tools[0].name}(key='a')", benches)
    (pair,) = compare(tmp_path / "a", tmp_path / "b").pairs
    # the second calls a tool where none is wanted; that case has no CF
    assert pair.changes["bfcl"] == {Change.BROKEN: 1, Change.FIXED: 0, Change.OTHER: 0}
    assert (find(pair, "bfcl", "CF").n, find(pair, "bfcl", "valid").right_to_wrong) == (1, 1)


def test_what_became_of_a_case():
    for before, after in product((True, False, None), repeat=2):
        wanted = {(True, False): Change.BROKEN, (False, True): Change.FIXED}.get((before, after))
        assert change_of(outcome(before), outcome(after)) is wanted
    assert change_of(outcome(False, "wrong_tool"), outcome(False, "format_error")) is Change.OTHER
    assert change_of(outcome(False, TS=True), outcome(False, TS=False)) is Change.OTHER
    assert change_of(outcome(False, TS=True), outcome(False, TS=True)) is None


# ------------------------------------------------------------------------------------------ what can not be compared


def test_folders_that_are_none(own):
    with pytest.raises(UsageError, match=r"compare got .*right alone; give two or more folders"):
        compare(own / "right")
    with pytest.raises(UsageError, match="nowhere is no folder"):
        compare(own / "right", own / "nowhere")
    with pytest.raises(UsageError, match="right is given twice"):
        compare(own / "right", own / "half", own / "half" / ".." / "right")
    (own / "empty").mkdir()
    with pytest.raises(
        DataError, match=r"empty has no results of `tltrain eval`: no stage.json; name a folder that has"
    ):
        compare(own / "right", own / "empty")
    with pytest.raises(DataError, match=r"no stage.json; name a folder that has, such as .*/half$"):
        compare(own / "right", own)


def edit_stage(folder: Path, **changes: object) -> None:
    record = json.loads((folder / "stage.json").read_text())
    (folder / "stage.json").write_text(json.dumps(record | changes))


def test_folders_without_finished_results(own):
    edit_stage(own / "half", status="running")
    with pytest.raises(DataError, match=r"half holds an evaluation that was interrupted.* with --resume"):
        compare(own / "right", own / "half")
    edit_stage(own / "half", status="done", stage="sft")
    with pytest.raises(DataError, match="half is a folder of `tltrain sft`; name one of `tltrain eval`"):
        compare(own / "right", own / "half")
    (own / "one" / "cases.jsonl").write_text('{"id": 3}\n')
    with pytest.raises(DataError, match=r"one/cases.jsonl:1: id: .*make the file anew"):
        compare(own / "right", own / "one")
    for name in ("cases.jsonl", "episodes.jsonl"):
        (own / "one" / name).unlink()
    with pytest.raises(DataError, match=r"one has neither cases.jsonl nor episodes.jsonl"):
        compare(own / "right", own / "one")
    (own / "one" / "scores.json").unlink()
    with pytest.raises(DataError, match=r"one has no scores.json; make it anew"):
        compare(own / "right", own / "one")


def test_a_case_that_occurs_twice_is_refused(own):
    path = own / "half" / "cases.jsonl"
    first = path.read_text().splitlines(keepends=True)[0]
    path.write_text(path.read_text() + first)
    with pytest.raises(DataError, match=r"half/cases.jsonl: case '.*' occurs twice"):
        compare(own / "right", own / "half")


def test_an_endpoint_that_did_not_answer_leaves_an_unfinished_evaluation(data_dir, tmp_path):
    run_public(data_dir, tmp_path / "a", look, ["rotbench:clean"])
    run_public(data_dir, tmp_path / "b", lambda _: reply("", Stop.FAILED), ["rotbench:clean"])
    with pytest.raises(DataError, match=r"b holds an evaluation .*an endpoint did not answer"):
        compare(tmp_path / "a", tmp_path / "b")


def test_different_data_is_refused(own, data, trajectories):
    write_trajectories(data, trajectories[:6])
    evaluate(CONFIG, data=data, model="m", out=own / "six", policy=Oracle(trajectories))
    with pytest.raises(DataError, match=r"right and .*six were made from different data: SHA-256 \w{12}… and \w{12}…"):
        compare(own / "right", own / "six")


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("id", "elsewhere#0", "have no case in common"),
        ("query", "Something else.", r"case '.*' has different queries in .*right and .*half"),
        ("gold", "something_else()", r"case '.*' has different right answers in .*right and .*half"),
        ("trajectory", "another", r"case '.*' belongs to different groups"),
    ],
)
def test_different_cases_are_refused(own, field, value, said):
    for name in ("right", "half"):
        (own / name / "episodes.jsonl").unlink()
    path = own / "half" / "cases.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text(
        "".join(
            json.dumps(row | {field: f"{value}{i}" if field == "id" else value}) + "\n" for i, row in enumerate(rows)
        )
    )
    with pytest.raises(DataError, match=said):
        compare(own / "right", own / "half")


def test_no_test_set_in_common_is_refused(own, data_dir, tmp_path):
    run_public(data_dir, tmp_path / "public", look, ["toolalpaca"])
    with pytest.raises(DataError, match="have no test set in common: cases, episodes; toolalpaca"):
        compare(own / "right", tmp_path / "public")


def test_files_that_were_changed_for_one_alone_are_refused(data_dir, tmp_path):
    for name in "ab":
        run_public(data_dir, tmp_path / name, look, ["rotbench:clean"])
    path = tmp_path / "b" / "scores.json"
    scores = json.loads(path.read_text())
    scores["benches"]["rotbench"]["changed_files"] = []
    path.write_text(json.dumps(scores))
    with pytest.raises(DataError, match=r"rotbench/First_Turn/clean.json was as published for one only"):
        compare(tmp_path / "a", tmp_path / "b")


# ----------------------------------------------------------------------------------------------------- what is told


def test_settings_that_differ_are_told(data_dir, tmp_path):
    run_public(data_dir, tmp_path / "a", look, ["rotbench:clean", "toolalpaca"])
    run_public(data_dir, tmp_path / "b", look, ["rotbench:clean"], max_new_tokens=7)
    remarks = compare(tmp_path / "a", tmp_path / "b").remarks
    assert remarks[:2] == ["max_new_tokens is 192 in a and 7 in b.", "b has no results on toolalpaca."]


def test_names_are_the_shortest_that_tell_folders_apart(own):
    deep = own / "runs" / "x" / "eval" / "half"
    deep.parent.mkdir(parents=True)
    (own / "half").rename(deep)
    assert [each.name for each in read_evaluations([own / "right", deep])] == ["right", "half"]
    (own / "runs" / "y" / "eval").mkdir(parents=True)
    (own / "one").rename(own / "runs" / "y" / "eval" / "half")
    found = read_evaluations([deep, own / "runs" / "y" / "eval" / "half"])
    assert [each.name for each in found] == ["x", "y"]


def test_rows_of_public_sets_keep_query_and_right_answers(data_dir, tmp_path):
    run_public(data_dir, tmp_path / "a", look)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    read = read_evaluations([tmp_path / "a", tmp_path / "b"])
    shown = {name: next(iter(found.outcomes.values())) for name, found in read[0].sets.items()}
    assert {name: (each.query, each.gold) for name, each in shown.items()} == {
        "toolalpaca": ("Look at a.", "look(key='a')"),
        "rotbench": ("Look at a.", "look(key='a')"),
        "bfcl": ("Look 0.", "look.at(key='a')"),
        "tooleyes": ("Look.", ""),
    }
    assert shown["tooleyes"].answer == "look(key='a')\n\nfinish(answer='It is there.')"


def test_rows_of_older_versions_get_their_texts_when_they_are_judged_again(data_dir, tmp_path):
    run_public(data_dir, tmp_path / "a", look, ["rotbench:clean"])
    path = tmp_path / "a" / "rotbench.jsonl"
    new = path.read_text()
    rows = [json.loads(line) for line in new.splitlines()]
    path.write_text(
        "".join(json.dumps({k: v for k, v in row.items() if k not in ("query", "gold")}) + "\n" for row in rows)
    )
    score_again(tmp_path / "a", data_dir=data_dir)
    assert path.read_text() == new
