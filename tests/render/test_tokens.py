import pytest

from tltrain.render.tokens import tokenize


class FixedTokenizer:
    """Gives the ranges it was made with, as tokenizers of other families would."""

    is_fast = True

    def __init__(self, *offsets):
        self.offsets = offsets

    def __call__(self, _texts, **_options):
        return {"input_ids": [list(range(len(self.offsets)))], "offset_mapping": [self.offsets]}


def test_tokens_whose_ranges_leave_out_blanks_cover_the_text():
    # " get  x": a leading blank is left out of its token, and a token of one blank has an empty range.
    tokens = tokenize(FixedTokenizer((1, 4), (5, 5), (6, 7)), " get  x")
    assert [tokens.token_text(position) for position in range(3)] == [" get", " ", " x"]


def test_tokens_that_share_a_character_all_belong_to_it():
    tokens = tokenize(FixedTokenizer((0, 1), (1, 2), (1, 2), (1, 2), (2, 3)), "a😀b")
    assert tokens.overlap(1, 2) == (1, 4)
    assert tokens.overlap(0, 1) == (0, 1)
    assert tokens.overlap(2, 3) == (4, 5)


@pytest.mark.parametrize(
    ("span", "expected"),
    [((0, 2), (0, 1)), ((1, 3), (0, 2)), ((2, 5), (1, 3)), ((3, 3), (1, 1)), ((2, 2), (1, 1)), ((6, 6), (3, 3))],
    ids=["exact", "parts_of_two", "two", "empty_inside", "empty_between", "empty_at_end"],
)
def test_a_token_belongs_to_a_range_if_it_holds_a_character_of_it(span, expected):
    tokens = tokenize(FixedTokenizer((0, 2), (2, 4), (4, 6)), "abcdef")
    assert tokens.overlap(*span) == expected


def test_an_empty_token_belongs_to_what_is_around_it():
    # The begin-of-text token of some tokenizers, and one in the middle whose range is (0, 0).
    tokens = tokenize(FixedTokenizer((0, 0), (0, 2), (0, 0), (2, 4)), "abcd")
    assert tokens.overlap(0, 2) == (1, 2)
    assert tokens.overlap(0, 4) == (1, 4)
    assert tokens.overlap(2, 4) == (3, 4)
