import pytest
from pydantic import ValidationError

from tltrain.engine.settings import LoraConfig
from tltrain.rl.config import PpoConfig


def test_defaults_are_the_papers_where_it_states_them():
    config = PpoConfig()
    assert (config.num_epochs, config.samples_per_prompt) == (3, 1)
    assert (config.max_prompt_length, config.max_new_tokens) == (8192, 512)
    assert (config.kl_coef, config.reward_clip, config.clip_range, config.value_clip_range) == (0.4, 5, 0.2, 0.2)
    assert (config.gamma, config.gae_lambda) == (1, 0.95)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"prompts_per_step": 8, "samples_per_prompt": 2, "minibatch_size": 12, "group_size": 4},
            r"minibatch_size=12 does not divide prompts_per_step \* samples_per_prompt=16; use a divisor such as 8",
        ),
        ({"minibatch_size": 32}, "minibatch_size=32 does not divide .*=16; use a divisor such as 16"),
        ({"group_size": 5}, "group_size=5 does not divide prompts_per_step=16; use a divisor such as 4"),
        ({"critic_lora": LoraConfig()}, "critic_lora is set, .* set critic='separate'"),
        ({"lora": LoraConfig(dropout=0.1)}, "lora.dropout=0.1; .* use 0"),
        ({"critic": "separate", "critic_lora": LoraConfig(dropout=0.1)}, "critic_lora.dropout=0.1; .* use 0"),
        ({"keep": "best", "heldout_share": 0}, "keep='best' needs held-out prompts, .*heldout_share=0; raise it"),
        ({"reward": {"content": 2}}, "reward.content=2.0 is not below reward.right=1.0"),
        ({"reward": {"formt": -2}}, "formt"),
        ({"temperature": 0}, "greater than 0"),
        ({"clip_ratio": 0.2}, "clip_ratio"),
    ],
)
def test_fields_that_do_not_go_together_are_refused_with_field_value_rule_and_remedy(fields, message):
    with pytest.raises(ValidationError, match=message):
        PpoConfig(**fields)


def test_a_config_survives_json():
    config = PpoConfig(lora=LoraConfig(), critic="separate", reward={"content": -0.5}, value_clip_range=None)
    assert PpoConfig.model_validate_json(config.model_dump_json()) == config
    assert config.reward.content == -0.5
