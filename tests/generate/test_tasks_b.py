"""Templates of shop, travel, notes, devices, library and bank: every plan works, and every gold value can be known."""

import random
import re
from collections import Counter
from dataclasses import dataclass
from functools import cache

import pytest

from tltrain.envs.base import Feedback
from tltrain.envs.sandbox.environment import Sandbox
from tltrain.generate.tasks import bank, devices, library, notes, shop, travel
from tltrain.generate.templates import TEMPLATES, Template
from tltrain.types import Json, ToolCall

MODULES = (shop, travel, notes, devices, library, bank)
KITS = {module.__name__.rpartition(".")[2] for module in MODULES}
TEMPLATES_B = [template for (kit, _), template in TEMPLATES.items() if kit in KITS]
SEEDS = range(30)
READING_VERBS = ("get_", "find_", "list_", "search_")


@dataclass(frozen=True)
class Step:
    call: ToolCall
    feedback: Feedback
    before: Json
    after: Json


@dataclass(frozen=True)
class Episode:
    query: str
    steps: tuple[Step, ...]
    closing: str


@cache
def play(template: Template, seed: int) -> Episode:
    kit = template.kit(seed)
    sandbox = Sandbox([kit])
    plan = template.plan(kit, random.Random(f"{template.name}:{seed}"))
    query, steps = next(plan), []
    before = sandbox.snapshot()
    try:
        call = next(plan)
        while True:
            feedback = sandbox.execute(call)
            after = sandbox.snapshot()
            steps.append(Step(call, feedback, before, after))
            before = after
            call = plan.send(feedback.value)
    except StopIteration as end:
        return Episode(query, tuple(steps), end.value)


def each_template(test):
    return pytest.mark.parametrize("template", TEMPLATES_B, ids=lambda t: f"{t.kit.name}-{t.name}")(test)


@each_template
def test_plan_runs_to_the_end_without_error(template):
    for seed in SEEDS:
        episode = play(template, seed)
        assert [step.feedback.text for step in episode.steps if step.feedback.error] == []
        assert 1 <= len(episode.steps) <= 4


@each_template
def test_same_seed_same_episode(template):
    for seed in SEEDS[:10]:
        assert play.__wrapped__(template, seed) == play(template, seed)


@each_template
def test_seeds_differ(template):
    assert len({play(template, seed).query for seed in SEEDS}) >= 3


@each_template
def test_writing_changes_the_state_and_reading_does_not(template):
    # One call is idempotent by design: turning off a device that is off.
    for seed in SEEDS:
        changed = []
        for step in play(template, seed).steps:
            if step.call.name.startswith(READING_VERBS):
                assert step.before == step.after
            else:
                changed.append(step.before != step.after)
        assert all(changed) or (template.name == "everything_off" and any(changed))


def _leaves(value):
    for part in value if isinstance(value, list) else [value]:
        if not isinstance(part, bool):
            yield part


@each_template
def test_every_value_stands_in_the_query_or_earlier_feedback(template):
    for seed in SEEDS:
        episode = play(template, seed)
        known = episode.query
        for step in episode.steps:
            for value in step.call.arguments.values():
                for leaf in _leaves(value):
                    assert re.search(rf"(?<![\w.]){re.escape(str(leaf))}(?!\w)", known), (leaf, known)
            known += "\n" + step.feedback.text


@each_template
def test_first_call_is_told_by_the_query_alone(template):
    # Feedback is unknown at the first step, so a template has one first tool, whatever the seed.
    assert len({play(template, seed).steps[0].call.name for seed in SEEDS}) == 1


@each_template
def test_texts_are_clean_and_short(template):
    names = {tool.name for tool in template.kit.tools()}
    for seed in SEEDS:
        episode = play(template, seed)
        assert not any(name in episode.query for name in names)
        assert not set("{}") & set(episode.query + episode.closing)
        assert episode.query.strip() == episode.query != ""
        assert 2 <= len(episode.closing.split()) <= 15
        assert all(len(step.feedback.text) <= 220 for step in episode.steps)


@pytest.mark.parametrize("kit", sorted(KITS))
def test_all_tools_and_optional_parameters_occur_as_gold(kit):
    templates = [template for template in TEMPLATES_B if template.kit.name == kit]
    used: dict[str, set[str]] = {}
    for template in templates:
        for seed in SEEDS:
            for step in play(template, seed).steps:
                used.setdefault(step.call.name, set()).update(step.call.arguments)
    assert used == {tool.name: set(tool.properties) for tool in templates[0].kit.tools()}


@pytest.mark.parametrize("kit", sorted(KITS))
def test_many_tools_come_first(kit):
    templates = [template for template in TEMPLATES_B if template.kit.name == kit]
    first = {play(template, 0).steps[0].call.name for template in templates}
    assert len(templates) >= 6
    assert len(first) >= len(templates[0].kit.tools()) - 1


def test_about_half_of_the_templates_need_one_call():
    lengths = Counter(max(len(play(template, seed).steps) for seed in SEEDS) for template in TEMPLATES_B)
    share = {length: count / lengths.total() for length, count in lengths.items()}
    assert share[1] == pytest.approx(0.5, abs=0.05)
    assert share[2] == pytest.approx(0.3, abs=0.05)
    assert share[3] + share[4] == pytest.approx(0.2, abs=0.05)


def test_equal_beginnings_lead_to_equal_calls():
    # Over all templates of a kit: the same state, query and history never has two right answers.
    for kit in KITS:
        for seed in SEEDS:
            following: dict[str, ToolCall | None] = {}
            for template in TEMPLATES_B:
                if template.kit.name != kit:
                    continue
                episode = play(template, seed)
                history = episode.query
                for step in episode.steps:
                    assert following.setdefault(history, step.call) == step.call
                    history += step.feedback.text
                assert following.setdefault(history, None) is None
