import json

from report.synthetic_run import build_run, write_rows
from tltrain.report.data import read_run
from tltrain.report.examples import WrongCall, WrongCalls, choose_episodes, choose_rollouts, choose_wrong_calls
from tltrain.report.records import Case, Rollout, Score


def examples_of(groups: list[WrongCalls], title: str) -> list[WrongCall]:
    return next(group.examples for group in groups if group.title == title)


def test_stages_stand_in_the_order_in_which_they_ran(tmp_path):
    for name in ("zeta", "ppo", "grpo", "base", "sft", ".half.tmp"):
        (tmp_path / "eval" / name).mkdir(parents=True)
    (tmp_path / "run.json").write_text(json.dumps({"stages": {"sft": {}, "eval/grpo": {}, "ppo": {}}}))
    assert [stage.name for stage in read_run(tmp_path).stages] == ["base", "sft", "grpo", "ppo", "zeta"]


def test_bad_rows_are_named_and_the_others_kept(tmp_path):
    (tmp_path / "sft").mkdir()
    rows = ['{"step": 0, "loss": 1.5}', '{"step": 1, "loss": "much"}', "{", '{"loss": 2}', "[]", '{"step": 4}']
    (tmp_path / "sft" / "metrics.jsonl").write_text("\n".join(rows))
    data = read_run(tmp_path)
    assert [step.step for step in data.sft_steps] == [0, 4]
    assert [problem.partition(": ")[0] for problem in data.problems] == [
        "sft/metrics.jsonl line 2",
        "sft/metrics.jsonl line 3",
        "sft/metrics.jsonl line 4",
        "sft/metrics.jsonl",
    ]
    assert "loss: Input should be a valid number" in data.problems[0]
    assert "step: Field required" in data.problems[2]
    assert "1 more" in data.problems[3]


def test_a_folder_or_a_wrong_encoding_in_place_of_a_file_is_no_crash(tmp_path):
    (tmp_path / "run.json").mkdir()
    (tmp_path / "config.yaml").write_bytes(b"\xff\xfe")
    data = read_run(tmp_path)
    assert data.notes["run.json"] == "run.json is not in this run."
    assert [problem for problem in data.problems if problem.startswith("config.yaml: ")]


def test_model_is_found_as_text_or_by_name(tmp_path):
    for config, model in (
        ("model: a/b", "a/b"),
        ("model: {path: p}", "p"),
        ("model: 3", ""),
        ("- x", ""),
        ("a: [", ""),
    ):
        (tmp_path / "config.yaml").write_text(config)
        assert read_run(tmp_path).model == model


def test_right_is_read_from_the_label_where_no_mark_is_given():
    assert Case.model_validate({"id": 1, "label": "all_right"}).is_right
    assert not Case.model_validate({"id": 1, "label": "all_right", "cf": False}).is_right
    assert Case.model_validate({"id": 1, "gold": {"name": "f"}}).gold == '{"name": "f"}'


def test_a_bare_number_is_a_score_without_interval():
    assert Score.model_validate(3.5) == Score(mean=3.5)
    assert Score.model_validate(None).mean is None


def test_wrong_calls_carry_call_and_marked_feedback(tmp_path):
    groups = choose_wrong_calls(read_run(build_run(tmp_path)))
    example = examples_of(groups, "tool_not_defined")[0]
    assert example.before + example.marked + example.after == "NameError: name 'get_evnts' is not defined"
    assert example.marked == "is not defined"
    assert example.call.endswith(")")
    assert all(len(group.examples) == min(3, group.num) for group in groups)
    assert examples_of(groups, "ambiguous")


def test_mistakes_of_the_audit_are_shown_where_the_truth_is_known(tmp_path):
    data = read_run(build_run(tmp_path))
    *_, alarms, missed = choose_wrong_calls(data)
    assert {(one.verdict.label, one.verdict.truth) for one in alarms.examples} == {("error", "right")}
    assert {(one.verdict.label, one.verdict.truth) for one in missed.examples} == {("ok", "silent:wrong_tool")}
    assert alarms.num == sum(verdict.is_false_alarm for verdict in data.verdicts) > 0


def test_evidence_is_found_by_its_text_where_offsets_are_wrong(tmp_path):
    run = build_run(tmp_path)
    rows = [json.loads(line) for line in (run / "audit" / "verdicts.jsonl").read_text().splitlines()]
    moved = [row | {"start": 9000, "end": 9009} for row in rows]
    (run / "audit" / "verdicts.jsonl").write_text("\n".join(json.dumps(row) for row in moved))
    assert examples_of(choose_wrong_calls(read_run(run)), "tool_not_defined")[0].marked == "is not defined"


def test_offsets_tell_which_of_two_equal_texts_is_the_evidence(tmp_path):
    calls = [{"id": "c", "function": {"name": "f", "arguments": "{}"}}]
    messages = [
        {"role": "assistant", "tool_calls": calls},
        {"role": "tool", "content": "no error, error", "tool_call_id": "c"},
    ]
    write_rows(tmp_path / "generate" / "train.jsonl", [{"id": "t", "messages": messages}])
    verdict = {"id": "t", "call": 0, "label": "error", "kind": "refused", "evidence": "error", "start": 10, "end": 15}
    write_rows(tmp_path / "audit" / "verdicts.jsonl", [verdict])
    [example] = examples_of(choose_wrong_calls(read_run(tmp_path)), "refused")
    assert (example.before, example.marked, example.after) == ("no error, ", "error", "")


def test_without_trajectories_the_evidence_still_shows(tmp_path):
    run = build_run(tmp_path)
    (run / "generate" / "train.jsonl").unlink()
    example = examples_of(choose_wrong_calls(read_run(run)), "tool_not_defined")[0]
    assert (example.call, example.marked) == ("", "is not defined")


def test_examples_vary_before_they_repeat(tmp_path):
    examples = examples_of(choose_wrong_calls(read_run(build_run(tmp_path))), "service_failure")
    assert len({example.verdict.tool for example in examples}) == 3


def test_episodes_with_changed_outcomes_come_first(tmp_path):
    chosen = choose_episodes(read_run(build_run(tmp_path)).stages)
    outcomes = [[one.success for one in answered] for _, answered in chosen]
    assert outcomes[0] != [outcomes[0][0]] * 3
    assert [len(set(row)) for row in outcomes] == sorted((len(set(row)) for row in outcomes), reverse=True)
    assert ("call", 'get_balances_by_owner({"account": "AC-2201"})') in chosen[0][1][0].messages


def test_odd_messages_are_shown_as_they_are(tmp_path):
    messages = [
        {"role": "user", "content": [{"type": "text", "text": "x"}]},
        {"tool_calls": ["f()", {"function": 3}]},
        {},
    ]
    (tmp_path / "eval" / "base").mkdir(parents=True)
    row = {"id": "e", "messages": messages}
    (tmp_path / "eval" / "base" / "episodes.jsonl").write_text(json.dumps(row))
    [(_, [answered])] = choose_episodes(read_run(tmp_path).stages)
    assert [role for role, _ in answered.messages] == ["user", "call", "call", "?"]
    assert answered.success is None


def test_rollouts_show_first_middle_and_last_step_with_different_labels():
    rollouts = [Rollout(step=step, id=str(n), label="abc"[n // 4]) for step in range(5) for n in range(12)]
    chosen = choose_rollouts(rollouts)
    assert list(chosen) == [0, 2, 4]
    assert [rollout.label for rollout in chosen[0]] == ["a", "b", "c", "a"]
    assert choose_rollouts([]) == {}
