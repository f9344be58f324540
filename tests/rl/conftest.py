"""A model, a tokenizer and data so small that a whole run takes a second.

Tensors here are tiny: one thread is fastest, and leaves the other cores to other tests.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

torch.set_num_threads(1)


def tiny_tokenizer(texts: Sequence[str], vocab_size: int) -> Any:
    """Byte-level BPE over the texts, with ChatML tokens; the second of them ends a turn."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=["<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|im_end|>",
        additional_special_tokens=["<|im_start|>"],
    )


@pytest.fixture(scope="session")
def few_rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of ten trajectories of the scripted teacher, a mistake among them; each makes one prompt."""
    from tltrain.generate.config import GenerateConfig
    from tltrain.generate.run import generate

    folder = tmp_path_factory.mktemp("few-rows")
    config = GenerateConfig(
        num_train=10,
        num_test=0,
        toolsets_per_kit=1,
        mistake_rate=0.3,
        train_kits=("notes", "bank"),
        test_kits=("units",),
    )
    return generate(config, folder).train


@pytest.fixture(scope="session")
def tiny_sft(few_rows: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a random Llama with two small layers and 400 tokens, standing for a model after SFT."""
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = tiny_tokenizer(few_rows.read_text().splitlines(), 400)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        tie_word_embeddings=False,
        initializer_range=0.2,  # large enough that tokens differ in probability
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("tiny-sft")
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def walker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny model that calls left() or right() at random, and then says "done"; see `walk`."""
    from walk import make_walker

    texts = ["left right done at go 0 1 2 3 -1 -2 You may call tools assistant system user tool Tools"] * 20
    return make_walker(tmp_path_factory.mktemp("walker"), tiny_tokenizer(texts, 330))
