import json
import sys
from contextlib import closing
from pathlib import Path

import pytest
from policies import Script, TextPolicy, reply

from tltrain.benches.bfcl_environment import BfclEnvironment
from tltrain.benches.bfcl_multi_turn import NAME, TalkEnd, run_multi_turn
from tltrain.benches.bfcl_multi_turn_cases import MORE_TOOLS, load_multi_turn
from tltrain.benches.compare import compare
from tltrain.benches.data_folder import DataFolder
from tltrain.benches.policy import Stop
from tltrain.benches.public_config import PublicEvalConfig
from tltrain.benches.public_run import evaluate_public, score_again
from tltrain.cli import main
from tltrain.errors import DataError, UsageError
from tltrain.stage import Reuse, read_stage

FAKE = Path(__file__).with_name("bfcl_fake_worker.py")
BASE, MISS_FUNC = "multi_turn_base", "multi_turn_miss_func"


def _lines(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def _document(name):
    schema = {"type": "dict", "properties": {"by": {"type": "integer"}}, "required": ["by"]}
    return {"name": name, "description": "Do.", "parameters": schema}


def _question(key, turns, **fields):
    said = [[{"role": "user", "content": text}] if text else [] for text in turns]
    config = {"MathAPI": {"start": 0}}
    return {"id": key, "question": said, "initial_config": config, "involved_classes": ["MathAPI"], **fields}


@pytest.fixture
def data_dir(tmp_path):
    """Two conversations of two turns, one that holds a function back, and a single-turn case."""
    root = tmp_path / "sets/bfcl"
    _lines(root / "multi_turn_func_doc/math_api.json", [_document("add"), _document("refuse")])
    questions = [_question(f"{BASE}_{number}", [f"Add {number}.", "And 5."]) for number in (1, 2)]
    answers = [{"id": f"{BASE}_{n}", "ground_truth": [[f"add(by={n})"], ["add(by=5)"]]} for n in (1, 2)]
    _lines(root / f"BFCL_v4_{BASE}.json", questions)
    _lines(root / f"possible_answer/BFCL_v4_{BASE}.json", answers)
    held = _question(f"{MISS_FUNC}_0", ["Add 3.", ""], missed_function={"1": ["add"]})
    _lines(root / f"BFCL_v4_{MISS_FUNC}.json", [held])
    _lines(
        root / f"possible_answer/BFCL_v4_{MISS_FUNC}.json", [{"id": held["id"], "ground_truth": [[], ["add(by=3)"]]}]
    )
    single = {"id": "irrelevance_0", "question": [[{"role": "user", "content": "Hm."}]], "function": [_document("add")]}
    _lines(root / "BFCL_v4_irrelevance.json", [single])
    return tmp_path / "sets"


@pytest.fixture
def environment():
    with closing(fake()) as made:
        yield made


def fake(timeout_s=20):
    return BfclEnvironment(Path(sys.executable), worker=FAKE, timeout_s=timeout_s)


def cases_of(data_dir, category=BASE):
    return load_multi_turn(DataFolder(data_dir, allow_changed=True), category)


def write(request):
    """Adds what the user last named, and then says so."""
    last = request.messages[-1]
    if last.role == "tool" or not request.tools or "add" not in {tool.name for tool in request.tools}:
        return "Done."
    number = last.content.rstrip(".").split()[-1]
    return f"add(by={number if number.isdigit() else 3})"


def hold(data_dir, environment, *texts, category=BASE):
    """The first conversation with a model that writes these texts."""
    return run_multi_turn(cases_of(data_dir, category)[:1], Script(*texts), environment, max_steps=2)[0]


def test_cases(data_dir):
    (case,) = cases_of(data_dir, MISS_FUNC)
    assert [[message.content for message in said] for said in case.said] == [["Add 3."], [MORE_TOOLS]]
    assert [[tool.name for tool in tools] for tools in case.tools] == [["refuse"], ["refuse", "add"]]
    assert case.ground_truth == [[], ["add(by=3)"]]


def test_a_row_of_another_shape_is_named(data_dir):
    path = data_dir / f"bfcl/possible_answer/BFCL_v4_{BASE}.json"
    _lines(path, [{"id": f"{BASE}_1", "ground_truth": [["add(by=1)"]]}])
    with pytest.raises(DataError, match=r"BFCL_v4_multi_turn_base.json.*1.*2 turns, and answers to 1"):
        cases_of(data_dir)


def test_a_conversation(data_dir, environment):
    row = hold(data_dir, environment, "add(by=1)", "It is 1.", "add(by=5)", "Done.")
    assert (row.end, row.valid, row.label, row.num_calls, row.num_failed) == (TalkEnd.DONE, True, "all_right", 2, 0)
    assert row.completions == [["add(by=1)", "It is 1."], ["add(by=5)", "Done."]]
    assert row.num_tokens == [[1, 3], [1, 1]]
    assert row.result == [[[{"add": '{"by": 1}'}], "It is 1."], [[{"add": '{"by": 5}'}], "Done."]]
    roles = [message["role"] for message in row.messages]
    assert roles == ["user", "assistant", "tool", "assistant"] * 2
    assert [message["content"] for message in row.messages if message["role"] == "tool"] == ["1", "6"]


def test_a_wrong_conversation(data_dir, environment):
    row = hold(data_dir, environment, "add(by=1)", "No.", "refuse(by=5)", "No.")
    assert (row.valid, row.label, row.num_calls, row.num_failed) == (False, "multi_turn:other", 2, 1)


def test_what_the_model_reads(data_dir, environment):
    policy = Script("add(by=1)", "It is 1.", "Done.")
    run_multi_turn(cases_of(data_dir)[:1], policy, environment, max_steps=2)
    read = [[message.content for message in request.messages] for (request,) in policy.asked]
    assert read == [
        ["Add 1."],
        ["Add 1.", "", "1"],
        ["Add 1.", "", "1", "It is 1.", "And 5."],
    ]
    assert not any(request.one_call for (request,) in policy.asked)


def test_functions_that_come_later(data_dir, environment):
    policy = TextPolicy(write)
    (row,) = run_multi_turn(cases_of(data_dir, MISS_FUNC), policy, environment, max_steps=2)
    assert row.valid
    assert [[tool.name for tool in request.tools] for (request,) in policy.asked][:2] == [["refuse"], ["refuse", "add"]]


def test_one_step_more_than_allowed_ends_the_case(data_dir, environment):
    row = hold(data_dir, environment, "add(by=1)")
    assert (row.end, row.valid) == (TalkEnd.MAX_STEPS, False)
    assert list(map(len, row.result)) == [3]


def test_steps_count_by_turn(data_dir, environment):
    row = hold(data_dir, environment, *["add(by=1)", "add(by=1)", "So."] * 2)
    assert row.end is TalkEnd.DONE
    assert list(map(len, row.result)) == [3, 3]


@pytest.mark.parametrize(
    ("stop", "end", "valid"),
    [
        (Stop.TOO_LONG, TalkEnd.CONTEXT_FULL, False),
        (Stop.UNWRITABLE, TalkEnd.UNWRITABLE, None),
        (Stop.FAILED, TalkEnd.FAILED, None),
    ],
)
def test_replies_that_were_not_written(data_dir, environment, stop, end, valid):
    row = hold(data_dir, environment, "add(by=1)", reply("", stop, note="so"))
    assert (row.end, row.valid, row.label, row.stop, row.note) == (end, valid, end.value, stop, "so")
    assert row.completions == [["add(by=1)"]]


@pytest.mark.parametrize("name", ["die", "noise"])
def test_what_one_case_breaks_is_not_scored_and_costs_the_others_nothing(data_dir, environment, name):
    def break_it(request):
        is_broken = request.messages[0].content == "Add 1." and request.messages[-1].content == "And 5."
        return f"{name}(by=1)" if is_broken else write(request)

    first, second = run_multi_turn(cases_of(data_dir), TextPolicy(break_it), environment, max_steps=2)
    assert (first.end, first.valid, first.label) == (TalkEnd.LOST, None, "lost")
    assert "execute" in first.note
    assert second.valid
    assert environment.num_starts == 2


def test_a_case_without_a_verdict_is_not_scored(data_dir, environment):
    path = data_dir / f"bfcl/possible_answer/BFCL_v4_{BASE}.json"
    _lines(path, [{"id": f"{BASE}_{n}", "ground_truth": [["no_verdict"], []]} for n in (1, 2)])
    row = hold(data_dir, environment, "Done.")
    assert (row.end, row.valid) == (TalkEnd.LOST, None)
    assert row.note == "no verdict: AssertionError: instances do not match"


def settings(*benches, **fields):
    return PublicEvalConfig(
        benches=benches or (f"bfcl:irrelevance+{BASE}",), allow_changed=True, num_resamples=50, **fields
    )


def run(data_dir, out, policy=None, environment=None, **options):
    config = options.pop("config", settings())
    policy = policy or TextPolicy(write)
    return evaluate_public(
        config, data_dir=data_dir, model="stub", out=out, policy=policy, environment=environment, **options
    ).scores


def test_a_run(data_dir, tmp_path):
    out, environment = tmp_path / "out", fake()
    found = run(data_dir, out, environment=environment, config=settings(f"bfcl:{BASE}+{MISS_FUNC}")).benches
    assert list(found) == [NAME]
    assert (found[NAME].n, found[NAME].scores["valid"].mean, found[NAME].scores["CE"].mean) == (3, 100, 0)
    assert {name: part.n for name, part in found[NAME].groups["category"].items()} == {BASE: 2, MISS_FUNC: 1}
    assert any("multi_turn_checker of bfcl-eval 2026.3.23" in note for note in found[NAME].notes)
    assert not environment.is_alive()
    assert read_stage(out)["status"] == "done"
    line = json.loads((out / f"bfcl_result/stub/multi_turn/BFCL_v4_{BASE}_result.json").read_text().splitlines()[0])
    assert line["result"] == [[[{"add": '{"by": 1}'}], "Done."], [[{"add": '{"by": 5}'}], "Done."]]
    assert line["output_token_count"] == [[1, 1], [1, 1]]


def test_a_full_context_is_an_error_in_bfcls_layout(data_dir, tmp_path):
    out = tmp_path / "out"
    policy = TextPolicy(lambda request: reply("", Stop.TOO_LONG) if len(request.messages) > 1 else write(request))
    found = run(data_dir, out, policy, fake()).benches[NAME]
    assert (found.scores["valid"].mean, found.too_long) == (0, 2)
    lines = (out / f"bfcl_result/stub/multi_turn/BFCL_v4_{BASE}_result.json").read_text().splitlines()
    assert {json.loads(line)["result"] for line in lines} == {"Error during inference: the model's context is full"}


def test_without_an_environment_the_categories_are_left_out_and_made_up_for_later(data_dir, tmp_path):
    out = tmp_path / "out"
    scores = run(data_dir, out)
    assert list(scores.benches) == ["bfcl"]
    assert "pip install --no-deps bfcl-eval==" in scores.left_out[f"bfcl:{BASE}"]
    assert read_stage(out)["status"] == "running"
    policy = TextPolicy(write)
    scores = run(data_dir, out, policy, fake(), reuse=Reuse.RESUME)
    assert (list(scores.benches), scores.left_out) == (["bfcl", NAME], {})
    assert "Hm." not in {request.messages[0].content for asked in policy.asked for request in asked}
    assert read_stage(out)["status"] == "done"


def test_nothing_but_conversations_and_no_environment(data_dir, tmp_path):
    with pytest.raises(UsageError, match=r"there is nothing to run: .* pass --bfcl-python"):
        run(data_dir, tmp_path / "out", config=settings("bfcl:multi_turn"))


def test_a_run_that_was_killed_goes_on(data_dir, tmp_path):
    def fail_late(request):
        if len(request.messages) > 5:
            raise KeyboardInterrupt
        return write(request)

    out, environment = tmp_path / "out", fake()
    with pytest.raises(KeyboardInterrupt):
        run(data_dir, out, TextPolicy(fail_late), environment)
    assert not environment.is_alive()
    policy, fresh = TextPolicy(write), TextPolicy(write)
    scores = run(data_dir, out, policy, fake(), reuse=Reuse.RESUME)
    assert scores == run(data_dir, tmp_path / "fresh", fresh, fake())
    rows = (out / f"{NAME}.jsonl").read_text()
    assert rows == (tmp_path / f"fresh/{NAME}.jsonl").read_text()
    assert (sum(map(len, policy.asked)), sum(map(len, fresh.asked))) == (2, 9)


def test_conversations_are_scored_again_without_a_model(data_dir, tmp_path):
    out = tmp_path / "out"
    scores = run(data_dir, out, environment=fake())
    rows = (out / f"{NAME}.jsonl").read_text()
    assert score_again(out, data_dir=data_dir, environment=fake()) == scores
    assert (out / f"{NAME}.jsonl").read_text() == rows
    # replies that are other ones now get another verdict
    (out / f"{NAME}.jsonl").write_text(rows.replace("add(by=2)", "add(by=7)"))
    again = score_again(out, data_dir=data_dir, environment=fake()).benches[NAME]
    assert again.scores["valid"].mean == 50
    with pytest.raises(UsageError, match="holds conversations of BFCL"):
        score_again(out, data_dir=data_dir)
    (out / f"{NAME}.jsonl").write_text(rows.replace(f"{BASE}_2", f"{BASE}_9"))
    with pytest.raises(DataError, match=f"bfcl has no conversation '{BASE}_9'"):
        score_again(out, data_dir=data_dir, environment=fake())


@pytest.mark.parametrize(("old", "new"), [("add(by=2)", "Hm."), ('"Done."', '"add(by=1)"')])
def test_replies_that_do_not_fit_their_turns_any_more(data_dir, tmp_path, old, new):
    out = tmp_path / "out"
    run(data_dir, out, environment=fake())
    rows = (out / f"{NAME}.jsonl").read_text()
    (out / f"{NAME}.jsonl").write_text(rows.replace(old, new))
    with pytest.raises(DataError, match=rf"{BASE}_\d: its replies do not fit the turns"):
        score_again(out, data_dir=data_dir, environment=fake())


def test_replies_outlive_environments_that_are_lost_when_they_are_scored_again(data_dir, tmp_path):
    out = tmp_path / "out"
    run(data_dir, out, environment=fake())
    rows = (out / f"{NAME}.jsonl").read_text()
    (out / f"{NAME}.jsonl").write_text(rows.replace("add(by=2)", "die(by=2)"))
    for _ in range(2):
        assert score_again(out, data_dir=data_dir, environment=fake()).benches[NAME].unscored == 1
        lost = json.loads((out / f"{NAME}.jsonl").read_text().splitlines()[1])
        assert (lost["end"], lost["completions"]) == ("lost", [["die(by=2)", "Done."], ["add(by=5)", "Done."]])


def test_a_lost_conversation_that_would_now_go_on_stays_as_it_is(data_dir, tmp_path):
    out = tmp_path / "out"
    policy = TextPolicy(lambda request: "die(by=1)" if request.messages[-1].content == "Add 1." else write(request))
    run(data_dir, out, policy, fake())
    rows = (out / f"{NAME}.jsonl").read_text().replace("die(by=1)", "add(by=1)")
    (out / f"{NAME}.jsonl").write_text(rows)
    assert score_again(out, data_dir=data_dir, environment=fake()).benches[NAME].unscored == 1
    assert (out / f"{NAME}.jsonl").read_text() == rows


@pytest.mark.parametrize("stop", [Stop.TOO_LONG, Stop.UNWRITABLE])
def test_conversations_that_broke_off_stay_so(data_dir, tmp_path, stop):
    out = tmp_path / "out"
    scores = run(data_dir, out, Script("add(by=1)", reply("", stop, note="so")), fake())
    rows = (out / f"{NAME}.jsonl").read_text()
    assert score_again(out, data_dir=data_dir, environment=fake()) == scores
    assert (out / f"{NAME}.jsonl").read_text() == rows


def test_conversations_are_compared(data_dir, tmp_path):
    run(data_dir, tmp_path / "a", environment=fake())
    run(data_dir, tmp_path / "b", TextPolicy(lambda _: "Done."), environment=fake())
    comparison = compare([tmp_path / "a", tmp_path / "b"], tmp_path / "page").comparison
    assert [scores.scores["valid"].mean for scores in comparison.scores[NAME].values()] == [100, 0]


def test_the_command_line(data_dir, tmp_path, tiny_model, capsys, monkeypatch):
    monkeypatch.delenv("TLTRAIN_BFCL_PYTHON", raising=False)
    out, command = (
        tmp_path / "out",
        ["eval", "--data-dir", str(data_dir), "--allow-changed", "--model", str(tiny_model)],
    )
    limits = ["--set", "max_new_tokens=4"]
    assert main([*command, "--bench", f"bfcl:irrelevance+{BASE}", *limits, "--out", str(out)]) == 0
    assert f"bfcl:{BASE} is left out. BFCL's multi_turn categories need" in capsys.readouterr().out
    assert main([*command, "--bench", "bfcl:multi_turn", "--out", str(tmp_path / "other")]) == 2
    wrong = [*command, "--bench", "bfcl:multi_turn", "--bfcl-python", sys.executable, "--out", str(tmp_path / "third")]
    assert main(wrong) == 2
    assert "does not run BFCL's environments: ModuleNotFoundError" in capsys.readouterr().err
    assert main(["eval", "d.jsonl", "--bfcl-python", sys.executable, "--out", str(out)]) == 2
    assert "--bfcl-python and --allow-changed are for --bench" in capsys.readouterr().err
