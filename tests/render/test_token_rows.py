import json
from pathlib import Path

from tltrain.audit.policy import blocked_calls
from tltrain.audit.run import audit_trajectories
from tltrain.cli import main
from tltrain.engine.model import load_tokenizer
from tltrain.formats.read import read_trajectories
from tltrain.render.conversation import render
from tltrain.render.template import ensure_tool_template
from tltrain.render.weights import KeyTokenWeighting
from tltrain.syntax import get_syntax


def test_labels_are_the_tokens_that_sft_trains(tiny_model: Path, generated: Path, tmp_path: Path):
    data, out = generated / "train.jsonl", tmp_path / "rows.jsonl"
    assert main(["audit", str(data), "--out", str(tmp_path / "audit")]) == 0
    verdicts = ["--verdicts", str(tmp_path / "audit" / "verdicts.jsonl")]
    assert main(["convert", str(data), "--to", "tokens", "--model", str(tiny_model), "--out", str(out), *verdicts]) == 0
    rows = {row["id"]: row for row in map(json.loads, out.read_text().splitlines())}
    trajectories = read_trajectories(data).trajectories
    assert rows.keys() == {trajectory.id for trajectory in trajectories}
    tokenizer = load_tokenizer(tiny_model)
    syntax = get_syntax(ensure_tool_template(tokenizer))
    blocked = blocked_calls(audit_trajectories(trajectories))
    assert blocked
    for trajectory in trajectories:
        own = blocked.get(trajectory.id, frozenset())
        rendered = render(trajectory, tokenizer, syntax, blocked=own, weighting=KeyTokenWeighting())
        row = rows[trajectory.id]
        assert row["input_ids"] == rendered.input_ids
        assert row["loss_weights"] == rendered.weights
        trained = zip(rendered.input_ids, rendered.weights, strict=True)
        assert row["labels"] == [token if weight > 0 else -100 for token, weight in trained]


def test_tokens_want_a_model_and_other_formats_none(generated: Path, tmp_path: Path, capsys):
    data, out = str(generated / "train.jsonl"), str(tmp_path / "rows.jsonl")
    assert main(["convert", data, "--to", "tokens", "--out", out]) == 2
    assert main(["convert", data, "--to", "trl", "--model", "smollm2-135m-instruct", "--out", out]) == 2
    assert capsys.readouterr().err.count("--to tokens and --model go together") == 2
