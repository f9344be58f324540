import json

import pytest
from policies import TextPolicy, reply
from public_sets import write_public_sets

from tltrain.benches.policy import Stop
from tltrain.benches.public_config import PublicEvalConfig
from tltrain.benches.public_run import evaluate_public, score_again
from tltrain.benches.result_scores import score_result_files
from tltrain.cli import main
from tltrain.config import load_config
from tltrain.errors import DataError, UsageError
from tltrain.stage import Reuse, read_stage

ALL = ("toolalpaca", "rotbench:clean", "bfcl:simple_python+irrelevance", "tooleyes")


@pytest.fixture
def data_dir(tmp_path):
    return write_public_sets(tmp_path / "sets")


def settings(*benches, **fields):
    return PublicEvalConfig(benches=benches or ALL, allow_changed=True, num_resamples=50, **fields)


def write(request):
    """What one model would write: it looks at a, and then it is done."""
    tools = [tool.name for tool in request.tools]
    if any(message.role == "tool" for message in request.messages):
        return "finish(answer='It is there.')"
    return "No." if "1" in request.messages[-1].content else f"{tools[0]}(key='a')"


def run(data_dir, out, policy=None, **options):
    config = options.pop("config", settings())
    return evaluate_public(
        config, data_dir=data_dir, model="stub", out=out, policy=policy or TextPolicy(write), **options
    )


def means(scores):
    return {name: score.mean for name, score in scores.scores.items()}


def test_all_sets_in_one_run(data_dir, tmp_path):
    found = run(data_dir, tmp_path / "out").scores.benches
    assert means(found["rotbench"])["CF"] == 100
    assert means(found["rotbench"])["fixed_cf"] == 100
    assert means(found["toolalpaca"]) == {"TS": 100, "PI": 100, "CF": 50} | {
        f"{step}_{stage}": 50 if stage == "cf" else 100 for step in ("any", "all") for stage in ("ts", "pi", "cf")
    }
    assert (means(found["bfcl"])["TS"], means(found["bfcl"])["valid"]) == (100, 100)
    assert found["bfcl"].scores["CF"].n == 1  # irrelevance has no such score
    assert {name: part.n for name, part in found["bfcl"].groups["category"].items()} == {
        "simple_python": 1,
        "irrelevance": 1,
    }
    assert [means(found["tooleyes"])[name] for name in ("DE", "CE", "VA")] == [0, 0, 100]
    assert "bfcl/BFCL_v4_simple_python.json" in found["bfcl"].changed_files
    assert all(file.startswith("rotbench/") for file in found["rotbench"].changed_files)
    assert any("DE: documentation understanding errors" in note for note in found["tooleyes"].notes)


def test_rows_are_scored_again_without_a_model(data_dir, tmp_path):
    out = tmp_path / "out"
    scores = run(data_dir, out).scores
    rows = (out / "rotbench.jsonl").read_text()
    assert score_again(out, data_dir=data_dir) == scores
    assert (out / "rotbench.jsonl").read_text() == rows
    # an answer that is another one now gets another verdict
    (out / "rotbench.jsonl").write_text(rows.replace("look(key='a')", "look(key='b')"))
    again = score_again(out, data_dir=data_dir).benches["rotbench"]
    assert (means(again)["PI"], means(again)["CF"]) == (100, 0)
    assert json.loads((out / "scores.json").read_text())["benches"]["rotbench"]["scores"]["CF"]["mean"] == 0


def test_what_is_no_run_is_not_scored(data_dir, tmp_path):
    with pytest.raises(DataError, match="is no finished run of `tltrain eval --bench`"):
        score_again(tmp_path, data_dir=data_dir)
    out = tmp_path / "out"
    run(data_dir, out, config=settings("rotbench:clean"))
    rows = (out / "rotbench.jsonl").read_text()
    (out / "rotbench.jsonl").write_text(rows.replace("clean/1", "clean/7"))
    with pytest.raises(DataError, match="rotbench has no case 'clean/7'"):
        score_again(out, data_dir=data_dir)


def test_a_run_that_was_killed_goes_on(data_dir, tmp_path):
    out, calls = tmp_path / "out", []

    def fail_late(request):
        calls.append(request)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return write(request)

    with pytest.raises(KeyboardInterrupt):
        run(data_dir, out, TextPolicy(fail_late))
    policy = TextPolicy(write)
    scores = run(data_dir, out, policy, reuse=Reuse.RESUME).scores
    fresh = TextPolicy(write)
    assert scores == run(data_dir, tmp_path / "fresh", fresh).scores
    assert sum(map(len, policy.asked)) < sum(map(len, fresh.asked))


def test_cases_without_an_answer_are_asked_again(data_dir, tmp_path):
    out = tmp_path / "out"
    failed = reply("", Stop.FAILED)
    policy = TextPolicy(lambda request: failed if "b" in request.messages[0].content else write(request))
    found = run(data_dir, out, policy, config=settings("toolalpaca")).scores.benches["toolalpaca"]
    assert (found.failed, found.scores["TS"].n, found.errors["failed"]) == (1, 1, 1)
    assert read_stage(out)["status"] == "running"
    again = TextPolicy(write)
    found = run(data_dir, out, again, config=settings("toolalpaca"), reuse=Reuse.RESUME).scores.benches["toolalpaca"]
    assert (found.failed, found.scores["TS"].n) == (0, 2)
    assert [len(asked) for asked in again.asked] == [1]
    assert read_stage(out)["status"] == "done"


def test_prompts_that_do_not_fit_are_wrong_even_where_no_call_is_wanted(data_dir, tmp_path):
    policy = TextPolicy(lambda _: reply("", Stop.TOO_LONG))
    found = run(data_dir, tmp_path / "out", policy).scores.benches
    assert [means(found[name])["TS"] for name in ("toolalpaca", "rotbench", "bfcl")] == [0, 0, 0]
    assert means(found["bfcl"])["valid"] == 0
    assert (found["bfcl"].too_long, found["tooleyes"].too_long, means(found["tooleyes"])["VA"]) == (2, 2, 0)


def test_prompts_that_cannot_be_written_have_no_score(data_dir, tmp_path):
    policy = TextPolicy(lambda _: reply("", Stop.UNWRITABLE))
    found = run(data_dir, tmp_path / "out", policy).scores.benches
    assert all(means(found[name])["TS"] is None for name in ("toolalpaca", "rotbench", "bfcl"))
    assert found["tooleyes"].scores["VA"].mean is None
    assert found["rotbench"].unwritable == 2


@pytest.mark.parametrize("text", ["", "(" * 100_000, "[{" * 50_000, "look(" * 20_000, "x = " * 1000])
def test_answers_that_are_nothing_or_endless(data_dir, tmp_path, text):
    found = run(data_dir, tmp_path / "out", TextPolicy(lambda _: text), config=settings(max_turns=2)).scores.benches
    assert all(means(found[name])["TS"] == 0 for name in ("toolalpaca", "rotbench"))


def test_several_calls_are_waited_for_where_they_may_be_right(data_dir, tmp_path):
    policy = TextPolicy(write)
    run(data_dir, tmp_path / "out", policy)
    waits = {request.messages[-1].content: request.one_call for asked in policy.asked for request in asked}
    assert waits["Look 0."] is False
    assert waits["Look 1."] is True  # irrelevance: the first call settles it


def test_results_in_bfcls_layout_are_scored_the_same(data_dir, tmp_path):
    out = tmp_path / "out"
    found = run(data_dir, out).scores.benches["bfcl"]
    line = json.loads((out / "bfcl_result/stub/non_live/BFCL_v4_simple_python_result.json").read_text())
    assert line["result"] == [{"look.at": '{"key": "a"}'}]
    with pytest.raises(DataError, match="--allow-changed"):
        score_result_files(out / "bfcl_result", data_dir=data_dir)
    again = score_result_files(out / "bfcl_result", data_dir=data_dir, allow_changed=True)
    assert means(again) == means(found)


def test_changed_data_is_refused(data_dir, tmp_path):
    config = PublicEvalConfig(benches=("rotbench:clean",))
    with pytest.raises(DataError, match=r"clean.json has SHA-256"):
        run(data_dir, tmp_path / "out", config=config)


@pytest.mark.parametrize(
    ("benches", "said"),
    [
        ("robench", "'robench' is no test set; choose from toolalpaca, rotbench, bfcl, tooleyes"),
        ("rotbench:clear", "rotbench has the parts clean, slight, medium, heavy, union"),
        ("toolalpaca:x", "toolalpaca has no parts"),
        ("bfcl:sql", "bfcl has no part 'sql'"),
        ("bfcl:exec,bfcl:live", "name each test set once"),
        ("", "is no test set"),
    ],
)
def test_wrong_names_of_sets(benches, said):
    with pytest.raises(UsageError, match=said):
        load_config(PublicEvalConfig, flags={"benches": benches})


def test_the_command_line(data_dir, tmp_path, tiny_model, capsys):
    out = tmp_path / "out"
    command = ["eval", "--bench", "rotbench:clean,bfcl:simple_python,tooleyes", "--data-dir", str(data_dir)]
    limits = ["--allow-changed", "--set", "max_new_tokens=4", "--set", "max_turns=2"]
    assert main([*command, *limits, "--model", str(tiny_model), "--out", str(out)]) == 0
    shown = capsys.readouterr().out
    assert "rotbench: percent ± half of the 95% interval" in shown
    assert "DE: documentation understanding errors" in shown
    assert "is not as published" in shown
    assert main(["eval", "score", str(out), "--data-dir", str(data_dir), "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)
    assert scores == json.loads((out / "scores.json").read_text())["benches"]
    assert main([*command, "--out", str(out), "d.jsonl"]) == 2
    assert "DATA has no meaning with --bench" in capsys.readouterr().err
    assert main(["eval", "--out", str(out)]) == 2
    assert "give DATA, a file of trajectories, or --bench" in capsys.readouterr().err
    assert main(["eval", "d.jsonl", "--allow-changed", "--out", str(out)]) == 2
    assert "are for --bench" in capsys.readouterr().err
