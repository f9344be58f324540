"""Prompts with several right calls, or none: what they are, when their completions end, and what these are worth."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tltrain.engine.model import load_model
from tltrain.engine.settings import OptimizerConfig
from tltrain.errors import DataError
from tltrain.render.template import ensure_tool_template
from tltrain.rewards.answers import gold_text
from tltrain.rl.actor import Actor
from tltrain.rl.config import PpoConfig
from tltrain.rl.prompts import Prompt, PromptSet, make_prompts
from tltrain.rl.reward_audit import turn_of
from tltrain.rl.rollouts import draw_rollouts, measure_heldout
from tltrain.rl.scoring import Score, Scorer
from tltrain.rl.train import ppo
from tltrain.syntax import get_syntax
from tltrain.types import MalformedCall, Message, Role, Tool, ToolCall, Trajectory

PYTHON = get_syntax("python")
TOOLS = (Tool(name="find", parameters={"properties": {"day": {}, "hour": {}}}), Tool(name="finish"))
CONFIG = PpoConfig(
    prompts_per_step=4,
    group_size=2,
    minibatch_size=4,
    max_new_tokens=60,
    max_steps=2,
    num_epochs=10,
    precision="float32",
    heldout_share=0.3,
    actor_optimizer=OptimizerConfig(learning_rate=1e-2),
)


def find(day: str) -> ToolCall:
    return ToolCall(name="find", arguments={"day": day})


def says(text: str = "", *calls: Any, **fields: Any) -> Message:
    return Message(role=Role.ASSISTANT, content=text, calls=calls, **fields)


def feedback() -> Message:
    return Message(role=Role.TOOL, content="ok")


ROW = Trajectory(
    id="row",
    tools=TOOLS,
    messages=(
        Message(role=Role.USER, content="When?"),
        says("Both.", find("Mon"), find("Tue")),  # 0, 1
        feedback(),
        feedback(),
        says("", find("Wed"), find("Thu")),  # 2, 3: one of them is blocked
        feedback(),
        feedback(),
        says("", find("Fri"), MalformedCall(raw="find(", reason="no end")),  # 4, 5
        feedback(),
        feedback(),
        says("", ToolCall(name="finish")),  # 6
        feedback(),
        says("It is at 3."),
        Message(role=Role.USER, content="And?"),
        says("Masked.", weight=0.0),
    ),
)
LEFT_OUT = {"turn with a blocked call": 1, "turn with a call that cannot be read": 1}


@pytest.fixture(scope="module")
def loaded(tiny_sft: Path) -> Any:
    loaded = load_model(tiny_sft)
    ensure_tool_template(loaded.tokenizer)
    return loaded


def make(loaded: Any, turns: Any) -> PromptSet:
    return make_prompts(
        [ROW], loaded.tokenizer, PYTHON, blocked={"row": frozenset({3})}, max_length=10_000, turns=turns
    )


def test_prompts_of_each_choice_of_turns(loaded):
    one, several, every = (make(loaded, turns) for turns in ("one_call", "calls", "all"))
    assert [prompt.id for prompt in one.prompts] == ["row#6"]
    assert [prompt.id for prompt in several.prompts] == ["row#0", "row#6"]
    assert [prompt.id for prompt in every.prompts] == ["row#0", "row#6", "row, message 12"]
    assert [prompt.golds for prompt in every.prompts] == [(find("Mon"), find("Tue")), (ToolCall(name="finish"),), ()]
    assert [len(prompt.messages) for prompt in every.prompts] == [1, 10, 12]
    assert several.left_out == LEFT_OUT | {"turn without a call": 2}
    assert every.left_out == LEFT_OUT | {"text that the file masks": 1}


def test_the_right_answer_in_the_forms_that_rewards_read(loaded):
    several, one, none = make(loaded, "all").prompts
    assert (several.gold, one.gold, none.gold) == ((find("Mon"), find("Tue")), ToolCall(name="finish"), None)
    written = [gold_text(turn_of(prompt), PYTHON) for prompt in (several, one, none)]
    assert written == ["find(day='Mon')\nfind(day='Tue')", "finish()", "It is at 3."]


@pytest.mark.parametrize(
    ("which", "completion", "value", "label", "stages"),
    [
        (0, "find(day='Tue')\nfind(day='Mon')", 1.0, "all_right", (1, 1, 1)),
        (0, "find(day='Tue')\nfind(day='Sun')", (1 - 0.25) / 2, "content_mismatch", (1, 1, 0)),
        (0, "find(day='Mon')\nfind()", (1 - 0.5) / 2, "param_missing", (1, 0, 0)),
        (0, "find(day='Mon')", (1 - 2) / 2, "missing_call", (0, 0, 0)),
        (0, "find(day='Mon')\nfind(day='Tue')\nfinish()", -2.0, "unwanted_call", (0, 0, 0)),
        (0, "On Monday and Tuesday.", -2.0, "missing_call", (0, 0, 0)),
        (1, "finish()", 1.0, "all_right", (1, 1, 1)),
        (1, "finish()\nfinish()", -2.0, "unwanted_call", (0, 0, 0)),
        (2, "At four.", 1.0, "all_right", (1, 1, 1)),
        (2, "find(day='Mon')", -2.0, "unwanted_call", (0, 0, 0)),
    ],
)
def test_what_completions_are_worth(loaded, which, completion, value, label, stages):
    score = Scorer(PYTHON).score(make(loaded, "all").prompts[which], completion)
    assert isinstance(score, Score)
    assert (score.value, score.diagnosis.label) == (value, label)
    assert sum(score.parts.values()) == pytest.approx(value)
    found = score.diagnosis
    assert (found.tool_selected, found.parameters_identified, found.content_filled) == stages


class _Scripted:
    """In the place of a constrainer: the model can write one text only, and then end its turn."""

    def __init__(self, tokenizer: Any, text: str, vocab_size: int):
        self.ids = [*tokenizer.encode(text), tokenizer.eos_token_id]
        self.num_words = -(-vocab_size // 32)

    def constraint(self, _: Any) -> Any:
        return lambda: _Script(self)


class _Script:
    def __init__(self, script: _Scripted):
        self.script, self.place = script, 0

    def allowed(self) -> Any:
        words = np.zeros(self.script.num_words, dtype=np.uint32)
        token = self.script.ids[self.place]
        words[token // 32] = np.uint32(1) << np.uint32(token % 32)
        return words.view(np.int32)

    def accept(self, _: int) -> None:
        self.place += 1


def scripted(loaded: Any, text: str) -> Any:
    return _Scripted(loaded.tokenizer, text, loaded.model.config.vocab_size)


@pytest.mark.parametrize("turns", ["one_call", "calls", "all"])
def test_only_prompts_of_one_call_end_where_a_call_is_complete(loaded, turns):
    config = CONFIG.model_copy(update={"turns": turns})
    actor = Actor(config, loaded.model, torch.device("cpu"))
    text = "finish()\nfinish()"
    prompts = make(loaded, "all").prompts
    drawn = draw_rollouts(
        actor,
        loaded.tokenizer,
        [prompts],
        scorer=Scorer(PYTHON),
        config=config,
        step=0,
        constrainer=scripted(loaded, text),
    )
    assert len(drawn.rollouts) == 3
    for rollout in drawn.rollouts:  # the same for every prompt, so that none tells how many calls are wanted
        ended = rollout.completion.ids[-1] == loaded.tokenizer.eos_token_id
        assert (rollout.text, ended) == (("finish()", False) if turns == "one_call" else (text, True))
        assert rollout.completion.is_finished


def test_held_out_measures_are_over_turns(loaded):
    config = CONFIG.model_copy(update={"turns": "all"})
    actor = Actor(config, loaded.model, torch.device("cpu"))

    def measure(text: str) -> Any:
        return measure_heldout(
            actor,
            loaded.tokenizer,
            make(loaded, "all").prompts,
            scorer=Scorer(PYTHON),
            config=config,
            constrainer=scripted(loaded, text),
        )

    # two calls, one call, text: each answer is right for one of the three turns
    assert measure("find(day='Tue')\nfind(day='Mon')") == pytest.approx(
        {"reward": -1, "ts": 1 / 3, "pi": 1 / 3, "cf": 1 / 3}
    )
    assert measure("find(day='Tue')\nfind(hour=1)") == pytest.approx(
        {"reward": ((1 - 1.0) / 2 - 2 - 2) / 3, "ts": 1 / 3, "pi": 0, "cf": 0}
    )
    assert measure("At three.") == pytest.approx({"reward": -1, "ts": 1 / 3, "pi": 1 / 3, "cf": 1 / 3})


def rows(path: Path, last_text: str = "That is all.") -> Path:
    """Six rows of a turn of two calls and a turn of text."""
    tools = [{"type": "function", "function": {"name": t.name, "parameters": t.parameters}} for t in TOOLS]
    made = []
    for number in range(6):
        calls = [
            {"type": "function", "function": {"name": "find", "arguments": json.dumps({"day": day})}}
            for day in ("Mon", "Tue")
        ]
        messages = [
            {"role": "user", "content": f"When, {number}?"},
            {"role": "assistant", "content": "", "tool_calls": calls},
            {"role": "tool", "content": "found"},
            {"role": "tool", "content": "found"},
            {"role": "assistant", "content": last_text},
        ]
        made.append({"id": f"r{number}", "tools": tools, "messages": messages})
    path.write_text("".join(json.dumps(row) + "\n" for row in made))
    return path


@pytest.mark.parametrize(
    ("turns", "constrain"), [pytest.param("calls", "call", marks=pytest.mark.slow), ("all", "auto")]
)
def test_a_run_under_a_grammar(tiny_sft, tmp_path, turns, constrain):
    pytest.importorskip("llguidance")
    config = CONFIG.model_copy(
        update={"turns": turns, "constrain": constrain, "temperature": 0.8, "max_steps": 1, "max_new_tokens": 40}
    )
    result = ppo(config, data=rows(tmp_path / "rows.jsonl"), model=tiny_sft, out=tmp_path / "out")
    num_turns = 6 if turns == "calls" else 12
    assert (result.num_prompts + result.num_heldout, result.num_set_aside) == (num_turns, 0)
    shown = [json.loads(line) for line in (tmp_path / "out" / "rollouts.jsonl").read_text().splitlines()]
    wanted = {"find(day='Mon')\nfind(day='Tue')"} | ({"That is all."} if turns == "all" else set())
    assert {row["gold"] for row in shown} == wanted
    metrics = [json.loads(line) for line in (tmp_path / "out" / "metrics.jsonl").read_text().splitlines()]
    assert all(row["sampling_gap"] < 1e-4 and row["errors"].keys() for row in metrics)
    assert None not in result.heldout.values()
    for row in shown:  # under this grammar only text, or what was cut off, has no whole call
        finished = PYTHON.parse(row["completion"], tools=TOOLS).calls
        if row["is_finished"]:
            assert all(isinstance(call, ToolCall) for call in finished)
            assert finished or constrain == "auto"


def test_text_that_reads_as_a_call_is_a_bad_right_answer(tiny_sft, tmp_path):
    config = CONFIG.model_copy(update={"turns": "all", "max_steps": 1, "max_new_tokens": 4})
    data = rows(tmp_path / "rows.jsonl", last_text="find(day='Wed')")
    with pytest.raises(DataError, match=r"of 6 of 12 prompts cannot earn .*r0, message 4: the right answer earns -2"):
        ppo(config, data=data, model=tiny_sft, out=tmp_path / "refused")
    dropping = config.model_copy(update={"bad_gold": "drop"})
    result = ppo(dropping, data=data, model=tiny_sft, out=tmp_path / "dropped")
    assert (result.num_prompts + result.num_heldout, result.num_set_aside) == (6, 6)


def test_where_no_turn_fits_the_setting_is_named(tiny_sft, tmp_path):
    with pytest.raises(DataError, match=r"12 left out \(one of several calls in a turn\); set turns=all"):
        ppo(CONFIG, data=rows(tmp_path / "rows.jsonl"), model=tiny_sft, out=tmp_path / "out")


def test_calls_alone_cannot_be_asked_of_turns_of_text():
    with pytest.raises(ValueError, match=r"turns='all' .* constrain='call' lets none be written"):
        PpoConfig(turns="all", constrain="call")
    assert PpoConfig(turns="calls", constrain="call").turns == "calls"


def test_a_function_of_ones_own_gets_all_right_calls(loaded):
    seen = []

    def keep(*, gold: Any, **_: Any) -> float:
        seen.append(gold)
        return 0.5

    for prompt in make(loaded, "all").prompts:
        assert isinstance(prompt, Prompt)
        Scorer(PYTHON, function=keep).score(prompt, "finish()")
    assert seen == [(find("Mon"), find("Tue")), ToolCall(name="finish"), None]
