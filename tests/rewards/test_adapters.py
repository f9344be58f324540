"""The signatures of other trainers, called as they call them; none of them is installed here."""

import importlib.util
import inspect
import json
from types import SimpleNamespace

import pytest
from pydantic import BaseModel

from tltrain.errors import DataError, UsageError
from tltrain.rewards import RewardTable
from tltrain.rewards.adapters import trl, verifiers, verl
from tltrain.rewards.compare import CompareConfig

TOOLS = [
    {"type": "function", "function": {"name": "find", "parameters": {"type": "object", "properties": {"day": {}}}}},
    {"type": "function", "function": {"name": "finish", "parameters": {}}},
]
GOLD = {"name": "find", "arguments": {"day": "Mon"}}


def text(name: str = "find", **arguments: object) -> str:
    return f"<tool_call>\n{json.dumps({'name': name, 'arguments': arguments})}\n</tool_call>"


def message(content: str | None = "", *calls: tuple[str, dict]) -> dict:
    listed = [{"type": "function", "function": {"name": name, "arguments": given}} for name, given in calls]
    return {"role": "assistant", "content": content, **({"tool_calls": listed} if listed else {})}


RIGHT, WRONG_VALUE, WRONG_TOOL = text(day="Mon"), text(day="Tue"), text("finish", day="Mon")


class Log:
    def __init__(self) -> None:
        self.extra: dict[str, list] = {}
        self.metric: dict[str, float] = {}

    def log_extra(self, column: str, values: list) -> None:
        self.extra[column] = values

    def log_metric(self, name: str, value: float) -> None:
        self.metric[name] = value


def call_trl(function, completions, log=None, **columns):
    """As GRPOTrainer does: all by name, with every column of the data set."""
    number = len(completions)
    log = log or Log()
    return function(
        prompts=[[{"role": "user", "content": "When?"}]] * number,
        completions=completions,
        completion_ids=[[1, 2]] * number,
        trainer_state=SimpleNamespace(global_step=1),
        log_extra=log.log_extra,
        log_metric=log.log_metric,
        environments=None,
        **(
            {"gold": [json.dumps(GOLD)] * number, "tools": [json.dumps(TOOLS)] * number, "level": [1] * number}
            | columns
        ),
    )


def test_trl_with_texts():
    function = trl.make_reward()
    completions = [RIGHT, WRONG_VALUE, WRONG_TOOL, text("search"), "On Monday.", RIGHT + RIGHT, "", "So: " + RIGHT]
    assert call_trl(function, completions) == [1, -0.25, -1.5, -2, -2, -2, -2, 1]
    assert function.__name__ == "tool_call_reward"
    assert not inspect.iscoroutinefunction(function)
    assert call_trl(trl.make_reward(syntax="python"), ["find(day='Mon')", RIGHT]) == [1, -2]


def test_trl_with_conversations():
    completions = [
        [message("Let me see.", ("find", {"day": "Mon"}))],
        [message(None, ("find", '{"day": "Mon"}'))],
        [message(RIGHT)],
        [message([{"type": "text", "text": RIGHT}])],
        [message("", ("find", {"day": "Tue"})), {"role": "tool", "name": "find", "content": "-"}, message("Done.")],
        [message("", ("find", {"day": "Mon"})), {"role": "tool", "name": "find", "content": "3"}, message(RIGHT)],
        [message("", ("find", {"day": "Mon"}), ("find", {"day": "Mon"}))],
        [message("", ("find", '{"day": '))],
        [{"role": "assistant", "content": "", "tool_calls": ["no object", 3]}],
        [message("On Monday.")],
        [],
    ]
    assert call_trl(trl.make_reward(), completions) == [1, 1, 1, 1, -0.25, 1, -2, -2, -2, -2, -2]


def test_trl_logs_and_leaves_out_what_it_cannot_score():
    log = Log()
    golds = [GOLD, [GOLD], {"any_of": [GOLD, {"name": "finish"}]}, None, "find("]
    completions = [WRONG_VALUE, RIGHT, text("finish"), "On Monday.", RIGHT]
    with pytest.warns(UserWarning, match="row 4 of the batch is not scored: gold: not one hermes call"):
        rewards = call_trl(trl.make_reward(), completions, log, gold=golds)
    assert rewards == [-0.25, 1, 1, 1, None]
    assert log.extra == {"error": ["content_mismatch", "all_right", "all_right", "all_right", "unscored"]}
    assert log.metric == {"tool_call/unscored": 0.2, "tool_call/ts": 1, "tool_call/pi": 1, "tool_call/cf": 0.75}


def test_trl_works_without_what_older_releases_do_not_pass():
    function = trl.make_reward(gold_column="answer", name="mine")
    assert function(prompts=["q"], completions=[RIGHT], answer=[GOLD], tools=[TOOLS]) == [1]
    with pytest.raises(UsageError, match="mine: the data set has no column 'answer'; it has gold, tools"):
        function(prompts=["q"], completions=[RIGHT], gold=[GOLD], tools=[TOOLS])


def test_settings_are_taken_as_objects_or_plain_and_checked():
    for reward, compare in (
        (RewardTable(content=-1), CompareConfig(text="folded")),
        ({"content": -1}, {"text": "folded"}),
    ):
        function = trl.make_reward(reward=reward, compare=compare)
        assert call_trl(function, [text(day="MON"), WRONG_VALUE]) == [1, -1]
    with pytest.raises(UsageError, match=r"compare.txt is not known; did you mean text\?"):
        trl.make_reward(compare={"txt": "folded"})
    with pytest.raises(UsageError, match="did you mean hermes"):
        verifiers.make_reward(syntax="herms")


def test_verl_loads_the_file_and_calls_by_name():
    spec = importlib.util.spec_from_file_location("custom_module", verl.__file__)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    made = module.compute_score(
        data_source="mine",
        solution_str=WRONG_VALUE,
        ground_truth=json.dumps(GOLD),
        extra_info={"index": 3, "split": "train", "tools": json.dumps(TOOLS), "num_turns": 2},
    )
    assert made == {"score": -0.25, "acc": 0, "ts": 1, "pi": 1, "cf": 0}


@pytest.mark.parametrize(
    ("ground_truth", "solution", "score"),
    [
        ({"gold": GOLD, "tools": TOOLS}, RIGHT, 1),
        (json.dumps({"gold": [GOLD, GOLD | {"arguments": {"day": "Tue"}}], "tools": TOOLS}), WRONG_VALUE + RIGHT, 1),
        (json.dumps({"gold": None, "tools": TOOLS}), "On Monday.", 1),
        (json.dumps({"gold": None, "tools": TOOLS}), RIGHT, -2),
        ({"gold": RIGHT, "tools": TOOLS}, WRONG_TOOL, -1.5),
    ],
)
def test_verl_scores(ground_truth, solution, score):
    made = verl.compute_score("mine", solution, ground_truth, None)
    assert made["score"] == score
    assert made["acc"] == (score == 1)


def test_verl_takes_settings_and_names_bad_rows():
    kwargs = {"syntax": "python", "reward": {"wrong_tool": -9}, "compare": {"text": "folded"}, "reward_router": None}
    info = {"tools": TOOLS, "index": 7}
    assert verl.compute_score("mine", "find(day='MON')", GOLD, info, **kwargs)["score"] == 1
    assert verl.compute_score("mine", "finish()", GOLD, info, **kwargs)["score"] == -9
    with pytest.raises(DataError, match="mine, row 7: gold: not one hermes call"):
        verl.compute_score("mine", RIGHT, "find(", info)
    with pytest.raises(DataError, match=r"mine, row \?: there are no tools"):
        verl.compute_score("mine", RIGHT, GOLD)
    with pytest.raises(UsageError, match=r"reward.wrongtool is not known; did you mean wrong_tool"):
        verl.compute_score("mine", RIGHT, GOLD, info, reward={"wrongtool": 1})


def call_rubric(function, available):
    """As a rubric does: the arguments that the signature names, or all where it takes any."""
    parameters = inspect.signature(function).parameters
    takes_all = any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters.values())
    return function(**{name: value for name, value in available.items() if takes_all or name in parameters})


def test_verifiers():
    function = verifiers.make_reward()
    assert function.__name__ == "tool_call_reward"
    facts = {
        "prompt": [{"role": "user", "content": "When?"}],
        "completion": [message(WRONG_VALUE)],
        "answer": json.dumps(GOLD),
        "state": {"turn": 1},
        "task": "default",
        "info": {"tools": TOOLS},
        "parser": object(),
        "id": 3,
    }
    assert call_rubric(function, facts) == -0.25
    assert call_rubric(function, facts | {"completion": RIGHT}) == 1
    objects = [SimpleNamespace(role="assistant", content=None, tool_calls=[json.dumps({"function": GOLD})])]
    assert call_rubric(function, facts | {"completion": objects}) == 1
    assert call_rubric(function, facts | {"info": json.dumps({"tools": TOOLS, "gold": None})}) == -2
    assert call_rubric(function, facts | {"info": {}, "state": {"oai_tools": TOOLS}}) == -0.25
    with pytest.raises(DataError, match="the row has no tools"):
        call_rubric(function, facts | {"info": {}})
    with pytest.raises(DataError, match="the row has no answer"):
        call_rubric(function, facts | {"answer": ""})
    with pytest.raises(DataError, match="is no JSON"):
        call_rubric(function, facts | {"info": "{"})


class OfferedTool(BaseModel):
    """As verifiers holds a tool: no mapping, and without `function` around it."""

    name: str
    parameters: dict
    strict: bool | None = None


def test_verifiers_finds_the_tools_of_the_environment():
    function = verifiers.make_reward()
    offered = [OfferedTool(name=tool["function"]["name"], parameters=tool["function"]["parameters"]) for tool in TOOLS]
    facts = {"completion": WRONG_TOOL, "answer": json.dumps(GOLD), "info": {}}
    assert call_rubric(function, facts | {"state": {"tool_defs": offered}}) == -1.5
    # nobody said what is on offer: an invented tool could not be told from a wrong one
    with pytest.raises(DataError, match="the row has no tools"):
        call_rubric(function, facts | {"state": {"tool_defs": []}})
    assert call_rubric(function, facts | {"info": {"tools": []}}) == -2
