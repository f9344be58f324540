"""Each shipped recipe's `sft` and `ppo` for two steps, on a small random model of the architecture that it names."""

import json
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from render.template_shapes import CHATML, SHAPES
from tltrain.engine.model import load_model
from tltrain.engine.settings import LoraConfig
from tltrain.generate.run import generate
from tltrain.recipe import Recipe, load_recipe, shipped_recipes
from tltrain.render.template import ensure_tool_template
from tltrain.rl.train import ppo
from tltrain.sft.train import sft

_SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 32768,
}


def _tokenizer(texts: Iterable[str], specials: tuple[str, ...], **names: Any) -> Any:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=3000,
        special_tokens=list(specials),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    if "bos_token" in names:
        bos = names["bos_token"]
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", special_tokens=[(bos, tokenizer.token_to_id(bos))]
        )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)


def _smollm2(texts: Iterable[str]) -> tuple[Any, Any]:
    """ChatML tokens, a template without tools; embeddings tied."""
    tokenizer = _tokenizer(texts, ("<|endoftext|>", *CHATML), eos_token="<|im_end|>", pad_token="<|im_end|>")
    tokenizer.chat_template = (
        "{% for message in messages %}"
        "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
        "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    )
    return LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), tie_word_embeddings=True, **_SIZES)), tokenizer


def _code_llama(texts: Iterable[str]) -> tuple[Any, Any]:
    """No chat template, texts begin with <s>; heads as many for keys as for queries, embeddings not tied."""
    tokenizer = _tokenizer(texts, ("<unk>", "<s>", "</s>"), bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    sizes = _SIZES | {"num_key_value_heads": 4, "max_position_embeddings": 16384}
    config = LlamaConfig(vocab_size=len(tokenizer), rope_theta=1e6, tie_word_embeddings=False, **sizes)
    return LlamaForCausalLM(config), tokenizer


def _qwen(texts: Iterable[str], *, is_tied: bool) -> tuple[Any, Any]:
    """A template that shows tools, biases in attention; more rows of embeddings than tokens."""
    tokenizer = _tokenizer(texts, ("<|endoftext|>", *CHATML), eos_token="<|im_end|>", pad_token="<|endoftext|>")
    tokenizer.chat_template = SHAPES["qwen2_5"].template()
    config = Qwen2Config(vocab_size=len(tokenizer) + 64, rope_theta=1e6, tie_word_embeddings=is_tied, **_SIZES)
    return Qwen2ForCausalLM(config), tokenizer


class Expected(NamedTuple):
    """What a recipe's model is like."""

    model: str
    make: Callable[[Iterable[str]], tuple[Any, Any]]
    template: str
    syntax: str


RECIPES = {
    "demo": Expected("smollm2-135m-instruct", _smollm2, "tltrain/chatml 1", "python"),
    "paper": Expected("codellama/CodeLlama-7b-hf", _code_llama, "tltrain/plain 1", "python"),
    "qwen2_5_0_5b": Expected(
        "Qwen/Qwen2.5-0.5B-Instruct", lambda texts: _qwen(texts, is_tied=True), "the model's own", "hermes"
    ),
    "qwen2_5_7b": Expected(
        "Qwen/Qwen2.5-7B-Instruct", lambda texts: _qwen(texts, is_tied=False), "the model's own", "hermes"
    ),
}


def _data(recipe: Recipe, folder: Path) -> Path:
    assert recipe.generate is not None
    generate(recipe.generate.model_copy(update={"num_train": 24, "num_test": 0}), folder)
    return folder / "train.jsonl"


def test_no_recipe_is_forgotten():
    assert set(shipped_recipes()) == set(RECIPES)


def _prepare(name: str, folder: Path) -> tuple[Expected, Recipe, Path, Any]:
    """Data of the recipe, and a random model in `folder`/model."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    expected, recipe = RECIPES[name], load_recipe(name)
    assert recipe.model == expected.model
    data = _data(recipe, folder / "data")
    model, tokenizer = expected.make(data.read_text().splitlines())
    model.save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    return expected, recipe, data, model


def _check_changes(before: Path, after: Path, lora: LoraConfig | None) -> None:
    """All weights changed, or those that have adapters."""
    old, new = load_file(before / "model.safetensors"), load_file(after / "model.safetensors")
    changed = {key for key in old if not torch.equal(old[key], new[key])}
    blocks = range(int((lora.frozen_share if lora else 0) * 3), 3)
    adapted = {key for key in old if "proj.weight" in key and any(f"layers.{block}." in key for block in blocks)}
    assert changed == (adapted if lora else set(old))


# 7B is 0.5B with adapters, and so is the demo
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name == "qwen2_5_7b")) for name in sorted(RECIPES)]
)
def test_two_steps_of_sft(name: str, tmp_path: Path):
    expected, recipe, data, model = _prepare(name, tmp_path)
    assert recipe.sft is not None
    steps_an_epoch = math.ceil(24 * (1 - recipe.sft.heldout_share) / recipe.sft.batch_size)
    config = recipe.sft.model_copy(update={"num_epochs": 2 / steps_an_epoch})
    result = sft(config, data=data, model=tmp_path / "model", out=tmp_path / "out")

    assert (result.num_steps, result.num_set_aside, result.num_cut) == (2, 0, 0)
    assert result.chat_template == expected.template
    rows = [json.loads(line) for line in (tmp_path / "out" / "metrics.jsonl").read_text().splitlines()]
    assert all(math.isfinite(row["loss"]) and row["grad_norm"] > 0 for row in rows)
    assert rows[0]["spans"].keys() == {"name", "parameter", "value", "text"}
    loaded = load_model(result.model)
    assert type(loaded.model) is type(model)
    assert ensure_tool_template(loaded.tokenizer) == expected.syntax
    _check_changes(tmp_path / "model", result.model, config.lora)


def _num_letters(*, completion: str, **_: object) -> float:
    """A random model calls nothing, so that by the rules all its completions earn the same."""
    return sum(map(str.isalpha, completion)) / 50


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_two_steps_of_ppo(name: str, tmp_path: Path):
    _, recipe, data, model = _prepare(name, tmp_path)
    assert recipe.ppo is not None
    # small steps of short completions, a rate that shows in two of them, the weights after the last; float32 is fastest
    sizes = {"prompts_per_step": 2, "group_size": 2, "minibatch_size": 4, "max_new_tokens": 8, "max_steps": 2}
    sizes |= {"max_prompts": 12, "num_epochs": 3, "evaluate_every": 2, "precision": "float32", "keep": "last"}
    rate = recipe.ppo.actor_optimizer.model_copy(update={"learning_rate": 1e-3})
    config = recipe.ppo.model_copy(update=sizes | {"actor_optimizer": rate, "max_prompt_length": 8192})
    result = ppo(config, data=data, model=tmp_path / "model", out=tmp_path / "out", reward=_num_letters)

    assert (result.num_steps, result.num_set_aside) == (2, 0)
    rows = [json.loads(line) for line in (tmp_path / "out" / "metrics.jsonl").read_text().splitlines()]
    assert all(math.isfinite(row["policy_loss"]) and row["grad_norm"] > 0 for row in rows)
    assert all(row["num_rollouts"] == 2 * config.samples_per_prompt for row in rows)
    assert rows[0]["kl"] == pytest.approx(0, abs=1e-2)
    assert rows[1]["kl"] != rows[0]["kl"]
    assert type(load_model(result.model).model) is type(model)
    _check_changes(tmp_path / "model", result.model, config.lora)
