from types import SimpleNamespace

from tltrain.rl.batches import count_updates, plan_minibatches, plan_steps
from tltrain.rl.config import PpoConfig


def prompts(*toolsets):
    return [SimpleNamespace(toolset=toolset) for toolset in toolsets]


def test_every_prompt_occurs_once_an_epoch_in_groups_of_one_tool_list():
    keys = [0] * 8 + [1] * 8
    config = PpoConfig(prompts_per_step=4, group_size=2, minibatch_size=4, num_epochs=2)
    steps = plan_steps(prompts(*keys), config)
    assert len(steps) == 8
    assert sorted(index for step in steps[:4] for group in step for index in group) == list(range(16))
    assert all(len(group) == 2 and len({keys[index] for index in group}) == 1 for step in steps for group in step)
    assert steps[:4] != steps[4:]


def test_steps_do_not_depend_on_how_much_runs_at_once():
    plans = [
        plan_steps(prompts(*range(9)), PpoConfig(micro_batch_tokens=size, rollout_batch_size=size)) for size in (1, 16)
    ]
    assert plans[0] == plans[1]


def test_epochs_may_be_parts_and_steps_may_be_limited():
    config = PpoConfig(prompts_per_step=4, group_size=2, minibatch_size=4, num_epochs=1.5)
    whole = plan_steps(prompts(*[0] * 16), config)
    assert len(whole) == 6
    assert plan_steps(prompts(*[0] * 16), config.model_copy(update={"max_steps": 2})) == whole[:2]
    assert plan_steps(prompts(*[0] * 16), config.model_copy(update={"max_steps": 99})) == whole


def test_each_pass_has_every_rollout_once_and_groups_stay_together():
    groups = [0, 0, 1, 1, 2, 2, 3, 3]
    planned = plan_minibatches(groups, num_updates=3, minibatch_size=4, seed=0, step=5)
    assert [len(rows) for rows in planned] == [4] * 6
    for one_pass in (planned[0:2], planned[2:4], planned[4:6]):
        assert sorted(index for rows in one_pass for index in rows) == list(range(8))
    for rows in planned:
        assert [groups[index] for index in rows][::2] == [groups[index] for index in rows][1::2]
    assert planned == plan_minibatches(groups, num_updates=3, minibatch_size=4, seed=0, step=5)
    assert planned != plan_minibatches(groups, num_updates=3, minibatch_size=4, seed=0, step=6)


def test_as_many_updates_are_counted_as_are_planned():
    config = PpoConfig(
        prompts_per_step=4, group_size=2, samples_per_prompt=3, minibatch_size=4, num_updates=2, num_epochs=1
    )
    for step in plan_steps(prompts(*[0] * 7), config):
        groups = [number for number, group in enumerate(step) for _ in group for _ in range(3)]
        planned = plan_minibatches(groups, num_updates=2, minibatch_size=4, seed=0, step=0)
        assert count_updates(sum(map(len, step)), config) == len(planned)
