"""Tokens of a row: the weights that training uses, in the page and in explain."""

import pytest
from inspection_samples import RIGHT, WRONG, assistant, call, row, write_rows
from page_reader import read_page

from tltrain.audit.run import audit_trajectories, blocked_calls
from tltrain.errors import DataError
from tltrain.formats.openai_chat import trajectory_from_row
from tltrain.inspection.explain import explain, explained_json
from tltrain.inspection.page import inspect
from tltrain.inspection.rows import inspect_row
from tltrain.inspection.source import RowSource
from tltrain.inspection.tokens import TokenReader
from tltrain.render.conversation import render
from tltrain.render.weights import KeyTokenWeighting
from tltrain.syntax import get_syntax


@pytest.fixture(scope="module")
def reader(tiny_model) -> TokenReader:
    return TokenReader(str(tiny_model))


def rendered(reader: TokenReader, data):
    trajectory = trajectory_from_row(data, where="test")
    verdicts = audit_trajectories([trajectory])
    blocked = blocked_calls(verdicts).get(trajectory.id, frozenset())
    tokens = reader.read(inspect_row(trajectory, verdicts, "paper"))
    syntax = get_syntax("python")
    return tokens, render(trajectory, reader._tokenizer, syntax, blocked=blocked, weighting=KeyTokenWeighting())


def test_the_pieces_are_the_rendered_text_with_its_weights(reader):
    tokens, expected = rendered(reader, WRONG)
    assert "".join(piece.text for piece in tokens.pieces) == expected.text
    weights = [
        weight for piece in tokens.pieces for weight in (piece.weights if piece.lengths else [0.0] * piece.num_tokens)
    ]
    assert weights == expected.weights
    assert tokens.num_trained == sum(weight > 0 for weight in expected.weights) > 0
    assert all("".join(piece.token_texts()) == piece.text for piece in tokens.pieces if piece.lengths)


def test_blocked_calls_weigh_nothing_and_key_tokens_more(reader):
    tokens, expected = rendered(reader, WRONG)
    assert [tokens.calls[number].is_blocked for number in (0, 1)] == [False, True]
    turn = next(piece for piece in tokens.pieces if piece.message == 1)
    kinds = {kind: weight for kind, weight in zip(turn.kinds, turn.weights, strict=True) if weight > 0}
    assert kinds["key"] == expected.calls[0].weight == tokens.calls[0].weight
    assert 0 in turn.weights


def test_the_page_holds_the_tokens_of_turns_and_the_context_between(reader, tiny_model, tmp_path):
    data = write_rows(tmp_path / "data.jsonl", WRONG)
    page = read_page(inspect(RowSource(file=data), tmp_path / "page.html", model=str(tiny_model)).page)
    tokens, _ = rendered(reader, WRONG)
    (body,) = page.rows
    held = body["tokens"]
    texts = [
        "".join(page.text(body, reference) for reference in piece.get("texts", [piece.get("text")]))
        for piece in held["pieces"]
    ]
    assert texts == [piece.text for piece in tokens.pieces]
    turns = [piece for piece in held["pieces"] if "message" in piece]
    for turn, piece in zip(turns, (piece for piece in tokens.pieces if piece.lengths), strict=True):
        expanded = [weight for weight, num in turn["weights"] for _ in range(num)]
        assert expanded == pytest.approx(piece.weights, abs=1e-4)
        assert sum(turn["lengths"]) == len(piece.text.encode("utf-16-le")) // 2
        assert len(turn["lengths"]) == sum(num for _, num in turn["kinds"])
    assert held["calls"]["1"][3] is True


def test_a_row_that_gives_no_sequence_says_why(reader, tiny_model, tmp_path):
    nothing = row("nothing", assistant(call(0, "{broken")))
    assert isinstance(rendered_or_error(reader, nothing), DataError)
    data = write_rows(tmp_path / "data.jsonl", nothing, RIGHT)
    page = read_page(inspect(RowSource(file=data), tmp_path / "page.html", model=str(tiny_model)).page)
    assert "nothing to train on" in page.text(page.rows[0], page.rows[0]["tokens"]["error"])
    assert page.rows[1]["tokens"]["trained"] > 0


def rendered_or_error(reader, data):
    trajectory = trajectory_from_row(data, where="test")
    return reader.read(inspect_row(trajectory, audit_trajectories([trajectory]), "paper"))


def test_explain_gives_weights_and_counts_of_key_tokens(reader, tiny_model, tmp_path):
    data = write_rows(tmp_path / "data.jsonl", WRONG)
    found = explained_json(explain(RowSource(file=data), "wrong", call=1, model=str(tiny_model)))
    _, expected = rendered(reader, WRONG)
    number = expected.calls[1]
    assert found["calls"][0]["key_tokens"] == {
        "num_key": number.num_key,
        "num_nonkey": number.num_nonkey,
        "weight": number.weight,
    }
    (turn,) = found["tokens"]["turns"]
    assert turn["message"] == 1
    place = expected.turns[0]
    assert [token["weight"] for token in turn["tokens"]] == expected.weights[place.start : place.end]
