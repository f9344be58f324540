"""Trajectories of every shape, for laws that hold for all of them."""

import re

from hypothesis import strategies as st

from tltrain.types import MalformedCall, Message, Role, Tool, ToolCall, Trajectory, WeightSpan

texts = st.text(max_size=8) | st.sampled_from(
    [
        "<think>x</think>",
        "a <tool_call>",
        "</tool_response>",
        "<|im_end|>",
        "</think>\n",
        "<tools>[]</tools>",
        " a\n",
        "é\u2028",
    ]
)
names = st.text(min_size=1, max_size=8)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)
json_objects = st.dictionaries(st.text(max_size=5), json_values, max_size=3)
calls = st.builds(ToolCall, name=names, arguments=json_objects, id=st.none() | names) | st.builds(
    MalformedCall, raw=texts, reason=st.text(max_size=8), id=st.none() | names
)
weights = st.sampled_from([0.0, 1.0, 0.25, 2.5])


@st.composite
def spans(draw, message):
    fields = [f"tool_calls[{place}]" for place in range(len(message.calls))]
    fields += ["content"] * bool(message.content) + ["reasoning_content"] * bool(message.reasoning)
    found = []
    for field in draw(st.lists(st.sampled_from(fields), max_size=2, unique=True)) if fields else []:
        if field.startswith("tool_calls"):
            found.append(WeightSpan(field, 0, None, draw(weights)))
            continue
        length = len(message.content if field == "content" else message.reasoning)
        start = draw(st.integers(0, length))
        found.append(WeightSpan(field, start, draw(st.none() | st.integers(start, length)), draw(weights)))
    return tuple(found)


@st.composite
def turns(draw):
    message = Message(
        role=Role.ASSISTANT,
        content=draw(texts),
        reasoning=draw(texts),
        calls=tuple(draw(st.lists(calls, max_size=3))),
    )
    weighed = Message(
        role=message.role,
        content=message.content,
        reasoning=message.reasoning,
        calls=message.calls,
        weight=draw(st.none() | weights),
        mask_reason=draw(st.just("") | texts),
        spans=draw(spans(message)),
    )
    return draw(st.just(message) | st.just(weighed))


@st.composite
def trajectories(draw):
    messages = [Message(role=Role.SYSTEM, content=draw(texts))] * draw(st.integers(0, 1))
    for _ in range(draw(st.integers(1, 3))):
        messages.append(Message(role=draw(st.sampled_from([Role.USER, Role.USER, Role.SYSTEM])), content=draw(texts)))
        turn = draw(turns())
        messages.append(turn)
        ids = st.none() | names | st.sampled_from([call.id for call in turn.calls] or [None])
        for _call in turn.calls[: draw(st.integers(0, 3))]:
            messages.append(
                Message(role=Role.TOOL, content=draw(texts), call_id=draw(ids), name=draw(st.none() | names))
            )
    tools = st.builds(Tool, name=names, description=texts, parameters=json_objects)
    return Trajectory(
        id=draw(names),
        tools=tuple(draw(st.lists(tools, max_size=3))),
        messages=tuple(messages),
        provenance=draw(json_objects),
    )


def effective_weights(message):
    """What each character and each call of a message weighs; two ways to say the same are equal here."""
    base = 1.0 if message.weight is None else message.weight
    texts_ = {"content": [base] * len(message.content), "reasoning_content": [base] * len(message.reasoning)}
    of_calls = [base] * len(message.calls)
    for span in message.spans:
        if place := re.fullmatch(r"tool_calls\[(\d+)\]", span.field):
            of_calls[int(place[1])] = span.weight
        else:
            characters = texts_[span.field]
            end = len(characters) if span.end is None else span.end
            characters[span.start : end] = [span.weight] * (end - span.start)
    if not message.content and not message.reasoning and not message.calls:
        return base
    return texts_, of_calls
