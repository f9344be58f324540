import random

import pytest
import torch

from engine.kept import watching
from tiny_models import tiny_llama, tiny_relative
from tltrain.engine import tree_attention, tree_blocks
from tltrain.engine.prefix_tree import MIN_SHARED
from tltrain.engine.tree_attention import Trunk, can_run_trees, hidden_states, prefill


def family(seed: int = 0) -> list[list[int]]:
    """Sequences that share beginnings at two levels, one that is the beginning of others, a stranger, and a twin."""
    rng = random.Random(seed)

    def some(length: int) -> list[int]:
        return [rng.randrange(61) for _ in range(length)]

    stem = some(MIN_SHARED + 8)
    deep = stem + some(MIN_SHARED)
    return [stem + some(5), deep + some(7), deep + some(3), deep, stem + some(150), some(9), deep, stem + some(6)]


def run(model, sequences, *, share: bool) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """States of each sequence, and the gradient of a loss in which each counts."""
    states = hidden_states(model, sequences, share_prefix=share)
    each = [
        states.at([range(len(s)) if n == number else [] for n, s in enumerate(sequences)])
        for number in range(len(sequences))
    ]
    generator = torch.Generator().manual_seed(0)
    loss = sum((state * torch.randn(state.shape, generator=generator, dtype=state.dtype)).sum() for state in each)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return each, list(torch.autograd.grad(loss, parameters, allow_unused=True))


def one_by_one(model, sequences) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """The same by transformers alone, a sequence at a time."""
    each = [model.base_model(input_ids=torch.tensor([sequence])).last_hidden_state[0] for sequence in sequences]
    generator = torch.Generator().manual_seed(0)
    loss = sum((state * torch.randn(state.shape, generator=generator, dtype=state.dtype)).sum() for state in each)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return each, list(torch.autograd.grad(loss, parameters, allow_unused=True))


def assert_same(found, expected, tolerance: float) -> None:
    for state, wanted in zip(found[0], expected[0], strict=True):
        torch.testing.assert_close(state, wanted, rtol=tolerance, atol=tolerance)
    for gradient, wanted in zip(found[1], expected[1], strict=True):
        if wanted is not None:
            scale = max(1.0, wanted.abs().max().item())
            torch.testing.assert_close(gradient, wanted, rtol=tolerance, atol=tolerance * scale)


@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    # the same sums in another order: some hundred roundings of 1e-16, or of 6e-8
    [(torch.float64, 1e-10), (torch.float32, 1e-5)],
)
@pytest.mark.parametrize("share", [True, False])
def test_states_and_gradients_equal_those_of_single_sequences(dtype, tolerance, share):
    model = tiny_llama(dtype=dtype)
    expected = one_by_one(model, family())
    assert_same(run(model, family(), share=share), expected, tolerance)
    assert can_run_trees(model)


@pytest.mark.parametrize("kind", ["qwen3", "mistral", "gemma3"])
def test_other_architectures_windows_included(kind):
    model = tiny_relative(kind)
    expected = one_by_one(model, family())
    assert can_run_trees(model)
    assert_same(run(model, family(), share=True), expected, 1e-5)


def test_under_autocast_states_come_in_float32_and_are_as_exact_as_bfloat16():
    model = tiny_relative("qwen3")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert hidden_states(model, family()).at([[0], *[[]] * 7]).dtype is torch.float32
        assert can_run_trees(model)


def test_gradient_checkpointing_changes_nothing():
    model = tiny_llama(dtype=torch.float64)
    expected = one_by_one(model, family())
    assert can_run_trees(model)
    model.gradient_checkpointing_enable()
    model.train()  # the tiny model has no dropout
    assert_same(run(model, family(), share=True), expected, 1e-10)


def test_the_prefix_runs_once(monkeypatch):
    sizes = []
    real = tree_attention.backbone

    def counting(model):
        inner = real(model)

        def forward(**arguments):
            sizes.append(tuple(arguments["input_ids"].shape))
            return inner(**arguments)

        return forward

    model = tiny_llama()
    assert can_run_trees(model)
    stem = list(range(MIN_SHARED))
    monkeypatch.setattr(tree_attention, "can_run_trees", lambda _: True)
    monkeypatch.setattr(tree_attention, "backbone", counting)
    hidden_states(model, [[*stem, 20, 21], [*stem, 30]])
    hidden_states(model, [[*stem, 20, 21], [*stem, 30]], share_prefix=False)
    assert sizes == [(1, MIN_SHARED + 3), (1, 2 * MIN_SHARED + 3)]


@pytest.fixture
def under_masks(monkeypatch):
    """Attention block by block, as on a GPU."""
    monkeypatch.setattr(tree_blocks, "_runs_pieces", lambda *_: False)


@pytest.mark.usefixtures("under_masks")
def test_blocks_under_masks_give_the_same():
    model = tiny_llama(dtype=torch.float64)
    assert_same(run(model, family(), share=True), one_by_one(model, family()), 1e-10)


def kept_tensors(model, sequences) -> list[torch.Tensor]:
    """What a forward pass keeps for the backward pass."""
    with watching() as kept:
        hidden_states(model, sequences)
    return kept


def branches_of(stem_length: int, *lengths: int) -> list[list[int]]:
    rng = random.Random(0)
    stem, *branches = ([rng.randrange(61) for _ in range(length)] for length in (stem_length, *lengths))
    return [stem + branch for branch in branches]


@pytest.mark.usefixtures("under_masks")
def test_under_masks_prefix_keys_are_kept_for_key_value_heads_alone():
    # 2 blocks of branches see the stem; tiny_llama has 4 heads, 2 key-value heads of 8 features, 2 layers
    model = tiny_llama()
    can_run_trees(model)
    kept = kept_tensors(model, branches_of(40, 100, 100))
    long = [tensor for tensor in kept if tensor.ndim == 4 and tensor.shape[2:] == (140, 8)]
    assert {tensor.shape[1] for tensor in long} == {2}
    assert len(long) == 2 * 2 * 2  # keys and values of each block, in each layer
    masks = {tensor.data_ptr() for tensor in kept if tensor.shape == (1, 1, 100, 140)}
    assert len(masks) == 2  # the layers share those of the blocks


def test_no_copies_of_keys_and_no_masks_are_kept():
    model = tiny_llama()
    can_run_trees(model)
    kept = kept_tensors(model, branches_of(40, 100, 100))
    of_attention = [tensor for tensor in kept if tensor.ndim == 4 and tensor.shape[1] > 1 and tensor.shape[3] == 8]
    assert {tensor.shape[1:3] for tensor in of_attention} == {(4, 240), (2, 240)}
    assert not [tensor for tensor in kept if tensor.ndim == 4 and tensor.shape[3] in (100, 140, 240)]


def test_autocast_gives_the_states_of_single_sequences():
    """Queries and keys leave their rotation as float32 there, values their projection as bfloat16."""
    model = tiny_llama()
    assert can_run_trees(model)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        expected = one_by_one(model, family())
        found = run(model, family(), share=True)
    for tensor, wanted in zip((*found[0], *found[1]), (*expected[0], *expected[1]), strict=True):
        if wanted is not None:
            assert (tensor - wanted).norm() <= 0.03 * wanted.norm()  # a dozen roundings of 1/256


@pytest.mark.parametrize("kind", ["llama", "qwen3", "mistral", "gemma3"])
@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("masks", [False, True])
def test_passes_over_one_trunk_give_the_gradient_of_one_pass(kind, checkpointing, masks, monkeypatch):
    """Three passes go on after 30 common tokens, within windows of 32 and 40 and beyond them."""
    if masks:
        monkeypatch.setattr(tree_blocks, "_runs_pieces", lambda *_: False)
    make = tiny_llama if kind == "llama" else lambda **settings: tiny_relative(kind, **settings)
    model = make(dtype=torch.float64)
    model.train()
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    assert can_run_trees(model)
    sequences = branches_of(31, 25, 3, 1, 60, 61, 2)
    generator = torch.Generator().manual_seed(0)
    weights = [torch.randn(len(s), 32, generator=generator, dtype=torch.float64) for s in sequences]

    def own_loss(states, numbers) -> torch.Tensor:
        """Of the tokens behind the trunk alone."""
        places = [range(30, len(sequences[number])) for number in numbers]
        wanted = torch.cat([weights[number][30:] for number in numbers])
        return (states.at(places) * wanted).sum()

    parameters = list(model.base_model.parameters())
    everything = range(len(sequences))
    expected = torch.autograd.grad(own_loss(hidden_states(model, sequences), everything), parameters)
    trunk = Trunk(model, sequences[0][:30])
    for numbers in ([0, 1, 2], [3], [4, 5]):
        own_loss(hidden_states(model, [sequences[n] for n in numbers], trunk=trunk), numbers).backward()
    loss = trunk.backward_loss()
    assert loss.item() == 0
    loss.backward()
    for parameter, wanted in zip(parameters, expected, strict=True):
        scale = max(1.0, wanted.abs().max().item())
        torch.testing.assert_close(parameter.grad, wanted, rtol=1e-6, atol=1e-6 * scale)


def test_generation_is_what_it_was():
    model, same = tiny_llama(), tiny_llama()
    prompt = torch.tensor([family()[0]])
    expected = same.generate(prompt, max_new_tokens=8, do_sample=False, pad_token_id=0)
    assert can_run_trees(model)
    assert model.generate(prompt, max_new_tokens=8, do_sample=False, pad_token_id=0).tolist() == expected.tolist()


def test_models_without_trees_run_one_by_one(monkeypatch):
    """A model that pays no heed to the tree is found out, keeps its attention and gives the same numbers."""
    model = tiny_llama(dtype=torch.float64)
    expected = one_by_one(model, family())
    real = tree_blocks._attend

    def heedless(*arguments, tree=None, **settings):  # noqa: ARG001
        return real(*arguments[:4], None, **settings)

    monkeypatch.setitem(tree_blocks.AttentionInterface._global_mapping, "tltrain_tree", heedless)
    assert not can_run_trees(model)
    assert model.config._attn_implementation == "sdpa"
    assert_same(run(model, family(), share=True), expected, 1e-10)


def test_a_lora_model_is_looked_through():
    from tltrain.engine.model import add_lora
    from tltrain.engine.settings import LoraConfig

    plain = tiny_llama()
    everywhere = [range(len(sequence)) for sequence in family()]
    expected = hidden_states(plain, family()).at(everywhere)
    adapted = add_lora(plain, LoraConfig(rank=2))
    before = hidden_states(adapted, family()).at(everywhere)
    torch.testing.assert_close(before, expected)  # adapters start at zero
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.fill_(0.1)
    assert not torch.allclose(hidden_states(adapted, family()).at(everywhere), expected)


def test_the_attention_is_not_saved_with_the_model(tmp_path):
    model = tiny_llama()
    assert can_run_trees(model)
    model.save_pretrained(tmp_path)
    assert "tltrain" not in (tmp_path / "config.json").read_text()


def test_prefill_in_small_passes_gives_the_rows_of_one():
    model = tiny_llama(dtype=torch.float64)
    (states, layers), (parted, parted_layers) = prefill(model, family()), prefill(model, family(), max_tokens=40)
    assert len(parted.hidden) > len(states.hidden)  # what passes share is computed in each
    last = [[len(sequence) - 1] for sequence in family()]
    torch.testing.assert_close(parted.at(last), states.at(last), rtol=1e-10, atol=1e-10)
    for layer, other in zip(layers, parted_layers, strict=True):
        for kept, other_kept in zip(layer, other, strict=True):
            for rows, other_rows in zip(states.rows, parted.rows, strict=True):
                torch.testing.assert_close(kept[:, :, rows], other_kept[:, :, other_rows], rtol=1e-10, atol=1e-10)
