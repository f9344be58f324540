"""A whole run of the real stages, on a model and data so small that it takes seconds; through the command line."""

import io
import json
from contextlib import redirect_stdout
from pathlib import Path

import pytest
import yaml

from tiny_models import byte_tokenizer, tiny_llama
from tltrain.cli import main
from tltrain.report.data import read_run

_RECIPE = """
name: tiny
seed: 3
model: ./model
generate: {num_train: 8, num_test: 4, toolsets_per_kit: 1, mistake_rate: 0.3, train_kits: [notes], test_kits: [units]}
sft:
  {optimizer: {learning_rate: 1.0e-3}, batch_size: 4, micro_batch_tokens: 2000, heldout_share: 0.2, precision: float32}
ppo:
  max_prompts: 6
  max_steps: 1
  prompts_per_step: 2
  group_size: 2
  minibatch_size: 2
  micro_batch_tokens: 1000
  max_new_tokens: 8
  num_updates: 1
  heldout_share: 0.2
  precision: float32
eval: {max_cases: 4, max_episodes: 2, max_turns: 2, max_new_tokens: 8, precision: float32, num_resamples: 50}
"""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recipe")
    tokenizer = byte_tokenizer(["call a tool with parameters of type string and number"] * 4, vocab_size=300)
    tiny_llama(vocab_size=len(tokenizer), max_length=8192).save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    (folder / "tiny.yaml").write_text(_RECIPE)
    return folder / "tiny.yaml"


@pytest.fixture(scope="module")
def done(recipe: Path) -> tuple[Path, str]:
    """The run's folder, and what was printed."""
    folder, printed = recipe.parent / "run", io.StringIO()
    with redirect_stdout(printed):
        assert main(["run", str(recipe), "--out", str(folder)]) == 0
    return folder, printed.getvalue()


@pytest.fixture(scope="module")
def out(done: tuple[Path, str]) -> Path:
    return done[0]


def test_a_run_leaves_everything_that_the_report_reads(out: Path):
    read = read_run(out)
    assert read.problems == ()
    assert set(read.notes) <= {"generate/quarantine.jsonl"}
    assert [stage.name for stage in read.stages] == ["base", "sft", "ppo"]
    assert all(stage.scores.single.n == 4 and stage.scores.episodes.n == 2 for stage in read.stages)
    assert list(read.record.stages) == ["generate", "audit", "eval/base", "sft", "eval/sft", "ppo", "eval/ppo"]
    assert read.record.seed == "3"
    assert read.record.versions["torch"]
    page = (out / "report" / "index.html").read_text()
    assert "tiny" in page
    assert yaml.safe_load((out / "config.yaml").read_text())["sft"]["seed"] == 3


def test_resuming_a_finished_run_skips_every_stage(recipe: Path, out: Path, capsys: pytest.CaptureFixture[str]):
    weights = (out / "ppo" / "model" / "model.safetensors").stat().st_mtime_ns
    assert main(["run", str(recipe), "--out", str(out), "--resume", "--json", "--set", "report=false"]) == 0
    shown = capsys.readouterr()
    result = json.loads(shown.out)
    assert {outcome["is_skipped"] for outcome in result["stages"].values()} == {True}
    assert list(result["scores"]) == ["base", "sft", "ppo"]
    assert result["report"] is None
    assert shown.err.count("unchanged, skipped") == 7
    assert (out / "ppo" / "model" / "model.safetensors").stat().st_mtime_ns == weights


def test_the_summary_is_a_table(done: tuple[Path, str]):
    out, shown = done
    rows = {line.split()[0]: line for line in shown.splitlines() if line.strip()}
    assert {"base", "sft", "ppo", "generate", "eval/ppo"} <= set(rows)
    assert rows["base"].count("±") >= 3
    assert f"report: {out / 'report' / 'index.html'}" in shown


def test_eval_alone_gives_the_scores_of_the_run(out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    config = tmp_path / "eval.yaml"
    settings = yaml.safe_load((out / "config.yaml").read_text())["eval"]
    del settings["stages"]
    config.write_text(yaml.safe_dump(settings))
    arguments = ["eval", str(out / "generate" / "test.jsonl"), "--model", str(out / "sft" / "model"), "--json"]
    assert main([*arguments, "--out", str(tmp_path / "eval"), "--config", str(config)]) == 0
    scores = json.loads(capsys.readouterr().out)
    assert scores == json.loads((out / "eval" / "sft" / "scores.json").read_text())
