"""The weights of a policy as a folder that an engine in another process reads."""

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tltrain.engine.model import adapters_merged
from tltrain.errors import UsageError

_SHARED_MEMORY = Path("/dev/shm")


class HandedWeights:
    """A folder in which the newest weights lie, each time in a new subfolder.

    Args:
        place: where to make it; None: in shared memory where two copies of the weights fit, else among temporary files.
        dtype: of the tensors in it.
        num_bytes: that the weights take in that dtype.

    Raises:
        UsageError: it cannot be made there.
    """

    def __init__(self, place: Path | None, *, dtype: torch.dtype, num_bytes: int):
        self._dtype = dtype
        place = place or _roomy_place(num_bytes)
        try:
            place.mkdir(parents=True, exist_ok=True)
            self._folder = Path(tempfile.mkdtemp(prefix="tltrain-vllm-", dir=place))
        except OSError as error:
            raise UsageError(f"vllm.weights_dir={place}: no folder can be made there ({error.strerror})") from None
        self._folder.chmod(0o755)  # a server may run as another user
        self._number = 0

    def write(self, model: Any, tokenizer: Any) -> Path:
        """Write config, tokenizer and weights, adapters merged, in the format of `save_pretrained`; the folder.

        What was written before is removed.
        """
        self._number += 1
        target = self._folder / str(self._number)
        plain = model.get_base_model() if hasattr(model, "get_base_model") else model
        with torch.no_grad(), adapters_merged(model):
            weights = {name: value.to(self._dtype) for name, value in plain_weights(model).items()}
            with _config_of(plain, self._dtype):
                plain.save_pretrained(target, state_dict=weights)
        tokenizer.save_pretrained(target)
        shutil.rmtree(self._folder / str(self._number - 1), ignore_errors=True)
        return target

    def close(self) -> None:
        """Remove it."""
        shutil.rmtree(self._folder, ignore_errors=True)


def plain_weights(model: Any) -> Mapping[str, Tensor]:
    """The tensors of a model under the names that it has without adapters; call it where adapters are merged.

    Raises:
        UsageError: there is an adapter of a kind that is not merged.
    """
    if not hasattr(model, "get_base_model"):
        weights: Mapping[str, Tensor] = model.state_dict()
        return weights
    from peft.tuners.lora import Linear
    from peft.tuners.tuners_utils import BaseTunerLayer

    for name, module in model.named_modules():
        if isinstance(module, BaseTunerLayer) and not isinstance(module, Linear):
            raise UsageError(f"vllm: the adapter of {name} is of a kind that is not handed over; adapt linear layers")
        assert not isinstance(module, Linear) or module.merged, f"{name} is not merged"
    state = model.get_base_model().state_dict()
    return {name.replace(".base_layer.", "."): value for name, value in state.items() if ".lora_" not in name}


def _roomy_place(num_bytes: int) -> Path:
    is_usable = _SHARED_MEMORY.is_dir() and os.access(_SHARED_MEMORY, os.W_OK)
    # while new weights are written the old ones are still there, and others need room
    if is_usable and shutil.disk_usage(_SHARED_MEMORY).free > 3 * num_bytes:
        return _SHARED_MEMORY
    return Path(tempfile.gettempdir())


@contextmanager
def _config_of(model: Any, dtype: torch.dtype) -> Iterator[None]:
    """Context in which a model's config names the dtype that is written."""
    before, model.config.dtype = model.config.dtype, dtype
    try:
        yield
    finally:
        model.config.dtype = before
