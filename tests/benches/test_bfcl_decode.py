import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tltrain.benches.bfcl_decode import UndecodableError, decode_output, is_list_of_calls, read_python_calls


@pytest.mark.parametrize(
    ("text", "calls"),
    [
        ("[f(a=1, b='x'), g.h(c=[1, (2, 3)])]", [{"f": {"a": 1, "b": "x"}}, {"g.h": {"c": [1, (2, 3)]}}]),
        ("f(a=1)", [{"f": {"a": 1}}]),
        ("```\n[f(a=1)]\n```", [{"f": {"a": 1}}]),
        ("", []),
        ("f(1, a=2)", [{"f": {"a": 2}}]),  # arguments by position are dropped
        ("f(a=1/4, b=2*3, c=-2, d=-(-2))", None),
        ("f(a=1/4, b=2*3, c=-2, d=+2)", [{"f": {"a": 0.25, "b": 6, "c": -2, "d": -2}}]),  # any sign negates
        ("f(a=x, b=g(), c=g(d=1), e=x[1:2])", [{"f": {"a": "x", "b": "g()", "c": {"g": {"d": 1}}, "e": "x[1:2]"}}]),
        ("f(**{'a': 1})", [{"f": {None: {"a": 1}}}]),
        ("f(a='x' + 'y')", [{"f": {"a": "xy"}}]),
        ("f(a=1)\ng(b=2)", None),
        ("I cannot do that.", None),
        ("f(a=__import__('os').getcwd() + 'x')", None),
        ("f(a=9**9**9)", None),
        ("f(a='x' * 999999999)", None),
        ("f(a=1/0)", None),
        ("f(a={[]: 1})", None),
        ("f(a=" + "[" * 5000 + ")", None),
        ("x" * 200_000, None),
    ],
)
def test_python_text(text, calls):
    if calls is None:
        with pytest.raises(UndecodableError):
            decode_output(text)
    else:
        assert decode_output(text) == calls


def test_arguments_by_position_are_kept_apart():
    (call,) = read_python_calls("f(1, g(2), a=3)")
    assert (call.name, call.positional, call.keywords) == ("f", [1, "g(2)"], {"a": 3})


def test_lists_of_calls():
    assert decode_output([{"f": '{"a": 1}'}, {"g": {"b": 2}}]) == [{"f": {"a": 1}}, {"g": {"b": 2}}]
    for broken in ([{"f": "{"}], [{}], [3], 5, None):
        with pytest.raises(UndecodableError):
            decode_output(broken)


def test_shape_of_what_is_decoded():
    assert is_list_of_calls([])
    assert is_list_of_calls([{"f": {}}])
    for other in (None, {}, [{"f": []}], [{"f": {}, "g": {}}], [{}], ["f"]):
        assert not is_list_of_calls(other)


@given(st.text(alphabet="f(a=1,'[]{}*+-/.\\n)x: ", max_size=60))
def test_no_text_does_harm(text):
    with contextlib.suppress(UndecodableError):
        decode_output(text)
