"""The check against test sets: twins and near twins are found, other rows are not."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corpus.rows_for_tests import chat, facts, trajectory, write
from shared import data_file
from tltrain.corpus.check import check
from tltrain.corpus.config import DataFile
from tltrain.corpus.contamination import TestSet, TwinKind, count_pairs, find_twins
from tltrain.corpus.rows import RowReader
from tltrain.errors import DataError

QUERIES = (
    "Could you tell me the current weather conditions for Boston, MA and also for San Francisco?",
    "Please retrieve the name and last update date for the airport with the ICAO code EDDM in Germany.",
    "Generate a random string of eight characters that can serve as a password for my new account!",
    "Send the quarterly report to everybody in the finance team and remind them of Friday's meeting.",
)


def twins(train, test, threshold=0.7):
    reader = RowReader()
    rows = facts(*train, reader=reader)
    return rows, list(find_twins(rows, [TestSet("t", facts(*test, reader=reader), near_threshold=threshold)]))


def disguise(query: str, how: str) -> str:
    words = query.split()
    return {
        "case": query.upper(),
        "punctuation": " -- ".join(word.strip(",.?!") for word in words),
        "one word less": " ".join(words[1:]),
        "one word more": f"{query} thanks",
        "one word changed": " ".join([*words[:-1], "tomorrow"]),
    }[how]


@settings(deadline=None)
@given(
    st.sampled_from(QUERIES),
    st.sampled_from(["case", "punctuation", "one word less", "one word more", "one word changed"]),
)
def test_a_planted_twin_is_found_in_every_disguise(query, how):
    _, found = twins([trajectory("something of its own"), trajectory(disguise(query, how))], map(trajectory, QUERIES))
    assert [(twin.row, twin.test_rows[0]) for twin in found] == [(1, QUERIES.index(query))]
    is_same = how in ("case", "punctuation")
    assert found[0].kind is (TwinKind.SAME_QUERY if is_same else TwinKind.NEAR_QUERY)
    assert (found[0].similarity == 1.0) is is_same


def test_unrelated_queries_are_not_found():
    for query in QUERIES:
        assert not twins([trajectory(query)], [trajectory(other) for other in QUERIES if other != query])[1]


def test_the_same_query_counts_whatever_the_tools_and_a_near_one_only_with_the_same():
    near = disguise(QUERIES[0], "one word changed")
    _, found = twins([trajectory(QUERIES[0]), trajectory(near)], [trajectory(QUERIES[0], tools=("other",))])
    assert [(twin.row, twin.kind) for twin in found] == [(0, TwinKind.SAME_QUERY)]


def test_rows_without_a_query_are_in_no_test_set():
    assert not twins([trajectory("")], [trajectory("")])[1]


def test_counts_of_a_pair():
    near = disguise(QUERIES[0], "one word more")
    train = [
        trajectory(QUERIES[0]),
        trajectory(near),
        trajectory("new"),
        trajectory("new", tools=()),
        trajectory("x", tools=("y",)),
    ]
    reader = RowReader()
    rows = facts(*train, reader=reader)
    test = TestSet(
        "t",
        facts(trajectory(QUERIES[0]), trajectory(QUERIES[0], reply="x"), trajectory("", tools=()), reader=reader),
        near_threshold=0.7,
    )
    count = count_pairs(rows, ["a"], [test], list(find_twins(rows, [test])))[0]
    assert (count.train, count.train_rows, count.test, count.test_rows) == ("a", 5, "t", 3)
    assert (count.same_query, count.near_query, count.test_rows_met) == (1, 1, 2)
    assert count.same_tools == 3  # a row without tools has no tool list to share


def test_folders_are_gone_through_and_what_cannot_be_read_in_them_is_named(tmp_path):
    train = write(tmp_path / "train.jsonl", chat("Find it", id="r1"), chat("new", id="r2"), {"messages": 3})
    write(tmp_path / "tests" / "a.jsonl", chat("find it!", id="t1"))
    write(tmp_path / "tests" / "deep" / "b.jsonl", chat("other"))
    (tmp_path / "tests" / "notes.json").write_text('{"no": "trajectories"}')
    (tmp_path / "tests" / "README.md").write_text("read me")
    result = check([DataFile(path=train)], [DataFile(path=tmp_path / "tests")])
    assert [(pair.test[len(str(tmp_path)) :], pair.same_query) for pair in result.pairs] == [
        ("/tests/a.jsonl", 1),
        ("/tests/deep/b.jsonl", 0),
    ]
    assert [(found.id, found.test_id, found.kind) for found in result.found] == [("r1", "t1", "same_query")]
    assert result.num_found == 1
    assert result.bad_rows == {str(train): 1}
    assert list(result.unreadable) == [str(tmp_path / "tests" / "notes.json")]


def test_files_that_were_named_must_be_readable(tmp_path):
    train = write(tmp_path / "train.jsonl", chat("Find it"))
    (tmp_path / "empty").mkdir()
    for path, said in ((tmp_path / "no.jsonl", "no such file"), (tmp_path / "empty", "holds no file that ends in")):
        with pytest.raises(DataError, match=said):
            check([DataFile(path=train)], [DataFile(path=path)])
    (tmp_path / "empty" / "x.json").write_text("[1]")
    with pytest.raises(DataError, match="no file in this folder can be read"):
        check([DataFile(path=train)], [DataFile(path=tmp_path / "empty")])


def counts(train: str, *tests: str):
    result = check([DataFile(path=data_file(train))], [DataFile(path=data_file(test)) for test in tests])
    assert not result.bad_rows
    return result


def test_rotbench_shares_19_queries_and_all_tool_lists_with_tooleyes():
    tooleyes = "tooleyes/Test_Data/scenario_data_zero_processed.json"
    pair = counts("rotbench/First_Turn/clean.json", tooleyes).pairs[0]
    assert (pair.train_rows, pair.test_rows) == (105, 382)
    assert (pair.same_query, pair.near_query, pair.test_rows_met, pair.same_tools) == (19, 0, 19, 105)
    noisy = counts("rotbench/First_Turn/union.json", tooleyes).pairs[0]
    assert noisy.same_query == 19  # under other names of tools, too


def test_no_exec_question_of_bfcl_is_among_its_other_questions():
    result = counts("bfcl/unused_datasets/question", "bfcl")
    assert sum({pair.train: pair.train_rows for pair in result.pairs}.values()) == 240
    assert len({pair.test for pair in result.pairs}) == 12
    assert not result.found
