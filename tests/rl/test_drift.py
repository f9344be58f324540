import math

import pytest
import torch

from tltrain.rl.drift import importance_weights, measure_drift

TRAINER = torch.tensor([[-1.0, -0.5, -2.0]], dtype=torch.float64)
ROLLOUT = torch.tensor([[-1.5, -2.5, -1.0]], dtype=torch.float64)
MASK = torch.tensor([[True, True, True]])


def test_weights_are_ratios_of_probabilities_cut_off_at_the_cap():
    found = importance_weights(TRAINER, ROLLOUT, MASK, cap=2.0)
    expected = torch.tensor([[math.exp(0.5), 2.0, math.exp(-1)]], dtype=torch.float64)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)
    assert found.dtype == torch.float64


def test_no_cap_is_no_correction_and_padding_counts_as_1():
    assert importance_weights(TRAINER, ROLLOUT, MASK, cap=None).tolist() == [[1, 1, 1]]
    mask = torch.tensor([[True, False, False]])
    assert importance_weights(TRAINER, ROLLOUT, mask, cap=2.0)[0, 1:].tolist() == [1, 1]


def test_reweighted_samples_of_one_policy_give_the_mean_under_the_other():
    trainer = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    rollout = torch.tensor([0.3, 0.3, 0.4], dtype=torch.float64)
    worth = torch.tensor([1.0, 5.0, -2.0], dtype=torch.float64)
    weights = importance_weights(trainer.log()[None], rollout.log()[None], MASK, cap=10.0)[0]
    torch.testing.assert_close((rollout * weights * worth).sum(), (trainer * worth).sum(), rtol=1e-12, atol=0)


def test_drift_is_over_sampled_tokens():
    drift = measure_drift(TRAINER, ROLLOUT, MASK, cap=2.0)
    assert drift == (pytest.approx(3.5 / 3), 2.0, 1)
    assert measure_drift(TRAINER, ROLLOUT, torch.tensor([[True, False, False]]), cap=2.0) == (0.5, 0.5, 0)


@pytest.mark.parametrize("cap", [0.0, -1.0])
def test_a_cap_that_is_not_positive_is_refused(cap):
    with pytest.raises(ValueError, match=r"must be positive; Yao et al. use 2"):
        importance_weights(TRAINER, ROLLOUT, MASK, cap=cap)
