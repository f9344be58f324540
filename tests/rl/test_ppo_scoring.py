import math
from types import SimpleNamespace

import pytest

from tltrain.rewards.compare import CompareConfig
from tltrain.rewards.rules import RewardTable
from tltrain.rl.prompts import Prompt
from tltrain.rl.rollouts import completion_text
from tltrain.rl.scoring import Score, Scorer, Unscored, function_name
from tltrain.rollout.sampler import Completion
from tltrain.syntax import get_syntax
from tltrain.types import Message, Role, Tool, ToolCall

TOOLS = (
    Tool(name="get_user", parameters={"type": "object", "properties": {"name": {"type": "string"}, "age": {}}}),
    Tool(name="finish"),
)
PROMPT = Prompt(
    id="row#0",
    trajectory="row",
    tools=TOOLS,
    messages=(Message(role=Role.USER, content="Who is Ana?"),),
    golds=(ToolCall(name="get_user", arguments={"name": "Ana"}),),
    ids=(1, 2),
    toolset=0,
)


@pytest.mark.parametrize(
    ("completion", "value", "label"),
    [
        ("get_user(name='Ana')", 1.0, "all_right"),
        ("Let me see.\nget_user(name='Ana')", 1.0, "all_right"),
        ("get_user(name='Bob')", -0.25, "content_mismatch"),
        ("get_user(name='Ana', age=3)", -0.5, "param_redundant"),
        ("get_user(nam='Ana')", -1.3, "param_hallucination+param_missing"),
        ("finish()", -1.5, "wrong_tool"),
        ("get_users(name='Ana')", -2.0, "tool_hallucination"),
        ("get_user(name='Ana", -2.0, "format_error"),
        ("Ana is a user.", -2.0, "missing_call"),
        ("get_user(name='Ana')\nfinish()", -2.0, "unwanted_call"),
        ("", -2.0, "missing_call"),
    ],
)
def test_rewards_of_the_paper(completion, value, label):
    score = Scorer(get_syntax("python")).score(PROMPT, completion)
    assert isinstance(score, Score)
    assert (score.value, score.diagnosis.label) == (value, label)
    assert math.fsum(score.parts.values()) == value


def test_the_table_counts():
    score = Scorer(get_syntax("python"), RewardTable(content=-1)).score(PROMPT, "get_user(name='Bob')")
    assert score.value == -1


def test_the_comparison_counts():
    scorer = Scorer(get_syntax("python"), compare=CompareConfig(text="folded"))
    assert scorer.score(PROMPT, "get_user(name='ANA ')").value == 1


def test_a_function_of_ones_own_gives_the_reward_and_the_rules_the_label():
    seen = {}

    def length(*, completion, **rest):
        seen.update(rest)
        return len(completion)

    score = Scorer(get_syntax("python"), function=length).score(PROMPT, "finish()")
    assert score == Score(value=8.0, diagnosis=score.diagnosis)
    assert score.diagnosis.label == "wrong_tool"
    assert seen == {"messages": PROMPT.messages, "tools": TOOLS, "gold": PROMPT.gold}


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (lambda **_: 1 / 0, "ZeroDivisionError: division by zero"),
        (lambda **_: float("nan"), "the reward is nan, no finite number"),
        (lambda **_: None, "TypeError: "),
    ],
)
def test_a_function_that_breaks_leaves_the_completion_unscored(function, reason):
    score = Scorer(get_syntax("python"), function=function).score(PROMPT, "finish()")
    assert isinstance(score, Unscored)
    assert score.reason.startswith(reason)


def test_functions_have_names_that_tell_them_apart():
    class Callable:
        def __call__(self, **_):
            return 0.0

    assert function_name(math.fsum) == "math.fsum"
    assert function_name(Callable()).endswith("Callable")


def test_the_text_of_a_completion_has_no_end_of_turn_token():
    tokenizer = SimpleNamespace(eos_token_id=9, decode=lambda ids: str(ids))
    assert completion_text(tokenizer, Completion(ids=[4, 5, 9])) == "[4, 5]"
    assert completion_text(tokenizer, Completion(ids=[4, 5])) == "[4, 5]"
    assert completion_text(tokenizer, Completion(ids=[9])) == "[]"
