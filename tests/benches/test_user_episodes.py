"""Tasks in an environment of the user's own, judged by the state that the model leaves."""

import json
import os
import signal
from pathlib import Path

import pytest
from msgspec.structs import replace
from policies import TextPolicy
from pydantic import ValidationError

from tltrain.benches.compare import compare
from tltrain.benches.config import EvalConfig
from tltrain.benches.episodes import EpisodeEnd
from tltrain.benches.evaluations import read_evaluations
from tltrain.benches.run import evaluate
from tltrain.benches.scores import read_episodes
from tltrain.cli import main
from tltrain.errors import DataError, UsageError
from tltrain.formats.openai_chat import write_trajectories
from tltrain.report.records import Episode, Scores
from tltrain.rl.worlds import user_prompts
from tltrain.run import Step
from tltrain.stage import Reuse
from tltrain.types import Message, Role, Tool, Trajectory

ENVIRONMENT = """
class Shop:
    def __init__(self, row):
        self.row, self.orders = row, {}

    def execute(self, call):
        if getattr(call, "arguments", {}).get("item") == "bomb":
            raise RuntimeError("the shop is closed")
        self.orders[call.arguments["item"]] = call.arguments["count"]
        return f"ordered {len(self.orders)}"

    def score(self, answer):
        wanted = self.row.provenance["wanted"]
        return sum(self.orders.get(item) == count for item, count in wanted.items()) / len(wanted)


def reset(row):
    if row.id == "odd":
        raise KeyError("wanted")
    return Shop(row) if "wanted" in row.provenance else None
"""
SCHEMA = {
    "type": "object",
    "properties": {"item": {"type": "string"}, "count": {"type": "integer"}},
    "required": ["item", "count"],
}
ORDER = Tool(name="order", description="Order goods.", parameters=SCHEMA)
RIGHT = {
    "tea": ["order(item='tea', count=2)", "Done."],
    "both": ["order(item='tea', count=1)", "order(item='milk', count=3)", "Done."],
}
WANTED = {"tea": {"tea": 2}, "both": {"tea": 1, "milk": 3}}


def task(name: str, **provenance: object) -> Trajectory:
    messages = (
        Message(role=Role.SYSTEM, content="You run a shop."),
        Message(role=Role.USER, content=name),
        Message(role=Role.ASSISTANT, content="A gold answer that nobody reads."),
    )
    return Trajectory(id=name, tools=(ORDER,), messages=messages, provenance=provenance)


TASKS = [task(name, wanted=wanted) for name, wanted in WANTED.items()]


class Shopper(TextPolicy):
    """Says what a script has for the query, a text a turn; kills its process before the nth turn."""

    def __init__(self, script: dict[str, list[str]], lives: int | None = None):
        super().__init__(self._go_on)
        self._script, self._lives = script, lives

    def _go_on(self, request):
        turn = sum(message.role == "assistant" for message in request.messages)
        return self._script[request.messages[1].content][turn]

    def answer(self, requests, told=None):
        if self._lives is not None:
            self._lives -= 1
            if self._lives < 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return super().answer(requests, told)


def run(folder: Path, policy: TextPolicy, rows=TASKS, *, out: str = "out", code: str = ENVIRONMENT, **options):
    data, environment = folder / "tasks.jsonl", folder / "shop.py"
    if not data.exists():
        write_trajectories(data, rows)
        environment.write_text(code)
    config = EvalConfig(environment=environment, num_resamples=200, **options.pop("settings", {}))
    return evaluate(config, data=data, model="m", out=folder / out, policy=policy, **options)


def test_success_is_the_final_state_and_parts_of_it_count_apart(tmp_path):
    half = {"tea": RIGHT["tea"], "both": [RIGHT["both"][0], "order(item='milk')", "Done."]}
    result = run(tmp_path, Shopper(half))
    found = result.scores.episodes
    assert (found.n, found.success.mean, found.VA.mean, found.state_score.mean) == (2, 50, 100, 75)
    assert found.success.low is not None
    assert found.DE.mean == pytest.approx(100 / 3)  # a required count is missing in one of three calls
    tea, both = read_episodes(tmp_path / "out" / "episodes.jsonl")
    assert (tea.success, tea.score, tea.num_turns, tea.query, tea.kit) == (True, 1, 2, "tea", "all")
    assert (both.success, both.score, both.end) == (False, 0.5, EpisodeEnd.ANSWER)
    assert [message["role"] for message in tea.messages] == ["system", "user", "assistant", "tool", "assistant"]
    assert tea.messages[3]["content"] == "ordered 1"
    assert (result.scores.left_out, result.remarks) == ({}, [])


@pytest.mark.parametrize(
    ("texts", "end", "success"),
    [
        (["order(item='tea', count=2)", "I cannot handle the task."], EpisodeEnd.ANSWER, False),
        (["order(item='tea', count=2)", ""], EpisodeEnd.EMPTY, False),
        (["order(item='tea', count=2)"] * 6, EpisodeEnd.MAX_TURNS, False),
        (["order(item='bomb', count=2)"], EpisodeEnd.FAILED, None),
    ],
)
def test_other_ends(tmp_path, texts, end, success):
    result = run(tmp_path, Shopper(RIGHT | {"tea": texts}))
    tea, both = read_episodes(tmp_path / "out" / "episodes.jsonl")
    assert (tea.end, tea.success, tea.score, both.success) == (end, success, None if success is None else 0, True)
    found = result.scores.episodes
    assert (found.n, found.failed) == ((1, 1) if success is None else (2, 0))
    if success is None:
        assert tea.note.startswith("the environment raised ")
        assert result.remarks == [
            "1 episodes are not scored, as the environment raised; episodes.jsonl has what, under note."
        ]


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ("order(item='tea'", "ValueError: invalid call: "),
        ("order(item='tea')", "KeyError: 'count'"),
        ("buy(item='tea')", "KeyError: 'count'"),
    ],
)
def test_a_wrong_call_at_which_the_environment_raises_is_answered_and_the_episode_is_scored(tmp_path, call, said):
    result = run(tmp_path, Shopper(RIGHT | {"tea": [call, *RIGHT["tea"]]}))
    tea, _ = read_episodes(tmp_path / "out" / "episodes.jsonl")
    assert tea.messages[3]["content"].startswith(said)
    assert (tea.success, tea.num_failed, result.scores.episodes.n) == (True, 1, 2)


def test_rows_that_are_no_tasks_are_counted_and_named(tmp_path):
    result = run(tmp_path, Shopper(RIGHT), [*TASKS, task("other"), task("odd", wanted={})])
    assert result.scores.left_out == {"row that is no task of the environment": 2}
    listed = [json.loads(line) for line in (tmp_path / "out" / "quarantine.jsonl").open()]
    assert {row["id"]: row["reason"] for row in listed} == {
        "other": "reset gave None",
        "odd": "reset raised KeyError: 'wanted'",
    }
    assert result.remarks == ["2 rows are no tasks of the environment; quarantine.jsonl says why."]
    # what is a task here is one for training, too
    rows = [*TASKS, task("other"), task("odd", wanted={})]
    prompts, faults = user_prompts(tmp_path / "shop.py", rows)
    assert ([prompt.id for prompt in prompts], set(faults)) == (["tea", "both"], {"other", "odd"})


def test_nothing_to_judge_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"0 tasks of .*shop\.py with .*none, other: reset gave None"):
        run(tmp_path, Shopper(RIGHT), [task("other")])
    broken = {name: ["order(item='bomb', count=1)"] for name in RIGHT}
    (tmp_path / "tasks.jsonl").unlink()
    with pytest.raises(DataError, match=r"none of 2 episodes can be judged. First, tea: .*the shop is closed"):
        run(tmp_path, Shopper(broken), reuse=Reuse.OVERWRITE)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("lives", [1, 2])
def test_a_killed_run_goes_on_where_it_stopped(tmp_path, lives):
    settings = {"batch_size": 1}
    run(tmp_path, Shopper(RIGHT), out="whole", settings=settings)
    child = os.fork()
    if child == 0:
        run(tmp_path, Shopper(RIGHT, lives), settings=settings)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status)
    rest = Shopper(RIGHT)
    run(tmp_path, rest, settings=settings, reuse=Reuse.RESUME)
    assert len(rest.asked) == 5 - lives
    for name in ("episodes.jsonl", "scores.json"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    (tmp_path / "shop.py").write_text(ENVIRONMENT + "\n")
    with pytest.raises(UsageError, match=r"inputs\.environment was"):
        run(tmp_path, rest, settings=settings, reuse=Reuse.RESUME)


def test_pages_show_them(tmp_path):
    first = run(tmp_path, Shopper({"tea": ["No."], "both": [RIGHT["both"][0], "Done."]}), out="base").folder
    second = run(tmp_path, Shopper(RIGHT), out="trained").folder
    result = compare([first, second], tmp_path / "page")
    found = {each.score: each for each in result.comparison.pairs[0].differences["episodes"]}
    assert (found["success"].difference.mean, found["success"].wrong_to_right) == (100, 2)
    assert (found["state_score"].difference.mean, found["state_score"].p_value) == (75, None)
    assert result.comparison.parts_are["episodes"] == ""
    assert "state score" in result.page.read_text()
    assert not any(outcome.parts for outcome in read_evaluations([first, second])[0].sets["episodes"].outcomes.values())
    assert Scores.model_validate_json((second / "scores.json").read_text()).episodes.success.mean == 100
    assert Episode.model_validate_json((second / "episodes.jsonl").read_text().splitlines()[0]).success


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (None, r"environment=.*shop\.py is no file; name a Python file with a function reset\(row\)"),
        ("x = 1 / 0", r"environment=.*shop\.py cannot be run: ZeroDivisionError: division by zero; correct it"),
        ("x = 1", r"environment=.*shop\.py has no function reset\(row\); it must return an object with execute and"),
    ],
)
def test_files_that_cannot_be_used_are_refused_before_anything_is_written(tmp_path, code, said):
    write_trajectories(tmp_path / "tasks.jsonl", TASKS)
    if code is not None:
        (tmp_path / "shop.py").write_text(code)
    with pytest.raises(UsageError, match=said):
        run(tmp_path, Shopper(RIGHT))
    assert not (tmp_path / "out").exists()


def test_settings_without_effect_are_refused(tmp_path, capsys):
    with pytest.raises(ValidationError, match="nothing is done in it"):
        EvalConfig(environment=tmp_path / "shop.py", max_episodes=0)
    assert main(["eval", "--bench", "tooleyes", "--environment", "shop.py", "--out", str(tmp_path / "out")]) == 2
    assert "--environment has no meaning with --bench" in capsys.readouterr().err
    assert main(["eval", "d.jsonl", "--environment", "shop.py", "--out", "o", "--dry-run"]) == 0
    assert "environment: shop.py" in capsys.readouterr().out


def test_a_step_of_a_recipe_depends_on_the_environment(tmp_path):
    code = tmp_path / "shop.py"
    step = Step(name="eval/base", function="evaluate", config=EvalConfig(environment=code), inputs={"data": code})
    assert step.recorded["inputs"] == {"data": code, "environment": code}
    assert "environment" not in Step(name="e", function="evaluate", config=EvalConfig(), inputs={}).recorded["inputs"]


def test_tasks_with_kits_are_told_apart_by_them(tmp_path):
    rows = [replace(row, provenance={**row.provenance, "kit": "shop"}) for row in TASKS]
    result = run(tmp_path, Shopper(RIGHT), rows)
    assert {kit: found.success.mean for kit, found in result.scores.episodes.by_kit.items()} == {"shop": 100}
