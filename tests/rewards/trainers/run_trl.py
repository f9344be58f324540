"""Five steps of TRL's GRPO and RLOO with the reward, on a random model of a few words; prints JSON."""

import importlib.metadata
import json
import sys
import warnings

import torch
from datasets import Dataset
from rows import TOOLS
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer

from tltrain.rewards.adapters.trl import make_reward

# each a token, so that a model that knows nothing writes calls
WORDS = [
    "find(day='Mon')",
    "find(day='Tue')",
    "find()",
    "finish()",
    "find(day='Mon',hour=3)",
    "fnd()",
    "Hello.",
    "When?",
]
NUM_STEPS = 5
ROWS = {
    "gold": ["find(day='Mon')", "finish()", "null", json.dumps(["find(day='Mon')", "finish()"]), "find(day="],
    "tools": [json.dumps(TOOLS)] * 5,
}


def tiny(folder):
    """A random model, which lies in the folder too, and its tokenizer."""
    vocabulary = {word: number for number, word in enumerate(["<end>", "<unk>", *WORDS])}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made.decoder = decoders.Fuse()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=made, eos_token="<end>", pad_token="<end>", unk_token="<unk>", padding_side="left"
    )
    tokenizer.chat_template = "{% for message in messages %}{{ message['content'] + ' ' }}{% endfor %}"
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        bos_token_id=None,
        eos_token_id=0,
        pad_token_id=0,
        initializer_range=0.1,
    )
    LlamaForCausalLM(config).save_pretrained(folder)  # RLOO loads its reference from there
    return LlamaForCausalLM.from_pretrained(folder), tokenizer


def train(trainer_class, config_class, is_chat, folder):
    """Train; returns what was asked of the reward, what it answered, and what the trainer logged."""
    model, tokenizer = tiny(f"{folder}/model")
    judge = make_reward(syntax="python")
    seen = []

    def watched(prompts, completions, **rest):
        values = judge(prompts, completions, **rest)
        texts = [one if isinstance(one, str) else one[0]["content"] for one in completions]
        seen.append([list(row) for row in zip(texts, rest["gold"], values, strict=True)])
        return values

    watched.__name__ = judge.__name__
    prompt = [{"role": "user", "content": "When?"}] if is_chat else "When?"
    config = config_class(
        output_dir=folder,
        max_steps=NUM_STEPS,
        per_device_train_batch_size=8,
        num_generations=4,
        max_completion_length=1,
        learning_rate=1e-2,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        use_cpu=True,
        disable_tqdm=True,
        seed=0,
    )
    trainer = trainer_class(
        model=model,
        reward_funcs=watched,
        args=config,
        train_dataset=Dataset.from_dict({"prompt": [prompt] * len(ROWS["gold"]), **ROWS}),
        processing_class=tokenizer,
    )
    before = {name: value.clone() for name, value in model.named_parameters()}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trainer.train()
    return {
        "seen": seen,
        "log": [entry for entry in trainer.state.log_history if "loss" in entry],
        "changed": any(not torch.equal(before[name], value) for name, value in model.named_parameters()),
        "warned": sum("is not scored" in str(one.message) for one in caught),
    }


if __name__ == "__main__":
    found = {
        "version": importlib.metadata.version("trl"),
        "grpo": train(GRPOTrainer, GRPOConfig, is_chat=True, folder=f"{sys.argv[1]}/grpo"),
        "rloo": train(RLOOTrainer, RLOOConfig, is_chat=False, folder=f"{sys.argv[1]}/rloo"),
    }
    print("\n" + json.dumps(found))
