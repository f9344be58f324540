"""Templates of files, contacts, database, numbers and units: each plan is carried out, and nothing in it is guessed."""

import json
import random
import re
from collections import Counter
from dataclasses import dataclass

import pytest

from tltrain.envs.sandbox.environment import Sandbox
from tltrain.generate.tasks import contacts, database, files, numbers, units
from tltrain.generate.templates import TEMPLATES, Template
from tltrain.types import Json, Tool, ToolCall

KITS = {kit.name: kit for kit in (files.Files, contacts.Contacts, database.Database, numbers.Numbers, units.Units)}
MINE = {key: template for key, template in TEMPLATES.items() if key[0] in KITS}
SEEDS = range(30)
WRITERS = {
    "write_file", "move_file", "delete_file", "add_contact", "send_message", "insert_row", "update_row",
    "store_series", "set_exchange_rate",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Step:
    call: ToolCall
    feedback: str
    error: str | None
    changed: bool


@dataclass(frozen=True, kw_only=True)
class Run:
    query: str
    steps: tuple[Step, ...]
    closing: str


def carry_out(template: Template, seed: int) -> Run:
    kit = template.kit(seed)
    sandbox = Sandbox([kit])
    plan = template.plan(kit, random.Random(seed))
    query = next(plan)
    steps: list[Step] = []
    value: Json = None
    while True:
        before = sandbox.snapshot()
        try:
            call = plan.send(value)
        except StopIteration as end:
            return Run(query=query, steps=tuple(steps), closing=end.value)
        assert sandbox.snapshot() == before, "the plan itself touches the state"
        feedback = sandbox.execute(call)
        value = feedback.value
        changed = sandbox.snapshot() != before
        steps.append(Step(call=call, feedback=feedback.text, error=feedback.error, changed=changed))


@pytest.fixture(scope="module")
def runs() -> dict[tuple[str, str], list[Run]]:
    return {key: [carry_out(template, seed) for seed in SEEDS] for key, template in MINE.items()}


@pytest.mark.parametrize("key", MINE, ids="/".join)
def test_plan_ends_without_error_and_changes_what_it_says(runs, key):
    for run in runs[key]:
        assert [(step.call, step.feedback) for step in run.steps if step.error] == []
        assert 1 <= len(run.steps) <= 4
        for step in run.steps:
            assert step.changed == (step.call.name in WRITERS), step


@pytest.mark.parametrize("key", MINE, ids="/".join)
def test_same_seed_gives_the_same_run(runs, key):
    assert [carry_out(MINE[key], seed) for seed in SEEDS] == runs[key]


@pytest.mark.parametrize("key", MINE, ids="/".join)
def test_every_value_of_a_call_stands_in_query_or_feedback(runs, key):
    documents = {tool.name: tool for tool in MINE[key].kit.tools()}
    for run in runs[key]:
        known = run.query
        for step in run.steps:
            tool = documents[step.call.name]
            for value in leaves(step.call.arguments, tool):
                assert is_in(value, known), f"{value!r} of {step.call} is not in {known!r}"
            known += "\n" + step.feedback


def leaves(arguments: Json, tool: Tool) -> list[str | int | float]:
    """Texts and numbers of a call, down to keys of objects; booleans and values of an enum are the schema's own."""
    found: list[str | int | float] = []
    for name, value in arguments.items():
        if "enum" not in tool.properties[name]:
            todo = [value]
            while todo:
                part = todo.pop()
                if isinstance(part, dict):
                    todo += [*part, *part.values()]
                elif isinstance(part, list):
                    todo += part
                elif not isinstance(part, bool):
                    found.append(part)
    return found


def is_in(value: str | int | float, text: str) -> bool:
    if isinstance(value, str):
        return value in text or json.dumps(value)[1:-1] in text
    # A coefficient may be spelt `- 3y`, and the end of a sentence may follow: `to 30.`
    return re.search(rf"(?<![\d.]){re.escape(str(abs(value)))}(?!\d|\.\d)", text) is not None


def test_is_in_reads_whole_numbers():
    assert is_in(3, "set to 3.")
    assert is_in(-3, "2x - 3y = 4")
    assert not is_in(3, "set to 33 or 0.3 or 3.5")


@pytest.mark.parametrize("key", MINE, ids="/".join)
def test_texts_are_short_natural_and_varied(runs, key):
    names = {tool.name for kit in KITS.values() for tool in kit.tools()}
    for run in runs[key]:
        words = set(re.findall(r"\w+", run.query))
        assert not names & words
        assert len(run.query.split()) <= 45
        assert 0 < len(run.closing.split()) < 15
        assert not re.search(r"[{}]", run.query + run.closing)
        assert all(len(step.feedback) <= 260 for step in run.steps)
    assert len({run.query for run in runs[key]}) >= 3


def test_closing_text_carries_the_last_answer(runs):
    for run in runs["numbers", "mean_of_series"]:
        assert run.steps[-1].feedback in run.closing
    for run in runs["contacts", "phone_by_name"]:
        assert json.loads(run.steps[-1].feedback)["phone"] in run.closing
        assert json.loads(run.steps[-1].feedback)["name"] in run.query
    for run in runs["contacts", "message_namesake"]:
        found = {person["contact_id"]: person for person in json.loads(run.steps[0].feedback)}
        assert len(found) == 2
        assert found[run.steps[1].call.arguments["contact_id"]]["city"] in run.query


@pytest.mark.parametrize("kit", KITS.values(), ids=KITS)
def test_every_tool_is_gold_somewhere(runs, kit):
    gold = {step.call.name for key in MINE if key[0] == kit.name for run in runs[key] for step in run.steps}
    assert gold == {tool.name for tool in kit.tools()}


@pytest.mark.parametrize("name", KITS)
def test_first_calls_cover_most_tools(runs, name):
    first = {run.steps[0].call.name for key in MINE if key[0] == name for run in runs[key]}
    assert len(first) >= len(KITS[name].tools()) - 1


def test_half_of_the_templates_take_one_call(runs):
    lengths = Counter(min(3, max(len(run.steps) for run in runs[key])) for key in MINE)
    shares = {length: count / len(MINE) for length, count in lengths.items()}
    assert shares[1] == pytest.approx(0.5, abs=0.07)
    assert shares[2] == pytest.approx(0.3, abs=0.07)
    assert shares[3] == pytest.approx(0.2, abs=0.07)


@pytest.mark.parametrize("name", KITS)
def test_each_kit_has_enough_templates(name):
    assert sum(key[0] == name for key in MINE) >= 6
