"""Nearly equal texts: all pairs at or above the threshold, and no others."""

from hypothesis import given, settings
from hypothesis import strategies as st

from tltrain.corpus.near import NearIndex, trigrams

WORDS = st.lists(
    st.sampled_from(
        [
            "book",
            "find",
            "cancel",
            "a",
            "the",
            "room",
            "flight",
            "for",
            "to",
            "in",
            "Paris",
            "London",
            "2",
            "3",
            "table",
        ]
    ),
    max_size=9,
)
TEXTS = st.lists(WORDS.map(" ".join), max_size=14)
THRESHOLDS = st.sampled_from([0.05, 0.3, 0.5, 0.7, 0.75, 0.8, 0.9, 1.0])


def similarity(one: str, other: str) -> float:
    return len(trigrams(one) & trigrams(other)) / len(trigrams(one) | trigrams(other))


def filled(texts: list[str], threshold: float, counted: list[str]) -> NearIndex:
    index = NearIndex(threshold, counted)
    for text in texts:
        index.add(index.prepare(text))
    return index


@settings(deadline=None)
@given(TEXTS, WORDS.map(" ".join), THRESHOLDS, st.booleans())
def test_exactly_the_entries_at_or_above_the_threshold_are_found(texts, asked, threshold, are_counted):
    index = filled(texts, threshold, texts if are_counted else [])
    found = index.find(index.prepare(asked))
    expected = {number: similarity(text, asked) for number, text in enumerate(texts)}
    assert {match.number: match.similarity for match in found} == {
        number: value for number, value in expected.items() if value >= threshold
    }
    assert found == sorted(found, key=lambda match: (-match.similarity, match.number))
    assert len(index) == len(texts)


def test_a_word_more_in_a_sentence_is_near_and_another_sentence_is_not():
    query = "please book a table for two people at the italian restaurant on friday"
    index = filled([query], 0.7, [])
    for near in (query, query.replace("please ", ""), query.replace("friday", "monday")):
        assert index.find(index.prepare(near)), near
    for far in ("please cancel the flight to rome", "which italian restaurant has a table", ""):
        assert not index.find(index.prepare(far)), far


def test_the_arithmetic_of_a_similarity():
    # " ab ": " ab", "ab "; " abc ": " ab", "abc", "bc ". One of four is shared.
    index = filled(["abc"], 0.25, [])
    assert [match.similarity for match in index.find(index.prepare("ab"))] == [0.25]
    assert trigrams("") == {"  "}
