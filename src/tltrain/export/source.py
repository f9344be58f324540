"""The model that is exported: found, loaded in float32, and its adapter put on."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tltrain.engine.model import load_model, load_tokenizer, resolve_model
from tltrain.errors import ModelError, UsageError

ADAPTER_FILE = "adapter_config.json"
DTYPES = ("float32", "bfloat16", "float16")


@dataclass(frozen=True, kw_only=True, slots=True)
class SourcePlan:
    """What is to be loaded."""

    base: str
    """The plain model, as `load_model` takes it."""
    adapter: Path | None
    """A peft adapter folder for it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """The loaded model."""

    model: Any
    """In float32 and evaluation mode; a peft model where there is an adapter, not merged yet."""
    tokenizer: Any
    own_dtype: str
    """Of the plain model's weights on disk."""


def plan_source(model: str | Path, adapter: Path | None) -> SourcePlan:
    """Find out what MODEL and the adapter stand for, without loading weights.

    A folder with adapter_config.json is an adapter of the base that it names.

    Raises:
        ModelError: there is no such model or adapter, or the adapter names no base.
        UsageError: MODEL is an adapter itself, and another one is given.
    """
    if (Path(model) / ADAPTER_FILE).is_file():
        if adapter is not None:
            raise UsageError(f"model {model} is an adapter itself; with --adapter, give the base as MODEL")
        adapter = Path(model)
        base = _read_adapter(adapter).get("base_model_name_or_path")
        if not base:
            raise ModelError(f"{adapter / ADAPTER_FILE} names no base; give the base as MODEL, and --adapter {adapter}")
        try:
            resolve_model(base)
        except ModelError as error:
            raise ModelError(
                f"adapter {adapter}: the base that it names is not there ({error}); "
                f"give the base as MODEL, and --adapter {adapter}"
            ) from error
        return SourcePlan(base=str(base), adapter=adapter)
    if adapter is not None:
        _read_adapter(adapter)
    resolve_model(model)
    return SourcePlan(base=str(model), adapter=adapter)


def load_source(plan: SourcePlan) -> Source:
    """Load model, adapter and tokenizer; the adapter's own tokenizer where its folder has one.

    Raises:
        ModelError: something cannot be loaded, the adapter does not fit the base, or a token has no embedding.
    """
    loaded = load_model(plan.base, dtype="float32")
    own_dtype = _own_dtype(plan.base)
    model, tokenizer = loaded.model, loaded.tokenizer
    if plan.adapter is not None:
        if (plan.adapter / "tokenizer.json").is_file():
            tokenizer = _load_tokenizer_beside(plan.adapter)
        model = _with_adapter(model, plan)
    num_rows = model.get_input_embeddings().weight.shape[0]
    if max(tokenizer.get_vocab().values()) >= num_rows:
        raise ModelError(
            f"the tokenizer has ids up to {max(tokenizer.get_vocab().values())}, and the model {num_rows} embeddings; "
            "export it with the tokenizer that it was trained with"
        )
    return Source(model=model.eval(), tokenizer=tokenizer, own_dtype=own_dtype)


def choose_dtype(wanted: str, source: Source) -> str:
    """The dtype to write; `auto` is that of the plain model's own weights.

    Raises:
        ModelError: `auto`, and these are in a dtype that is not exported.
    """
    if wanted != "auto":
        return wanted
    if source.own_dtype not in DTYPES:
        raise ModelError(f"dtype=auto: the weights are {source.own_dtype}; choose one of {', '.join(DTYPES)}")
    return source.own_dtype


def _read_adapter(folder: Path) -> dict[str, Any]:
    path = folder / ADAPTER_FILE
    if not path.is_file():
        raise ModelError(f"adapter {folder}: holds no {ADAPTER_FILE}; name a folder that peft's save_pretrained made")
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(f"{path}: is damaged ({error}); save the adapter anew") from error
    if not isinstance(fields, dict):
        raise ModelError(f"{path}: holds no JSON object; save the adapter anew")
    return fields


def _load_tokenizer_beside(adapter: Path) -> Any:
    """The tokenizer of an adapter folder, which holds no config.json that `load_tokenizer` would want."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        for file in adapter.iterdir():
            if file.is_file() and file.suffix in (".json", ".jinja", ".model") and file.name != ADAPTER_FILE:
                (Path(folder) / file.name).write_bytes(file.read_bytes())
        (Path(folder) / "config.json").write_text("{}", encoding="utf-8")
        return load_tokenizer(folder)


def _with_adapter(model: Any, plan: SourcePlan) -> Any:
    import peft

    where = f"adapter {plan.adapter}"
    try:
        adapted = peft.PeftModel.from_pretrained(model, plan.adapter)
        written = peft.load_peft_weights(str(plan.adapter), device="cpu")
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise ModelError(
            f"{where}: does not fit the base {plan.base} ({reason}); name the base that it was trained on"
        ) from error
    if not hasattr(adapted, "merge_and_unload"):
        kind = type(adapted.base_model).__name__
        raise ModelError(f"{where}: is of a kind ({kind}) that cannot be merged into weights; serve it beside its base")
    # peft passes over weights that are missing from the file, or that the base has no place for
    wanted = peft.get_peft_model_state_dict(adapted, save_embedding_layers=False).keys()
    known = adapted.state_dict().keys()
    strange = [key for key in written if key not in wanted and key not in known]
    missing = [key for key in wanted if key not in written]
    if strange or missing:
        raise ModelError(
            f"{where}: does not fit the base {plan.base} ({len(missing)} weights are missing from it and "
            f"{len(strange)} have no place, such as {(missing + strange)[0]}); name the base that it was trained on"
        )
    return adapted


def _own_dtype(base: str) -> str:
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(resolve_model(base))
    return str(config.dtype or "float32").removeprefix("torch.")
