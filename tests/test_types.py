from tltrain.types import CallStep, MalformedCall, Message, Role, Tool, ToolCall, Trajectory, iterate_calls


def call(name: str, id: str | None = None) -> ToolCall:
    return ToolCall(name=name, id=id)


def assistant(*calls: ToolCall | MalformedCall) -> Message:
    return Message(role=Role.ASSISTANT, calls=calls)


def answer(content: str, call_id: str | None = None) -> Message:
    return Message(role=Role.TOOL, content=content, call_id=call_id)


def feedback_by_call(*messages: Message) -> list[tuple[str, str | None]]:
    steps = iterate_calls(Trajectory(id="t", tools=(), messages=messages))
    return [(step.call.name if isinstance(step.call, ToolCall) else step.call.raw, step.feedback) for step in steps]


def test_steps_number_the_calls_and_say_where_they_stand():
    first, broken, last = call("a"), MalformedCall(raw="b(", reason="?"), call("c")
    user = Message(role=Role.USER, content="q")
    messages = (user, assistant(first, broken), answer("A"), answer("B"), assistant(), assistant(last), answer("C"))
    assert list(iterate_calls(Trajectory(id="t", tools=(), messages=messages))) == [
        CallStep(0, 1, 0, first, "A"),
        CallStep(1, 1, 1, broken, "B"),
        CallStep(2, 5, 0, last, "C"),
    ]


def test_a_trajectory_without_calls_has_no_steps():
    assert feedback_by_call() == []
    assert feedback_by_call(Message(role=Role.USER, content="q"), assistant(), answer("stray")) == []


def test_answers_without_ids_are_taken_in_order():
    assert feedback_by_call(assistant(call("a"), call("b")), answer("A"), answer("B")) == [("a", "A"), ("b", "B")]


def test_answers_with_ids_find_their_calls_in_any_order():
    messages = assistant(call("a", "1"), call("b", "2")), answer("B", "2"), answer("A", "1")
    assert feedback_by_call(*messages) == [("a", "A"), ("b", "B")]


def test_answers_with_unknown_ids_fill_the_gaps_in_order():
    calls = assistant(call("a", "1"), call("b", "2"), call("c", "3"))
    messages = calls, answer("x", "9"), answer("B", "2"), answer("y")
    assert feedback_by_call(*messages) == [("a", "x"), ("b", "B"), ("c", "y")]


def test_calls_that_share_an_id_are_answered_in_order():
    steps = feedback_by_call(assistant(call("a", "1"), call("b", "1")), answer("A", "1"), answer("B", "1"))
    assert steps == [("a", "A"), ("b", "B")]


def test_a_shared_id_goes_to_the_next_call_that_carries_it():
    calls = assistant(call("a", "1"), call("b"), call("c", "1"))
    assert feedback_by_call(calls, answer("A", "1"), answer("C", "1")) == [("a", "A"), ("b", None), ("c", "C")]


def test_missing_answers_are_none_and_surplus_ones_are_dropped():
    assert feedback_by_call(assistant(call("a"), call("b")), answer("A")) == [("a", "A"), ("b", None)]
    assert feedback_by_call(assistant(call("a")), answer("A"), answer("B")) == [("a", "A")]
    assert feedback_by_call(assistant(call("a", "1")), answer("A", "1"), answer("again", "1")) == [("a", "A")]


def test_an_empty_answer_is_an_answer():
    assert feedback_by_call(assistant(call("a")), answer("")) == [("a", "")]


def test_only_the_tool_messages_that_follow_directly_answer():
    user = Message(role=Role.USER, content="wait")
    assert feedback_by_call(assistant(call("a")), user, answer("late")) == [("a", None)]
    assert feedback_by_call(assistant(call("a")), assistant(call("b")), answer("B")) == [("a", None), ("b", "B")]


def test_text_as_written_and_ids_are_no_part_of_a_calls_identity():
    assert ToolCall(name="f", arguments={"a": 1}, raw="f(a=1)", id="1") == ToolCall(name="f", arguments={"a": 1})
    assert ToolCall(name="f", arguments={"a": 1}) != ToolCall(name="f", arguments={"a": 2})
    assert MalformedCall(raw="f(", reason="x", id="1") == MalformedCall(raw="f(", reason="x")
    assert MalformedCall(raw="f(", reason="x") != MalformedCall(raw="g(", reason="x")


def test_a_tool_reads_its_schema_and_survives_a_bad_one():
    tool = Tool(name="f", parameters={"type": "object", "properties": {"a": {}, "b": {}}, "required": ["a"]})
    assert list(tool.properties) == ["a", "b"]
    assert tool.required == {"a"}
    assert dict(Tool(name="f").properties) == {}
    assert Tool(name="f").required == frozenset()
    odd = Tool(name="f", parameters={"properties": ["a"], "required": "a"})
    assert (dict(odd.properties), odd.required) == ({}, frozenset())
    assert Tool(name="f", parameters={"required": ["a", 1, None]}).required == {"a"}
