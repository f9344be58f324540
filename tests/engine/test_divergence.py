import math

import pytest
import torch

from tltrain.engine import divergence
from tltrain.engine.divergence import Divergence, compare_distributions
from tltrain.engine.head import Head


def compare(first, first_weight, second, second_weight, **options) -> Divergence:
    return compare_distributions(first, Head(first_weight), second, Head(second_weight), **options)


def heads(*, num=37, seed=0, dtype=torch.float64, sizes=((8, 50), (12, 50))):
    generator = torch.Generator().manual_seed(seed)
    return [
        part.to(dtype)
        for width, vocabulary in sizes
        for part in (
            torch.randn(num, width, generator=generator, dtype=torch.float64),
            torch.randn(vocabulary, width, generator=generator, dtype=torch.float64),
        )
    ]


def directly(first, first_weight, second, second_weight):
    """KL both ways out of whole matrices of probabilities."""
    p, q = (torch.softmax((h.double() @ w.double().T), -1) for h, w in ((first, first_weight), (second, second_weight)))
    return (p * (p / q).log()).sum(-1), (q * (q / p).log()).sum(-1), p.argmax(-1) == q.argmax(-1)


@pytest.mark.parametrize("chunk_size", [1, 10, 37, 1000])
def test_both_divergences_are_those_of_the_whole_matrices(chunk_size):
    parts = heads()
    found, (kl, reverse, agrees) = compare(*parts, chunk_size=chunk_size), directly(*parts)
    torch.testing.assert_close(found.kl, kl, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found.reverse_kl, reverse, rtol=1e-12, atol=1e-12)
    assert torch.equal(found.agrees, agrees)
    assert 0 < agrees.sum() < len(agrees)


def test_float32_is_near_the_float64_sums():
    parts = heads(dtype=torch.float32)
    found, (kl, _, _) = compare(*parts), directly(*parts)
    assert found.kl.dtype == torch.float32
    torch.testing.assert_close(found.kl.double(), kl, rtol=1e-5, atol=1e-5)  # float32 has seven digits


def test_the_first_is_the_truth():
    # p = (1/2, 1/2) and q = (9/10, 1/10): KL(p || q) = ln(5/3), KL(q || p) = 0.9 ln 1.8 + 0.1 ln 0.2
    p, q = (torch.tensor([shares], dtype=torch.float64).log() for shares in ((0.5, 0.5), (0.9, 0.1)))
    found = compare(p, torch.eye(2).double(), q, torch.eye(2).double())
    assert found.kl.item() == pytest.approx(math.log(5 / 3))
    assert found.reverse_kl.item() == pytest.approx(0.9 * math.log(1.8) + 0.1 * math.log(0.2))


def test_a_model_is_no_way_from_itself():
    hidden, weight, _, _ = heads(dtype=torch.float32)
    found = compare(hidden, weight, hidden, weight)
    assert found.kl.eq(0).all()
    assert found.reverse_kl.eq(0).all()
    assert found.agrees.all()


def test_rows_that_only_one_embedding_has_count_nowhere():
    first, first_weight, second, second_weight = heads(sizes=((8, 50), (12, 64)))
    found = compare(first, first_weight, second, second_weight)
    kl, reverse, _ = directly(first, first_weight, second, second_weight[:50])
    torch.testing.assert_close(found.kl, kl)
    torch.testing.assert_close(found.reverse_kl, reverse)


def test_logits_exist_for_one_chunk_at_a_time(monkeypatch):
    sizes = []
    softmax = torch.log_softmax
    monkeypatch.setattr(
        divergence.torch, "log_softmax", lambda logits, dim: sizes.append(len(logits)) or softmax(logits, dim)
    )
    compare(*heads(), chunk_size=10)
    assert max(sizes) == 10


def test_different_numbers_of_targets_are_refused():
    first, first_weight, second, second_weight = heads()
    with pytest.raises(ValueError, match="as many targets of both; got 37, 36"):
        compare(first, first_weight, second[:-1], second_weight)
