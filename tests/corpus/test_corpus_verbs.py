"""The verbs data mix and data check: what they print, and with which exit code they end."""

import json

import pytest

from corpus.rows_for_tests import chat, read, write
from tltrain.cli import main


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "a.jsonl", chat("Find it", id="r1"), chat("find it", id="r2"), chat("Find it", id="r3"))
    write(tmp_path / "tests" / "t.jsonl", chat("FIND IT!", id="t1"), chat("other", id="t2"))
    return tmp_path


@pytest.mark.usefixtures("files")
def test_check_prints_what_files_share(capsys):
    assert main(["data", "check", "a.jsonl", "--against", "tests", "--examples", "1"]) == 0
    shown = capsys.readouterr().out
    assert "training rows that are in test sets: 3" in shown
    assert "r1 (a.jsonl) and t1 (t.jsonl): same query\n  find it\n" in shown
    assert "... and 2 more; --json prints all" in shown


@pytest.mark.usefixtures("files")
def test_check_as_json_holds_all(capsys):
    assert main(["data", "check", "a.jsonl", "--against", "tests", "--against", "a.jsonl", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["in_test_sets"], len(found["found"])) == (3, 6)
    assert [(pair["same_query"], pair["test_rows_met"]) for pair in found["pairs"]] == [(3, 1), (3, 3)]


def test_check_passes_over_training_files_in_a_test_folder_and_says_what_it_could_not_read(files, capsys):
    (files / "tests" / "b.json").write_text("[1]")
    assert main(["data", "check", "tests/t.jsonl", "--against", "tests", "--against", "a.jsonl"]) == 0
    shown = capsys.readouterr()
    assert "tests/b.json: passed over" in shown.err
    assert "training rows that are in test sets: 1" in shown.out


def test_check_can_end_with_a_failure(files, capsys):
    write(files / "clean.jsonl", chat("new"))
    assert main(["data", "check", "a.jsonl", "--against", "tests", "--fail"]) == 1
    assert main(["data", "check", "clean.jsonl", "--against", "tests", "--fail"]) == 0
    assert main(["data", "check", "clean.jsonl", "--against", "none.jsonl"]) == 1
    assert "none.jsonl: no such file of trajectories" in capsys.readouterr().err
    assert main(["data", "check", "clean.jsonl", "--against", "tests", "--format", "tl_trian"]) == 2


def test_mix_makes_the_data_of_a_recipe(files, capsys):
    (files / "mix.yaml").write_text("train: a.jsonl\ntest: tests/t.jsonl\n")
    assert main(["data", "mix", "mix.yaml", "--out", "out"]) == 0
    shown = capsys.readouterr()
    assert "out/train.jsonl (3 rows)" in shown.out
    assert "1 rows are equal to earlier ones; deduplicate: exact removes them" in shown.err
    assert "3 training rows are in test sets; decontaminate.action: drop removes them" in shown.err
    assert main(["data", "mix", "mix.yaml", "--out", "out"]) == 2
    again = ["data", "mix", "mix.yaml", "--out", "out", "--set", "deduplicate=exact", "--overwrite", "--json"]
    assert main(again) == 0
    assert json.loads(capsys.readouterr().out)["num_train"] == 2
    assert [row["id"] for row in read(files / "out" / "train.jsonl")] == ["r1", "r2"]


def test_mix_prints_its_settings(files, capsys):
    (files / "mix.yaml").write_text("train: {path: a.jsonl, cap: 2}\n")
    assert main(["data", "mix", "mix.yaml", "--out", "out", "--seed", "4", "--dry-run"]) == 0
    printed = capsys.readouterr().out
    assert "seed: 4" in printed
    (files / "again.yaml").write_text(printed)
    assert main(["data", "mix", "again.yaml", "--out", "out", "--dry-run"]) == 0
    assert capsys.readouterr().out == printed
    assert not (files / "out").exists()
    assert main(["data", "mix", "demo", "--out", "out"]) == 2
    assert "recipe=demo: has no section data" in capsys.readouterr().err
