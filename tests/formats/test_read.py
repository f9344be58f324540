import json
from pathlib import Path

import pytest

from tltrain.errors import DataError
from tltrain.formats.read import BadRow, iterate_trajectories, read_trajectories
from tltrain.types import Trajectory

USER = {"role": "user", "content": "Hi"}


def write(path: Path, *lines) -> Path:
    path.write_bytes(
        b"".join((line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n" for line in lines)
    )
    return path


def test_bad_rows_are_set_aside_and_the_rest_is_read(tmp_path):
    good = {"messages": [USER]}
    path = write(
        tmp_path / "t.jsonl",
        good,
        b'{"messages": [{"role": "us',
        b"plain text",
        b"",
        good | {"id": "x"},
        good | {"id": "x"},
        b"[1, 2]",
        b'{"messages": [{"role": "user", "content": "\xff"}]}',
        b'{"messages": "\0"}',
        b'{"messages": [{"role": "user", "content": "a"}], "reward": NaN}',
        b'{"messages": [{"role": "user", "content": "\\ud800"}]}',
        b"[" * 200_000,
        {"messages": [USER], "note": "y" * 5000, "tools": 3},
        good,
    )
    result = read_trajectories(path, quarantine=tmp_path / "bad.jsonl")
    assert [trajectory.id for trajectory in result.trajectories] == ["t:1", "x", "t:14"]
    assert result.num_bad == 10
    rows = [json.loads(line) for line in result.quarantine.read_text().splitlines()]
    assert [row["line"] for row in rows] == [2, 3, 6, 7, 8, 9, 10, 11, 12, 13]
    expected = ["not JSON", "not JSON", "also the id of line 5", "JSON array, not an object", "0xff", "NUL byte"]
    expected += ["NaN is no JSON", "surrogate", "nested too deeply", "tools is of type integer"]
    for row, reason in zip(rows, expected, strict=True):
        assert row["file"] == str(path)
        assert row["reason"].startswith(f"{path}:{row['line']}: ")
        assert reason in row["reason"]
    assert rows[1]["row"] == "plain text"
    assert len(rows[-1]["row"]) == 2000


def test_strict_reading_stops_at_the_first_bad_row(tmp_path):
    path = write(tmp_path / "t.jsonl", {"messages": [USER]}, b"{")
    with pytest.raises(DataError, match=r"t\.jsonl:2: not JSON"):
        read_trajectories(path, strict=True)


def test_a_stale_quarantine_is_removed(tmp_path):
    (tmp_path / "bad.jsonl").write_text("old")
    read_trajectories(write(tmp_path / "t.jsonl", {"messages": [USER]}), quarantine=tmp_path / "bad.jsonl")
    assert not (tmp_path / "bad.jsonl").exists()


def test_no_good_row_at_all(tmp_path):
    path = write(tmp_path / "t.jsonl", {"messages": []}, b"{")
    with pytest.raises(DataError, match=r"none of 2 rows can be read.*bad\.jsonl.*messages is empty"):
        read_trajectories(path, quarantine=tmp_path / "bad.jsonl")
    assert (tmp_path / "bad.jsonl").exists()


@pytest.mark.parametrize("content", [b"", b"\n\n  \n", b"\xef\xbb\xbf"])
def test_an_empty_file(tmp_path, content):
    path = tmp_path / "empty.jsonl"
    path.write_bytes(content)
    with pytest.raises(DataError, match="is empty"):
        read_trajectories(path)


def test_a_byte_order_mark_is_no_fault(tmp_path):
    path = tmp_path / "t.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"messages": [{"role": "user", "content": "a"}]}\r\n')
    assert read_trajectories(path).trajectories[0].messages[0].content == "a"


def test_a_missing_file(tmp_path):
    write(tmp_path / "train.jsonl", {})
    with pytest.raises(DataError, match=r"no such file of trajectories; .* has train\.jsonl"):
        read_trajectories(tmp_path / "trian.jsonl")
    with pytest.raises(DataError, match="does not exist either"):
        read_trajectories(tmp_path / "nowhere" / "train.jsonl")


def test_a_folder_is_read_file_by_file(tmp_path):
    for name in ("b/1.json", "a.jsonl"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write(tmp_path / name, {"messages": [USER]})
    write(tmp_path / "README.md", b"# not data")
    ids = [trajectory.id for trajectory in read_trajectories(tmp_path).trajectories]
    assert ids == ["a:1", "b/1:1"]


def test_a_folder_of_several_splits_is_refused(tmp_path):
    for name in ("train.jsonl", "test.jsonl"):
        write(tmp_path / name, {"messages": [USER]})
    with pytest.raises(DataError, match=r"several splits \(test, train\); name a file: test\.jsonl, train\.jsonl"):
        read_trajectories(tmp_path)


def test_a_folder_without_data(tmp_path):
    with pytest.raises(DataError, match="is a folder without any"):
        read_trajectories(tmp_path)


def test_a_row_of_ten_megabytes(tmp_path):
    path = write(tmp_path / "t.jsonl", {"messages": [{"role": "user", "content": "x" * 10_000_000}]})
    assert len(read_trajectories(path).trajectories[0].messages[0].content) == 10_000_000


def test_reading_streams(tmp_path):
    path = write(tmp_path / "t.jsonl", {"messages": [USER]}, b"{")
    rows = iterate_trajectories(path)
    assert isinstance(next(rows), Trajectory)
    bad = next(rows)
    assert isinstance(bad, BadRow)
    assert bad.line == 2


def test_of_an_unknown_format_the_error_says_what_the_record_has_and_the_telling_reasons_first(tmp_path):
    path = write(tmp_path / "t.jsonl", {"conversations": [{"from": "function-call", "value": "{}"}], "seed": 1})
    with pytest.raises(DataError, match=r"The first record has 'conversations', 'seed', and is refused") as caught:
        read_trajectories(path)
    lines = str(caught.value).splitlines()
    assert any("a turn comes from 'function-call'" in line and line.endswith(": hermes") for line in lines[1:6])
    missing = [line for line in lines if "'messages' is missing" in line]
    assert len(missing) == 1
    assert missing[0].endswith("verl, trl, openai")
    with pytest.raises(DataError, match="The first record is a JSON array, and is refused"):
        read_trajectories(write(tmp_path / "t.jsonl", [USER], [USER]))
