import random

from tltrain.envs.sandbox import KITS
from tltrain.generate.config import GenerateConfig
from tltrain.generate.renaming import rename_tools
from tltrain.generate.run import perform, plan_jobs
from tltrain.generate.scripted import ScriptedTeacher
from tltrain.generate.task import advance, run_gold, start, task_from_provenance, task_provenance
from tltrain.generate.toolsets import choose_toolset
from tltrain.types import ToolCall


def _names(kit: str) -> list[str]:
    return [tool.name for tool in KITS[kit].tools()]


def test_new_names_differ_from_each_other_for_every_kit_and_seed():
    for kit in KITS:
        for seed in range(50):
            renamed = rename_tools(_names(kit), random.Random(seed))
            assert len(set(renamed)) == len(_names(kit))


def test_all_styles_occur_and_most_names_change():
    lists = [rename_tools(["get_events_by_day", "delete_event"], random.Random(seed)) for seed in range(200)]
    firsts = [names[0] for names in lists]
    assert any("." in name for name in firsts)
    assert any(name != name.lower() for name in firsts)
    meaningless = [name for name in firsts if "event" not in name.lower()]
    assert 30 <= len(meaningless) <= 70
    assert sum(name == "get_events_by_day" for name in firsts) == 0


def test_renamed_toolsets_are_spread_over_the_numbers():
    toolsets = [choose_toolset("calendar", number, list(KITS), 0, renamed_share=0.75) for number in range(8)]
    assert [bool(toolset.shown_as) for toolset in toolsets] == [False, True, True, True, False, True, True, True]
    assert not any(choose_toolset("calendar", n, list(KITS), 0).shown_as for n in range(8))


def test_a_renamed_task_runs_under_its_shown_names_and_ends_in_the_same_state():
    config = GenerateConfig(num_train=60, num_test=0, toolsets_per_kit=2, renamed_share=1.0, mistake_rate=0.3)
    jobs, _ = plan_jobs(config)
    for job in jobs:
        task = job.task
        shown = {tool.name for tool in start(task).sandbox.tools}
        assert shown == set(task.toolset.shown_as)
        gold = run_gold(task)
        assert {call.name for call in gold.calls} <= shown
        own = task.__class__(
            kit=task.kit,
            template=task.template,
            seed=task.seed,
            toolset=task.toolset.__class__(task.toolset.number, task.toolset.names),
        )
        assert gold.snapshot == run_gold(own).snapshot
        assert task_from_provenance(task_provenance(task)) == task


def test_errors_speak_of_the_shown_name():
    config = GenerateConfig(num_train=9, num_test=0, toolsets_per_kit=1, renamed_share=1.0)
    started = start(plan_jobs(config)[0][0].task)
    call = advance(started.plan)
    assert isinstance(call, ToolCall)
    feedback = started.sandbox.execute(ToolCall(name=call.name, arguments={**call.arguments, "surplus": 1}))
    assert f"{call.name}() got an unexpected keyword argument 'surplus'" in feedback.text


def test_own_names_are_not_defined_in_a_renamed_list():
    config = GenerateConfig(num_train=9, num_test=0, toolsets_per_kit=1, renamed_share=1.0)
    task = plan_jobs(config)[0][0].task
    feedback = start(task).sandbox.execute(ToolCall(name=task.toolset.names[0]))
    assert "is not defined" in feedback.text


def test_trajectories_of_renamed_lists_carry_both_names():
    config = GenerateConfig(num_train=9, num_test=0, toolsets_per_kit=1, renamed_share=1.0)
    trajectory = perform(plan_jobs(config)[0][0], ScriptedTeacher())
    assert [tool.name for tool in trajectory.tools] == trajectory.provenance["shown_as"]
    assert trajectory.provenance["offered"] != trajectory.provenance["shown_as"]
