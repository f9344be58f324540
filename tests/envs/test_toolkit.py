"""Toolkits and the sandbox: schemas out of signatures, checked calls, wording of errors, seeded failures."""

import json
from typing import Annotated, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tltrain.envs.sandbox import KITS
from tltrain.envs.sandbox.environment import ErrorStyle, Sandbox
from tltrain.envs.toolkit import ToolFault, Toolkit, bad_value, refuse, tool
from tltrain.taxonomy import FeedbackKind
from tltrain.types import MalformedCall, ToolCall


class Lamp(Toolkit):
    name = "lamp"

    def __init__(self, seed: int):
        super().__init__(seed)
        self.levels = {"hall": self.rng.randint(0, 9)}
        self._cache = object()

    @tool
    def set_level(
        self, room: Annotated[str, "Where it hangs"], level: int, mode: Literal["fast", "slow"] | None = None
    ) -> str:
        """Set the brightness.

        A second paragraph that no model reads.
        """
        if room not in self.levels:
            raise refuse(f"no lamp in {room!r}")
        if not 0 <= level <= 9:
            raise bad_value(f"level must be 0 to 9, got {level}")
        self.levels[room] = level
        return f"set {mode or 'at once'}"

    @tool
    def get_levels(self) -> dict[str, int]:
        """List all lamps."""
        return dict(self.levels)

    @tool
    def keep(self, names: list[str]) -> list[str]:
        """Change the list that is given."""
        names.append("changed")
        return names

    def helper(self) -> None:
        """No tool."""


def call(name: str, **arguments: object) -> ToolCall:
    return ToolCall(name=name, arguments=arguments)


def test_schema_comes_from_the_signature():
    documents = {document.name: document for document in Lamp.tools()}
    assert list(documents) == ["set_level", "get_levels", "keep"]
    assert documents["set_level"].description == "Set the brightness."
    assert documents["set_level"].parameters == {
        "type": "object",
        "properties": {
            "room": {"type": "string", "description": "Where it hangs"},
            "level": {"type": "integer"},
            "mode": {"type": "string", "enum": ["fast", "slow"]},
        },
        "required": ["room", "level"],
    }
    assert documents["get_levels"].parameters == {"type": "object", "properties": {}, "required": []}
    assert documents["keep"].properties["names"] == {"type": "array", "items": {"type": "string"}}


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ({"room": "hall"}, FeedbackKind.MISSING_ARGUMENT, "set_level() missing 1 required argument: 'level'"),
        ({}, FeedbackKind.MISSING_ARGUMENT, "set_level() missing 2 required arguments: 'room' and 'level'"),
        (
            {"room": "hall", "level": 3, "color": "red"},
            FeedbackKind.UNEXPECTED_ARGUMENT,
            "set_level() got an unexpected keyword argument 'color'",
        ),
        (
            {"room": "hall", "level": "3"},
            FeedbackKind.TYPE_OR_VALUE,
            "set_level(): argument 'level': Input should be a valid integer, got '3'",
        ),
        (
            {"room": "hall", "level": True},
            FeedbackKind.TYPE_OR_VALUE,
            "set_level(): argument 'level': Input should be a valid integer, got True",
        ),
        ({"room": "hall", "level": 10}, FeedbackKind.TYPE_OR_VALUE, "level must be 0 to 9, got 10"),
        ({"room": "cellar", "level": 3}, FeedbackKind.REFUSED, "no lamp in 'cellar'"),
    ],
)
def test_a_call_that_fails_says_why_and_changes_nothing(arguments, kind, message):
    kit = Lamp(0)
    before = kit.snapshot()
    with pytest.raises(ToolFault) as caught:
        kit.call("set_level", arguments)
    assert (caught.value.kind, str(caught.value)) == (kind, message)
    assert kit.snapshot() == before


def test_a_good_call_changes_the_state_and_only_public_attributes_are_state():
    kit = Lamp(0)
    assert kit.call("set_level", {"room": "hall", "level": 3, "mode": None}) == "set at once"
    assert kit.snapshot() == {"levels": {"hall": 3}}


def test_tools_cannot_change_the_callers_arguments():
    names = ["a"]
    assert Lamp(0).call("keep", {"names": names}) == ["a", "changed"]
    assert names == ["a"]


def test_snapshot_is_a_copy():
    kit = Lamp(0)
    kit.snapshot()["levels"]["hall"] = 99
    assert kit.levels["hall"] <= 9


@pytest.mark.parametrize(
    ("style", "missing", "undefined"),
    [
        (
            ErrorStyle.PYTHON,
            "TypeError: keep() missing 1 required argument: 'names'",
            "NameError: name 'dim' is not defined",
        ),
        (
            ErrorStyle.JSON,
            '{"error": "keep() missing 1 required argument: \'names\'"}',
            '{"error": "name \'dim\' is not defined"}',
        ),
        (
            ErrorStyle.HTTP,
            '{"status": 400, "message": "keep() missing 1 required argument: \'names\'"}',
            '{"status": 404, "message": "name \'dim\' is not defined"}',
        ),
    ],
)
def test_wording_of_errors(style, missing, undefined):
    sandbox = Sandbox([Lamp(0)], style=style)
    assert sandbox.execute(call("keep")).text == missing
    assert sandbox.execute(call("dim")).text == undefined


def test_sandbox_answers_json_or_plain_text_and_the_value():
    sandbox = Sandbox([Lamp(0)])
    sandbox.execute(call("set_level", room="hall", level=7))
    assert sandbox.execute(call("get_levels")).text == '{"hall": 7}'
    assert sandbox.execute(call("get_levels")).value == {"hall": 7}
    assert sandbox.execute(call("set_level", room="hall", level=7)).text == "set at once"


def test_malformed_calls_and_tools_not_on_offer_are_errors():
    sandbox = Sandbox([Lamp(0)], shown=["get_levels"])
    assert [document.name for document in sandbox.tools] == ["get_levels"]
    assert sandbox.execute(call("set_level", room="hall", level=7)).error is FeedbackKind.TOOL_NOT_DEFINED
    malformed = MalformedCall(raw="get_levels(", reason="the parenthesis is never closed")
    feedback = sandbox.execute(malformed)
    assert feedback.error is FeedbackKind.TYPE_OR_VALUE
    assert feedback.text == "ValueError: invalid call: the parenthesis is never closed"


def test_service_failures_are_seeded_come_at_their_rate_and_reach_no_tool():
    def failures(seed: int) -> list[bool]:
        sandbox = Sandbox([Lamp(0)], failure_rate=0.2, seed=seed)
        feedbacks = [sandbox.execute(call("get_levels")) for _ in range(2000)]
        assert {feedback.error for feedback in feedbacks} == {None, FeedbackKind.SERVICE_FAILURE}
        return [feedback.error is not None for feedback in feedbacks]

    assert failures(1) == failures(1) != failures(2)
    assert 0.17 < sum(failures(1)) / 2000 < 0.23  # 0.2 with a standard deviation of 0.009
    sandbox = Sandbox([Lamp(0)], failure_rate=0.999)
    before = sandbox.snapshot()
    sandbox.execute(call("set_level", room="hall", level=before["lamp"]["levels"]["hall"] ^ 1))
    assert sandbox.snapshot() == before


def test_kits_have_their_names_and_no_two_tools_share_one():
    assert {name: kit.name for name, kit in KITS.items()} == {name: name for name in KITS}
    names = [document.name for kit in KITS.values() for document in kit.tools()]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("name", KITS)
def test_kits_offer_a_few_documented_tools_over_a_seeded_json_state(name):
    kit = KITS[name]
    assert 5 <= len(kit.tools()) <= 8
    assert all(document.description for document in kit.tools())
    assert kit(4).snapshot() == kit(4).snapshot()
    assert any(kit(seed).snapshot() != kit(0).snapshot() for seed in range(1, 5))
    snapshot = kit(0).snapshot()
    assert json.loads(json.dumps(snapshot, allow_nan=False)) == snapshot


_SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
_VALUES = _SCALARS | st.lists(_SCALARS, max_size=3) | st.dictionaries(st.text(max_size=4), _SCALARS, max_size=2)
_OWN_TEXTS = {
    name: sorted({text for text in json.dumps(kit(0).snapshot()).split('"') if text}) for name, kit in KITS.items()
}


@pytest.mark.parametrize("name", KITS)
@given(data=st.data())
@settings(max_examples=15, deadline=None)
def test_no_input_makes_a_kit_raise_and_a_failed_call_leaves_the_state(name, data):
    sandbox = Sandbox([KITS[name](0)])
    values = _VALUES | st.sampled_from(_OWN_TEXTS[name])
    for _ in range(3):
        document = data.draw(st.sampled_from(sandbox.tools))
        arguments = {key: data.draw(values) for key in document.properties if data.draw(st.integers(0, 9))}
        before = sandbox.snapshot()
        feedback = sandbox.execute(ToolCall(name=document.name, arguments=arguments))
        assert feedback.error is None or sandbox.snapshot() == before
