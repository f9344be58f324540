"""Each worry is told where its metrics say so, and nowhere else."""

import pytest

from tltrain.rl.health import find_warnings

STEADY = {
    "reward": 0.1,
    "kl_completion": 0.2,
    "entropy": 0.8,
    "explained_variance": 0.4,
    "truncated": 0.1,
    "num_learnt": 8,
}


def rows(num_steps=30, **changes):
    """Steady steps; a change gives a value for each step from its number and how many there are."""
    made = [STEADY | {name: change(step / num_steps) for name, change in changes.items()} for step in range(num_steps)]
    made[0]["heldout_before"] = {"cf": 0.5}
    made[-1]["heldout"] = {"cf": 0.5}
    return made


def test_a_steady_run_worries_nobody():
    assert find_warnings(rows()) == {}
    assert find_warnings([]) == find_warnings([{"step": 0}]) == {}


@pytest.mark.parametrize(
    ("name", "changes", "says"),
    [
        ("kl", {"kl_completion": lambda done: 14.0 * (done > 0.5)}, "14.0 nats a completion"),
        ("entropy", {"entropy": lambda done: 0.8 if done < 0.5 else 0.02}, "from 0.800 to 0.020"),
        ("critic", {"explained_variance": lambda _: 0.01}, "after 30 steps the critic explains 1%"),
        ("truncated", {"truncated": lambda _: 0.75}, "75% of the completions"),
        ("nothing_learnt", {"num_learnt": lambda _: 0}, "nothing was learnt in 5 steps"),
    ],
)
def test_a_worry_names_its_cause(name, changes, says):
    found = find_warnings(rows(**changes))
    assert set(found) == {name}
    assert says in found[name]


def test_reward_that_rises_while_right_calls_fall_is_hacked():
    rising = rows(reward=lambda done: done)
    assert find_warnings(rising) == {}
    rising[-1]["heldout"] = {"cf": 0.3}
    assert "rose from 0.15 to 0.82" in find_warnings(rising)["reward_hacking"]
    flat = rows()
    flat[-1]["heldout"] = {"cf": 0.3}
    assert find_warnings(flat) == {}


def test_a_young_critic_is_let_be():
    assert find_warnings(rows(num_steps=10, explained_variance=lambda _: -0.2)) == {}
    without = [{key: value for key, value in row.items() if key != "explained_variance"} for row in rows()]
    assert find_warnings(without) == {}
