"""Laws of rendering over random trajectories."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tltrain.render.chat import chat_message, chat_tool
from tltrain.render.conversation import TurnKind, render, render_prompt
from tltrain.render.weights import KeyTokenWeighting
from tltrain.syntax import get_syntax
from tltrain.types import Message, Role, Tool, ToolCall, Trajectory

NAMES = [
    "get_user",
    "get_user_by_id",
    "get_users",
    "get",
    "getUser",
    "find_user",
    "math.sqrt",
    "math.sqrt2",
    "día",
    "日本",
]
# Text without brackets, which could read as a call, and whose edges are letters, since templates trim blanks there.
PROSE = st.from_regex(r"[a-zé😀]([a-z0-9é日😀.,:;'\"\n \-]{0,20}[a-z.😀])?", fullmatch=True)
# Of the embedded model's tokenizer: it has no token for some control characters and unassigned planes, and drops them.
ANY_TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc", "Cn"]) | st.just("\n"), max_size=15)
VALUE = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | ANY_TEXT
CALL = st.builds(
    lambda name, arguments: ToolCall(name=name, arguments=arguments),
    st.sampled_from(NAMES),
    st.dictionaries(st.sampled_from(["user_id", "n", "odd key"]), VALUE | st.lists(VALUE, max_size=2), max_size=2),
)


@st.composite
def trajectories(draw):
    messages = [Message(role=Role.SYSTEM, content=draw(PROSE))] * draw(st.booleans())
    for _ in range(draw(st.integers(1, 2))):
        messages.append(Message(role=Role.USER, content=draw(ANY_TEXT)))
        for _ in range(draw(st.integers(0, 2))):
            calls = draw(st.lists(CALL, min_size=1, max_size=2))
            messages.append(
                Message(role=Role.ASSISTANT, content=draw(st.just("") | PROSE), calls=tuple(calls)),
            )
            messages += [Message(role=Role.TOOL, content=draw(ANY_TEXT)) for _ in calls]
        messages.append(Message(role=Role.ASSISTANT, content=draw(PROSE)))
    names = draw(st.lists(st.sampled_from(NAMES), unique=True, max_size=6))
    return Trajectory(id="row", tools=tuple(Tool(name=name) for name in names), messages=tuple(messages))


@st.composite
def cases(draw):
    trajectory = draw(trajectories())
    num_calls = sum(len(message.calls) for message in trajectory.messages)
    return trajectory, frozenset(number for number in range(num_calls) if draw(st.booleans()))


def check_laws(tokenizer, syntax, trajectory, blocked):
    rendered = render(trajectory, tokenizer, syntax, blocked=blocked, weighting=KeyTokenWeighting())
    chat = [chat_message(message, syntax) for message in trajectory.messages]
    tools = [chat_tool(tool) for tool in trajectory.tools] or None
    assert rendered.input_ids == tokenizer.apply_chat_template(chat, tools=tools)["input_ids"]
    assert len(rendered.weights) == len(rendered.input_ids)

    trained = [position for position, weight in enumerate(rendered.weights) if weight]
    in_turns = {position for turn in rendered.turns for position in range(turn.start, turn.end)}
    in_blocked = {position for call in rendered.calls if call.blocked for position in range(*call.span)}
    assert set(trained) <= in_turns - in_blocked
    for turn in rendered.turns:
        message = trajectory.messages[turn.message]
        written = tokenizer.decode(rendered.input_ids[turn.start : turn.end]).lstrip("\n")
        assert written == syntax.render(message.content, message.calls) + "<|im_end|>"
        prompt = render_prompt(trajectory.tools, trajectory.messages[: turn.message], tokenizer, syntax)
        assert rendered.input_ids[: turn.start] == prompt
        is_blocked = turn.kind is TurnKind.BLOCKED
        assert (turn.end - 1 in trained) is not is_blocked
        if is_blocked:
            assert not set(trained) & set(range(turn.start, turn.end))

    names = [tool.name for tool in trajectory.tools]
    for found, call in zip(
        rendered.calls, (call for message in trajectory.messages for call in message.calls), strict=True
    ):
        assert syntax.render("", [call]) in tokenizer.decode(rendered.input_ids[slice(*found.span)])
        assert call.name in tokenizer.decode(rendered.input_ids[slice(*found.name)])
        assert found.num_key == len(found.key_positions)
        assert found.num_key + found.num_nonkey == found.span.end - found.span.start
        assert set(found.key_positions) <= set(range(*found.span))
        assert set(found.key_positions) == {found.name.start} | branchings(rendered, found, call, names, tokenizer)
        if not found.blocked:
            assert {rendered.weights[position] for position in found.key_positions} == {found.weight}


def branchings(rendered, found, call, names, tokenizer):
    """Where other names part from this one, by the definition: each is written into the whole text."""
    start = rendered.text.index(call.name, len(tokenizer.decode(rendered.input_ids[: found.name.start])))
    own = rendered.input_ids[found.name.start :]
    positions = set()
    for other in names:
        if other != call.name:
            changed = rendered.text[:start] + other + rendered.text[start + len(call.name) :]
            encoded = tokenizer(changed, add_special_tokens=False, return_offsets_mapping=True)
            first = next(at for at, (_, end) in enumerate(encoded["offset_mapping"]) if end > start)
            pairs = enumerate(zip(own, encoded["input_ids"][first:], strict=False))
            shared = next(at for at, (one, two) in pairs if one != two)
            positions |= {found.name.start + shared} if shared else set()
    return positions


LAWS = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@LAWS
@given(case=cases())
def test_laws_hold_for_python_calls(python_tokenizer, case):
    check_laws(python_tokenizer, get_syntax("python"), *case)


@LAWS
@given(case=cases())
def test_laws_hold_for_tagged_calls(hermes_tokenizer, case):
    check_laws(hermes_tokenizer, get_syntax("hermes"), *case)
