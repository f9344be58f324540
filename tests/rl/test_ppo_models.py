import pytest
import torch
from safetensors.torch import load_file

from tltrain.engine.logprobs import TargetSequence, target_scores
from tltrain.engine.model import load_model
from tltrain.engine.settings import LoraConfig
from tltrain.rl.actor import Actor
from tltrain.rl.config import PpoConfig
from tltrain.rl.critic import Critic

CPU = torch.device("cpu")
SEQUENCES = [TargetSequence(list(range(5, 40)) + tail, range(33, 38)) for tail in ([7, 8, 9], [50, 60, 70])]


def make_actor(folder, **options):
    return Actor(PpoConfig(precision="float32", **options), load_model(folder).model, CPU)


def disturb(module):
    """Change all weights that train."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn_like(parameter))


@pytest.mark.parametrize("lora", [None, LoraConfig(rank=4)])
def test_the_reference_stays_the_sft_model(tiny_sft, lora):
    sft_scores = target_scores(load_model(tiny_sft).model.eval(), SEQUENCES).scores
    actor = make_actor(tiny_sft, lora=lora)
    assert torch.equal(actor.scores(SEQUENCES).scores.logprobs, sft_scores.logprobs)  # it starts as the SFT model
    disturb(actor.model)
    assert torch.equal(actor.reference_scores(SEQUENCES).logprobs, sft_scores.logprobs)
    after = actor.scores(SEQUENCES).scores.logprobs
    assert not torch.allclose(after, sft_scores.logprobs, atol=1e-3)  # adapters are switched on again
    after.sum().backward()
    assert all(parameter.grad is not None for parameter in actor.model.parameters() if parameter.requires_grad)


def test_with_adapters_nothing_else_trains(tiny_sft):
    actor = make_actor(tiny_sft, lora=LoraConfig(rank=4))
    actor.reference_scores(SEQUENCES)
    names = [name for name, parameter in actor.model.named_parameters() if parameter.requires_grad]
    assert names
    assert all("lora_" in name for name in names)


def test_states_are_those_that_predict_the_targets(tiny_sft):
    actor = make_actor(tiny_sft)
    assert torch.equal(actor.states(SEQUENCES), actor.scores(SEQUENCES).hidden.detach())


def test_log_probs_are_of_the_temperature(tiny_sft):
    warm = make_actor(tiny_sft, temperature=2.0)
    logits = load_model(tiny_sft).model(torch.tensor([SEQUENCES[0].ids])).logits[0]
    expected = torch.log_softmax(logits / 2.0, dim=-1)[range(32, 37), SEQUENCES[0].ids[33:38]]
    torch.testing.assert_close(warm.scores(SEQUENCES[:1]).scores.logprobs, expected)
    torch.testing.assert_close(warm.reference_scores(SEQUENCES[:1]).logprobs, expected)


@pytest.mark.parametrize("lora", [None, LoraConfig(rank=4)])
def test_a_separate_critic_starts_from_the_weights_of_the_sft_model(tiny_sft, lora):
    sft_model = load_model(tiny_sft).model
    critic = Critic(PpoConfig(critic="separate", critic_lora=lora, precision="float32"), sft_model, CPU)
    saved = load_file(tiny_sft / "model.safetensors")
    inner = critic.model.get_base_model() if lora else critic.model
    found = {name.replace(".base_layer", ""): weight for name, weight in inner.state_dict().items()}
    assert saved.keys() <= found.keys()
    assert all(torch.equal(saved[name], found[name]) for name in saved)
    assert critic.values(SEQUENCES, None).tolist() == [0.0] * 10
    # what it reads are the SFT model's hidden states: with a head of ones, the value is their sum
    torch.nn.init.ones_(critic.head.weight)
    hidden = target_scores(sft_model, SEQUENCES).hidden
    torch.testing.assert_close(critic.values(SEQUENCES, None), hidden.sum(1))


def test_a_separate_critic_shares_no_weights_with_the_actor(tiny_sft):
    config = PpoConfig(critic="separate", precision="float32")
    sft_model = load_model(tiny_sft).model
    critic, actor = Critic(config, sft_model, CPU), Actor(config, sft_model, CPU)
    torch.nn.init.ones_(critic.head.weight)
    before = critic.values(SEQUENCES, None)
    disturb(actor.model)
    assert torch.equal(critic.values(SEQUENCES, None), before)
    critic.values(SEQUENCES, None).sum().backward()
    assert all(parameter.grad is None for parameter in actor.model.parameters())
    # the output layer, which no value depends on, is no part of what trains
    trained = {name for name, parameter in critic.named_parameters() if parameter.requires_grad}
    assert trained == {name for name, parameter in critic.named_parameters() if parameter.grad is not None}


def test_a_head_reads_the_actor_and_sends_no_gradient_back(tiny_sft):
    actor = make_actor(tiny_sft)
    critic = Critic(PpoConfig(), load_model(tiny_sft).model, CPU)
    hidden = actor.scores(SEQUENCES).hidden
    assert critic.values(SEQUENCES, hidden).tolist() == [0.0] * 10
    critic.values(SEQUENCES, hidden).sum().backward()
    assert all(parameter.grad is None for parameter in actor.model.parameters())
    torch.testing.assert_close(critic.head.weight.grad, hidden.detach().sum(0, keepdim=True))
    assert [name for name, _ in critic.named_parameters()] == ["head.weight", "head.bias"]
