import hashlib
import json

import pytest

from tltrain.benches import data_folder
from tltrain.benches.data_folder import DataFolder, resolve_data_dir
from tltrain.errors import DataError, UsageError


@pytest.fixture
def root(tmp_path, monkeypatch):
    (tmp_path / "rotbench").mkdir()
    file = tmp_path / "rotbench" / "clean.json"
    file.write_text('{"a": 1}')
    known = {"rotbench/clean.json": ("0" * 64, hashlib.sha256(file.read_bytes()).hexdigest())}
    monkeypatch.setattr(data_folder, "CHECKSUMS", known)
    return tmp_path


def test_a_published_file_is_read(root):
    folder = DataFolder(root)
    assert folder.read_json("rotbench/clean.json") == {"a": 1}
    assert folder.changed == []


def test_a_changed_file_is_refused_unless_allowed(root):
    (root / "rotbench" / "clean.json").write_text('{"a": 2}')
    with pytest.raises(DataError, match=r"clean.json has SHA-256 [0-9a-f]{64}, the published one is .*--allow-changed"):
        DataFolder(root).read_json("rotbench/clean.json")
    folder = DataFolder(root, allow_changed=True)
    assert folder.read_json("rotbench/clean.json") == {"a": 2}
    assert folder.changed == ["rotbench/clean.json"]


def test_a_missing_file_says_what_to_fetch(root):
    with pytest.raises(
        DataError, match=r"heavy.json is missing; fetch Data/First_Turn of github.com/Junjie-Ye/RoTBench"
    ):
        DataFolder(root).read_json("rotbench/heavy.json")
    with pytest.raises(DataError, match=r"Tool_Library is missing; fetch Test_Data"):
        DataFolder(root).read_tool_library()


def test_files_that_are_no_json_are_named(root):
    (root / "rotbench" / "clean.json").write_text('{"a": ')
    folder = DataFolder(root, allow_changed=True)
    with pytest.raises(DataError, match=r"clean.json: not JSON: .*fetch it anew"):
        folder.read_json("rotbench/clean.json")
    with pytest.raises(DataError, match=r"clean.json:1"):
        list(folder.read_rows("rotbench/clean.json"))


def test_the_tool_library_has_one_checksum(tmp_path, monkeypatch):
    lines = ""
    for name in ("Tool_Library/B/B", "Tool_Library/A/Z", "Tool_Library/A/A"):
        path = tmp_path / "tooleyes" / name / "config_gpt4.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps([name]))
    for name in ("Tool_Library/A/A", "Tool_Library/A/Z", "Tool_Library/B/B"):
        path = tmp_path / "tooleyes" / name / "config_gpt4.json"
        lines += f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {name}/config_gpt4.json\n"
    monkeypatch.setattr(data_folder, "TOOL_LIBRARY", hashlib.sha256(lines.encode()).hexdigest())
    assert DataFolder(tmp_path).read_tool_library()["Tool_Library/A/Z"] == ["Tool_Library/A/Z"]
    (tmp_path / "tooleyes" / "Tool_Library/A/A" / "config_gpt4.json").write_text("[]")
    with pytest.raises(DataError, match="Tool_Library has SHA-256"):
        DataFolder(tmp_path).read_tool_library()


def test_the_folder_comes_from_the_option_or_the_environment(tmp_path, monkeypatch):
    monkeypatch.delenv("TLTRAIN_DATA", raising=False)
    with pytest.raises(UsageError, match="give --data-dir, or set TLTRAIN_DATA"):
        resolve_data_dir(None)
    monkeypatch.setenv("TLTRAIN_DATA", str(tmp_path))
    assert resolve_data_dir(None) == tmp_path
    with pytest.raises(UsageError, match=r"--data-dir=.*absent is no folder"):
        resolve_data_dir(tmp_path / "absent")
