"""Mixing files: what is written, what is left out and listed, and that equal settings give equal files."""

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from corpus.rows_for_tests import chat, read, write
from tltrain.corpus.config import MixConfig
from tltrain.corpus.mix import mix
from tltrain.data_stages import mix as mix_stage
from tltrain.errors import DataError, UsageError
from tltrain.formats.read import read_trajectories
from tltrain.stage import Reuse

LONG = "please book a table for two people at the italian restaurant on friday"


def queries(path: Path) -> list[str]:
    return [row["messages"][0]["content"] for row in read(path)]


def made(tmp_path: Path, **fields):
    return mix(MixConfig(**fields), tmp_path / "out")


def numbered(count: int, name: str = "q", **fields) -> list[dict]:
    return [chat(f"{name} number {number}", id=f"{name}{number}", **fields) for number in range(count)]


def test_one_file_goes_through_as_it_is(tmp_path):
    rows = numbered(3)
    result = made(tmp_path, train=write(tmp_path / "mine.jsonl", *rows), test=write(tmp_path / "t.jsonl", chat("z")))
    assert [row["id"] for row in read(result.train)] == ["q0", "q1", "q2"]
    assert {row["provenance"]["source"] for row in read(result.train)} == {"mine"}
    assert (result.num_train, result.num_test, result.num_removed, result.num_bad_rows) == (3, 1, 0, 0)
    assert result.validation is None
    assert queries(result.test) == ["z"]
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"train.jsonl", "test.jsonl", "removed.jsonl", "summary.json"}


def test_a_source_that_a_row_names_is_kept_and_ids_that_occur_twice_are_told_apart(tmp_path):
    write(tmp_path / "a.jsonl", chat("1", id="x"), chat("2", id="b/y", provenance={"source": "web"}))
    write(tmp_path / "b.jsonl", chat("3", id="x"), chat("4", id="y"), chat("5", id="z"), chat("6", id="b/x"))
    result = made(tmp_path, train=[tmp_path / "a.jsonl", tmp_path / "b.jsonl"])
    assert [row["id"] for row in read(result.train)] == ["x", "b/y", "b/x", "y", "z", "b/b/x"]
    assert [row["provenance"]["source"] for row in read(result.train)] == ["a", "web", "b", "b", "b", "b"]


def test_weights_repeat_rows_under_ids_of_their_own(tmp_path):
    write(tmp_path / "a.jsonl", *numbered(4, "a"), chat("x", id="a0~2"))
    write(tmp_path / "b.jsonl", *numbered(10, "b"))
    result = made(
        tmp_path,
        train=[{"path": tmp_path / "a.jsonl", "weight": 2}, {"path": tmp_path / "b.jsonl", "weight": 0.5}],
    )
    rows = read(result.train)
    assert len({row["id"] for row in rows}) == len(rows) == result.num_train == 15
    assert [row["id"] for row in rows[:2]] == ["a0", "a0~3"]
    assert sum(query.startswith("b") for query in queries(result.train)) == 5
    summary = json.loads(result.summary.read_text())
    assert summary["sources"]["a"] | {"rows": 5, "train": 10} == summary["sources"]["a"]
    assert summary["train"] | {"rows": 15, "different_rows": 10} == summary["train"]


def test_caps_count_what_is_left_after_duplicates_are_gone(tmp_path):
    rows = numbered(5)
    data = write(tmp_path / "a.jsonl", *rows, *({**row, "id": f"{row['id']}again"} for row in rows))
    result = made(tmp_path, train={"path": data, "cap": 4}, deduplicate="exact")
    assert result.num_train == 4
    assert not any("again" in row["id"] for row in read(result.train))
    counts = json.loads(result.summary.read_text())["sources"]["a"]
    assert counts | {"rows": 10, "duplicates_removed": 5, "beyond_cap": 1, "train": 4} == counts


def test_duplicates_are_listed_with_the_row_that_stays_and_counted_by_files(tmp_path):
    write(tmp_path / "a.jsonl", chat("Hi", id="1"), chat(LONG, id="2"))
    write(tmp_path / "b.jsonl", chat("Hi", id="3"), chat(f"{LONG}!", id="4"), chat("new", id="5"))
    train = [tmp_path / "a.jsonl", tmp_path / "b.jsonl"]
    result = made(tmp_path, train=train, deduplicate="near")
    assert [row["id"] for row in read(result.train)] == ["1", "2", "5"]
    removed = [
        (row["id"], row["source"], row["reason"], row["kept"], row["kept_source"]) for row in read(result.removed)
    ]
    assert removed == [("3", "b", "duplicate", "1", "a"), ("4", "b", "near_duplicate", "2", "a")]
    counted = [{"source": "b", "first_in": "a", "equal": 1, "near": 1}]
    assert json.loads(result.summary.read_text())["duplicates"] == counted
    result = made(tmp_path, train=train)
    assert (result.num_train, result.num_duplicates, result.num_removed) == (5, 1, 0)
    assert read(result.removed) == []


def test_rows_of_test_sets_are_dropped_refused_or_counted(tmp_path):
    train = write(tmp_path / "a.jsonl", chat("Find it", id="1"), chat(LONG, id="2"), chat("new", id="3"))
    test = write(tmp_path / "t.jsonl", chat("find it!", id="t1"))
    other = write(tmp_path / "more" / "o.jsonl", chat(f"{LONG} please", id="t2"))
    fields = {"train": train, "test": test}
    dropped = made(tmp_path, **fields, decontaminate={"action": "drop", "against": tmp_path / "more"})
    assert [row["id"] for row in read(dropped.train)] == ["3"]
    listed = [(row["id"], row["reason"], row["test"], row["test_id"]) for row in read(dropped.removed)]
    assert listed == [("1", "same_query", str(test), "t1"), ("2", "near_query", str(other), "t2")]
    warned = made(tmp_path, **fields)
    assert (warned.num_train, warned.num_in_test_sets, warned.num_removed) == (3, 1, 0)
    assert json.loads(warned.summary.read_text())["contamination"][0]["same_query"] == 1
    with pytest.raises(
        DataError, match=r"1 training rows are in test sets(.|\n)*1 is like t1 of .*t\.jsonl \(same_query\): find it"
    ):
        made(tmp_path, **fields, decontaminate={"action": "refuse"})
    with pytest.raises(DataError, match="none of 3 rows is left, as 0 are duplicates and 3 are in test sets"):
        made(tmp_path, train=train, decontaminate={"action": "drop", "against": [train]})


def test_whole_tasks_are_held_out_and_not_repeated(tmp_path):
    rows = [chat(f"task {number % 10}", id=str(number)) for number in range(40)]
    data = write(tmp_path / "a.jsonl", *rows)
    result = made(tmp_path, train={"path": data, "weight": 2}, validation={"share": 0.2}, deduplicate="off")
    train, validation = set(queries(result.train)), set(queries(result.validation))
    assert not train & validation
    assert (result.num_train, result.num_validation) == (64, 8)
    other = made(tmp_path, train={"path": data, "weight": 2}, validation={"share": 0.2, "seed": 5})
    assert set(queries(other.validation)) != validation


def test_tasks_may_be_told_by_fields_of_the_provenance(tmp_path):
    rows = [chat(f"query {n}", id=str(n), provenance={"task": {"id": n % 4}}) for n in range(20)]
    data = write(tmp_path / "a.jsonl", *rows)
    result = made(tmp_path, train=data, validation={"share": 0.25, "by": "provenance.task.id"})
    assert len({int(row["id"]) % 4 for row in read(result.validation)}) == 1
    assert result.num_validation == 5
    assert json.loads(result.summary.read_text())["validation"]["tasks_told_by_fields"] == 1
    with pytest.raises(DataError, match=r"validation\.by=nothing: no row has this field in its provenance"):
        made(tmp_path, train=data, validation={"share": 0.25, "by": ["nothing"]})


def test_bad_rows_are_set_aside_and_counted(tmp_path):
    data = write(tmp_path / "a.jsonl", chat("1"), {"messages": 1})
    result = made(tmp_path, train=data)
    assert result.num_bad_rows == 1
    assert read(tmp_path / "out" / "quarantine.jsonl")[0]["line"] == 2
    damaged = {"path": write(tmp_path / "b.jsonl", {"messages": 1}), "format": "openai"}
    with pytest.raises(DataError, match=r"b\.jsonl: none of 1 rows can be read"):
        made(tmp_path, train=[data, damaged])
    with pytest.raises(DataError, match="the weights leave no row"):
        made(tmp_path, train={"path": data, "weight": 0.1})


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    counts=st.lists(st.integers(1, 12), min_size=1, max_size=3),
    weights=st.lists(st.sampled_from([0.5, 1, 1.5, 2]), min_size=3, max_size=3),
    cap=st.one_of(st.none(), st.integers(1, 8)),
    share=st.sampled_from([0.1, 0.3]),
    seed=st.integers(0, 3),
)
def test_every_row_is_accounted_for_and_equal_seeds_give_equal_files(tmp_path, counts, weights, cap, share, seed):
    files = []
    for place, count in enumerate(counts):
        rows = [chat(f"query {number % 7} of {place % 2}", id=f"{number}") for number in range(count)]
        files.append({"path": write(tmp_path / f"f{place}.jsonl", *rows), "weight": weights[place], "cap": cap})
    config = MixConfig(train=files, validation={"share": share}, deduplicate="exact", seed=seed)
    try:
        result = mix(config, tmp_path / "one")
    except DataError as error:
        assert "of one task" in str(error) or "leave no row" in str(error)  # noqa: PT017 - either is right here
        return
    mix(config, tmp_path / "two")
    for name in ("train.jsonl", "validation.jsonl", "removed.jsonl", "summary.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert not set(queries(result.train)) & set(queries(result.validation))
    for file, source in zip(config.train, json.loads(result.summary.read_text())["sources"].values(), strict=True):
        left = source["rows"] - source["duplicates_removed"]
        assert left - source["beyond_cap"] == (min(left, cap) if cap else left)
        assert source["train"] == int(file.weight * (left - source["beyond_cap"] - source["validation"]) + 0.5)
    assert len(read_trajectories(result.train).trajectories) == result.num_train


def test_nothing_is_left_half_written(tmp_path, monkeypatch):
    data = write(tmp_path / "a.jsonl", *numbered(3))
    monkeypatch.setattr("tltrain.corpus.mix.summarise", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        made(tmp_path, train=data)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"train.jsonl", "removed.jsonl"}


def test_the_stage_is_skipped_until_a_file_or_a_setting_changes(tmp_path):
    data = write(tmp_path / "a.jsonl", *numbered(3))
    tests = write(tmp_path / "tests" / "deep" / "t.jsonl", chat("z")).parent.parent
    config = MixConfig(train=data, decontaminate={"against": tests})
    first = mix_stage(config, out=tmp_path / "out")
    (tmp_path / "out" / "train.jsonl").write_text("as it was\n")
    assert mix_stage(config, out=tmp_path / "out", reuse=Reuse.RESUME) == first
    assert first.train.read_text() == "as it was\n"
    write(tests / "deep" / "t.jsonl", chat("y"))
    with pytest.raises(UsageError, match="was begun with other settings"):
        mix_stage(config, out=tmp_path / "out", reuse=Reuse.RESUME)
    assert mix_stage(config, out=tmp_path / "out", reuse=Reuse.OVERWRITE).num_train == 3


def test_files_get_names_that_tell_them_apart():
    config = MixConfig(train=["x/good.jsonl.gz", "y/train.jsonl", "z/train.json", {"path": "w.jsonl", "name": "mine"}])
    assert [file.name for file in config.train] == ["good", "y/train", "z/train", "mine"]
    assert MixConfig(train="x/train.jsonl").train[0].name == "train"
    with pytest.raises(ValidationError, match="two files are called x/a; give one of them another name"):
        MixConfig(train=["x/a.jsonl", "x/a.json"])


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"train": []}, "at least 1 item"),
        ({"train": {"path": "a", "weight": 0}}, "greater than 0"),
        ({"train": {"path": "a", "wieght": 1}}, "not permitted"),
        ({"train": "a", "validation": {"share": 1}}, "less than 1"),
        ({"train": "a", "validation": {"share": 0.5, "by": "a..b"}}, "'a..b' is no field"),
        ({"train": "a", "deduplicate": "maybe"}, "'exact', 'near' or 'off'"),
    ],
)
def test_settings_that_make_no_sense_are_refused(fields, said):
    with pytest.raises(ValidationError, match=said):
        MixConfig(**fields)
