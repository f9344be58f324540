import pytest
import torch

from tltrain.errors import DataError
from tltrain.render.rendered import RenderedTrajectory, RenderedTurn, TurnKind
from tltrain.sft.loss import loss_coefficients, target_positions, weighted_nll


def _rendered(weights: list[float], turns: list[tuple[int, int]]) -> RenderedTrajectory:
    return RenderedTrajectory(
        id="t",
        input_ids=list(range(len(weights))),
        weights=weights,
        turns=tuple(RenderedTurn(message=0, start=a, end=b, kind=TurnKind.CALLS) for a, b in turns),
        calls=(),
        text="",
    )


# Two trajectories: the first has a turn of weights 3, 1 and a blocked turn, the second a turn of weight 1.
_STEP = [_rendered([0, 3, 1, 0, 0], [(1, 3), (3, 5)]), _rendered([0, 0, 1], [(2, 3)])]


def test_by_turn_each_turn_counts_alike_and_blocked_ones_do_not_count():
    # turn 1: 3/4 and 1/4, halved; turn 2: 1, halved
    assert loss_coefficients(_STEP, "turn") == [[0.375, 0.125], [0.5]]


def test_by_step_all_weights_sum_to_one():
    assert loss_coefficients(_STEP, "step") == [[0.6, 0.2], [0.2]]


def test_by_token_weights_over_one_raise_the_share():
    assert loss_coefficients(_STEP, "token") == [[1.0, 1 / 3], [1 / 3]]


@pytest.mark.parametrize("normalisation", ["turn", "step", "token"])
@pytest.mark.parametrize("weight", [0.0, float("inf"), float("nan")])
def test_a_step_of_which_no_loss_can_be_made_names_its_rows(weight, normalisation):
    step = [_rendered([0, weight, weight], [(1, 3)]), _rendered([0, 0], [(1, 2)])]
    with pytest.raises(DataError, match=r"the rows t, t make a step whose largest loss weight is .*; leave them out"):
        loss_coefficients(step, normalisation)


def test_one_row_without_a_loss_is_enough():
    step = [_rendered([0, 1], [(1, 2)]), _rendered([0, float("inf")], [(1, 2)])]
    with pytest.raises(DataError, match="largest loss weight is inf"):
        loss_coefficients(step, "turn")


def test_weights_that_float32_cannot_hold_are_refused_where_they_are_not_divided_out():
    step = [_rendered([0, 1e-60], [(1, 2)])]
    with pytest.raises(DataError, match="largest loss weight is 1e-60"):
        loss_coefficients(step, "token")
    assert loss_coefficients(step, "turn") == loss_coefficients(step, "step") == [[1.0]]


def test_targets_are_the_tokens_that_weigh_something():
    assert target_positions(_STEP[0]) == [1, 2]


def test_the_loss_is_factor_times_negative_logprob():
    logprobs = torch.tensor([-2.0, -4.0, -1.0])
    # 0.375 * 2 + 0.125 * 4 + 0.5 * 1
    assert weighted_nll(logprobs, loss_coefficients(_STEP, "turn")).item() == pytest.approx(1.75)
