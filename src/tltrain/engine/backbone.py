"""The parts of a causal language model of transformers."""

from typing import Any


def backbone(model: Any) -> Any:
    """The part of a causal language model below its output head, adapters included."""
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    return inner.base_model
