"""Rows whose chat template rewrites earlier turns: shown, and written as tokens, as they are trained."""

import json

import pytest
from transformers import LlamaConfig

from render.template_shapes import SHAPES, with_shape
from tltrain.cli import main
from tltrain.formats.openai_chat import trajectory_from_row
from tltrain.inspection.rows import inspect_row
from tltrain.inspection.tokens import TokenReader
from tltrain.render.conversation import render_pieces
from tltrain.render.template import ensure_tool_template
from tltrain.render.weights import KeyTokenWeighting
from tltrain.syntax import get_syntax


def call(name, number):
    function = {"name": name, "arguments": json.dumps({"n": number})}
    return [{"id": f"c{number}", "type": "function", "function": function}]


ROW = {
    "id": "row-7",
    "tools": [{"type": "function", "function": {"name": name}} for name in ("get_user", "get_item")],
    "messages": [
        {"role": "user", "content": "Who?"},
        {"role": "assistant", "content": "", "reasoning_content": "Hm.", "tool_calls": call("get_user", 1)},
        {"role": "tool", "tool_call_id": "c1", "content": "Ana"},
        {"role": "assistant", "content": "Ana."},
        {"role": "user", "content": "And?"},
        {"role": "assistant", "content": "", "tool_calls": call("get_item", 2)},
        {"role": "tool", "tool_call_id": "c2", "content": "tea"},
        {"role": "assistant", "content": "Tea."},
    ],
}


@pytest.fixture(scope="module")
def model(smollm2, tmp_path_factory):
    """A folder with a tokenizer whose template drops earlier thinking, as Qwen3's does."""
    folder = tmp_path_factory.mktemp("qwen3")
    with_shape(smollm2, SHAPES["qwen3"]).save_pretrained(folder)
    LlamaConfig().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def sequences(model):
    tokenizer = TokenReader(str(model))._tokenizer
    syntax = get_syntax(ensure_tool_template(tokenizer))
    trajectory = trajectory_from_row(ROW, where="test")
    found = render_pieces(trajectory, tokenizer, syntax, weighting=KeyTokenWeighting())
    assert len(found) == 2
    return found


def test_the_page_shows_a_sequence_for_each_query(model, sequences):
    trajectory = trajectory_from_row(ROW, where="test")
    tokens = TokenReader(str(model)).read(inspect_row(trajectory, [], "none"))
    assert "".join(piece.text for piece in tokens.pieces) == "".join(one.text for one in sequences)
    assert [piece.message for piece in tokens.pieces if piece.lengths] == [1, 3, 5, 7]
    assert tokens.num_tokens == sum(len(one.input_ids) for one in sequences)
    assert tokens.num_trained == sum(weight > 0 for one in sequences for weight in one.weights)
    assert sorted(tokens.calls) == [0, 1]


def test_a_row_of_tokens_is_written_for_each_query(model, sequences, tmp_path):
    data, out = tmp_path / "data.jsonl", tmp_path / "tokens.jsonl"
    data.write_text(json.dumps(ROW) + "\n")
    assert main(["convert", str(data), "--to", "tokens", "--model", str(model), "--out", str(out)]) == 0
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["id"] for row in rows] == ["row-7.1", "row-7.2"]
    for row, sequence in zip(rows, sequences, strict=True):
        assert row["input_ids"] == sequence.input_ids
        assert row["loss_weights"] == sequence.weights
        pairs = zip(sequence.input_ids, sequence.weights, strict=True)
        assert row["labels"] == [token if weight > 0 else -100 for token, weight in pairs]
