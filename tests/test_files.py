import json
import math
import os

import pytest

from tltrain.errors import DataError, UsageError
from tltrain.files import (
    JsonLinesWriter,
    atomic_file,
    atomic_folder,
    decode_json,
    hash_file,
    read_json_lines,
    write_json_atomic,
    write_text_atomic,
)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_written_file_replaces_the_old_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "deep" / "a.txt"
    write_text_atomic(path, "old")
    write_text_atomic(path, "né\n")
    assert path.read_bytes() == "né\n".encode()
    assert names(path.parent) == ["a.txt"]


def test_a_write_that_fails_keeps_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    write_text_atomic(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_text_atomic(path, "new \ud800")
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_json_files_hold_json_alone(tmp_path):
    write_json_atomic(tmp_path / "a.json", {"b": [1, "ü"]})
    assert json.loads((tmp_path / "a.json").read_text()) == {"b": [1, "ü"]}
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json_atomic(tmp_path / "a.json", {"loss": math.nan})


def test_files_have_the_usual_permissions(tmp_path):
    umask = os.umask(0o022)
    try:
        write_text_atomic(tmp_path / "a", "x")
        with atomic_folder(tmp_path / "b"):
            pass
    finally:
        os.umask(umask)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o644
    assert (tmp_path / "b").stat().st_mode & 0o777 == 0o755


def test_a_folder_appears_when_it_is_complete(tmp_path):
    path = tmp_path / "runs" / "one"
    with atomic_folder(path) as folder:
        (folder / "a").write_text("1")
        assert not path.exists()
    assert names(path) == ["a"]
    assert names(path.parent) == ["one"]


def test_a_folder_that_fails_disappears(tmp_path):
    def fill():
        with atomic_folder(tmp_path / "one") as folder:
            (folder / "a").write_text("1")
            raise RuntimeError("boom")

    with pytest.raises(RuntimeError, match="boom"):
        fill()
    assert names(tmp_path) == []


def test_a_used_folder_is_kept_unless_overwritten(tmp_path):
    path = tmp_path / "one"
    path.mkdir()
    (path / "old").write_text("1")
    with pytest.raises(UsageError, match="not empty"), atomic_folder(path):
        pass
    with pytest.raises(RuntimeError), atomic_folder(path, overwrite=True):
        raise RuntimeError
    assert names(path) == ["old"]
    with atomic_folder(path, overwrite=True) as folder:
        (folder / "new").write_text("2")
    assert names(path) == ["new"]
    assert names(tmp_path) == ["one"]


def test_the_old_folder_comes_back_if_the_new_one_cannot_be_put_there(tmp_path):
    path = tmp_path / "one"
    path.mkdir()
    (path / "old").write_text("1")
    with pytest.raises(FileNotFoundError), atomic_folder(path, overwrite=True) as folder:
        folder.rmdir()
    assert names(path) == ["old"]


def test_an_empty_folder_may_be_there_and_a_file_may_not(tmp_path):
    (tmp_path / "empty").mkdir()
    with atomic_folder(tmp_path / "empty") as folder:
        (folder / "a").write_text("1")
    assert names(tmp_path / "empty") == ["a"]
    (tmp_path / "file").write_text("1")
    with pytest.raises(UsageError, match="is a file"), atomic_folder(tmp_path / "file"):
        pass


def test_hash(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert hash_file(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_lines_are_appended_and_on_disk_at_once(tmp_path):
    path = tmp_path / "new" / "a.jsonl"
    with JsonLinesWriter(path) as writer:
        writer.write({"a": 1})
        assert path.read_text() == '{"a": 1}\n'
        with pytest.raises(ValueError, match="JSON compliant"):
            writer.write({"a": math.inf})
    with JsonLinesWriter(path) as writer:
        writer.write({"a": "\u2028"})
    assert [value for _, value in read_json_lines(path)] == [{"a": 1}, {"a": "\u2028"}]


def test_a_torn_last_line_spoils_no_other(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"a": 1}\n{"a": ')
    with JsonLinesWriter(path) as writer:
        writer.write({"a": 3})
    first, torn, third = read_json_lines(path)
    assert first == (1, {"a": 1})
    assert isinstance(torn[1], DataError)
    assert third == (3, {"a": 3})


@pytest.mark.parametrize("text", ["NaN", "-Infinity", "[1e999]", '"\\ud800"', '{"a"}', "", "1 2", "9" * 5000])
def test_what_is_no_json(text):
    with pytest.raises(ValueError):  # noqa: PT011 - any wording
        decode_json(text)


def test_pairs_of_surrogates_are_characters():
    assert decode_json('"\\ud83d\\ude00"') == "😀"


def test_a_file_that_fails_half_way_leaves_the_old_one(tmp_path):
    path = tmp_path / "new" / "page.html"
    with atomic_file(path) as file:
        file.write(b"first")

    def fail():
        with atomic_file(path) as file:
            file.write(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert path.read_bytes() == b"first"
    assert names(path.parent) == ["page.html"]
