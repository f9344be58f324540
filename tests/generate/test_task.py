"""Tasks: rebuilt exactly, split by kit, balanced, no two alike."""

import json
from collections import Counter

import pytest
from pydantic import ValidationError

from tltrain.envs.sandbox import KITS
from tltrain.envs.sandbox.environment import ErrorStyle
from tltrain.errors import DataError, UsageError
from tltrain.generate.choose import choose_tasks
from tltrain.generate.config import GenerateConfig
from tltrain.generate.task import (
    Task,
    advance,
    planned_calls,
    query_of,
    run_gold,
    start,
    task_from_provenance,
    task_provenance,
)
from tltrain.generate.templates import TEMPLATES
from tltrain.generate.toolsets import choose_toolset, owner_of, split_kits
from tltrain.types import ToolCall

MOVE = Task(kit="calendar", template="move_by_title", seed=12, toolset=choose_toolset("calendar", 2, tuple(KITS), 0))


def test_start_is_deterministic_and_the_seed_matters():
    first, second = start(MOVE), start(MOVE)
    assert (first.query, first.sandbox.tools, first.sandbox.snapshot()) == (
        second.query,
        second.sandbox.tools,
        second.sandbox.snapshot(),
    )
    assert run_gold(MOVE) == run_gold(MOVE)
    other = start(Task(kit=MOVE.kit, template=MOVE.template, seed=13, toolset=MOVE.toolset))
    assert other.sandbox.snapshot() != first.sandbox.snapshot()


def test_started_task_shows_the_toolset_and_its_plan_begins_with_a_call():
    started = start(MOVE)
    assert tuple(tool.name for tool in started.sandbox.tools) == MOVE.toolset.names
    assert started.query == query_of(MOVE)
    step = advance(started.plan)
    assert isinstance(step, ToolCall)
    assert step.name == "get_events_by_title"


def test_style_and_failure_rate_reach_the_sandbox():
    started = start(MOVE, ErrorStyle.HTTP, failure_rate=0.999)
    feedback = started.sandbox.execute(ToolCall(name="get_event", arguments={"event_id": "x"}))
    assert json.loads(feedback.text)["status"] == 503


def test_gold_run_ends_in_another_state_when_the_task_changes_something():
    gold = run_gold(MOVE)
    assert [call.name for call in gold.calls] == ["get_events_by_title", "move_event"]
    before = start(MOVE).sandbox.snapshot()["calendar"]["events"]
    after = gold.snapshot["calendar"]["events"]
    changed = {key for key in before if before[key] != after[key]}
    assert changed == {gold.calls[1].arguments["event_id"]}


@pytest.mark.parametrize("key", TEMPLATES, ids="/".join)
def test_every_template_runs_with_distractors_of_any_kit(key):
    toolset = choose_toolset(key[0], 2, tuple(KITS), 0)
    for seed in range(8):
        gold = run_gold(Task(kit=key[0], template=key[1], seed=seed, toolset=toolset))
        assert gold.calls
        assert gold.answer


def test_provenance_rebuilds_the_task():
    row = json.loads(json.dumps(task_provenance(MOVE)))
    assert task_from_provenance(row) == MOVE


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"environment": "mcp"}, "provenance.environment is 'mcp'"),
        ({"seed": None}, "seed and toolset"),
        ({"offered": "all"}, "offered"),
        ({"template": "fly"}, "calendar/fly, which does not exist; the templates are "),
        ({"offered": ["get_event", "fly"]}, "'fly', which no kit has"),
    ],
)
def test_provenance_that_cannot_be_read_is_named(change, message):
    with pytest.raises((DataError, UsageError), match=message):
        start(task_from_provenance(task_provenance(MOVE) | change))


def test_toolset_has_all_own_tools_and_up_to_two_distractors_of_the_same_side():
    side = ("calendar", "bank", "files")
    own = {tool.name for tool in KITS["calendar"].tools()}
    allowed = {tool.name for name in side for tool in KITS[name].tools()}
    toolsets = [choose_toolset("calendar", number, side, 0) for number in range(6)]
    assert [len(set(toolset.names) - own) for toolset in toolsets] == [0, 1, 2, 0, 1, 2]
    assert all(own <= set(toolset.names) <= allowed for toolset in toolsets)
    assert len({toolset.names for toolset in toolsets}) == 6
    assert toolsets[0].names != tuple(tool.name for tool in KITS["calendar"].tools())
    assert toolsets == [choose_toolset("calendar", number, side, 0) for number in range(6)]


def test_split_is_disjoint_and_complete_by_default():
    split = split_kits(("shop", "devices"))
    assert set(split.train) | set(split.test) == set(KITS)
    assert not set(split.train) & set(split.test)
    assert split_kits(["shop"], ["bank", "calendar"]).train == ("bank", "calendar")


@pytest.mark.parametrize(
    ("test", "train", "message"),
    [
        (("shop", "kitchen"), None, "test_kits names 'kitchen', which is no kit; the kits are bank, calendar, "),
        (("shop",), ("garage",), "train_kits names 'garage'"),
        (("shop", "bank"), ("bank", "notes"), "bank in both train_kits and test_kits"),
        ((), None, "test_kits is left with no kit"),
        (tuple(KITS), None, "train_kits is left with no kit"),
    ],
)
def test_impossible_splits_are_refused(test, train, message):
    with pytest.raises(UsageError, match=message):
        split_kits(test, train)


def test_chosen_tasks_are_balanced_and_differ():
    kits = ("calendar", "bank", "travel")
    tasks = choose_tasks(kits, 300, seed=1, toolsets_per_kit=3)
    assert Counter(task.kit for task in tasks) == dict.fromkeys(kits, 100)
    for kit in kits:
        own = [task for task in tasks if task.kit == kit]
        templates = Counter(task.template for task in own)
        assert set(templates) == {name for owner, name in TEMPLATES if owner == kit}
        assert max(templates.values()) - min(templates.values()) <= 1
        toolsets = Counter(task.toolset.number for task in own)
        assert max(toolsets.values()) - min(toolsets.values()) <= 3
    assert len({(query_of(task), task.toolset.names) for task in tasks}) == 300
    assert tasks == choose_tasks(kits, 300, seed=1, toolsets_per_kit=3)
    assert tasks != choose_tasks(kits, 300, seed=2, toolsets_per_kit=3)


def test_used_up_templates_give_way_to_others():
    # "What tables are there?" has a handful of wordings and no values; the other templates of the kit fill up.
    tasks = choose_tasks(("database",), 400, seed=0, toolsets_per_kit=1)
    counts = Counter(task.template for task in tasks)
    assert counts["table_names"] < 400 / len(counts) / 2
    assert len({query_of(task) for task in tasks}) == 400


def test_queries_to_avoid_are_not_asked():
    asked = frozenset(query_of(task) for task in choose_tasks(("calendar",), 60, seed=0, toolsets_per_kit=2))
    others = choose_tasks(("calendar",), 60, seed=0, toolsets_per_kit=2, avoid=asked)
    assert not asked & {query_of(task) for task in others}


def test_more_tasks_than_there_are_is_refused(monkeypatch):
    for key in [key for key in TEMPLATES if key[0] == "database" and key[1] != "table_names"]:
        monkeypatch.delitem(TEMPLATES, key)
    with pytest.raises(UsageError, match=r"500 tasks asked of the kits database, which have about \d+ different ones"):
        choose_tasks(("database",), 500, seed=0, toolsets_per_kit=1)


def test_short_lists_show_siblings_and_get_only_tasks_that_they_can_do():
    kits = tuple(KITS)
    tasks = choose_tasks(kits, 120, seed=0, toolsets_per_kit=4, kit_tools=(3, 4))
    sizes = set()
    for task in tasks:
        own = [name for name in task.toolset.names if owner_of(name) == task.kit]
        sizes.add(len(own))
        assert set(planned_calls(task.kit, task.template, task.seed)) <= set(own)
        run = start(task)  # the plan goes through with the tools on offer
        step = advance(run.plan)
        while isinstance(step, ToolCall):
            feedback = run.sandbox.execute(step)
            assert feedback.error is None
            step = advance(run.plan, feedback.value)
    assert sizes == {3, 4}
    for kit in kits:
        names = [tool.name for tool in KITS[kit].tools()]
        verbs = [name.split("_")[0] for name in names]
        shown = choose_toolset(kit, 0, kits, 0, kit_tools=(3, 3)).names
        if len(set(verbs)) < len(verbs):
            assert len({name.split("_")[0] for name in shown}) < len(shown)


@pytest.mark.parametrize("most", [1, 2])
def test_tasks_take_no_more_calls_than_asked(most):
    tasks = choose_tasks(("shop", "calendar"), 60, seed=0, toolsets_per_kit=3, max_calls=most)
    assert {len(run_gold(task).calls) for task in tasks} == set(range(1, most + 1))


@pytest.mark.parametrize(("share", "expected"), [(0, 0), (0.25, 15), (1, 60)])
def test_a_share_of_the_tasks_takes_several_calls(share, expected):
    tasks = choose_tasks(("shop", "calendar"), 60, seed=0, toolsets_per_kit=3, multi_call_share=share)
    assert sum(len(run_gold(task).calls) > 1 for task in tasks) == pytest.approx(expected, abs=1)


def test_where_one_kind_of_tasks_runs_out_the_other_goes_on(monkeypatch):
    for key in [key for key in TEMPLATES if key[0] == "database" and key[1] != "table_names"]:
        monkeypatch.delitem(TEMPLATES, key)
    tasks = choose_tasks(("database",), 3, seed=0, toolsets_per_kit=3, multi_call_share=1)
    assert [len(run_gold(task).calls) for task in tasks] == [1, 1, 1]


@pytest.mark.parametrize("wrong", [(1, 3), (4, 3)])
def test_sizes_of_lists_are_checked(wrong):
    with pytest.raises(ValidationError, match=r"kit_tools=.*give the fewest"):
        GenerateConfig(kit_tools=wrong)
