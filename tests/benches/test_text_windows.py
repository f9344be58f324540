import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers.processors import TemplateProcessing

from tiny_models import byte_tokenizer
from tltrain.benches.general_config import GeneralConfig
from tltrain.benches.text_windows import cut_windows, opening_ids, read_text_file
from tltrain.cli import main
from tltrain.config import check_config
from tltrain.errors import DataError, UsageError

TEXT = "Äpfel kosten 3 €, 梨 auch; the quick brown fox jumps over the lazy dog. 🙂 "
PLAIN = byte_tokenizer([TEXT] * 3, vocab_size=300)


def opened():
    """The same tokenizer, with a token of its own before each text and one behind it."""
    tokenizer = byte_tokenizer([TEXT] * 3, vocab_size=300)
    start, end = tokenizer.convert_tokens_to_ids(["<|im_start|>", "<|im_end|>"])
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|im_start|> $A <|im_end|>", special_tokens=[("<|im_start|>", start), ("<|im_end|>", end)]
    )
    return tokenizer


OPENED = opened()


def ids_of(text):
    return PLAIN(text, add_special_tokens=False).input_ids


@given(st.integers(1, 200), st.integers(2, 40), st.data())
def test_each_token_is_predicted_once_from_what_is_right_before_it(size, window, data):
    stride = data.draw(st.integers(1, window - 1))
    text = (TEXT * 10)[:size]
    ids, reached = ids_of(text), 1
    for each in cut_windows([text], PLAIN, window=window, stride=stride):
        begin = reached - each.positions.start
        assert each.ids == ids[begin : begin + len(each.ids)]
        assert len(each.ids) <= window
        # only at the beginning of the text is there less to read
        assert each.positions.start >= window - stride or begin == 0
        assert begin % stride == 0
        assert each.positions.stop == len(each.ids)
        reached += len(each.positions)
    assert reached == len(ids) or len(ids) == 1


@pytest.mark.parametrize(("tokenizer", "unpredicted"), [(PLAIN, 1), (OPENED, 0)])
def test_bytes_are_those_of_the_predicted_text(tokenizer, unpredicted):
    text = "x" + TEXT * 4
    assert tokenizer.decode(ids_of(text)[:1]) == "x"
    windows = cut_windows([text], tokenizer, window=16, stride=12)
    assert sum(each.num_bytes for each in windows) == len(text.encode()) - unpredicted
    assert windows[0].start == unpredicted
    assert [each.start for each in windows[1:]] == [each.start + each.num_bytes for each in windows[:-1]]
    for each in windows:
        said = text.encode()[each.start : each.start + each.num_bytes].decode()
        predicted = tokenizer.decode(each.ids[each.positions.start :])
        # of a character that two windows share, the bytes count with the second, which ends it
        assert predicted.strip("\ufffd") in said
        assert abs(len(said) - len(predicted.strip("\ufffd"))) <= 1


def test_every_window_begins_as_the_tokenizer_begins_a_text():
    (start,) = opening_ids(OPENED)
    assert OPENED.convert_ids_to_tokens(start) == "<|im_start|>"
    assert opening_ids(PLAIN) == []
    windows = cut_windows([TEXT], OPENED, window=8, stride=4)
    assert len(windows) > 3
    assert [each.ids[0] for each in windows] == [start] * len(windows)
    assert OPENED.convert_tokens_to_ids("<|im_end|>") not in windows[-1].ids
    # the first token of the text is predicted, too
    assert [each.ids[place] for each in windows for place in each.positions] == ids_of(TEXT)


def test_documents_know_nothing_of_each_other():
    both = cut_windows([TEXT, "the lazy dog"], PLAIN, window=8, stride=4)
    assert [each.ids for each in both if each.document == 1] == [
        each.ids for each in cut_windows(["the lazy dog"], PLAIN, window=8, stride=4)
    ]
    assert [each.document for each in both] == sorted(each.document for each in both)


def test_a_document_of_one_token_says_something_only_behind_an_opening():
    assert cut_windows(["x"], PLAIN, window=8, stride=4) == []
    assert [list(each.positions) for each in cut_windows(["x"], OPENED, window=8, stride=4)] == [[1]]


# ------------------------------------------------------------------------------------------------------------- files


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("limit", [*range(1, 40), None])
def test_plain_text_is_cut_behind_a_whole_character(tmp_path, mark, limit):
    path = tmp_path / "text.md"
    text = "aé€🙂b" * 3 + "\r\nend"
    path.write_bytes((mark + text).encode())
    if limit is not None and not text.encode()[:limit].decode(errors="ignore"):
        return
    read = read_text_file(path, max_bytes=limit)
    assert read.documents == [text if limit is None else text.encode()[:limit].decode(errors="ignore")]
    assert read.is_whole is (limit is None or limit >= len(text.encode()))


def test_rows_are_documents_and_the_limit_is_one_for_all(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"body": text}) + "\n" for text in ("äb", "", "cd", "efg")))
    assert read_text_file(path, text_field="body").documents == ["äb", "cd", "efg"]
    assert read_text_file(path, text_field="body").is_whole
    for limit, documents in {4: ["äb", "c"], 5: ["äb", "cd"], 6: ["äb", "cd", "e"], 8: ["äb", "cd", "efg"]}.items():
        read = read_text_file(path, text_field="body", max_bytes=limit)
        assert read.documents == documents
        assert read.is_whole is (limit == 8)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.txt", b"", "holds no text; name a file of plain text"),
        ("a.txt", b" \n\t\n", "holds no text"),
        ("a.txt", b"caf\xe9 noir", "byte 0xe9 at offset 3 is not UTF-8; save the file as UTF-8, for example by `iconv"),
        ("a.txt", b"abc\xe2\x82", "byte 0xe2 at offset 3 is not UTF-8"),
        ("a.jsonl", b"", "a.jsonl is empty"),
        ("a.jsonl", b'{"text": ""}\n', "holds no text"),
        (
            "a.jsonl",
            b'{"text": "a"}\n{"body": "b", "n": 1}\n',
            r"a.jsonl:2: has no field 'text'; .*\(texts: body\)",
        ),
        ("a.jsonl", b'{"text": 3}\n', "a.jsonl:1: text is of type integer; it should be a string"),
        ("a.jsonl", b"{text}\n", "a.jsonl:1: not JSON"),
        ("a.jsonl", b'{"text": "\xe9"}\n', "a.jsonl:1: byte 0xe9 at column 11 is not UTF-8"),
    ],
)
def test_files_that_cannot_be_measured(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=said):
        read_text_file(tmp_path / name, max_bytes=1000)


def test_a_missing_file_names_its_neighbours(tmp_path):
    (tmp_path / "texts.txt").write_text("a")
    with pytest.raises(DataError, match=r"text.txt: no such text file; .* has texts.txt"):
        read_text_file(tmp_path / "text.txt")


@pytest.mark.parametrize("stride", [8, 9])
def test_a_stride_that_leaves_tokens_without_context_is_refused(stride, capsys):
    with pytest.raises(UsageError, match=f"stride={stride} must be less than window=8"):
        check_config(GeneralConfig, {"window": 8, "stride": stride})
    assert main(["eval", "general", "x", "--out", "y", "--dry-run", "--set", "window=8"]) == 2
    assert "use for example stride=4" in capsys.readouterr().err
