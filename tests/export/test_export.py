"""The folder that is exported, what it is compared with, and what is refused."""

import json
import shutil
from pathlib import Path

import peft
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from export.conftest import saved
from render.template_shapes import SHAPES, with_shape
from tltrain.cli import main
from tltrain.engine.model import load_model
from tltrain.errors import DataError, ModelError, UsageError
from tltrain.export.run import export
from tltrain.export.source import load_source, plan_source
from tltrain.render.template import ensure_tool_template
from tltrain.render.turns import turn_end_ids

IDS = torch.tensor([[5, 6, 7, 80, 90]])


def logits_of(folder: Path) -> torch.Tensor:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()(input_ids=IDS).logits


@pytest.fixture(scope="module")
def exported(plain: Path, generated: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The plain model, by the command line."""
    out = tmp_path_factory.mktemp("exported") / "served"
    prompts = str(generated / "train.jsonl")
    assert main(["export", str(plain), "--out", str(out), "--prompts", prompts, "--num-prompts", "4"]) == 0
    return out


# ------------------------------------------------------------------------------------------------ what is written


def test_weights_are_the_models_own(exported, plain):
    written = AutoModelForCausalLM.from_pretrained(exported).state_dict()
    for name, weight in load_model(plain).model.state_dict().items():
        assert torch.equal(weight, written[name])


def test_the_folder_knows_tools_and_where_a_turn_ends(exported, plain):
    assert AutoTokenizer.from_pretrained(plain).chat_template is None
    tokenizer = AutoTokenizer.from_pretrained(exported)
    tool = {"type": "function", "function": {"name": "find_day", "description": "", "parameters": {}}}
    text = tokenizer.apply_chat_template([{"role": "user", "content": "x"}], tools=[tool], tokenize=False)
    assert "find_day()" in text
    for name in ("generation_config.json", "config.json"):
        fields = json.loads((exported / name).read_text())
        assert (fields["eos_token_id"], fields["pad_token_id"]) == (tokenizer.eos_token_id, tokenizer.pad_token_id)


def test_others_may_read_the_files(exported):
    (exported.parent / "usual").touch()
    usual = (exported.parent / "usual").stat().st_mode & 0o777
    assert {file.stat().st_mode & 0o777 for file in exported.iterdir()} == {usual}


def test_the_record_says_what_was_compared(exported):
    record = json.loads((exported / "export.json").read_text())
    checks = record["checks"]
    assert (record["dtype"], record["syntax"], record["end_tokens"]) == ("float32", "python", ["<|im_end|>"])
    assert checks["num_prompts"] == checks["num_answers_equal"] == checks["num_served_equal"] == 4
    assert 4 <= checks["num_top_equal"] == checks["num_tokens"] <= 4 * 32
    assert checks["max_logprob_difference"] <= checks["max_next_difference"] + 1e-3 < 2e-3
    assert record["parsers"]["vllm 0.33.0"]["name"] == "olmo3"


def test_the_card_names_parser_and_commands(exported):
    card = (exported / "README.md").read_text()
    assert f"vllm serve {exported} --enable-auto-tool-choice --tool-call-parser olmo3\n" in card
    assert f"python -m sglang.launch_server --model-path {exported}\n" in card
    assert "move_event(event_id='ev1', day='2025-03-14')" in card
    assert "No record of tltrain stands beside the model." in card
    code = card.partition("### transformers")[2].split("```")[1].removeprefix("python\n")
    scope = {"messages": [{"role": "user", "content": "Hello"}], "tools": None}
    exec(compile(code.replace("max_new_tokens=256", "max_new_tokens=3"), "card", "exec"), scope)
    assert isinstance(scope["reply"], str)


def test_a_peft_folder_is_merged_into_the_base_that_it_names(adapter, plain, tmp_path):
    result = export(adapter, out=tmp_path / "served", num_prompts=2)
    adapted = peft.PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(plain), adapter).eval()
    expected = adapted(input_ids=IDS).logits
    torch.testing.assert_close(logits_of(result.out), expected, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(expected, logits_of(plain), atol=0.1)
    assert result.outcome.num_answers_equal == 2
    assert not (result.out / "adapter_config.json").exists()
    assert f"base_model: {json.dumps(str(plain))}" in (result.out / "README.md").read_text()


def test_base_and_adapter_may_be_named_apart(adapter, plain, tmp_path):
    moved = shutil.copytree(adapter, tmp_path / "moved")
    fields = json.loads((moved / "adapter_config.json").read_text())
    (moved / "adapter_config.json").write_text(json.dumps(fields | {"base_model_name_or_path": "/gone"}))
    with pytest.raises(ModelError, match=r"the base that it names is not there.*give the base as MODEL, and --adapter"):
        plan_source(moved, None)
    one, other = load_source(plan_source(plain, moved)).model, load_source(plan_source(adapter, None)).model
    assert torch.equal(one(input_ids=IDS).logits, other(input_ids=IDS).logits)


def test_bfloat16_and_every_end_that_template_and_model_know(tiny_model, generated, tmp_path):
    tokenizer = with_shape(AutoTokenizer.from_pretrained(tiny_model), SHAPES["glm4"])
    source = saved(tokenizer, tmp_path / "glm", dtype=torch.bfloat16)
    config = json.loads((source / "generation_config.json").read_text())
    (source / "generation_config.json").write_text(json.dumps(config | {"eos_token_id": [3, 9]}))
    result = export(source, out=tmp_path / "served", prompts=generated / "train.jsonl", num_prompts=2)
    written = AutoTokenizer.from_pretrained(result.out)
    ensure_tool_template(written)
    names = {"<|endoftext|>", "<|user|>", "<|observation|>"}
    ends = set(written.convert_tokens_to_ids(sorted(names)))
    assert turn_end_ids(written) == ends
    for name in ("generation_config.json", "config.json"):
        assert set(json.loads((result.out / name).read_text())["eos_token_id"]) == ends | {3, 9}
    assert result.dtype == "bfloat16"
    assert AutoModelForCausalLM.from_pretrained(result.out, dtype="auto").dtype == torch.bfloat16
    assert (result.syntax, result.vllm_parser, result.sglang_parser) == ("glm", None, None)
    assert "They arrive in `message.content`" in (result.out / "README.md").read_text()


def test_the_card_tells_the_training(plain, generated, tmp_path):
    model = shutil.copytree(plain, tmp_path / "run" / "sft" / "model")
    (tmp_path / "run" / "run.json").write_text(json.dumps({"name": "mine"}))
    record = {
        "stage": "sft",
        "config": {"num_epochs": 2, "seed": 7},
        "inputs": {"model": "org/base-1b"},
        "result": {"num_trained": 321},
        "versions": {"torch": "9.9"},
    }
    (model.parent / "stage.json").write_text(json.dumps(record))
    result = export(model, out=tmp_path / "served", prompts=generated / "train.jsonl", num_prompts=1)
    card = (result.out / "README.md").read_text()
    for part in (
        "Recipe `mine`",
        'base_model: "org/base-1b"',
        "| sft | epochs 2, seed 7, trajectories 321 |",
        "torch 9.9",
    ):
        assert part in card


# ---------------------------------------------------------------------------------------- what differs is not left


def test_other_weights_are_found_and_nothing_is_left(plain, generated, tmp_path, monkeypatch):
    def spoil(model):
        with torch.no_grad():
            model.model.layers[1].mlp.down_proj.weight[3, 4] += 0.5
        return model

    monkeypatch.setattr("tltrain.engine.model.merge_lora", spoil)
    with pytest.raises(ModelError, match=r"its source: prompt train-\d+, messages\[\d+\]: a log-prob differs"):
        export(plain, out=tmp_path / "served", prompts=generated / "train.jsonl", num_prompts=1)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_end_is_found(plain, generated, tmp_path, monkeypatch):
    monkeypatch.setattr("tltrain.export.run._set_ends", lambda *_: None)
    with pytest.raises(ModelError, match=r"eos_token_id=None lacks <\|im_end\|>, which end the model's turns"):
        export(plain, out=tmp_path / "served", prompts=generated / "train.jsonl", num_prompts=1)


def test_another_template_is_found(plain, generated, tmp_path, monkeypatch):
    from tltrain.render.template import own_template

    cls = type(AutoTokenizer.from_pretrained(plain))
    save = cls.save_pretrained

    def save_another(self, folder):
        self.chat_template = own_template("plain")
        return save(self, folder)

    monkeypatch.setattr(cls, "save_pretrained", save_another)
    with pytest.raises(ModelError, match=r"the chat template writes it otherwise: '<\|im_start\|>"):
        export(plain, out=tmp_path / "served", prompts=generated / "train.jsonl", num_prompts=1)
    assert list(tmp_path.iterdir()) == []


# ------------------------------------------------------------------------------------------------- what is refused


def test_a_used_folder_is_refused(exported, plain, capsys):
    assert main(["export", str(plain), "--out", str(exported)]) == 2
    assert f"{exported} is not empty" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"dtype": "int8"}, UsageError, "dtype='int8' is not known; choose one of float32, bfloat16, float16, auto"),
        ({"num_prompts": 0}, UsageError, "num_prompts=0 compares nothing"),
        ({"prompts": Path("gone.jsonl")}, DataError, "gone.jsonl: no such file of trajectories"),
        ({"gguf": "q2_k"}, UsageError, "gguf='q2_k' is not known; choose one of q8_0, f16, bf16, f32"),
        ({"converter": Path("x.py")}, UsageError, "a converter has no effect without a GGUF type"),
        ({"adapter": Path("gone")}, ModelError, "adapter gone: holds no adapter_config.json"),
    ],
)
def test_wrong_options(options, error, message, plain, tmp_path):
    with pytest.raises(error, match=message.replace("[", r"\[")):
        export(plain, out=tmp_path / "served", **options)
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_model_is_refused(tmp_path, capsys):
    (tmp_path / "folder").mkdir()
    assert main(["export", str(tmp_path / "folder"), "--out", str(tmp_path / "served")]) == 1
    assert "holds no config.json" in capsys.readouterr().err
    assert not (tmp_path / "served").exists()


def test_an_adapter_of_another_base_is_refused(adapter, tiny_model):
    with pytest.raises(ModelError, match=r"does not fit the base .* name the base that it was trained on"):
        load_source(plan_source(tiny_model, adapter))
    with pytest.raises(UsageError, match="is an adapter itself"):
        plan_source(adapter, adapter)


def test_an_adapter_that_lacks_weights_is_refused(adapter, plain, tmp_path):
    from safetensors.torch import load_file, save_file

    half = shutil.copytree(adapter, tmp_path / "half")
    weights = load_file(half / "adapter_model.safetensors")
    save_file(
        {name: one for name, one in weights.items() if "layers.1" not in name}, half / "adapter_model.safetensors"
    )
    with pytest.raises(ModelError, match=r"\d+ weights are missing from it and 0 have no place, such as base_model"):
        load_source(plan_source(plain, half))


def test_prompts_that_do_not_fit_are_refused(tiny_model, generated, tmp_path):
    short = saved(AutoTokenizer.from_pretrained(tiny_model), tmp_path / "short", max_length=64)
    with pytest.raises(DataError, match="no row gives a prompt of at most 32 tokens"):
        export(short, out=tmp_path / "served", prompts=generated / "train.jsonl")
    assert not (tmp_path / "served").exists()
