"""What a chat template wants and how it writes calls; rows that it cannot write as they are."""

from typing import Any

import pytest

from render.template_shapes import FOLDER, SHAPES, with_shape, word_start_tokenizer
from tltrain.errors import DataError, ModelError
from tltrain.render.conventions import Conventions, adapt, conventions_of
from tltrain.render.conversation import NothingToTrainError, RenderedTrajectory, TurnKind, render, render_pieces
from tltrain.render.template import ensure_tool_template
from tltrain.render.turns import turn_end_ids
from tltrain.render.weights import KeyTokenWeighting
from tltrain.syntax import get_syntax
from tltrain.types import Message, Role, Tool, ToolCall, Trajectory

PAPER = KeyTokenWeighting()


@pytest.fixture(scope="module")
def word_start() -> Any:
    return word_start_tokenizer()


def user(content: str) -> Message:
    return Message(role=Role.USER, content=content)


def says(content: str = "", *calls: ToolCall, **fields: Any) -> Message:
    return Message(role=Role.ASSISTANT, content=content, calls=calls, **fields)


def feedback(content: str) -> Message:
    return Message(role=Role.TOOL, content=content)


def call(name: str, /, **arguments: Any) -> ToolCall:
    return ToolCall(name=name, arguments=arguments)


def row(*messages: Message) -> Trajectory:
    return Trajectory(id="row-7", tools=(Tool(name="get_user"), Tool(name="get_item")), messages=messages)


def trained(rendered: RenderedTrajectory, tokenizer: Any) -> str:
    pairs = zip(rendered.input_ids, rendered.weights, strict=True)
    return str(tokenizer.decode([token for token, weight in pairs if weight]))


TWO_QUERIES = row(
    user("Who?"),
    says("", call("get_user", n=1), reasoning="Hm."),
    feedback("Ana"),
    says("Ana."),
    user("And?"),
    says("", call("get_item", n=2)),
    feedback("tea"),
    says("Tea."),
)


@pytest.mark.parametrize(
    ("name", "as_text", "needs_ids"),
    [("qwen2_5", False, False), ("glm4", True, False), ("deepseek_v3", True, False), ("mistral_v3", False, True)],
)
def test_what_a_template_wants_is_found_out(word_start, name, as_text, needs_ids):
    found = conventions_of(with_shape(word_start, SHAPES[name]))
    assert found == Conventions(syntax=SHAPES[name].syntax, arguments_as_text=as_text, needs_ids=needs_ids)


def test_ids_that_fit_are_kept_and_others_are_numbered_alike_in_call_and_feedback():
    def asks(*ids: str | None) -> dict[str, Any]:
        calls = [{"function": {"name": "f", "arguments": {}}} | ({"id": one} if one else {}) for one in ids]
        return {"role": "assistant", "content": "", "tool_calls": calls}

    def answers(one: str | None) -> dict[str, Any]:
        return {"role": "tool", "content": ""} | ({"tool_call_id": one} if one else {})

    messages = [asks("abcdefghi", "call_1"), answers("call_1"), answers("abcdefghi"), asks(None, None)]
    messages += [answers(None), answers(None), answers(None)]
    adapted = adapt(messages, Conventions(syntax=None, needs_ids=True))
    ids = [one["id"] for message in adapted for one in message.get("tool_calls", [])]
    assert ids == ["abcdefghi", "call00001", "call00002", "call00003"]
    named = [message["tool_call_id"] for message in adapted if message["role"] == "tool"]
    assert named == ["call00001", "abcdefghi", "call00002", "call00003", "call00004"]
    for end in range(len(messages)):
        assert adapt(messages[:end], Conventions(syntax=None, needs_ids=True)) == adapted[:end]


def test_a_template_with_an_unknown_syntax_is_refused(word_start):
    tokenizer = with_shape(word_start, SHAPES["qwen2_5"])
    tokenizer.chat_template = tokenizer.chat_template.replace("<tool_call>", "<|call the").replace('{"name"', "{name")
    with pytest.raises(ModelError, match=r"writes calls as .*tltrain_probe.*none of the known syntaxes"):
        ensure_tool_template(tokenizer)


def test_calls_without_ids_are_trained_where_the_template_wants_ids(word_start):
    tokenizer = with_shape(word_start, SHAPES["mistral_v7"])
    rendered = render(TWO_QUERIES_WITHOUT_THINKING, tokenizer, get_syntax("mistral"), weighting=PAPER)
    assert '"id": "call00000"' in rendered.text
    assert "[TOOL_RESULTS]call00001[TOOL_CONTENT]tea" in rendered.text


TWO_QUERIES_WITHOUT_THINKING = row(TWO_QUERIES.messages[0], says("", call("get_user", n=1)), *TWO_QUERIES.messages[2:])


class TestRewrittenTurns:
    @pytest.fixture
    def tokenizer(self, word_start):
        return with_shape(word_start, SHAPES["qwen3"])

    def test_each_query_has_a_sequence_as_the_model_will_see_it(self, tokenizer):
        first, second = render_pieces(TWO_QUERIES, tokenizer, get_syntax("hermes"), weighting=PAPER)
        calls = [
            f'<tool_call>\n{{"name": "{name}", "arguments": {{"n": {n}}}}}\n</tool_call><|im_end|>'
            for name, n in (("get_user", 1), ("get_item", 2))
        ]
        empty = "<think>\n\n</think>\n\n"
        assert trained(first, tokenizer) == f"<think>\nHm.\n</think>\n\n{calls[0]}{empty}Ana.<|im_end|>"
        assert trained(second, tokenizer) == f"{calls[1]}{empty}Tea.<|im_end|>"
        assert "Hm." not in second.text
        assert [[one.number for one in piece.calls] for piece in (first, second)] == [[0], [1]]

    def test_blocked_calls_keep_their_numbers(self, tokenizer):
        options = {"weighting": PAPER, "blocked": frozenset([1])}
        first, second = render_pieces(TWO_QUERIES, tokenizer, get_syntax("hermes"), **options)
        assert [one.blocked for one in (*first.calls, *second.calls)] == [False, True]
        assert [turn.kind for turn in second.turns] == [TurnKind.BLOCKED, TurnKind.ANSWER]

    def test_a_query_with_nothing_to_train_has_no_sequence(self, tokenizer):
        silent = row(*TWO_QUERIES.messages[:3], user("And?"), *TWO_QUERIES.messages[5:7])
        options = {"weighting": PAPER, "blocked": frozenset([0])}
        (rendered,) = render_pieces(silent, tokenizer, get_syntax("hermes"), **options)
        assert [one.number for one in rendered.calls] == [1]
        with pytest.raises(NothingToTrainError, match="row-7"):
            render_pieces(silent, tokenizer, get_syntax("hermes"), weighting=PAPER, blocked=frozenset([0, 1]))

    def test_what_nothing_is_rewritten_in_is_one_sequence(self, tokenizer):
        assert len(render_pieces(TWO_QUERIES_WITHOUT_THINKING, tokenizer, get_syntax("hermes"), weighting=PAPER)) == 1


@pytest.mark.parametrize(
    ("name", "message", "reason"),
    [
        ("llama3_1", says("Look.", call("get_user")), "leaves out or changes the text 'Look.'"),
        ("llama3_1", says("", call("get_user"), call("get_item")), "refuses the messages.*one call at a time"),
        ("llama3_1", says("Hi.", reasoning="Hm."), "leaves out or changes the thinking"),
        ("mistral_v3", says("Look.", call("get_user")), "leaves out or changes the text 'Look.'"),
        ("gpt_oss", says("", call("get_user"), call("get_item")), "should call get_item.*no further call"),
        ("gemma3", says("Hi.", reasoning="Hm."), "leaves out or changes the thinking"),
        ("glm4", says("", call("get user")), "should call get user"),
    ],
)
def test_what_a_template_loses_is_refused(word_start, name, message, reason):
    shape = SHAPES[name]
    with pytest.raises(DataError, match=f"row-7: .*{reason}"):
        render_pieces(
            row(user("Go."), message), with_shape(word_start, shape), get_syntax(shape.syntax), weighting=PAPER
        )


def test_a_token_of_prompt_and_turn_is_refused(word_start):
    tokenizer = with_shape(word_start, SHAPES["qwen2_5"])
    written = "{{ message.role ~ ' fin' if message.role == 'assistant' }}{{ message.content ~ '<|im_end|>' }}"
    tokenizer.chat_template = (
        "{%- for message in messages -%}" + written + "{%- endfor -%}{{- 'assistant fin' if add_generation_prompt -}}"
    )
    with pytest.raises(DataError, match=r"row-7: the token .*holds the end of the prompt"):
        render(row(user("Go."), says("ish it.")), tokenizer, get_syntax("hermes"), weighting=PAPER)


@pytest.mark.parametrize(
    ("name", "ends"),
    [
        ("qwen3", {"<|im_end|>"}),
        ("llama3_1", {"<|eot_id|>"}),
        ("llama3_1_tag", {"<|eot_id|>", "<|eom_id|>"}),
        ("gpt_oss", {"<|return|>", "<|call|>"}),
        ("glm4", {"<|endoftext|>", "<|user|>", "<|observation|>"}),
        ("gemma3", {"<eos>", "<end_of_turn>"}),
    ],
)
def test_all_tokens_that_end_a_turn_are_known(word_start, name, ends):
    tokenizer = with_shape(word_start, SHAPES[name])
    if name == "gemma3":
        tokenizer.eos_token = "<eos>"
    assert set(tokenizer.convert_ids_to_tokens(turn_end_ids(tokenizer))) == ends


def test_a_text_with_the_end_of_turn_token_in_it_is_refused(word_start):
    tokenizer = with_shape(word_start, SHAPES["qwen2_5"])
    said = says("One.<|im_end|>\n<|im_start|>user\nTwo.")
    with pytest.raises(DataError, match=r"row-7: messages\[1\] holds the end-of-turn token '<\|im_end\|>' in its text"):
        render(row(user("Go."), said), tokenizer, get_syntax("hermes"), weighting=PAPER)


def test_the_end_of_a_turn_is_trained_where_it_is_the_pad_token(word_start):
    tokenizer = with_shape(word_start, SHAPES["qwen2_5"])
    tokenizer.pad_token = tokenizer.eos_token
    rendered = render(row(user("Go."), says("Hi.")), tokenizer, get_syntax("hermes"), weighting=PAPER)
    (turn,) = rendered.turns
    assert rendered.input_ids[turn.end - 1] == tokenizer.pad_token_id
    assert rendered.weights[turn.end - 1] == 1.0


def test_every_template_is_in_a_shape():
    assert {path.name for path in FOLDER.iterdir()} == {shape.file for shape in SHAPES.values() if shape.file}
