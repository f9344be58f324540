from tltrain.render.name_paths import NamePaths, written_name
from tltrain.render.tokens import tokenize
from tltrain.syntax import Span


class LetterTokenizer:
    """One token a character; those of a text that begins with `>` have other ids, so far context matters."""

    is_fast = True

    def __init__(self):
        self.num_texts = 0

    def __call__(self, texts, **_options):
        self.num_texts += len(texts)
        ids = [[ord(char) + 1000 * text.startswith(">") for char in text] for text in texts]
        return {"input_ids": ids, "offset_mapping": [[(at, at + 1) for at in range(len(text))] for text in texts]}


def test_a_name_that_is_cut_differently_in_a_small_window_is_cut_in_the_whole_text():
    tokenizer = LetterTokenizer()
    tokens = tokenize(tokenizer, ">>>>>>abc(x)")
    # "abd" leaves abc at its third letter; what the window alone gives shares not even the first token.
    assert NamePaths().key_positions(tokenizer, tokens, Span(6, 9), ["abc", "abd", "x"]) == (6, 8)


def test_what_was_cut_before_is_remembered():
    tokenizer = LetterTokenizer()
    tokens = tokenize(tokenizer, "......abc(x)......abc(x)")
    paths = NamePaths()
    names = ["abc", "abcd", "x"]
    assert paths.key_positions(tokenizer, tokens, Span(6, 9), names) == (6, 9)
    num_texts = tokenizer.num_texts
    assert paths.key_positions(tokenizer, tokens, Span(18, 21), names) == (18, 21)
    assert tokenizer.num_texts == num_texts


def test_names_are_written_as_calls_write_them():
    assert written_name("python", "get_user") == "get_user"
    assert written_name("python", 'say "hi"') == r"say \"hi\""
    assert written_name("hermes", 'say "hi"') == r"say \"hi\""
