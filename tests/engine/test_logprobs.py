import pytest
import torch

from tiny_models import tiny_llama
from tltrain.engine.logprobs import TargetSequence, target_scores

SEQUENCES = (
    TargetSequence([*range(20), 30, 31, 32, 33], [5, 21, 23]),  # a target in the shared part too
    TargetSequence([*range(20), 40], [20]),
    TargetSequence([*range(20), 50, 51, 52], []),
    TargetSequence([*range(20), 60, 3, 5, 7, 9, 2], [1, 25]),
)


def plain_logprobs(model, temperature: float = 1.0) -> torch.Tensor:
    """From transformers' own logits, one sequence at a time."""
    rows = []
    for sequence in SEQUENCES:
        log_p = torch.log_softmax(model(input_ids=torch.tensor([sequence.ids])).logits[0] / temperature, dim=-1)
        rows += [log_p[position - 1, sequence.ids[position]] for position in sequence.positions]
    return torch.stack(rows)


@pytest.mark.parametrize("share_prefix", [True, False])
@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_equals_the_models_own_logits(share_prefix, temperature):
    model = tiny_llama(dtype=torch.float64)
    output = target_scores(model, SEQUENCES, temperature=temperature, share_prefix=share_prefix, chunk_size=2)
    torch.testing.assert_close(output.scores.logprobs, plain_logprobs(model, temperature), rtol=1e-10, atol=1e-10)
    assert output.lengths == (3, 1, 0, 2)
    assert output.hidden.shape == (6, 32)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
def test_gradient_equals_that_of_the_models_own_logits(dtype, tolerance):
    model = tiny_llama(dtype=dtype)
    weights = torch.tensor([1.0, -2.0, 0.5, 3.0, 1.0, 0.25], dtype=dtype)
    parameters = list(model.parameters())
    output = target_scores(model, SEQUENCES)
    found = torch.autograd.grad((weights * output.scores.logprobs).sum(), parameters)
    expected = torch.autograd.grad((weights * plain_logprobs(model)).sum(), parameters)
    for gradient, wanted in zip(found, expected, strict=True):
        scale = max(1.0, wanted.abs().max().item())
        torch.testing.assert_close(gradient, wanted, rtol=tolerance, atol=tolerance * scale)


@pytest.mark.parametrize("positions", [[0], [4], [-1], [1, 4]])
def test_positions_that_nothing_predicts_are_refused(positions):
    with pytest.raises(ValueError, match=r"positions must lie in \[1, 4\)"):
        target_scores(tiny_llama(), [TargetSequence([1, 2, 3, 4], positions)])
