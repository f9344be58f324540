import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tltrain.audit.structure import read_structure


@pytest.mark.parametrize(
    ("text", "value", "is_whole"),
    [
        ('{"a": [1, true, null, "x"]}', {"a": [1, True, None, "x"]}, True),
        ("{'a': [1, True, None, 'x', 2.5, -3e2]}", {"a": [1, True, None, "x", 2.5, -300.0]}, True),
        ("{'a': (1, 2), \"it's\": 'a\\'b\\n\\u00e9\\x41'}", {"a": [1, 2], "it's": "a'b\néA"}, True),
        (
            "{1: 'a', 'd': datetime.date(2024, 1, 2), 'n': nan}",
            {"1": "a", "d": "datetime.date(2024, 1, 2)", "n": "nan"},
            True,
        ),
        ("{'a': 1, }", {"a": 1}, True),
        ("{'a': [{'b': 1}, {'c': 'trunca", {"a": [{"b": 1}, {"c": "trunca"}]}, False),
        ("{'a': 1, 'b", {"a": 1}, False),
        ('{"a": 1, "b": ...', {"a": 1}, False),
        ("{'a': 1} and then words", {"a": 1}, True),
        ('"text"', "text", True),
        ("[]", [], True),
        ("{}", {}, True),
    ],
)
def test_what_is_read(text, value, is_whole):
    assert read_structure(text) == (value, is_whole)


@pytest.mark.parametrize(
    "text", ["", "plain", "[1] Smith et al.", "[ERROR] bad", "{placeholder}", "{a, b}", "'ja'", "(see below)", "12"]
)
def test_what_is_no_structure(text):
    assert read_structure(text) is None


objects = st.dictionaries(
    st.text(max_size=5),
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(2**63), 2**63)
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
        max_leaves=6,
    ),
    max_size=4,
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(objects)
def test_json_and_printed_python_read_back(value):
    assert read_structure(json.dumps(value)) == (value, True)
    assert read_structure(repr(value)) == (value, True)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(objects, st.integers(0, 80))
def test_a_cut_text_reads_as_a_part_or_not_at_all(value, length):
    structure = read_structure(repr(value)[:length])
    if structure is not None and isinstance(structure.value, dict):
        assert structure.value.keys() <= value.keys()
