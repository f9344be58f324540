"""The embedded model's tokenizer with the chat templates that the tests render with."""

import copy
from pathlib import Path
from typing import Any

import pytest

from tltrain.render.template import ensure_tool_template


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
    tokenizer.chat_template = (Path(__file__).parent / "templates" / "qwen2_5.jinja").read_text(encoding="utf-8")
    assert ensure_tool_template(tokenizer) == "hermes"
    return tokenizer
