import json
import math
from pathlib import Path

import pytest
import torch

from tiny_models import byte_tokenizer, tiny_llama
from tltrain.benches import general_run
from tltrain.benches.general_config import GeneralConfig
from tltrain.benches.general_run import evaluate_general, measure_window
from tltrain.benches.general_scores import WindowRow, score_windows
from tltrain.benches.text_windows import cut_windows
from tltrain.cli import main
from tltrain.engine.model import LoadedModel
from tltrain.errors import DataError, ModelError, UsageError
from tltrain.stage import Reuse

TEXT = "Äpfel kosten 3 €, 梨 auch; the quick brown fox jumps over the lazy dog, twice a day.\n" * 4
CONFIG = GeneralConfig(window=48, stride=20, num_resamples=200)


def save(folder: Path, *, seed=0, tokenizer=None, vocabulary=None, **options) -> Path:
    tokenizer = tokenizer or byte_tokenizer([TEXT], vocab_size=300)
    tiny_llama(vocab_size=vocabulary or len(tokenizer), seed=seed, **options).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> list[Path]:
    root = tmp_path_factory.mktemp("models")
    return [save(root / "base"), save(root / "tuned", seed=1)]


@pytest.fixture
def text(tmp_path) -> Path:
    (tmp_path / "text.txt").write_text(TEXT, encoding="utf-8")
    return tmp_path / "text.txt"


def directly(models, ids, *, window, stride):
    """The loop in the documentation of transformers, labels of -100 and all, in float64 over whole matrices.

    Returns:
        Sums of nll for each model, of KL(first || second), KL(second || first) and agreeing tokens; number of tokens.
    """
    sums, num_tokens, reached = [0.0] * 5, 0, 0
    for begin in range(0, len(ids), stride):
        end = min(begin + window, len(ids))
        inputs = torch.tensor([ids[begin:end]])
        labels = inputs.clone()
        labels[:, : -(end - reached)] = -100
        first, second = (model(inputs).logits[0, :-1].double().log_softmax(-1) for model in models)
        wanted = labels[0, 1:] != -100
        targets = labels[0, 1:][wanted]
        first, second = first[wanted], second[wanted]
        for place, logprobs in enumerate((first, second)):
            sums[place] -= logprobs[torch.arange(len(targets)), targets].sum().item()
        sums[2] += torch.nn.functional.kl_div(second, first, reduction="sum", log_target=True).item()
        sums[3] += torch.nn.functional.kl_div(first, second, reduction="sum", log_target=True).item()
        sums[4] += (first.argmax(-1) == second.argmax(-1)).sum().item()
        num_tokens += len(targets)
        reached = end
        if end == len(ids):
            break
    return sums, num_tokens


@torch.no_grad()
def test_sums_are_those_of_the_documented_loop_in_float64():
    tokenizer = byte_tokenizer([TEXT], vocab_size=300)
    base, tuned = (
        LoadedModel(model=tiny_llama(vocab_size=len(tokenizer), seed=seed, dtype=torch.float64), tokenizer=tokenizer)
        for seed in (0, 1)
    )
    ids = tokenizer(TEXT, add_special_tokens=False).input_ids
    (base_nll, nll, kl, reverse, agreeing), num_tokens = directly([base.model, tuned.model], ids, window=48, stride=20)
    rows = [measure_window(each, tuned, base) for each in cut_windows([TEXT], tokenizer, window=48, stride=20)]
    assert len(rows) > 3
    assert sum(row.num_tokens for row in rows) == num_tokens == len(ids) - 1
    assert sum(row.nll for row in rows) == pytest.approx(nll, rel=1e-10)
    assert sum(row.base_nll for row in rows) == pytest.approx(base_nll, rel=1e-10)
    assert sum(row.kl for row in rows) == pytest.approx(kl, rel=1e-10)
    assert sum(row.reverse_kl for row in rows) == pytest.approx(reverse, rel=1e-10)
    assert sum(row.num_agreeing for row in rows) == agreeing
    assert abs(kl - reverse) > 1e-3 * kl  # so that the one cannot pass for the other


@torch.no_grad()
def test_scores_of_a_run_are_those_of_the_models_in_its_folders(models, text, tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    base, tuned = (AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64) for folder in models)
    tokenizer = AutoTokenizer.from_pretrained(models[0])
    ids = tokenizer(TEXT, add_special_tokens=False).input_ids
    (base_nll, nll, kl, reverse, agreeing), num_tokens = directly([base, tuned], ids, window=48, stride=20)
    found = evaluate_general(CONFIG, model=models[1], base=models[0], text=text, out=tmp_path / "out").scores
    general, own = found.general, found.general.base
    assert general.num_tokens == num_tokens
    assert general.num_bytes == len(TEXT.encode()) - len(tokenizer.decode(ids[:1]).encode())
    assert found.precision == "float32"
    # float32 models against float64 ones
    assert general.nll.mean == pytest.approx(nll / num_tokens, rel=1e-5)
    assert general.perplexity.mean == pytest.approx(math.exp(nll / num_tokens), rel=1e-4)
    assert general.bits_per_byte.mean == pytest.approx(nll / math.log(2) / general.num_bytes, rel=1e-5)
    assert own.nll.mean == pytest.approx(base_nll / num_tokens, rel=1e-5)
    assert own.kl.mean == pytest.approx(kl / num_tokens, rel=1e-5)
    assert own.reverse_kl.mean == pytest.approx(reverse / num_tokens, rel=1e-5)
    assert own.top1_agreement.mean == pytest.approx(100 * agreeing / num_tokens)
    assert own.nll_change.mean == pytest.approx((nll - base_nll) / num_tokens, rel=1e-4)
    assert own.bits_per_byte_change.mean == pytest.approx((nll - base_nll) / math.log(2) / general.num_bytes, rel=1e-4)
    for estimate in (general.nll, general.perplexity, general.bits_per_byte, own.kl, own.nll_change):
        assert estimate.low < estimate.mean < estimate.high
    assert json.loads((tmp_path / "out" / "scores.json").read_text()) == found.model_dump(mode="json")


def test_a_model_that_is_its_base_has_lost_nothing(models, text, tmp_path):
    own = evaluate_general(CONFIG, model=models[0], base=models[0], text=text, out=tmp_path / "out").scores.general.base
    assert own.kl.model_dump() == own.reverse_kl.model_dump() == {"mean": 0, "low": 0, "high": 0}
    assert own.top1_agreement.mean == 100
    assert own.nll_change.model_dump() == {"mean": 0, "low": 0, "high": 0}


def test_bits_per_byte_of_a_model_that_knows_nothing(text, tmp_path):
    # every token costs log2(V), whatever the text
    tokenizer = byte_tokenizer([TEXT], vocab_size=270)
    model = tiny_llama(vocab_size=len(tokenizer))
    for parameter in model.parameters():
        torch.nn.init.zeros_(parameter)
    model.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    found = evaluate_general(CONFIG, model=tmp_path / "model", text=text, out=tmp_path / "out").scores.general
    assert found.perplexity.mean == pytest.approx(270)
    assert found.bits_per_byte.mean == pytest.approx(found.num_tokens * math.log2(270) / found.num_bytes)
    assert len(TEXT.encode()) - 2 <= found.num_bytes <= len(TEXT.encode())
    assert found.base is None


def test_intervals_resample_windows_and_changes_pairs_of_them():
    # two windows of 1 and 3 tokens; the model is worse by 1 nat a token in both
    rows = [
        WindowRow(
            document=0, start=0, num_bytes=4, num_tokens=1, nll=3, base_nll=2, kl=1, reverse_kl=0, num_agreeing=1
        ),
        WindowRow(
            document=0, start=4, num_bytes=4, num_tokens=3, nll=6, base_nll=3, kl=9, reverse_kl=0, num_agreeing=0
        ),
    ]
    found = score_windows(rows, CONFIG, text="t", is_whole=True, num_documents=1, base="b")
    assert found.nll.model_dump() == pytest.approx({"mean": 9 / 4, "low": 2, "high": 3})
    assert found.perplexity.model_dump() == pytest.approx({"mean": math.e**2.25, "low": math.e**2, "high": math.e**3})
    assert found.bits_per_byte.mean == pytest.approx(9 / 8 / math.log(2))
    assert found.base.kl.model_dump() == pytest.approx({"mean": 10 / 4, "low": 1, "high": 3})
    assert found.base.top1_agreement.model_dump() == pytest.approx({"mean": 25, "low": 0, "high": 100})
    assert found.base.nll_change.model_dump() == pytest.approx({"mean": 1, "low": 1, "high": 1})


# ----------------------------------------------------------------------------------------------------- interrupted runs


def test_a_run_that_was_interrupted_goes_on_and_ends_alike(models, text, tmp_path, monkeypatch):
    whole = evaluate_general(CONFIG, model=models[1], base=models[0], text=text, out=tmp_path / "whole").folder
    ran = []

    def stumble(window, *rest):
        ran.append(window.start)
        if len(ran) == 3:
            raise KeyboardInterrupt
        return measure_window(window, *rest)

    monkeypatch.setattr(general_run, "measure_window", stumble)
    options = {"model": models[1], "base": models[0], "text": text, "out": tmp_path / "out"}
    with pytest.raises(KeyboardInterrupt):
        evaluate_general(CONFIG, **options)
    with (tmp_path / "out" / "windows.jsonl").open("a") as file:
        file.write('{"document": 0, "sta')  # as a kill leaves it
    evaluate_general(CONFIG, **options, reuse=Reuse.RESUME)
    assert ran[2] == ran[3]
    assert len(ran) == len(set(ran)) + 1
    for name in ("windows.jsonl", "scores.json"):
        assert (tmp_path / "out" / name).read_bytes() == (whole / name).read_bytes()
    before = len(ran)
    assert evaluate_general(CONFIG, **options, reuse=Reuse.RESUME).scores.general.num_windows == len(set(ran))
    assert len(ran) == before


# ------------------------------------------------------------------------------------------------------------ bad input


def test_a_base_with_another_tokenizer_is_refused(models, text, tmp_path):
    other = save(tmp_path / "other", tokenizer=byte_tokenizer(["zu anderen Wörtern, " * 9], vocab_size=300))
    with pytest.raises(ModelError, match=r"other has another tokenizer than .*tuned: .* Leave --base out"):
        evaluate_general(CONFIG, model=models[1], base=other, text=text, out=tmp_path / "out")


def test_a_base_that_cuts_the_text_otherwise_is_refused(models, text, tmp_path):
    tokenizer = byte_tokenizer([TEXT], vocab_size=300)
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    state["model"]["merges"] = state["model"]["merges"][:3]  # the same vocabulary, fewer of its words found
    tokenizer.backend_tokenizer.model = type(tokenizer.backend_tokenizer).from_str(json.dumps(state)).model
    other = save(tmp_path / "other", tokenizer=tokenizer)
    with pytest.raises(ModelError, match=r"has the vocabulary of .*, but cuts the text into other tokens"):
        evaluate_general(CONFIG, model=models[1], base=other, text=text, out=tmp_path / "out")


def test_a_token_that_training_added_is_no_other_tokenizer(models, text, tmp_path):
    tokenizer = byte_tokenizer([TEXT], vocab_size=300)
    tokenizer.add_tokens(["<tool_call>"])
    tuned = save(tmp_path / "added", tokenizer=tokenizer, seed=0, vocabulary=len(tokenizer))
    found = evaluate_general(CONFIG, model=tuned, base=models[0], text=text, out=tmp_path / "out").scores.general
    assert found.base.kl.mean > 0


def test_a_window_beyond_the_context_is_refused(text, tmp_path):
    small = save(tmp_path / "small", max_length=40)
    with pytest.raises(ModelError, match=r"window=48: .*reads 40 tokens at most.*--set window=40 --set stride=20"):
        evaluate_general(CONFIG, model=small, text=text, out=tmp_path / "out")


def test_a_text_without_a_token_to_predict_is_refused(models, tmp_path):
    (tmp_path / "text.txt").write_text("a")
    with pytest.raises(DataError, match=r"text.txt: its text is too short: one token"):
        evaluate_general(CONFIG, model=models[0], text=tmp_path / "text.txt", out=tmp_path / "out")


def test_a_model_of_no_numbers_is_refused(text, tmp_path):
    tokenizer = byte_tokenizer([TEXT], vocab_size=300)
    model = tiny_llama(vocab_size=len(tokenizer))
    torch.nn.init.constant_(model.model.norm.weight, math.nan)
    model.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    with pytest.raises(ModelError, match="its log-probs are no numbers"):
        evaluate_general(CONFIG, model=tmp_path / "model", text=text, out=tmp_path / "out")


def test_nothing_to_measure_on_is_refused(models, tmp_path):
    with pytest.raises(UsageError, match="give a file of text, tasks of lm_eval"):
        evaluate_general(CONFIG, model=models[0], out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


# ---------------------------------------------------------------------------------------------------- the command line


def test_the_verb_prints_what_scores_json_holds(models, text, tmp_path, capsys):
    options = ["--set", "window=48", "--set", "stride=20", "--set", "num_resamples=200"]
    told = ["eval", "general", str(text), "--model", str(models[1]), "--base", str(models[0]), *options]
    assert main([*told, "--out", str(tmp_path / "a"), "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)
    assert scores == json.loads((tmp_path / "a" / "scores.json").read_text())
    assert main([*told, "--out", str(tmp_path / "b")]) == 0
    printed = capsys.readouterr().out
    own = scores["general"]["base"]
    assert f"{own['kl']['mean']:.4f} ({own['kl']['low']:.4f} to {own['kl']['high']:.4f})" in printed
    assert f"{own['top1_agreement']['mean']:.1f} (" in printed
    assert f"{scores['general']['bits_per_byte']['mean']:.3f} (" in printed
    assert "95% interval" in printed


def test_bad_input_ends_the_verb_with_a_sentence(models, tmp_path, capsys):
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    out = str(tmp_path / "out")
    assert main(["eval", "general", str(tmp_path / "latin.txt"), "--model", str(models[0]), "--out", out]) == 1
    assert "offset 3 is not UTF-8" in capsys.readouterr().err
    assert main(["eval", "general", "--model", str(models[0]), "--base", str(models[0]), "--out", out]) == 2
    assert "give a file of text" in capsys.readouterr().err
    assert not Path(out).exists()
