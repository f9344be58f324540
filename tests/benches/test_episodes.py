from dataclasses import replace

import pytest
from msgspec import structs
from policies import Oracle, Script, TextPolicy, reply

from tltrain.benches.episodes import EpisodeEnd, EpisodeTask, find_tasks, gives_up, run_episodes
from tltrain.benches.policy import Stop
from tltrain.envs.sandbox.environment import ErrorStyle
from tltrain.generate.task import Task, run_gold
from tltrain.generate.toolsets import choose_toolset
from tltrain.syntax import get_syntax

PYTHON = get_syntax("python")


def episode_task(template: str, seed: int = 3) -> EpisodeTask:
    toolset = choose_toolset("calendar", 0, ["calendar"], 0)
    task = Task(kit="calendar", template=template, seed=seed, toolset=toolset)
    return EpisodeTask(id=template, task=task, style=ErrorStyle.PYTHON, failure_rate=0.0)


READ, CHANGE = episode_task("list_day"), episode_task("move_by_title")
READ_GOLD, CHANGE_GOLD = ([PYTHON.render("", [call]) for call in run_gold(it.task).calls] for it in (READ, CHANGE))


def run(task: EpisodeTask, *texts, max_turns: int = 6):
    [row] = run_episodes([task], Script(*texts), max_turns=max_turns)
    return row


def test_the_plans_have_the_shape_that_the_tests_assume():
    assert len(READ_GOLD) == 1
    assert [text.partition("(")[0] for text in CHANGE_GOLD] == ["get_events_by_title", "move_event"]


@pytest.mark.parametrize(("task", "gold"), [(READ, READ_GOLD), (CHANGE, CHANGE_GOLD)], ids=["read", "change"])
def test_the_right_calls_and_an_answer_succeed(task, gold):
    row = run(task, *gold, "Done.")
    assert (row.success, row.valid_answer, row.end) == (True, True, EpisodeEnd.ANSWER)
    assert (row.num_turns, row.num_calls) == (len(gold) + 1, len(gold))
    assert (row.num_malformed, row.num_undocumented, row.num_failed) == (0, 0, 0)
    assert [message["role"] for message in row.messages] == ["user", *["assistant", "tool"] * len(gold), "assistant"]
    assert row.messages[0]["content"] == row.query


@pytest.mark.parametrize("task", [READ, CHANGE], ids=["read", "change"])
def test_an_answer_alone_is_valid_but_no_success(task):
    row = run(task, "Done.")
    assert (row.success, row.valid_answer, row.num_calls) == (False, True, 0)


def test_a_change_may_come_about_in_any_way():
    # without looking the event up first: the state is what counts
    row = run(CHANGE, CHANGE_GOLD[1], "Done.")
    assert row.success is True


def test_a_change_too_many_is_no_success():
    event = run_gold(CHANGE.task).calls[1].arguments["event_id"]
    assert run(CHANGE, *CHANGE_GOLD, f"delete_event(event_id={event!r})", "Done.").success is False
    title = "create_event(title='Extra', day='2025-04-01', start='07:00')"
    assert run(READ, *READ_GOLD, title, "Done.").success is False


def test_a_read_of_something_else_is_no_success():
    assert run(READ, "get_events_by_day(day='2025-01-01')", "Nothing.").success is False
    assert run(READ, "get_events_by_day(day='2025-01-01')", *READ_GOLD, "Nothing.").success is True


def test_a_right_read_that_was_not_answered_is_no_success():
    row = run(replace(READ, failure_rate=0.999), *READ_GOLD, "Done.")
    assert (row.success, row.num_calls, row.num_failed, row.num_undocumented) == (False, 1, 1, 0)


@pytest.mark.parametrize("text", ["I cannot handle the task.", "", "  \n"])
def test_the_right_state_without_a_valid_answer_is_no_success(text):
    row = run(CHANGE, *CHANGE_GOLD, text)
    assert (row.success, row.valid_answer) == (False, False)
    assert row.end is (EpisodeEnd.ANSWER if text.strip() else EpisodeEnd.EMPTY)


def test_wrong_calls_are_counted_by_kind_and_the_episode_goes_on():
    wrong = [
        "get_event(event_id='",  # unreadable
        "find_event(title='x')",  # no such tool
        "get_event(event_id='ev1', year=2025)",  # no such parameter
        "get_event()",  # a required one is missing
        "get_event(event_id='nope')",  # as documented, but refused
    ]
    row = run(READ, *wrong, *READ_GOLD, "Done.", max_turns=9)
    assert row.success is True
    assert (row.num_calls, row.num_malformed, row.num_undocumented, row.num_failed) == (6, 1, 3, 5)
    feedback = [message["content"].partition(":")[0] for message in row.messages if message["role"] == "tool"]
    assert feedback[:5] == ["ValueError", "NameError", "TypeError", "TypeError", "Error"]
    assert row.messages[1]["tool_calls"][0]["malformed"]


def test_several_calls_of_a_turn_are_all_made():
    row = run(CHANGE, "\n".join(CHANGE_GOLD), "Done.")
    assert (row.success, row.num_calls, row.num_turns) == (True, 2, 2)


def test_it_ends_after_the_last_turn_allowed():
    row = run(CHANGE, *CHANGE_GOLD, "Done.", max_turns=2)
    assert (row.success, row.valid_answer, row.end, row.num_turns) == (False, False, EpisodeEnd.MAX_TURNS, 2)
    assert run(CHANGE, *CHANGE_GOLD, "Done.", max_turns=3).success is True


@pytest.mark.parametrize(
    ("stop", "end", "score"),
    [
        (Stop.LENGTH, EpisodeEnd.CUT_OFF, False),
        (Stop.TOO_LONG, EpisodeEnd.CONTEXT_FULL, False),
        (Stop.UNWRITABLE, EpisodeEnd.UNWRITABLE, None),
    ],
)
def test_other_ends(stop, end, score):
    row = run(CHANGE, *CHANGE_GOLD, reply("Done" if stop is Stop.LENGTH else "", stop, note="why"))
    assert (row.end, row.success, row.valid_answer, row.num_calls) == (end, score, score, 2)
    assert row.num_turns == (3 if stop is Stop.LENGTH else 2)


def test_a_call_that_is_cut_off_gets_an_error_and_another_chance():
    row = run(READ, reply("get_event(event_id='ev", Stop.LENGTH), *READ_GOLD, "Done.")
    assert (row.success, row.num_malformed) == (True, 1)


def test_all_episodes_advance_together():
    tasks = [READ, CHANGE, replace(READ, id="again")]
    golds = {task.task: texts for task, texts in ((READ, READ_GOLD), (CHANGE, CHANGE_GOLD))}
    first_turns = run_episodes(tasks, Script(""), max_turns=1)
    queries = {row.query: golds[task.task] for task, row in zip(tasks, first_turns, strict=True)}

    def write(request):
        turn = sum(message.role == "assistant" for message in request.messages)
        return [*queries[request.messages[0].content], "Done."][turn]

    policy, heard = TextPolicy(write), []
    rows = run_episodes(tasks, policy, max_turns=6, progress=lambda done, total, _: heard.append((done, total)))
    assert [len(requests) for requests in policy.asked] == [3, 3, 1]
    assert heard == [(0, 3), (2, 3), (3, 3)]
    assert [(row.id, row.success) for row in rows] == [("list_day", True), ("move_by_title", True), ("again", True)]


def test_generated_rows_can_be_started_again(trajectories, mistaken):
    for rows in (trajectories, mistaken):
        tasks, faults = find_tasks(rows)
        assert not faults
        assert [task.id for task in tasks] == [row.id for row in rows]
        # the scripted teacher, mistakes and broken services included, goes through the same conversation again
        for row, source in zip(run_episodes(tasks, Oracle(rows), max_turns=30), rows, strict=True):
            assert row.success is True, row.id
            assert row.num_failed == sum(truth is not None and ":" not in truth for truth in source.provenance["truth"])


def test_rows_that_cannot_be_started_again_are_named(trajectories):
    row = trajectories[0]

    def with_provenance(**fields):
        return structs.replace(row, provenance={**row.provenance, **fields})

    broken = {
        "template": with_provenance(template="none"),
        "seed": with_provenance(seed=row.provenance["seed"] + 1),
        "style": with_provenance(style="morse"),
        "failure_rate": with_provenance(failure_rate=2),
        "offered": with_provenance(offered=["nope"]),
        "web": with_provenance(environment="web"),
        "tools": structs.replace(row, tools=row.tools[1:]),
    }
    tasks, faults = find_tasks([structs.replace(found, id=key) for key, found in broken.items()])
    assert tasks == []
    assert faults.keys() == broken.keys() - {"web"}  # no row of the sandbox at all
    assert "style is 'morse'" in faults["style"]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("I cannot handle the task.", True),
        ("I can't help with that.", True),
        ("Sorry, I am unable to complete this request.", True),
        ("I'm sorry, but I was not able to finish.", True),
        ("We could not complete it", True),
        ("I give up.", True),
        ("As an AI, I do not have access.", True),
        ("Done, 2025-03-14 is clear.", False),
        ("The door cannot be locked while it is open.", False),
        ("I could not find an event called Yoga.", False),
        ("Your budget is not able to cover this.", False),
        ("I moved it. It can help to come early.", False),
    ],
)
def test_giving_up(answer, expected):
    assert gives_up(answer) is expected
