"""The scripted teacher: real mistakes with real feedback, recovery, and the right end state."""

from collections import Counter

import pytest

from tltrain.envs.sandbox import KITS
from tltrain.envs.sandbox.environment import ErrorStyle
from tltrain.generate.choose import choose_tasks
from tltrain.generate.mistakes import PROPOSALS
from tltrain.generate.run import Job, perform
from tltrain.generate.scripted import ScriptedTeacher
from tltrain.generate.task import run_gold, start, task_from_provenance
from tltrain.taxonomy import FeedbackKind, diagnose
from tltrain.types import MalformedCall, Role, Trajectory, iterate_calls

STYLES = tuple(ErrorStyle)
FAILURE = FeedbackKind.SERVICE_FAILURE.value


def make(mistake_rate: float, failure_rate: float = 0.0, num_tasks: int = 500, **settings) -> list[Trajectory]:
    teacher = ScriptedTeacher(mistake_rate=mistake_rate, seed=3, **settings)
    tasks = choose_tasks(tuple(KITS), num_tasks, seed=3, toolsets_per_kit=2)
    return [
        perform(Job(id=f"t{number}", task=task, style=STYLES[number % 3], failure_rate=failure_rate), teacher)
        for number, task in enumerate(tasks)
    ]


@pytest.fixture(scope="module")
def rows() -> list[Trajectory]:
    return make(0.17, 0.05)


def calls_with_labels(row: Trajectory):
    return list(zip(iterate_calls(row), row.provenance["truth"], row.provenance["mistakes"], strict=True))


def test_share_of_mistakes_is_the_rate_asked_for(rows):
    mistakes = [mistake for row in rows for mistake in row.provenance["mistakes"]]
    share = sum(mistake is not None for mistake in mistakes) / len(mistakes)
    assert 0.14 < share < 0.20  # about 1,000 calls: a standard deviation of 0.012 around 0.17, less service failures


def test_every_kind_of_mistake_and_few_silent_ones_occur(rows):
    kinds = Counter(mistake for row in rows for mistake in row.provenance["mistakes"] if mistake)
    assert set(kinds) == {kind.value for kind in PROPOSALS}
    silent = [truth for row in rows for truth in row.provenance["truth"] if (truth or "").startswith("silent:")]
    assert 0 < len(silent) <= 0.15 * kinds.total()


def test_truth_names_the_kind_of_every_silent_mistake_and_nothing_else_is_silent(rows):
    for row in rows:
        for _, truth, mistake in calls_with_labels(row):
            if mistake is None:
                assert truth in (None, FAILURE)
            else:
                assert truth == f"silent:{mistake}" or truth in set(FeedbackKind) - {FAILURE}


def test_after_every_mistake_and_every_service_failure_the_right_call_follows(rows):
    num_recoveries = 0
    for row in rows:
        planned = list(run_gold(task_from_provenance(row.provenance)).calls)
        made = calls_with_labels(row)
        for index, (step, truth, mistake) in enumerate(made):
            if mistake is not None:
                following, _, is_mistake = made[index + 1]
                assert is_mistake is None
                assert following.call == planned[0]
                assert diagnose(step.call, row.tools, planned[0]).errors[0] is not None
                assert mistake in diagnose(step.call, row.tools, planned[0]).errors
                num_recoveries += 1
            elif truth == FAILURE:
                assert made[index + 1][0].call == step.call == planned[0]
            else:
                assert step.call == planned.pop(0)
        assert planned == []
    assert num_recoveries > 100


def test_replaying_the_calls_gives_the_same_feedback_truth_and_final_state(rows):
    for row in rows:
        task = task_from_provenance(row.provenance)
        style, failure_rate = ErrorStyle(row.provenance["style"]), row.provenance["failure_rate"]
        sandbox = start(task, style, failure_rate).sandbox
        assert sandbox.tools == row.tools
        for step, truth, mistake in calls_with_labels(row):
            feedback = sandbox.execute(step.call)
            assert feedback.text == step.feedback
            silent = None if mistake is None else f"silent:{mistake}"
            assert (feedback.error.value if feedback.error else silent) == truth
        assert sandbox.snapshot() == run_gold(task).snapshot


@pytest.fixture(scope="module")
def silent_rows() -> list[Trajectory]:
    return make(0.45, num_tasks=200, silent_share=1.0)


def test_a_silent_mistake_is_answered_otherwise_than_the_right_call(silent_rows):
    for row in silent_rows:
        made = calls_with_labels(row)
        for index, (step, truth, _) in enumerate(made):
            if (truth or "").startswith("silent:"):
                answer = next(later for later, later_truth, _ in made[index + 1 :] if later_truth is None)
                assert answer.feedback != step.feedback


def test_no_mistake_is_a_call_that_the_plan_makes_at_another_time(silent_rows):
    for row in silent_rows:
        planned = run_gold(task_from_provenance(row.provenance)).calls
        assert not any(mistake and step.call in planned for step, _, mistake in calls_with_labels(row))


def test_conversation_has_the_shape_of_a_chat(rows):
    for row in rows:
        roles = [message.role for message in row.messages]
        assert roles[0] is Role.USER
        assert roles[-1] is Role.ASSISTANT
        assert roles[1:-1] == [Role.ASSISTANT, Role.TOOL] * (len(roles[1:-1]) // 2)
        assert row.messages[-1].content == run_gold(task_from_provenance(row.provenance)).answer
        identifiers = [call.id for message in row.messages for call in message.calls]
        assert identifiers == [f"call_{number}" for number in range(1, len(identifiers) + 1)]
        assert [message.call_id for message in row.messages if message.role is Role.TOOL] == identifiers


def test_malformed_calls_are_kept_as_written(rows):
    malformed = [step for row in rows for step in iterate_calls(row) if isinstance(step.call, MalformedCall)]
    assert malformed
    assert all(f"invalid call: {step.call.reason}" in step.feedback for step in malformed)


def test_service_failures_come_at_their_rate(rows):
    truth = [entry for row in rows for entry in row.provenance["truth"]]
    share = truth.count(FAILURE) / len(truth)
    assert 0.025 < share < 0.075  # 0.05 of the calls that reach a tool; a standard deviation of 0.007


def test_without_mistakes_and_failures_the_trajectory_is_the_plan():
    for row in make(0.0, num_tasks=60):
        gold = run_gold(task_from_provenance(row.provenance))
        assert tuple(step.call for step in iterate_calls(row)) == gold.calls
        assert set(row.provenance["truth"]) == set(row.provenance["mistakes"]) == {None}


def test_equal_seeds_give_equal_trajectories_and_others_other_mistakes():
    assert make(0.3, 0.1, num_tasks=40) == make(0.3, 0.1, num_tasks=40)
    teachers = [ScriptedTeacher(mistake_rate=0.3, seed=seed) for seed in (1, 2)]
    tasks = choose_tasks(tuple(KITS), 40, seed=0, toolsets_per_kit=1)
    first, second = ([teacher.act(start(task)).mistakes for task in tasks] for teacher in teachers)
    assert first != second


def test_silent_share_can_be_all_or_nothing():
    def truths(silent_share: float) -> Counter[bool]:
        rows = make(0.3, num_tasks=100, silent_share=silent_share)
        return Counter(truth.startswith("silent:") for row in rows for truth in row.provenance["truth"] if truth)

    none, most = truths(0.0), truths(1.0)
    assert none[True] == 0 < none[False]
    assert most[True] > most[False]
