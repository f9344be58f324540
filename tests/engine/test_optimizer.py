import math

import pytest
import torch
from pydantic import ValidationError

from tltrain.engine.optimizer import Optimizer, learning_rate_at
from tltrain.engine.settings import OptimizerConfig
from tltrain.errors import TltrainError


def test_rate_rises_over_the_warmup_then_falls_along_a_half_cosine():
    config = OptimizerConfig(learning_rate=1.0, warmup_ratio=0.2)
    rates = [learning_rate_at(step, 10, config) for step in range(10)]
    assert rates[:3] == [0.5, 1.0, 1.0]
    # step 6 is half way through the 8 steps after the warm-up: (1 + cos(pi / 2)) / 2
    assert rates[6] == pytest.approx(0.5)
    assert rates[9] == pytest.approx(0.5 * (1 + math.cos(math.pi * 7 / 8)))


def test_other_schedules():
    linear = OptimizerConfig(learning_rate=2.0, warmup_ratio=0.0, schedule="linear")
    assert [learning_rate_at(step, 4, linear) for step in range(4)] == [2.0, 1.5, 1.0, 0.5]
    constant = OptimizerConfig(learning_rate=2.0, warmup_ratio=0.0, schedule="constant")
    assert {learning_rate_at(step, 4, constant) for step in range(4)} == {2.0}


def test_a_rate_of_zero_is_refused():
    with pytest.raises(ValidationError, match="learning_rate"):
        OptimizerConfig(learning_rate=0.0)


def _step(losses_of: list[list[float]]) -> torch.Tensor:
    """Weights after one step on losses sum(x * w), given as micro-batches of factors x."""
    weight = torch.nn.Parameter(torch.tensor([[1.0, -2.0]]))
    optimizer = Optimizer([weight], OptimizerConfig(learning_rate=0.1, warmup_ratio=0), num_steps=1)
    optimizer.step(((weight * torch.tensor([factors])).sum() for factors in losses_of), 0)
    return weight.detach()


def test_micro_batches_add_up():
    torch.testing.assert_close(_step([[0.3, 0.1], [0.2, -0.4]]), _step([[0.5, -0.3]]))


def test_the_gradient_is_clipped_and_its_norm_reported_before_that():
    weight = torch.nn.Parameter(torch.zeros(1, 2))
    optimizer = Optimizer([weight], OptimizerConfig(learning_rate=0.1, max_grad_norm=1.0), num_steps=1)
    outcome = optimizer.step([(weight * torch.tensor([[3.0, 4.0]])).sum()], 0)
    assert outcome.grad_norm == pytest.approx(5.0)
    moments = optimizer.state_dict()["state"][0]
    # first moment = (1 - beta1) * clipped gradient = 0.1 * (0.6, 0.8)
    torch.testing.assert_close(moments["exp_avg"], torch.tensor([[0.06, 0.08]]), rtol=1e-5, atol=1e-7)


def test_vectors_do_not_decay():
    matrix, vector = torch.nn.Parameter(torch.ones(1, 1)), torch.nn.Parameter(torch.ones(1))
    config = OptimizerConfig(learning_rate=0.1, weight_decay=0.5, warmup_ratio=0)
    Optimizer([matrix, vector], config, num_steps=1).step([(matrix * 0).sum() + (vector * 0).sum()], 0)
    assert matrix.item() == pytest.approx(1 - 0.1 * 0.5)
    assert vector.item() == 1.0


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_stops_and_leaves_the_weights(bad: float):
    weight = torch.nn.Parameter(torch.ones(1, 1))
    optimizer = Optimizer([weight], OptimizerConfig(learning_rate=0.1), num_steps=1)
    with pytest.raises(TltrainError, match=r"step 7: .*lower learning_rate"):
        optimizer.step([(weight * bad).sum()], 7)
    assert weight.item() == 1.0
