"""llama.cpp's converter: found, run, and what it wrote read back."""

import os
import sys
from pathlib import Path

import pytest

from tltrain.cli import main
from tltrain.errors import ModelError, UsageError
from tltrain.export.gguf import SCRIPT, VARIABLE, convert, find_converter
from tltrain.export.run import export

COPIES = """
import pathlib, sys
folder, option, kind, other, file = sys.argv[1:]
assert (option, other) == ("--outtype", "--outfile")
pathlib.Path(file).write_bytes(b"GGUF" + kind.encode() + pathlib.Path(folder, "config.json").read_bytes()[:1])
"""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "llama.cpp" / SCRIPT
    path.parent.mkdir()
    path.write_text(COPIES)
    return path


def test_where_the_converter_is_looked_for(script, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv(VARIABLE, raising=False)
    with pytest.raises(UsageError, match=r"no converter to GGUF is installed; get it with `git clone"):
        find_converter(None)
    assert find_converter(script) == find_converter(script.parent) == script
    with pytest.raises(UsageError, match=r"--converter=.*: there is no convert_hf_to_gguf.py; get it with"):
        find_converter(tmp_path)
    monkeypatch.setenv(VARIABLE, str(script))
    assert find_converter(None) == script
    monkeypatch.delenv(VARIABLE)
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(script.parent))
    assert find_converter(None) == script


def test_the_converter_gets_its_orders(script, tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    convert(tmp_path / "model", tmp_path / "x.gguf", gguf="q8_0", converter=script)
    assert (tmp_path / "x.gguf").read_bytes() == b"GGUFq8_0{"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import sys; sys.exit('disk is full')", "failed with exit code 1: disk is full"),
        ("import no_such_module", "No module named 'no_such_module'; install what is missing for "),
        ("pass", "failed with exit code 0: it wrote no GGUF file"),
        ("raise NotImplementedError('BPE pre-tokenizer was not recognized')", "does not know this tokenizer: serve"),
    ],
)
def test_a_failing_converter_is_quoted(text, message, script, tmp_path):
    script.write_text(text)
    with pytest.raises(ModelError, match=message):
        convert(tmp_path, tmp_path / "x.gguf", gguf="f16", converter=script)


def test_a_file_that_cannot_be_read_back_is_said_to_be_unchecked(plain, script, generated, tmp_path, capsys):
    out = tmp_path / "served"
    options = ["--gguf", "f16", "--converter", str(script), "--prompts", str(generated / "train.jsonl")]
    assert main(["export", str(plain), "--out", str(out), "--num-prompts", "1", *options]) == 0
    assert "transformers cannot read the file back" in capsys.readouterr().out
    assert (out / "model-f16.gguf").read_bytes()[:7] == b"GGUFf16"
    assert "llama-server -m model-f16.gguf --jinja" in (out / "README.md").read_text()
    assert "model-f16.gguf was not checked" in (out / "README.md").read_text()


@pytest.mark.slow
def test_the_embedded_model_survives_llama_cpps_converter(tmp_path):
    if not os.environ.get(VARIABLE):
        pytest.skip(f"{VARIABLE} names no converter")
    pytest.importorskip("sentencepiece", reason=f"llama.cpp's converter needs it in {sys.executable}")
    result = export("smollm2-135m-instruct", out=tmp_path / "served", num_prompts=1, gguf="f32")
    assert result.gguf_outcome is not None
    assert result.gguf_outcome.num_top_equal == result.gguf_outcome.num_tokens
    assert result.gguf_outcome.max_logprob_difference < 1e-3
