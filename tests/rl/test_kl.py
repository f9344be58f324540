import math

import pytest
import torch

from tltrain.rl.kl import KlEstimator, compute_kl, compute_mean_kl

NAN = float("nan")
ONE = torch.ones(1, 1, dtype=torch.bool)


@pytest.mark.parametrize(
    ("estimator", "expected"),
    [
        # pi 0.5, ref 0.25: r = 0.5, log r = -ln 2
        ("k1", math.log(2)),
        ("k2", math.log(2) ** 2 / 2),
        ("k3", -0.5 + math.log(2)),
    ],
)
def test_by_hand(estimator, expected):
    kl = compute_kl(torch.tensor([[0.5]]).log(), torch.tensor([[0.25]]).log(), ONE, estimator=estimator)
    assert kl.item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("estimator", list(KlEstimator))
def test_same_policies_have_no_kl(estimator):
    logprobs = torch.tensor([[-0.1, -3.0]])
    kl = compute_kl(logprobs, logprobs.clone(), torch.ones(1, 2, dtype=torch.bool), estimator=estimator)
    assert kl.tolist() == [[0.0, 0.0]]


def test_expectation_over_pi_is_the_kl_for_k1_and_k3_and_not_for_k2():
    pi, ref = torch.tensor([0.7, 0.2, 0.1]), torch.tensor([0.3, 0.3, 0.4])
    exact = sum(p * math.log(p / q) for p, q in zip(pi.tolist(), ref.tolist(), strict=True))
    mask = torch.ones(1, 3, dtype=torch.bool)
    means = {e: (pi * compute_kl(pi.log()[None], ref.log()[None], mask, estimator=e)).sum().item() for e in KlEstimator}
    assert means[KlEstimator.K1] == pytest.approx(exact, rel=1e-6)
    assert means[KlEstimator.K3] == pytest.approx(exact, rel=1e-6)
    assert abs(means[KlEstimator.K2] - exact) > 0.005


@pytest.mark.parametrize("estimator", ["k2", "k3"])
def test_never_negative(estimator):
    torch.manual_seed(0)
    logprobs = -torch.rand(8, 64)
    ref = logprobs + torch.randn(8, 64) * 10 ** torch.empty(8, 64).uniform_(-6, 0.5)
    kl = compute_kl(logprobs, ref, torch.ones(8, 64, dtype=torch.bool), estimator=estimator)
    assert kl.min().item() >= 0.0


def test_k3_keeps_its_digits_near_equal_policies():
    # log r = 2^-10: k3 = e^x - 1 - x = x^2/2 + x^3/6 + ...; with exp(x) - 1 in float32 a tenth of it would be noise
    x = 2.0**-10
    kl = compute_kl(torch.zeros(1, 1), torch.full((1, 1), x), ONE, estimator=KlEstimator.K3)
    assert kl.item() == pytest.approx(x**2 / 2 + x**3 / 6, rel=2e-4)


@pytest.mark.parametrize("estimator", list(KlEstimator))
def test_padding_changes_nothing(estimator):
    logprobs = torch.tensor([[-1.0, NAN, -2.0]], requires_grad=True)
    ref = torch.tensor([[-1.5, -1.0, -1.0]])
    mask = torch.tensor([[1, 0, 1]]).bool()
    kl = compute_kl(logprobs, ref, mask, estimator=estimator)
    short = compute_kl(torch.tensor([[-1.0, -2.0]]), ref[:, [0, 2]], mask[:, [0, 2]], estimator=estimator)
    assert kl[0].tolist() == [short[0, 0].item(), 0.0, short[0, 1].item()]
    kl.sum().backward()
    assert logprobs.grad[0, 1].item() == 0.0


def test_mean_is_over_trained_tokens():
    # k1 of the trained tokens: 0.5 and -1; mean -0.25; as half of a minibatch of 4 tokens -0.125
    logprobs, ref = torch.tensor([[-1.0, NAN, -2.0]]), torch.tensor([[-1.5, -1.0, -1.0]])
    mask = torch.tensor([[1, 0, 1]]).bool()
    assert compute_mean_kl(logprobs, ref, mask, estimator=KlEstimator.K1).item() == -0.25
    assert compute_mean_kl(logprobs, ref, mask, estimator=KlEstimator.K1, denominator=4).item() == -0.125


def test_shapes_and_estimator_are_checked():
    with pytest.raises(ValueError, match=r"ref_logprobs_BT has shape \(1, 1\)"):
        compute_kl(torch.zeros(1, 2), torch.zeros(1, 1), torch.ones(1, 2, dtype=torch.bool), estimator=KlEstimator.K1)
    with pytest.raises(ValueError, match="k4"):
        compute_kl(torch.zeros(1, 1), torch.zeros(1, 1), ONE, estimator="k4")
