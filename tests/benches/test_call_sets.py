import pytest
from hypothesis import given
from hypothesis import strategies as st

from tltrain.benches.call_sets import compare_calls
from tltrain.types import MalformedCall, Tool, ToolCall

TOOLS = (Tool(name="look", parameters={"properties": {"a": {}, "b": {}}}), Tool(name="drop"))


def look(**arguments):
    return ToolCall(name="look", arguments=arguments)


DROP, BROKEN = ToolCall(name="drop"), MalformedCall(raw="look(", reason="")


@pytest.mark.parametrize(
    ("calls", "golds", "stages", "label"),
    [
        ([], [], (True, True, True), "all_right"),
        ([DROP, look(a=1)], [look(a=1), DROP], (True, True, True), "all_right"),  # in any order
        ([look(a=1), look(a=2)], [look(a=2), look(a=1)], (True, True, True), "all_right"),
        ([look(a=1), look(a=1)], [look(a=2), look(a=1)], (True, True, False), "content_mismatch"),
        ([look(a=1), look(b=2)], [look(a=2), look(a=1)], (True, False, False), "param_redundant+param_missing"),
        # the near one is paired with the near gold, so the other call is found equal
        (
            [look(a=1, c=1), look(a=1)],
            [look(a=1), look(a=1, b=1)],
            (True, False, False),
            "param_hallucination+param_missing",
        ),
        ([look(a=1), DROP], [look(a=1), look(a=1)], (False, False, False), "wrong_tool"),
        ([look(a=1)], [look(a=1), DROP], (False, False, False), "missing_call"),
        ([look(a=1), DROP], [look(a=1)], (False, False, False), "unwanted_call"),
        ([BROKEN, look(a=1)], [look(a=1), DROP], (False, False, False), "format_error"),
        ([DROP], [], (False, False, False), "unwanted_call"),
        ([look(a=True)], [look(a=1)], (True, True, False), "content_mismatch"),
    ],
)
def test_sets_of_calls(calls, golds, stages, label):
    found = compare_calls(calls, TOOLS, golds)
    assert (found.ts, found.pi, found.cf) == stages
    assert found.label == label


SOME = st.lists(st.builds(look, a=st.integers(0, 1)) | st.builds(look, b=st.integers(0, 1)) | st.just(DROP), max_size=5)


@given(SOME, SOME, st.randoms())
def test_stages_are_equalities_of_multisets_whatever_the_order(calls, golds, rng):
    def same(key):
        return sorted(map(key, calls)) == sorted(map(key, golds))

    found = compare_calls(rng.sample(calls, len(calls)), TOOLS, golds)
    assert found.ts == same(lambda call: call.name)
    assert found.pi == same(lambda call: (call.name, sorted(call.arguments)))
    assert found.cf == same(lambda call: (call.name, sorted(call.arguments.items())))
