import copy

import pytest
from msgspec.structs import replace

from tltrain.errors import DataError, ModelError
from tltrain.render.chat import chat_message, chat_tool
from tltrain.render.conversation import TurnKind, render, render_prompt
from tltrain.render.template import own_template
from tltrain.render.tokens import tokenize
from tltrain.render.weights import KeyTokenWeighting
from tltrain.syntax import get_syntax
from tltrain.types import MalformedCall, Message, Role, Tool, ToolCall, Trajectory

PYTHON, HERMES = get_syntax("python"), get_syntax("hermes")
PAPER = KeyTokenWeighting()


def tools(*names):
    return tuple(Tool(name=name, description=f"Does {name}.") for name in names)


def user(content):
    return Message(role=Role.USER, content=content)


def feedback(content):
    return Message(role=Role.TOOL, content=content)


def says(content="", *calls, reasoning=""):
    return Message(role=Role.ASSISTANT, content=content, calls=calls, reasoning=reasoning)


def call(name, /, **arguments):
    return ToolCall(name=name, arguments=arguments)


def row(*messages, names=("get_user", "get_user_by_id", "finish")):
    return Trajectory(id="row-7", tools=tools(*names), messages=messages)


WRONG_THEN_RIGHT = row(
    user("Who is Ana?"),
    says("Let me see.", call("get_user", name="Ana")),
    feedback("Error: several users"),
    says("", call("get_user_by_id", user_id=7)),
    feedback('{"name": "Ana"}'),
    says("Ana is user 7."),
)
TWO_CALLS = row(
    user("Both?"),
    says("Two calls.", call("get_user", name="Ana"), call("finish", n=1)),
    feedback("{}"),
    feedback("ok"),
    says("Done."),
)


def shown(rendered, tokenizer):
    """The trained tokens as text, those that are not trained as one dot for each run of them."""
    pieces, run = [], []
    for token_id, weight in zip(rendered.input_ids, rendered.weights, strict=True):
        if weight:
            run.append(token_id)
        elif run or not pieces:
            pieces += [tokenizer.decode(run), "·"] if run else ["·"]
            run = []
    return "".join([*pieces, tokenizer.decode(run)])


def decode(rendered, tokenizer, span):
    return tokenizer.decode(rendered.input_ids[slice(*span)])


def pieces_at(rendered, tokenizer, positions):
    return [tokenizer.decode([rendered.input_ids[position]]) for position in positions]


def with_template(tokenizer, template):
    changed = copy.deepcopy(tokenizer)
    changed.chat_template = template
    return changed


def plain_chat(assistant, *, prompt="<|im_start|>assistant\n"):
    """A template without tools; `assistant` writes what follows the header of an assistant's turn."""
    return (
        "{%- for message in messages -%}{%- if message.role == 'assistant' -%}"
        "{{ '<|im_start|>assistant\n' }}" + assistant + "{%- else -%}"
        "{{ '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}"
        "{%- endif -%}{%- endfor -%}{%- if add_generation_prompt -%}{{ '" + prompt + "' }}{%- endif -%}"
    )


@pytest.mark.parametrize("syntax", [PYTHON, HERMES], ids=lambda syntax: syntax.name)
@pytest.mark.parametrize("trajectory", [WRONG_THEN_RIGHT, TWO_CALLS], ids=["two_steps", "two_calls"])
class TestBothSyntaxes:
    @pytest.fixture
    def tokenizer(self, syntax, request):
        return request.getfixturevalue(f"{syntax.name}_tokenizer")

    def test_tokens_are_those_of_the_tokenizers_own_chat_template(self, tokenizer, syntax, trajectory):
        rendered = render(trajectory, tokenizer, syntax, weighting=PAPER)
        messages = [chat_message(message, syntax) for message in trajectory.messages]
        encoded = tokenizer.apply_chat_template(messages, tools=[chat_tool(tool) for tool in trajectory.tools])
        assert rendered.input_ids == encoded["input_ids"]
        assert rendered.text == tokenizer.decode(rendered.input_ids)

    def test_every_prompt_is_a_beginning_of_the_tokens(self, tokenizer, syntax, trajectory):
        rendered = render(trajectory, tokenizer, syntax, weighting=PAPER)
        for turn in rendered.turns:
            prompt = render_prompt(trajectory.tools, trajectory.messages[: turn.message], tokenizer, syntax)
            assert rendered.input_ids[: turn.start] == prompt

    def test_each_turn_is_what_the_assistant_wrote_and_the_end_of_the_turn(self, tokenizer, syntax, trajectory):
        rendered = render(trajectory, tokenizer, syntax, weighting=PAPER)
        written = [tokenizer.decode(rendered.input_ids[turn.start : turn.end]) for turn in rendered.turns]
        messages = [message for message in trajectory.messages if message.role is Role.ASSISTANT]
        bare = [syntax.render(message.content, message.calls) + "<|im_end|>" for message in messages]
        assert [text.lstrip("\n") for text in written] == bare

    def test_each_call_is_found_by_its_tokens(self, tokenizer, syntax, trajectory):
        rendered = render(trajectory, tokenizer, syntax, weighting=PAPER)
        calls = [call for message in trajectory.messages for call in message.calls]
        found = [decode(rendered, tokenizer, call.span) for call in rendered.calls]
        assert found == [syntax.render("", [call]) for call in calls]
        assert [call.number for call in rendered.calls] == list(range(len(calls)))
        names = [decode(rendered, tokenizer, call.name) for call in rendered.calls]
        assert names == [call.name for call in calls]


@pytest.mark.parametrize(
    ("blocked", "expected"),
    [
        (
            (),
            "·Let me see.\nget_user(name='Ana')<|im_end|>"
            "·get_user_by_id(user_id=7)<|im_end|>·Ana is user 7.<|im_end|>·",
        ),
        ((0,), "·get_user_by_id(user_id=7)<|im_end|>·Ana is user 7.<|im_end|>·"),
        ((0, 1), "·Ana is user 7.<|im_end|>·"),
    ],
    ids=["none", "first", "all"],
)
def test_a_turn_of_blocked_calls_teaches_nothing(python_tokenizer, blocked, expected):
    rendered = render(WRONG_THEN_RIGHT, python_tokenizer, PYTHON, blocked=frozenset(blocked), weighting=PAPER)
    assert shown(rendered, python_tokenizer) == expected
    assert [call.blocked for call in rendered.calls] == [number in blocked for number in (0, 1)]
    kinds = [TurnKind.BLOCKED if number in blocked else TurnKind.CALLS for number in (0, 1)]
    assert [turn.kind for turn in rendered.turns] == [*kinds, TurnKind.ANSWER]


@pytest.mark.parametrize(
    ("blocked", "expected"),
    [
        (0, "·Two calls.·\nfinish(n=1)<|im_end|>·Done.<|im_end|>·"),
        (1, "·Two calls.\nget_user(name='Ana')·<|im_end|>·Done.<|im_end|>·"),
    ],
)
def test_one_blocked_call_of_two_leaves_the_rest_of_the_turn(python_tokenizer, blocked, expected):
    rendered = render(TWO_CALLS, python_tokenizer, PYTHON, blocked=frozenset([blocked]), weighting=PAPER)
    assert shown(rendered, python_tokenizer) == expected


def test_one_blocked_call_of_two_in_tags(hermes_tokenizer):
    rendered = render(TWO_CALLS, hermes_tokenizer, HERMES, blocked=frozenset([0]), weighting=PAPER)
    assert shown(rendered, hermes_tokenizer) == (
        '·Two calls.·\n<tool_call>\n{"name": "finish", "arguments": {"n": 1}}\n</tool_call><|im_end|>·Done.<|im_end|>·'
    )


@pytest.mark.parametrize(
    ("names", "called", "key_pieces"),
    [
        (("getPaperDetails", "getPapersByKeywords", "finish"), "getPaperDetails", ["get", "Paper"]),
        (("getPaperDetails", "getPapersByKeywords", "finish"), "getPapersByKeywords", ["get", "P"]),
        (("getPaperDetails", "getPapersByKeywords", "finish"), "finish", ["finish"]),
        (("get_user", "get_user_by_id"), "get_user_by_id", ["get", "_"]),
        (("get_user",), "get_user", ["get"]),
        (("get_a", "get_b", "get_b_c"), "get_b", ["get", "b", "()"]),
    ],
)
def test_key_tokens_of_the_embedded_model(python_tokenizer, names, called, key_pieces):
    trajectory = row(user("Go."), says("", call(called)), names=names)
    rendered = render(trajectory, python_tokenizer, PYTHON, weighting=PAPER)
    (found,) = rendered.calls
    assert pieces_at(rendered, python_tokenizer, found.key_positions) == key_pieces


def test_key_tokens_in_tags(hermes_tokenizer):
    rendered = render(row(user("Go."), says("", call("get_user", n=1))), hermes_tokenizer, HERMES, weighting=PAPER)
    (found,) = rendered.calls
    assert pieces_at(rendered, hermes_tokenizer, found.key_positions) == ["get", '",']


def test_key_tokens_weigh_more_by_the_share_of_the_other_tokens(python_tokenizer):
    trajectory = row(user("Go."), says("", call("get_user", name="x")))
    rendered = render(trajectory, python_tokenizer, PYTHON, weighting=PAPER)
    (found,) = rendered.calls
    pieces = pieces_at(rendered, python_tokenizer, range(*found.span))
    assert pieces == ["get", "_", "user", "(", "name", "='", "x", "')"]
    # K = {get, (}: get_user is the beginning of get_user_by_id, so the bracket decides. 6 / 2 = 3.
    assert rendered.weights[slice(*found.span)] == [3.0, 1.0, 1.0, 3.0, 1.0, 1.0, 1.0, 1.0]
    assert (found.num_key, found.num_nonkey, found.weight) == (2, 6, 3.0)
    off = render(trajectory, python_tokenizer, PYTHON, weighting=KeyTokenWeighting(variant="off"))
    assert set(off.weights) == {0.0, 1.0}
    assert off.calls[0].key_positions == found.key_positions


def test_the_released_count_leaves_out_a_token_a_value(python_tokenizer):
    trajectory = row(user("Go."), says("", call("get_user", name="x")))
    rendered = render(trajectory, python_tokenizer, PYTHON, weighting=KeyTokenWeighting(variant="released"))
    (found,) = rendered.calls
    # K = {get, (}, and of the six others the one that ends 'x' is not counted: 5 / 2 = 2.5.
    assert rendered.weights[slice(*found.span)] == [2.5, 1.0, 1.0, 2.5, 1.0, 1.0, 1.0, 1.0]


def test_names_and_values_of_parameters_have_weights_of_their_own(python_tokenizer):
    trajectory = row(user("Go."), says("", call("get_user", name="x")))
    weighting = KeyTokenWeighting(variant="off", parameter_weight=3, value_weight=0.5)
    rendered = render(trajectory, python_tokenizer, PYTHON, weighting=weighting)
    (found,) = rendered.calls
    assert pieces_at(rendered, python_tokenizer, range(*found.span)) == [
        *["get", "_", "user", "("],
        "name",
        "='",
        "x",
        "')",
    ]
    # A token with a quote of the value is part of the value.
    assert rendered.weights[slice(*found.span)] == [1.0, 1.0, 1.0, 1.0, 3.0, 0.5, 0.5, 0.5]
    silent = weighting.model_copy(update={"value_weight": 0.0})
    rendered = render(trajectory, python_tokenizer, PYTHON, weighting=silent)
    assert shown(rendered, python_tokenizer) == "·get_user(name·<|im_end|>·"


def test_the_places_of_arguments_are_found(python_tokenizer):
    trajectory = row(user("Go."), says("", call("finish", name="Ana", n=12)))
    rendered = render(trajectory, python_tokenizer, PYTHON, weighting=PAPER)
    found = [
        (parameter.name, *(decode(rendered, python_tokenizer, span) for span in (parameter.key, parameter.value)))
        for parameter in rendered.calls[0].parameters
    ]
    # A token that holds any character of a value, such as its quote, belongs to the value.
    assert found == [("name", "name", "='Ana',"), ("n", " n", "12")]


def test_characters_of_several_tokens_are_trained_whole(python_tokenizer):
    trajectory = row(user("Go."), says("Très bien 😀", call("finish", text="日本語😀 it's")))
    rendered = render(trajectory, python_tokenizer, PYTHON, weighting=PAPER)
    assert shown(rendered, python_tokenizer) == '·Très bien 😀\nfinish(text="日本語😀 it\'s")<|im_end|>·'
    assert decode(rendered, python_tokenizer, rendered.calls[0].span) == 'finish(text="日本語😀 it\'s")'


def test_a_character_without_a_token_does_not_move_the_end_of_the_turn(python_tokenizer):
    # The tokenizer drops some bytes of the character, and gives wrong offsets up to the end of the word.
    trajectory = row(user("Go."), says("", call("finish", text="\U00040000")), feedback("ok"), says("Done."))
    rendered = render(trajectory, python_tokenizer, PYTHON, weighting=PAPER)
    assert rendered.turns[0].end - rendered.calls[0].span.end == 1
    assert decode(rendered, python_tokenizer, rendered.calls[0].span).endswith("')")


def test_names_that_are_no_identifiers(python_tokenizer):
    trajectory = row(user("Go."), says("", call("it's odd", a=1)), names=("it's odd", "it's not", "routes-get"))
    rendered = render(trajectory, python_tokenizer, PYTHON, weighting=PAPER)
    (found,) = rendered.calls
    assert decode(rendered, python_tokenizer, found.span) == '"it\'s odd"(a=1)'
    assert pieces_at(rendered, python_tokenizer, found.key_positions) == ["it", " odd"]


@pytest.mark.parametrize("syntax", [PYTHON, HERMES], ids=lambda syntax: syntax.name)
def test_a_call_that_cannot_be_read_is_context_and_never_trained(request, syntax):
    tokenizer = request.getfixturevalue(f"{syntax.name}_tokenizer")
    raw = {"python": "get_user(name='Ana'", "hermes": '<tool_call>\n{"name": "get_user"'}[syntax.name]
    broken = MalformedCall(raw=raw, reason="cut off")
    trajectory = row(user("Who?"), says("", broken), feedback("invalid call"), says("Sorry."))
    rendered = render(trajectory, tokenizer, syntax, weighting=PAPER)
    assert shown(rendered, tokenizer) == "·Sorry.<|im_end|>·"
    assert decode(rendered, tokenizer, rendered.calls[0].span) == raw
    assert (rendered.calls[0].blocked, rendered.calls[0].name) == (True, None)


def test_an_unreadable_call_beside_a_good_one(hermes_tokenizer):
    broken = MalformedCall(raw="get_user(", reason="no JSON")
    trajectory = row(user("Who?"), says("", broken, call("finish", n=1)), feedback("ok"), says("Done."))
    rendered = render(trajectory, hermes_tokenizer, HERMES, weighting=PAPER)
    good = '<tool_call>\n{"name": "finish", "arguments": {"n": 1}}\n</tool_call>'
    assert shown(rendered, hermes_tokenizer) == f"·\n{good}<|im_end|>·Done.<|im_end|>·"


def test_thinking_is_trained_and_calls_in_it_are_text(python_tokenizer):
    thought = says("", call("finish", n=1), reasoning="Perhaps\nfinish(n=2)\nNo.")
    rendered = render(row(user("Go."), thought), python_tokenizer, PYTHON, weighting=PAPER)
    assert shown(rendered, python_tokenizer) == (
        "·<think>\nPerhaps\nfinish(n=2)\nNo.\n</think>\nfinish(n=1)<|im_end|>·"
    )
    assert decode(rendered, python_tokenizer, rendered.calls[0].span) == "finish(n=1)"


THINKS = "{{- '<think>\n' + (message.reasoning_content or '') + '\n</think>\n' if loop.last or KEPT -}}"
WRITES = "{{ message.content + '<|im_end|>\n' }}"


def test_a_template_that_drops_earlier_thinking_is_refused(python_tokenizer):
    tokenizer = with_template(python_tokenizer, plain_chat(THINKS.replace("KEPT", "false") + WRITES))
    trajectory = row(user("Go."), says("One.", reasoning="First."), user("On."), says("Two.", reasoning="Then."))
    with pytest.raises(DataError, match=r"row-7: the chat template rewrites messages\[1\].*First"):
        render(trajectory, tokenizer, PYTHON, weighting=PAPER)
    kept = with_template(python_tokenizer, plain_chat(THINKS.replace("KEPT", "true") + WRITES))
    assert shown(render(trajectory, kept, PYTHON, weighting=PAPER), kept) == (
        "·<think>\nFirst.\n</think>\nOne.<|im_end|>·<think>\nThen.\n</think>\nTwo.<|im_end|>·"
    )


def test_an_empty_thinking_block_may_stand_in_the_last_turn_only(python_tokenizer):
    tokenizer = with_template(python_tokenizer, plain_chat(THINKS.replace("KEPT", "false") + WRITES))
    rendered = render(row(user("Go."), says("One."), user("On."), says("Two.")), tokenizer, PYTHON, weighting=PAPER)
    assert shown(rendered, tokenizer) == "·One.<|im_end|>·<think>\n\n</think>\nTwo.<|im_end|>·"


def test_a_prompt_that_the_text_does_not_begin_with_is_refused(python_tokenizer):
    tokenizer = with_template(python_tokenizer, plain_chat(WRITES, prompt="<|im_start|>assistant\n<think>\n"))
    with pytest.raises(DataError, match=r"row-7: the chat template rewrites messages\[1\]"):
        render(row(user("Go."), says("One.")), tokenizer, PYTHON, weighting=PAPER)


def test_thinking_that_the_template_does_not_write_is_refused(python_tokenizer):
    tokenizer = with_template(python_tokenizer, plain_chat(WRITES))
    with pytest.raises(DataError, match=r"row-7: .*leaves out or changes the thinking 'Hm\.'"):
        render(row(user("Go."), says("One.", reasoning="Hm.")), tokenizer, PYTHON, weighting=PAPER)


def test_text_that_the_template_does_not_write_is_refused(hermes_tokenizer):
    template = hermes_tokenizer.chat_template.replace("{%- if message.content %}", "{%- if false %}")
    with pytest.raises(DataError, match=r"row-7: .*the text 'Two calls"):
        render(TWO_CALLS, with_template(hermes_tokenizer, template), HERMES, weighting=PAPER)


def test_a_template_that_writes_no_end_of_turn_is_refused(python_tokenizer):
    tokenizer = with_template(python_tokenizer, plain_chat("{{ message.content + '\n' }}"))
    with pytest.raises(ModelError, match="never stop"):
        render(row(user("Go."), says("One.")), tokenizer, PYTHON, weighting=PAPER)


def test_a_template_whose_tools_change_the_turns_is_followed(python_tokenizer):
    # The names of the tools stand in each header, so the small tool that stands in for all does not give the places.
    header = "<|im_start|>assistant ' ~ tools | map(attribute='function.name') | join(',') ~ '\n"
    template = plain_chat(WRITES, prompt=header).replace("'<|im_start|>assistant\n'", f"'{header}'")
    tokenizer = with_template(python_tokenizer, template)
    rendered = render(row(user("Go."), says("One."), names=("f", "g")), tokenizer, PYTHON, weighting=PAPER)
    assert "assistant f,g\nOne." in rendered.text
    assert shown(rendered, tokenizer) == "·One.<|im_end|>·"


def test_what_the_template_refuses_names_the_row(python_tokenizer):
    template = "{{- raise_exception('roles must alternate') if messages | length > 1 -}}"
    with pytest.raises(DataError, match=r"row-7: .*roles must alternate"):
        render(TWO_CALLS, with_template(python_tokenizer, template), PYTHON, weighting=PAPER)


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        ((user("Go."), says("Look:\nfinish(n=1)")), "row-7: .*finish.*no call of the message"),
        ((user("Go."), says("finish(n=2)", call("finish", n=1))), "row-7: .*should call finish.*'finish\\(n=2\\)'"),
        ((says("Hello."),), "row-7: no message stands before"),
        ((user("Go."),), "row-7: nothing to train on: .*no message of the assistant"),
    ],
    ids=["unlisted_call", "other_call", "assistant_first", "no_assistant"],
)
def test_rows_that_cannot_be_trained_on_are_refused(python_tokenizer, messages, message):
    with pytest.raises(DataError, match=message):
        render(row(*messages), python_tokenizer, PYTHON, weighting=PAPER)


def test_calls_in_another_syntax_than_the_template_writes_are_refused(hermes_tokenizer):
    template = hermes_tokenizer.chat_template.replace("<tool_call>", "[call]")
    with pytest.raises(DataError, match=r"row-7: .*no further call"):
        render(WRONG_THEN_RIGHT, with_template(hermes_tokenizer, template), HERMES, weighting=PAPER)


def test_a_row_with_nothing_but_blocked_calls_is_refused(python_tokenizer):
    trajectory = replace(WRONG_THEN_RIGHT, messages=WRONG_THEN_RIGHT.messages[:-1])
    with pytest.raises(DataError, match=r"row-7: nothing to train on: all 2 calls are blocked"):
        render(trajectory, python_tokenizer, PYTHON, blocked=frozenset([0, 1]), weighting=PAPER)


def test_a_blocked_number_of_no_call_is_refused(python_tokenizer):
    with pytest.raises(DataError, match=r"row-7: call 2 is to be blocked, but the row has 2 calls"):
        render(WRONG_THEN_RIGHT, python_tokenizer, PYTHON, blocked=frozenset([2]), weighting=PAPER)


def test_a_target_beyond_the_limit_is_refused_and_context_beyond_it_is_cut(python_tokenizer):
    trajectory = row(
        user("Go."), says("", call("finish", n=1)), feedback("ok"), says("", call("get_user", name="Ana")), user("?")
    )
    whole = render(trajectory, python_tokenizer, PYTHON, weighting=PAPER)
    needed = max(position + 1 for position, weight in enumerate(whole.weights) if weight)
    assert needed < len(whole.weights)
    cut = render(trajectory, python_tokenizer, PYTHON, weighting=PAPER, max_length=needed)
    assert (cut.input_ids, cut.weights) == (whole.input_ids[:needed], whole.weights[:needed])
    assert (cut.turns, cut.calls) == (whole.turns, whole.calls)
    with pytest.raises(DataError, match=rf"row-7: {needed} tokens .*max_length={needed - 1}.*raise max_length"):
        render(trajectory, python_tokenizer, PYTHON, weighting=PAPER, max_length=needed - 1)
    # With the second call blocked, its turn is context and may be cut off as a whole.
    blocked = render(
        trajectory, python_tokenizer, PYTHON, blocked=frozenset([1]), weighting=PAPER, max_length=needed - 3
    )
    assert len(blocked.input_ids) == len(blocked.weights) == needed - 3
    assert ([call.number for call in blocked.calls], len(blocked.turns)) == ([0], 1)


@pytest.mark.parametrize("prompt_end", ["", " "], ids=["blank_in_turn", "blank_in_prompt"])
def test_the_blank_before_the_first_word_is_part_of_its_token(python_tokenizer, prompt_end):
    template = own_template("plain").replace("Assistant:{%- endif", f"Assistant:{{{{ '{prompt_end}' }}}}{{%- endif")
    tokenizer = with_template(python_tokenizer, template)
    rendered = render(WRONG_THEN_RIGHT, tokenizer, PYTHON, blocked=frozenset([0]), weighting=PAPER)
    assert shown(rendered, tokenizer) == ("· get_user_by_id(user_id=7)<|im_end|>· Ana is user 7.<|im_end|>·")
    assert pieces_at(rendered, tokenizer, rendered.calls[1].key_positions) == [" get", "_"]
    for turn in rendered.turns:
        prompt = render_prompt(WRONG_THEN_RIGHT.tools, WRONG_THEN_RIGHT.messages[: turn.message], tokenizer, PYTHON)
        assert rendered.input_ids[: turn.start] == prompt


def test_a_tokenizer_without_offsets_is_refused():
    class SlowTokenizer:
        is_fast = False

    with pytest.raises(ModelError, match="SlowTokenizer gives no character offsets"):
        tokenize(SlowTokenizer(), "text")
