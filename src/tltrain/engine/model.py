"""Loading, adapting and saving models."""

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from tltrain.engine.embedded import NAME, cache_folder, convert_gguf, embedded_model
from tltrain.engine.settings import LoraConfig
from tltrain.errors import ModelError
from tltrain.files import atomic_folder, hash_file


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadedModel:
    """A causal language model and its tokenizer."""

    model: Any
    """A transformers (or peft) model with `.get_base_model` where adapted."""
    tokenizer: Any
    """A fast tokenizer with an end-of-sequence token."""


def load_model(
    spec: str | Path,
    *,
    dtype: Literal["float32", "bfloat16", "auto"] = "float32",
    base: Literal["full", "nf4"] = "full",
) -> LoadedModel:
    """Load a model and its tokenizer.

    Args:
        spec: `smollm2-135m-instruct` (embedded), a folder, a `.gguf` file, or a hub id.
        dtype: dtype of the weights; "auto" keeps the checkpoint's own.
        base: "nf4" holds the linear layers in 4 bits, for adapters to be trained on top. Untested on a GPU.

    Raises:
        ModelError: nothing there, no tokenizer, or a tokenizer without offsets or end token; or 4 bits are asked for,
            and there is no GPU or no bitsandbytes.
    """
    import torch
    from transformers import AutoModelForCausalLM

    place = resolve_model(spec)
    tokenizer = load_tokenizer(place)
    wanted: Any = "auto" if dtype == "auto" else getattr(torch, dtype)
    settings = _four_bits() if base == "nf4" else {}
    try:
        model = AutoModelForCausalLM.from_pretrained(place, dtype=wanted, **settings)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"model {spec}: cannot be loaded ({_first_line(error)})") from error
    return LoadedModel(model=model, tokenizer=tokenizer)


def load_tokenizer(place: str | Path) -> Any:
    """Load a fast tokenizer.

    Raises:
        ModelError: it is missing, slow (no character offsets), or has no end-of-sequence token.
    """
    from transformers import AutoTokenizer

    place = resolve_model(place)
    if isinstance(place, Path) and not any((place / name).exists() for name in _TOKENIZER_FILES):
        raise ModelError(f"model folder {place}: holds no tokenizer ({', '.join(_TOKENIZER_FILES)}); copy it there")
    try:
        tokenizer = AutoTokenizer.from_pretrained(place)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise ModelError(f"model {place}: its tokenizer cannot be loaded ({_first_line(error)})") from error
    if not tokenizer.is_fast:
        raise ModelError(f"model {place}: its tokenizer has no character offsets; a fast tokenizer.json is needed")
    if tokenizer.eos_token is None:
        raise ModelError(f"model {place}: its tokenizer names no end-of-sequence token; set eos_token in its config")
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def resolve_model(spec: str | Path) -> str | Path:
    """The folder, or hub id, that a model's name stands for; a GGUF file is de-quantised into the cache once."""
    if str(spec) == NAME:
        return embedded_model()
    path = Path(spec)
    if path.suffix == ".gguf":
        if not path.is_file():
            raise ModelError(f"model file {path}: not found")
        folder = cache_folder() / f"{path.stem}-{hash_file(path)[:12]}"
        if not folder.is_dir():
            convert_gguf(path, folder)
        return folder
    if path.is_dir():
        if not (path / "config.json").exists():
            raise ModelError(f"model folder {path}: holds no config.json; name a folder made by save_pretrained")
        return path
    if path.exists():
        raise ModelError(f"model {path}: is a file; name a folder, a .gguf file or a hub id")
    if str(spec).startswith((".", "/", "~")) or str(spec).count("/") > 1:
        raise ModelError(f"model folder {path}: not found")
    return str(spec)


def add_lora(model: Any, config: LoraConfig) -> Any:
    """Wrap the model so that only new adapter weights train; switched off, it is the model as it was.

    Raises:
        ModelError: blocks are to be frozen, and the model has no list of them.
    """
    import peft

    settings = peft.LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,
        lora_dropout=config.dropout,
        target_modules=config.target,
        use_rslora=config.variant == "rslora",
        use_dora=config.variant == "dora",
        exclude_modules=_lower_blocks(model, config.frozen_share),
        task_type="CAUSAL_LM",
    )
    return peft.get_peft_model(model, settings)


def _lower_blocks(model: Any, share: float) -> str | None:
    """A regular expression for the modules of so many transformer blocks, the first ones; None for none."""
    number = model.config.get_text_config().num_hidden_layers
    blocks = "|".join(str(block) for block in range(math.floor(share * number)))
    if not blocks:
        return None
    found = find_blocks(model)
    if found is None:
        raise ModelError(f"lora.frozen_share={share}: the model has no list of {number} blocks to freeze; set it to 0")
    return rf"{re.escape(found[0])}\.({blocks})\..*"


def find_blocks(model: Any) -> tuple[str, Any] | None:
    """Name and list of a model's transformer blocks; None where it has no such list."""
    number = model.config.get_text_config().num_hidden_layers
    for name, module in model.named_modules():
        if type(module).__name__ == "ModuleList" and len(module) == number:
            return name, module
    return None


def merge_lora(model: Any, spec: str | Path | None = None) -> Any:
    """The plain model with its adapters merged into the weights; a model without adapters as it is.

    Args:
        model: as `add_lora` gave it.
        spec: what it was loaded from; needed where its base is in 4 bits: the adapters are then merged into the full
            numbers that these stand for.
    """
    if getattr(model, "is_loaded_in_4bit", False):
        assert spec is not None, "a base of 4 bits is merged into a full model of the same shape"
        model = _over_full_weights(model, spec)
    return model.merge_and_unload() if hasattr(model, "merge_and_unload") else model


def checkpoint_activations(model: Any) -> None:
    """Keep the inputs of each transformer block alone, and compute the rest again in the backward pass.

    The gradient is the same, dropout included; the forward pass is computed twice, and memory no longer grows with the
    number of blocks times all that a block computes. Holds for `hidden_states` and what stands on it, in training mode
    and out of it.

    Raises:
        ModelError: the model has no list of blocks.
    """
    from tltrain.engine.remade import make_blocks_again

    found = find_blocks(model)
    if found is None:
        raise ModelError("activation_checkpointing: the model has no list of transformer blocks; set it to false")
    make_blocks_again(found[1])


@contextmanager
def adapters_merged(model: Any) -> Iterator[None]:
    """Context in which adapters stand in the weights, so that a forward pass costs no more than without them.

    For passes without gradient. Log-probs differ from those of separate adapters by the rounding of the weights alone;
    afterwards the model is as before, to the last bit. Memory: one more copy of the adapted weights. Layers without
    adapters, those in 4 bits, and those that do not compute in float32 are left as they are: there a small change would
    be rounded off.
    """
    from peft.tuners.lora import Linear

    adapted = [module for module in model.modules() if isinstance(module, Linear)]
    layers = [layer for layer in adapted if _computes_exactly(layer) and not layer.merged]
    weights = [layer.get_base_layer().weight.data for layer in layers]
    try:
        for layer in layers:
            layer.merge(safe_merge=True)  # into a new tensor
        yield
    finally:
        for layer, weight in zip(layers, weights, strict=True):
            layer.get_base_layer().weight.data = weight
            layer.merged_adapters.clear()
            layer._caches.clear()  # DoRA leaves there what it needs to undo itself


def save_model(model: Any, tokenizer: Any, folder: Path) -> None:
    """Write weights, config, tokenizer and chat template, whole or not at all, in place of what was there."""
    with atomic_folder(folder, overwrite=True) as temporary:
        model.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)


def _four_bits() -> dict[str, Any]:
    import torch
    from transformers import BitsAndBytesConfig

    from tltrain.engine.device import pick_device

    if not torch.cuda.is_available():
        raise ModelError("lora.base=nf4: needs a GPU that CUDA (or ROCm) finds, and there is none; use lora.base=full")
    if find_spec("bitsandbytes") is None:
        raise ModelError('lora.base=nf4: needs bitsandbytes; pip install "tltrain[nf4]", or use lora.base=full')
    quantised = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    return {"quantization_config": quantised, "device_map": {"": pick_device()}}


def _over_full_weights(model: Any, spec: str | Path) -> Any:
    """The adapted model with the numbers that its 4 bits stand for in full; on the CPU."""
    import peft
    import torch
    from peft.utils.integrations import dequantize_module_weight

    full = peft.get_peft_model(load_model(spec).model, model.peft_config["default"])
    adapters = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    with torch.no_grad():
        for name, module in model.named_modules():
            if hasattr(module._parameters.get("weight"), "quant_state"):
                full.get_submodule(name).weight.copy_(dequantize_module_weight(module))
        for name, parameter in full.named_parameters():
            if name in adapters:
                parameter.copy_(adapters[name])
    return full


def _computes_exactly(layer: Any) -> bool:
    import torch

    weight = layer.get_base_layer().weight
    return weight.dtype == torch.float32 and not torch.is_autocast_enabled(weight.device.type)


_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json")


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]
