import json
from pathlib import Path

import pytest

from tltrain.cli import main
from tltrain.engine.settings import LoraConfig
from tltrain.errors import DataError, UsageError
from tltrain.rewards.compare import CompareConfig
from tltrain.rl.config import PpoConfig
from tltrain.rl.reward_audit import RewardAuditConfig, audit_reward
from tltrain.rl.train import ppo

TOOLS = [{"type": "function", "function": {"name": "find", "parameters": {"properties": {"day": {}, "hour": {}}}}}]


def row(identity: str, *turns: tuple[str, list[dict]]) -> dict:
    messages = [{"role": "user", "content": "When?"}]
    for text, calls in turns:
        made = [{"type": "function", "function": {"name": "find", "arguments": json.dumps(one)}} for one in calls]
        messages.append({"role": "assistant", "content": text, **({"tool_calls": made} if made else {})})
        messages += [{"role": "tool", "content": "found"} for _ in made]
    return {"id": identity, "tools": TOOLS, "messages": messages}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    rows = [
        row("a", ("", [{"day": "Mon"}]), ("It is at 3.", [])),
        row("b", ("", [{"day": "Mon"}, {"day": "Tue"}]), ("find(day='Wed')", [])),
    ]
    path.write_text("".join(json.dumps(one) + "\n" for one in rows))
    return path


def test_the_turns_of_ppo_are_audited_in_both_syntaxes(few_rows: Path):
    found = audit_reward(RewardAuditConfig(), few_rows)
    assert [audit.syntax for audit in found.audits] == ["python", "hermes"]
    assert found.is_clean
    assert found.audits[0].num_turns == found.audits[1].num_turns > 0


def test_verdicts_on_other_rows_are_refused(data: Path, few_rows: Path, tmp_path: Path):
    assert main(["audit", str(few_rows), "--out", str(tmp_path / "audit")]) == 0
    verdicts = tmp_path / "audit" / "verdicts.jsonl"
    assert audit_reward(RewardAuditConfig(), few_rows, verdicts=verdicts).is_clean
    with pytest.raises(DataError, match="its verdicts are on other rows"):
        audit_reward(RewardAuditConfig(), data, verdicts=verdicts)


def test_all_turns_are_those_of_several_calls_and_of_text_too(data: Path):
    narrow = audit_reward(RewardAuditConfig(), data)
    assert narrow.is_clean
    assert [audit.num_turns for audit in narrow.audits] == [1, 1]
    assert narrow.left_out == {"one of several calls in a turn": 2}
    wide = audit_reward(RewardAuditConfig(turns="all"), data)
    assert [audit.num_turns for audit in wide.audits] == [4, 4]
    assert [bad.id for bad in wide.audits[0].bad_gold] == ["b, message 4"]  # its text reads as a Python call
    assert wide.audits[1].bad_gold == ()
    few = audit_reward(RewardAuditConfig(turns="all", max_turns=3), data)
    assert few.left_out == {"more than max_turns": 1}


def test_turns_whose_calls_went_wrong_or_that_the_file_masks_are_left_out(tmp_path: Path):
    path = tmp_path / "rows.jsonl"
    failed = row("a", ("", [{"day": "Mon"}]), ("", [{"day": "Mon"}, {"dya": "Tue"}]), ("", [{"day": "Wed"}]))
    failed["messages"][5]["content"] = "TypeError: find() got an unexpected keyword argument 'dya'"
    masked = row("b", ("", [{"day": "Thu"}]), ("On Thursday.", []))
    masked["messages"][3]["weight"] = 0
    path.write_text(json.dumps(failed) + "\n" + json.dumps(masked) + "\n")
    found = audit_reward(RewardAuditConfig(turns="all"), path)
    assert found.left_out == {"turn with a blocked call": 1, "text that the file masks": 1}
    assert [audit.num_turns for audit in found.audits] == [3, 3]


def test_nothing_to_audit_and_unknown_parameters_are_errors(tmp_path: Path, data: Path):
    path = tmp_path / "text.jsonl"
    path.write_text(json.dumps(row("a", ("", [{"day": 1}, {"day": 2}]))) + "\n")
    with pytest.raises(DataError, match=r"no turn to audit: 2 left out .* set turns=all"):
        audit_reward(RewardAuditConfig(), path)
    with pytest.raises(UsageError, match=r"'find.dya' is no parameter"):
        audit_reward(RewardAuditConfig(compare=CompareConfig(parameters={"find.dya": {}})), data)


def test_the_verb_prints_tables_or_json_and_fails_where_something_is_out_of_line(data: Path, capsys):
    assert main(["reward", "audit", str(data)]) == 0
    shown = capsys.readouterr().out
    assert "python: 1 turns, " in shown
    assert "hermes: answers by reward" in shown
    assert "one of several calls in a turn" in shown
    (line,) = [line for line in shown.splitlines() if "one call too many" in line][:1]
    assert line.split()[-6:] == ["1", "-2", "-2", "-2", "-2", "0"]
    assert main(["reward", "audit", str(data), "--turns", "all", "--syntax", "python"]) == 1
    shown = capsys.readouterr()
    assert "bad gold: b, message 4: the right answer earns -2 of 1 (unwanted_call)" in shown.out
    assert "1 answers earn something else" in shown.err
    assert main(["reward", "audit", str(data), "--turns", "all", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert not found["is_clean"]
    assert [one["num_bad_gold"] for one in found["syntaxes"].values()] == [1, 0]
    assert found["syntaxes"]["python"]["bad_gold"][0]["id"] == "b, message 4"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--syntax", "pyton"], "did you mean python?"),
        (["--turns", "al"], "did you mean all?"),
        (["--set", "compare.dats=true"], "compare.dats is not known; did you mean dates?"),
    ],
)
def test_wrong_settings_of_the_verb(data: Path, arguments: list[str], said: str, capsys):
    assert main(["reward", "audit", str(data), *arguments]) == 2
    assert said in capsys.readouterr().err


def deep_rows(path: Path, few_rows: Path) -> Path:
    """The rows, with a value in the first call that is nested too deeply to be written."""
    rows = [json.loads(line) for line in few_rows.read_text().splitlines()]
    call = next(message for message in rows[0]["messages"] if message.get("tool_calls"))["tool_calls"][0]["function"]
    arguments = json.loads(call["arguments"]) if isinstance(call["arguments"], str) else call["arguments"]
    deep: list = []
    for _ in range(70):
        deep = [deep]
    arguments["deep"] = deep
    call["arguments"] = arguments
    path.write_text("".join(json.dumps(one) + "\n" for one in rows))
    return path


SMALL = PpoConfig(
    prompts_per_step=4,
    group_size=2,
    minibatch_size=4,
    max_new_tokens=4,
    max_steps=1,
    lora=LoraConfig(rank=4),
    precision="float32",
    heldout_share=0.2,
)


def test_ppo_refuses_to_start_where_a_right_call_cannot_earn_the_most(few_rows: Path, tiny_sft: Path, tmp_path: Path):
    data = deep_rows(tmp_path / "deep.jsonl", few_rows)
    with pytest.raises(DataError) as failed:
        ppo(SMALL, data=data, model=tiny_sft, out=tmp_path / "out")
    said = str(failed.value)
    assert "the right calls of 1 of 10 prompts cannot earn the highest reward: " in said
    assert "#0: the right call cannot be written as a python call: a value is nested deeper than 64 levels" in said
    assert "set bad_gold=drop" in said
    assert not (tmp_path / "out" / "model").exists()
    result = ppo(SMALL.model_copy(update={"bad_gold": "drop"}), data=data, model=tiny_sft, out=tmp_path / "dropped")
    assert result.num_prompts + result.num_heldout == 9
    assert result.num_set_aside == 1
    (aside,) = [json.loads(line) for line in (tmp_path / "dropped" / "quarantine.jsonl").read_text().splitlines()]
    assert aside["id"].endswith("#0")
    assert "nested deeper" in aside["reason"]


def test_ppo_refuses_rules_for_parameters_that_no_tool_has(few_rows: Path, tiny_sft: Path, tmp_path: Path):
    config = SMALL.model_copy(update={"compare": CompareConfig(parameters={"find.dya": {}})})
    with pytest.raises(UsageError, match=r"'find.dya' is no parameter of a tool in the data"):
        ppo(config, data=few_rows, model=tiny_sft, out=tmp_path / "out")
