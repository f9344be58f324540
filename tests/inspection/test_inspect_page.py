"""The page: what its script elements hold is what the file held, and nothing of it is markup."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from inspection_samples import EVIL, MASKED, RIGHT, UNREADABLE, WRONG, answer, assistant, call, row, write_rows
from page_reader import ELEMENT, Page, read_page

from tltrain.audit.config import AuditConfig
from tltrain.audit.run import audit
from tltrain.errors import DataError, UsageError
from tltrain.inspection.body import utf16_offsets, write_value
from tltrain.inspection.chunks import ChunkWriter, SharedValues, encode_json, read_script_element, script_element
from tltrain.inspection.page import inspect
from tltrain.inspection.source import RowSource


def make(tmp_path, *rows, config=None, verdicts=None, **options) -> Page:
    data = write_rows(tmp_path / "data.jsonl", *rows)
    source = RowSource(file=data, verdicts=verdicts, config=config or AuditConfig())
    return read_page(inspect(source, tmp_path / "page.html", **options).page)


def test_messages_calls_and_feedback_come_back(tmp_path):
    page = make(tmp_path, WRONG)
    (body,) = page.rows
    assert [message["role"] for message in body["messages"]] == ["user", "assistant", "tool", "tool", "assistant"]
    assert [page.text(body, message["text"]) for message in body["messages"]] == [
        message["content"] for message in WRONG["messages"]
    ]
    assert body["messages"][1]["calls"] == [0, 1]
    assert [message.get("answers") for message in body["messages"]] == [None, None, 1, 0, None]
    first = body["calls"][0]
    assert [[page.text(body, part) for part in pair] for pair in first["arguments"]] == [["what", '"a"']]
    assert page.shared[body["tools"][0]][:2] == ["find", "Finds <b>things</b>."]


def test_the_evidence_is_marked_in_the_units_that_browsers_count_in(tmp_path):
    page = make(tmp_path, WRONG)
    (body,) = page.rows
    ((start, end),) = body["calls"][1]["evidence"]
    units = page.text(body, body["messages"][2]["text"]).encode("utf-16-le")
    assert units[2 * start : 2 * end].decode("utf-16-le").startswith("Error: no such thing"[: end - start])


@given(st.text(), st.text(), st.text())
def test_utf16_offsets_find_the_same_characters(before, marked, after):
    text = before + marked + after
    start, end = utf16_offsets(text, (len(before), len(before) + len(marked)))
    assert text.encode("utf-16-le")[2 * start : 2 * end].decode("utf-16-le") == marked


def test_the_index_counts_and_names_every_call(tmp_path):
    page = make(tmp_path, RIGHT, WRONG, UNREADABLE, MASKED)
    index = page.index
    assert index["ids"] == ["right", "wrong", "unreadable", "masked"]
    assert index["num_calls"] == [1, 2, 1, 1]
    verdicts = [index["verdicts"][place] for place in index["call_verdicts"]]
    assert [verdict[0] for verdict in verdicts] == ["ok", "ok", "error", "error", "ok"]
    assert [verdict[3] for verdict in verdicts] == ["", "", "audit", "audit", "file"]
    assert [index["tools"][place] for place in index["call_tools"]] == ["find"] * 5
    assert index["titles"] == ["Go."] * 4


def test_nothing_in_the_data_becomes_markup_and_every_text_survives(tmp_path):
    long = "x" * 1_000_000 + EVIL
    nul, reordered = "a\0b", "\u202eevil"
    evil = row(EVIL, assistant(call(0, {"what": EVIL}, EVIL)), answer(0, long), source=EVIL)
    evil["tools"] = [{"name": EVIL, "description": EVIL}]
    page = make(tmp_path, evil, row("b", {"role": "assistant", "content": nul + reordered}))
    assert "pwned" not in page.html
    assert page.index["ids"] == [EVIL, "b"]
    assert page.text(page.rows[0], page.rows[0]["messages"][2]["text"]) == long
    assert page.text(page.rows[1], page.rows[1]["messages"][1]["text"]) == nul + reordered


def test_the_name_of_the_file_is_no_markup(tmp_path):
    data = write_rows(tmp_path / "<img src=x>.jsonl", RIGHT)
    page = inspect(RowSource(file=data), tmp_path / "page.html").page.read_text()
    assert "<img" not in page
    assert "&lt;img src=x&gt;.jsonl" in page


def test_the_page_asks_for_nothing_and_runs_its_own_script_alone(tmp_path):
    html = make(tmp_path, RIGHT).html
    assert "default-src 'none'" in html
    assert re.findall(r"<(?:script|style)(?! type=\"text/plain\")[^>]*>", html) == ["<style>", "<script>"]
    assert not re.search(r"(?:src|href)=[\"']?(?:https?:)?//", html)


def test_what_rows_share_stands_once(tmp_path):
    prompt = {"role": "system", "content": "You help. " * 50}
    rows = [row(f"r{number}", {"role": "assistant", "content": "Hello."}) for number in range(30)]
    for one in rows:
        one["messages"].insert(0, prompt)
    page = make(tmp_path, *rows)
    assert len(page.shared) == 2  # a tool and a prompt
    assert {page.text(body, body["messages"][0]["text"]) for body in page.rows} == {prompt["content"]}


def test_values_in_chunks_come_back_in_order(tmp_path):
    path = tmp_path / "chunks"
    with path.open("wb") as file:
        writer = ChunkWriter("rows", file, chunk_chars=20)
        for number in range(10):
            writer.add({"n": number})
        writer.flush()
        writer.flush()
    found = [read_script_element(content) for _, content in ELEMENT.findall(path.read_text())]
    assert [value["n"] for chunk in found for value in chunk] == list(range(10))
    assert writer.starts == [0, 3, 6, 9]


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner), max_leaves=5))
def test_an_element_holds_any_json_and_no_angle_bracket_of_it(value):
    element = script_element("x", encode_json(value)).decode()
    ((_, content),) = ELEMENT.findall(element)
    assert read_script_element(content) == value


def test_shared_values_are_numbered_by_what_they_are(tmp_path):
    with (tmp_path / "shared").open("wb") as file:
        shared = SharedValues(ChunkWriter("shared", file))
        assert [shared.add(value) for value in ("a", ["a"], "a", "b")] == [0, 1, 0, 2]


def test_halves_of_surrogate_pairs_are_replaced_so_that_the_page_can_be_written(tmp_path):
    from tltrain.inspection.body import BodyWriter
    from tltrain.inspection.rows import inspect_row
    from tltrain.types import Message, Role, Trajectory

    message = Message(role=Role.USER, content="half \ud800")
    trajectory = Trajectory(id="r", tools=(), messages=(message,))
    with (tmp_path / "shared").open("wb") as file:
        writer = BodyWriter(SharedValues(ChunkWriter("shared", file)))
        body = writer.write(inspect_row(trajectory, [], "paper"))
    assert body["texts"] == ["half \ufffd"]
    encode_json(body).encode()


def test_bad_rows_are_counted_with_their_reasons(tmp_path):
    page = make(tmp_path, RIGHT, "{bad", row("t", assistant(call(0, {})), answer(0, "1"), provenance={"truth": []}))
    assert page.index["ids"] == ["right"]
    assert page.index["num_skipped"] == 2
    assert [("data.jsonl:2" in reason, "truth" in reason) for reason in page.index["reasons"]] == [
        (True, False),
        (False, True),
    ]
    with pytest.raises(DataError, match="not JSON"):
        make(tmp_path, RIGHT, "{bad", config=AuditConfig(strict=True))


def test_the_first_rows_are_taken_and_the_page_says_so(tmp_path):
    page = make(tmp_path, RIGHT, WRONG, max_rows=1)
    assert (page.index["ids"], page.index["is_cut"]) == (["right"], True)
    assert make(tmp_path, RIGHT, WRONG, max_rows=2).index["is_cut"] is False


def test_verdicts_of_a_file_are_used_and_calls_without_one_are_not_judged(tmp_path):
    data = write_rows(tmp_path / "audited.jsonl", WRONG)
    audit(AuditConfig(), data, tmp_path / "audit")
    file = tmp_path / "audit" / "verdicts.jsonl"
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    lines[1]["label"], lines[1]["kind"], lines[1]["blame"] = "ok", None, "none"
    write_rows(file, *lines)
    index = make(tmp_path, WRONG, RIGHT, verdicts=file).index
    assert [index["verdicts"][place][0] for place in index["call_verdicts"]] == ["ok", "ok", "unjudged"]


def test_verdicts_on_other_rows_are_refused_and_no_page_is_left(tmp_path):
    data = write_rows(tmp_path / "other.jsonl", RIGHT)
    audit(AuditConfig(), data, tmp_path / "audit")
    with pytest.raises(DataError, match=r"its verdicts are on other rows .* the first on 'right'"):
        make(tmp_path, WRONG, verdicts=tmp_path / "audit" / "verdicts.jsonl")
    assert not (tmp_path / "page.html").exists()


def test_wrong_names_and_empty_files_are_refused(tmp_path):
    data = write_rows(tmp_path / "data.jsonl", RIGHT)
    with pytest.raises(UsageError, match=r"ends in \.html"):
        inspect(RowSource(file=data), tmp_path / "page")
    with pytest.raises(UsageError, match="at least 1"):
        inspect(RowSource(file=data), tmp_path / "page.html", max_rows=0)
    bad = write_rows(tmp_path / "bad.jsonl", "{bad")
    with pytest.raises(DataError, match=r"none of 1 rows can be read. First: .*bad\.jsonl:1"):
        inspect(RowSource(file=bad), tmp_path / "page.html")


def test_values_are_written_for_people():
    assert write_value("two\nlines") == '"two\nlines"'
    assert write_value([1, {"a": None}]) == '[1, {"a": null}]'
    assert write_value({"a": "x" * 80}) == json.dumps({"a": "x" * 80}, indent=2)
    assert write_value(12345678901234567890) == "12345678901234567890"
