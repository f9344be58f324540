import random

import pytest
import torch

from tiny_models import tiny_llama
from tltrain.engine import prefix_tree
from tltrain.engine.prefix_tree import MIN_SHARED, common_prefix_length, hidden_states


def sequences_with_prefix(shared: int, own: list[int], seed: int = 0) -> list[list[int]]:
    """Random sequences of `shared` common tokens and then `own` tokens each; the first own tokens differ."""
    rng = random.Random(seed)
    prefix = [rng.randrange(61) for _ in range(shared)]
    return [prefix + [number] + [rng.randrange(61) for _ in range(length - 1)] for number, length in enumerate(own)]


@pytest.mark.parametrize(
    ("sequences", "length"),
    [
        ([[1, 2, 3], [1, 2, 4, 5]], 2),
        ([[1, 2], [3, 4]], 0),
        ([[1, 2, 3], [1, 2, 3]], 2),  # each keeps a token of its own
        ([[1, 2], [1, 2, 3], [1, 2, 4]], 1),
        ([[1, 2, 3]], 0),  # nobody to share with
        ([[1], [1, 2]], 0),
        (([9, 9, 1], (9, 9, 2)), 2),  # lists and tuples mixed
    ],
)
def test_common_prefix(sequences, length):
    assert common_prefix_length(sequences) == length


@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    # the same sums in another order: some hundred roundings of 1e-16, or of 6e-8
    [(torch.float64, 1e-10), (torch.float32, 1e-5)],
)
@pytest.mark.parametrize("own", [[5, 9, 1, 7], [6, 6, 6]], ids=["ragged", "even"])
def test_states_and_gradients_equal_those_of_copied_prefixes(dtype, tolerance, own):
    model = tiny_llama(dtype=dtype)
    sequences = sequences_with_prefix(MIN_SHARED + 8, own)
    directions = [torch.randn(len(sequence), 32, dtype=dtype) for sequence in sequences]

    def run(share_prefix: bool) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        states = hidden_states(model, sequences, share_prefix=share_prefix)
        # every state counts, those of the shared prefix once for each sequence
        loss = sum((state * direction).sum() for state, direction in zip(states, directions, strict=True))
        return states, list(torch.autograd.grad(loss, list(model.model.parameters())))

    shared_states, shared_gradients = run(True)
    copied_states, copied_gradients = run(False)
    for state, expected, sequence in zip(shared_states, copied_states, sequences, strict=True):
        assert state.shape == (len(sequence), 32)
        torch.testing.assert_close(state, expected, rtol=tolerance, atol=tolerance)
    for gradient, expected in zip(shared_gradients, copied_gradients, strict=True):
        scale = expected.abs().max().item()
        torch.testing.assert_close(gradient, expected, rtol=tolerance, atol=tolerance * max(1.0, scale))


def test_padding_changes_nothing():
    model = tiny_llama(dtype=torch.float64)
    sequences = sequences_with_prefix(0, [3, 11, 6])
    together = hidden_states(model, sequences)
    for sequence, state in zip(sequences, together, strict=True):
        expected = model.model(input_ids=torch.tensor([sequence])).last_hidden_state[0]
        torch.testing.assert_close(state, expected, rtol=1e-10, atol=1e-10)


def test_the_prefix_runs_once(monkeypatch):
    sizes = []
    real = prefix_tree.backbone

    def counting(model):
        inner = real(model)

        def run(**arguments):
            sizes.append(tuple(arguments["input_ids"].shape))
            return inner(**arguments)

        return run

    monkeypatch.setattr(prefix_tree, "backbone", counting)
    model = tiny_llama()
    hidden_states(model, sequences_with_prefix(MIN_SHARED, [4, 2]))
    assert sizes == [(1, MIN_SHARED), (2, 4)]
    sizes.clear()
    hidden_states(model, sequences_with_prefix(MIN_SHARED - 1, [4, 2]))  # too short to be worth it
    assert sizes == [(2, MIN_SHARED + 3)]


def test_a_lora_model_is_looked_through():
    from tltrain.engine.model import add_lora
    from tltrain.engine.settings import LoraConfig

    plain = tiny_llama()
    sequences = sequences_with_prefix(20, [3, 4])
    expected = hidden_states(plain, sequences)
    adapted = add_lora(plain, LoraConfig(rank=2))
    before = hidden_states(adapted, sequences)
    torch.testing.assert_close(before, expected)  # adapters start at zero
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.fill_(0.1)
    assert not torch.allclose(hidden_states(adapted, sequences)[0], expected[0])
