import gzip
import json
import math
import re

import pyarrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from formats import chat_rows, research_rows
from tltrain.errors import DataError, UsageError
from tltrain.files import decode_json
from tltrain.formats import documents, records
from tltrain.formats.detect import FORMATS, detect_format, get_format, get_writable
from tltrain.formats.numbered_ids import NumberedIds
from tltrain.formats.read import read_trajectories
from tltrain.formats.records import iterate_records
from tltrain.formats.write import export_trajectories

ROWS = [{"a": 1}, {"a": "ü\u2028]"}, {"a": [{"b": '"}'}]}]


def values(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return [record.value for record in iterate_records(path)]


def faults(found):
    return [str(value) for value in found if isinstance(value, DataError)]


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gz"])
@pytest.mark.parametrize(
    "text",
    [
        "\n".join(map(json.dumps, ROWS)),
        "\r\n\r\n  \n".join(map(json.dumps, ROWS)) + "\n",
        json.dumps(ROWS),
        json.dumps(ROWS, indent=4, ensure_ascii=False),
        "[\n" + ",\n".join(map(json.dumps, ROWS)) + "\n]\n",
        "\n".join(json.dumps(row, indent=2) for row in ROWS),
        "\ufeff" + json.dumps(ROWS),
        "\ufeff" + "\n".join(map(json.dumps, ROWS)),
    ],
    ids=["lines", "blank lines", "array", "indented", "line array", "objects", "bom array", "bom lines"],
)
def test_kinds_of_json_files_are_told_by_their_content(tmp_path, text, pack):
    assert values(tmp_path / "any.name", pack(text.encode())) == ROWS


def test_one_object_is_one_record(tmp_path):
    assert values(tmp_path / "t", json.dumps({"tree": ROWS}, indent=1)) == [{"tree": ROWS}]


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 64])
def test_an_array_is_the_same_in_small_pieces(tmp_path, monkeypatch, chunk):
    monkeypatch.setattr(documents, "_CHUNK", chunk)
    for text in (json.dumps(ROWS), json.dumps([1, 23, "a,b", None, *ROWS, -1.5e3], indent=2, ensure_ascii=False)):
        assert values(tmp_path / "t", text) == json.loads(text)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ('[{"a": 1}, {"a": }, {"a": 3}]', [{"a": 1}, "not JSON", {"a": 3}]),
        ('[{"a": 1}, tru, {"a": 3}]', [{"a": 1}, "not JSON", {"a": 3}]),
        ('[{"a": NaN}, {"a": 3}]', ["NaN is no JSON", {"a": 3}]),
        ('[{"a": "\\ud800"}, {"a": 3}]', ["surrogate", {"a": 3}]),
        ('[{"a": "\0"}, {"a": 3}]', ["NUL byte", {"a": 3}]),
        (b'[{"a": "\xff"}, {"a": 3}]', ["0xff", {"a": 3}]),
        ('[{"a": 1}, {"a": 2', [{"a": 1}, "not JSON", "the array ends without"]),
        ('[{"a": 1},', [{"a": 1}, "the array ends without"]),
        ('[{"a": 1}] x', [{"a": 1}, "follows the end of the array"]),
        ("[" * 300 + "]" * 300, ["nested too deeply"]),
        ("[]", []),
    ],
)
def test_bad_elements_are_values_in_their_place(tmp_path, text, wanted):
    if not wanted:
        with pytest.raises(DataError, match="is empty"):
            values(tmp_path / "t", text)
        return
    found = values(tmp_path / "t", text)
    assert len(found) == len(wanted)
    for value, want in zip(found, wanted, strict=True):
        assert want in str(value) if isinstance(want, str) else value == want


def test_huge_integers_stay_exact_and_close_calls_are_checked(tmp_path):
    big = 123456789012345678901234567890
    assert values(tmp_path / "t", f'{{"a": {big}}}\n{{"a": -18446744073709551617}}') == [
        {"a": big},
        {"a": -18446744073709551617},
    ]
    found = values(tmp_path / "t", '{"a": 1e999}\n{"a": Infinity}\n{"a": 1}')
    assert [isinstance(value, DataError) for value in found] == [True, True, False]


def test_a_cut_gzip_file_gives_what_it_holds(tmp_path):
    lines = b"".join(json.dumps({"n": number, "x": "y" * 50}).encode() + b"\n" for number in range(20_000))
    found = values(tmp_path / "t.gz", gzip.compress(lines)[:-20_000])
    assert len(found) > 100
    assert found[:-2] == [{"n": number, "x": "y" * 50} for number in range(len(found) - 2)]
    assert "gzip file is damaged" in faults(found)[-1]


def test_a_line_beyond_the_limit_is_skipped(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "MAX_RECORD", 100)
    monkeypatch.setattr(records, "_HEAD", 64)
    found = values(tmp_path / "t", '{"a": 1}\n{"a": "' + "x" * 1000 + '"}\n{"a": 2}\n')
    assert found[::2] == [{"a": 1}, {"a": 2}]
    assert "longer than 100 bytes" in faults(found)[0]


def test_an_array_in_an_array_of_ten_megabytes(tmp_path):
    row = {"a": ["x" * 1000] * 10_000}
    assert values(tmp_path / "t", json.dumps([row, {"b": 1}])) == [row, {"b": 1}]


def write_table(path, rows, **options):
    with path.open("wb") as file:
        parquet.write_table(pyarrow.Table.from_pylist(rows), file, **options)


def test_rows_of_tables_lose_the_nulls_that_arrow_filled_in(tmp_path):
    rows = [
        {"tools": [{"name": "a", "parameters": {"properties": {"x": {"type": "string"}}}}], "n": 1, "s": "a"},
        {"tools": [{"name": "b", "parameters": {"properties": {"y": {"type": "integer"}}}}], "n": 2, "s": None},
    ]
    write_table(tmp_path / "t", rows)
    wanted = [rows[0], {"tools": rows[1]["tools"], "n": 2}]
    assert [record.value for record in iterate_records(tmp_path / "t")] == wanted
    packed = gzip.compress((tmp_path / "t").read_bytes())
    assert values(tmp_path / "t.gz", packed) == wanted


def test_numbers_that_are_none_in_tables(tmp_path):
    write_table(tmp_path / "t", [{"a": math.nan, "b": 1}, {"a": 1.5, "b": 2}])
    assert [record.value for record in iterate_records(tmp_path / "t")] == [{"b": 1}, {"a": 1.5, "b": 2}]
    write_table(tmp_path / "t", [{"a": math.inf}, {"a": 1.5}])
    assert "a is inf" in faults([record.value for record in iterate_records(tmp_path / "t")])[0]


def test_a_damaged_row_group_costs_its_rows_alone(tmp_path):
    path = tmp_path / "t.parquet"
    write_table(path, [{"a": f"{number}" * 50} for number in range(30)], row_group_size=10, compression="zstd")
    content = bytearray(path.read_bytes())
    start = parquet.ParquetFile(path).metadata.row_group(1).column(0).dictionary_page_offset
    content[start : start + 40] = b"\xff" * 40
    path.write_bytes(content)
    found = [record.value for record in iterate_records(path)]
    assert len(found) == 30
    assert [isinstance(value, DataError) for value in found] == [False] * 10 + [True] * 10 + [False] * 10


def test_a_cut_table(tmp_path):
    path = tmp_path / "t.parquet"
    write_table(path, ROWS[:1])
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(DataError, match="no whole Parquet file"):
        list(iterate_records(path))


@pytest.mark.parametrize("suffix", ["jsonl", "json", "parquet", "jsonl.gz", "json.gz", "parquet.gz"])
def test_files_of_every_kind_round_trip(tmp_path, suffix):
    rows = [*research_rows.ROWS["xlam"], *research_rows.ROWS["xlam"]]
    source = tmp_path / "s.jsonl"
    source.write_text("".join(json.dumps(row | {"id": f"n{n}"}) + "\n" for n, row in enumerate(rows)))
    trajectories = read_trajectories(source).trajectories
    path = tmp_path / f"t.{suffix}"
    result = export_trajectories(trajectories, path, "tltrain")
    assert (result.num_written, result.num_refused) == (len(trajectories), 0)
    assert read_trajectories(path).trajectories == trajectories


def test_a_table_of_columns_without_one_type_holds_json_text(tmp_path):
    rows = [
        {"messages": [{"role": "user", "content": "a"}], "provenance": {"x": x}} for x in (1, "a", {"b": []}, 2**70)
    ]
    source = tmp_path / "s.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    trajectories = read_trajectories(source).trajectories
    result = export_trajectories(trajectories, tmp_path / "t.parquet", "tltrain")
    assert list(result.lost) == [
        "the shape of column provenance, which differs between rows; it is written as JSON text"
    ]
    again = read_trajectories(tmp_path / "t.parquet").trajectories
    assert [trajectory.provenance for trajectory in again] == [row["provenance"] for row in rows]


def test_a_failed_export_leaves_the_old_file(tmp_path):
    path = tmp_path / "t.jsonl"
    path.write_text("old")
    with pytest.raises(DataError, match="no trajectory to write"):
        export_trajectories([], path, "trl")
    with pytest.raises(UsageError, match=r"end it with \.jsonl, \.json, \.parquet"):
        export_trajectories([], tmp_path / "t.csv", "trl")
    assert path.read_text() == "old"
    assert [child.name for child in tmp_path.iterdir()] == ["t.jsonl"]


def test_every_fixture_is_found_whatever_else_is_known():
    assert set(research_rows.ROWS) | set(chat_rows.ROWS) == set(FORMATS), "a fixture for each format"
    for name, rows in (research_rows.ROWS | chat_rows.ROWS).items():
        assert detect_format(rows, "f").name == name


def test_an_unknown_format_lists_what_was_tried(tmp_path):
    path = tmp_path / "t.jsonl"
    path.write_text('{"question": "?", "answer": "!"}\n')
    with pytest.raises(DataError) as error:
        read_trajectories(path)
    for name in FORMATS:
        assert re.search(rf"\n  .*: (.*, )?{name}(,|\n)", str(error.value))
    assert read_error(path) == "messages is missing"


def read_error(path):
    with pytest.raises(DataError) as error:
        read_trajectories(path, format="openai")
    return "messages is missing" if "messages is missing" in str(error.value) else str(error.value)


def test_names_of_formats():
    assert get_format("MS-Swift").name == "ms_swift"
    with pytest.raises(UsageError, match="did you mean axolotl"):
        get_format("axolot")
    with pytest.raises(UsageError, match="can be read but not written"):
        get_writable("toolbench")


json_texts = st.recursive(
    st.sampled_from(["1", "-0", "1.5e3", "1e400", "NaN", "true", "null", '"a"', '"\\ud83d\\ude00"', '"\\ud83d"', "01"])
    | st.integers().map(str),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda items: f"[{','.join(items)}]")
        | st.lists(inner, max_size=3).map(
            lambda items: "{" + ",".join(f'"k{n}":{v}' for n, v in enumerate(items)) + "}"
        )
    ),
    max_leaves=6,
)


@settings(max_examples=150, deadline=None)
@given(json_texts)
def test_decoding_agrees_with_pythons_reader_on_all_that_is_json(text):
    try:
        value = decode_json(text)
    except ValueError:
        assert any(mark in text for mark in ("1e400", "NaN", '\\ud83d"', "01"))
    else:
        assert json.dumps(value) == json.dumps(json.loads(text))


def test_ids_remember_their_numbers():
    ids = NumberedIds()
    assert [ids.add(f"x{number}", number) for number in range(1, 5001)] == [None] * 5000
    assert [ids.add(f"x{number}", 9) for number in (1, 2500, 5000)] == [1, 2500, 5000]
