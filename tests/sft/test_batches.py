from collections import Counter

from tltrain.sft.batches import plan_epoch


def test_every_sample_occurs_once_and_sizes_hold():
    keys = ["a"] * 13 + ["b"] * 6 + ["c"]
    steps = plan_epoch(keys, batch_size=8, group_size=4, seed=0, epoch=0)
    assert sorted(index for step in steps for batch in step for index in batch) == list(range(20))
    assert all(len(batch) <= 4 for step in steps for batch in step)
    assert all(len(step) <= 2 for step in steps)


def test_micro_batches_share_a_key_where_they_can():
    keys = [number % 3 for number in range(30)]
    batches = [batch for step in plan_epoch(keys, batch_size=5, group_size=5, seed=1, epoch=0) for batch in step]
    assert Counter(len({keys[index] for index in batch}) for batch in batches) == {1: 6}


def test_seed_and_epoch_decide_the_order_and_nothing_else_does():
    plan = {
        (seed, epoch): plan_epoch([0] * 20, batch_size=4, group_size=2, seed=seed, epoch=epoch)
        for seed in (0, 1)
        for epoch in (0, 1)
    }
    assert plan[0, 0] == plan_epoch([0] * 20, batch_size=4, group_size=2, seed=0, epoch=0)
    assert len({str(steps) for steps in plan.values()}) == 4
