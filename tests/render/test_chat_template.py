import copy
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from tltrain.errors import DataError, ModelError
from tltrain.render.chat import chat_text, chat_tool
from tltrain.render.template import ensure_tool_template, knows_tools, own_template
from tltrain.syntax import get_syntax
from tltrain.types import Tool, ToolCall

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
NAME = st.sampled_from(["get_user", "math.factorial", "routes-get", "odd name", "it's", "día"])
ARGUMENTS = st.dictionaries(st.sampled_from(["a", "user_id", "odd key", "naïve", "1x"]), VALUE, max_size=3)
OK_TOOL = chat_tool(Tool(name="ping"))


def signature(tool, tokenizer):
    """The line that the template writes for one tool."""
    text = chat_text(tokenizer, [{"role": "user", "content": "Hello"}], [chat_tool(tool)])
    return text.partition("Tools:\n")[2].partition("<|im_end|>")[0]


def function_tool(properties, required=(), description="", **more):
    parameters = {"type": "object", "properties": properties, "required": list(required)} | more
    return Tool(name="f", description=description, parameters=parameters)


def word_tokenizer(*, adds_bos=False, **special):
    """A tokenizer without a chat template and without ChatML tokens."""
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.WordLevel({"<unk>": 0, "<s>": 1, "</s>": 2, "Hello": 3}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    if adds_bos:
        backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>", **special)


@pytest.mark.parametrize(
    ("schema", "written"),
    [
        ({"type": "string"}, "x: str"),
        ({"type": "integer"}, "x: int"),
        ({"type": "number"}, "x: float"),
        ({"type": "boolean"}, "x: bool"),
        ({"type": "object"}, "x: dict"),
        ({"type": "dict"}, "x: dict"),
        ({"type": "array"}, "x: list"),
        ({"type": "array", "items": {"type": "string"}}, "x: list[str]"),
        ({"type": ["integer", "null"]}, "x: int|None"),
        ({"type": "string", "nullable": True}, "x: str|None"),
        ({"type": "string", "enum": ["a", "b's", 3, None]}, "x: 'a'|\"b's\"|3|None"),
        ({"const": True}, "x: True"),
        ({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "integer"}}]}, "x: str|list[int]"),
        ({"$ref": "#/$defs/Point"}, "x: {lat: float, note?: str}"),
        ({"$ref": "#/$defs/Nowhere"}, "x: Nowhere"),
        (
            {"type": "object", "properties": {"tags": {"type": "array", "items": {"$ref": "#/$defs/Point"}}}},
            "x: {tags?: list[{lat: float, note?: str}]}",
        ),
        ({}, "x: any"),
        (True, "x: any"),
    ],
    ids=json.dumps,
)
def test_types_are_written_as_python_has_them(python_tokenizer, schema, written):
    point = {"type": "object", "properties": {"lat": {"type": "number"}, "note": {"type": "string"}}}
    definitions = {"Point": point | {"required": ["lat"]}}
    tool = function_tool({"x": schema}, required=["x"], **{"$defs": definitions})
    assert signature(tool, python_tokenizer) == f"f({written})"


def test_optional_parameters_are_marked_or_show_their_default(python_tokenizer):
    text = {"type": "string"}
    tool = function_tool({"a": text, "b": text, "c": text | {"default": "x"}, "d": text | {"default": None}}, ["a"])
    assert signature(tool, python_tokenizer) == "f(a: str, b?: str, c: str='x', d?: str)"


def test_descriptions_take_one_line(python_tokenizer):
    address = {"type": "object", "properties": {"city": {"type": "string", "description": "As in\n the passport."}}}
    day = {"type": "string", "description": "YYYY-MM-DD"}
    tool = function_tool({"day": day, "n": {}, "to": address}, ["day", "n", "to"], "List the\n  events")
    assert signature(tool, python_tokenizer) == (
        "# List the events. day: YYYY-MM-DD; to.city: As in the passport\nf(day: str, n: any, to: {city?: str})"
    )


def test_a_tool_without_parameters_or_description_is_its_name(python_tokenizer):
    assert signature(Tool(name="ping"), python_tokenizer) == "ping()"


def test_a_schema_that_refers_to_itself_ends(python_tokenizer):
    node = {"type": "object", "properties": {"next": {"$ref": "#/$defs/Node"}}}
    tool = function_tool({"x": {"$ref": "#/$defs/Node"}}, **{"$defs": {"Node": node}})
    assert "Node" in signature(tool, python_tokenizer)


def test_the_whole_conversation_is_chatml(python_tokenizer):
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Ping it."},
        {"role": "assistant", "content": "Sure. ", "tool_calls": [{"function": {"name": "ping", "arguments": {}}}]},
        {"role": "tool", "content": "pong"},
        {"role": "assistant", "content": [{"type": "text", "text": "Done."}], "reasoning_content": "It answers."},
    ]
    assert chat_text(python_tokenizer, messages, [OK_TOOL], add_generation_prompt=True) == (
        "<|im_start|>system\nBe brief.\n\nCall a tool by writing name(key='value'); answer in plain text when done. "
        "Tools:\nping()<|im_end|>\n<|im_start|>user\nPing it.<|im_end|>\n<|im_start|>assistant\nSure. \nping()"
        "<|im_end|>\n<|im_start|>tool\npong<|im_end|>\n<|im_start|>assistant\n<think>\nIt answers.\n</think>\nDone."
        "<|im_end|>\n<|im_start|>assistant\n"
    )


def test_without_tools_and_system_message_nothing_is_added(python_tokenizer):
    text = chat_text(python_tokenizer, [{"role": "user", "content": "Hello"}], [])
    assert text == "<|im_start|>user\nHello<|im_end|>\n"


@settings(max_examples=60, deadline=None)
@given(name=NAME, arguments=ARGUMENTS, ensure_ascii=st.booleans(), text=st.sampled_from(["", "Let me see."]))
def test_tool_calls_are_written_as_the_syntax_writes_them(python_tokenizer, name, arguments, ensure_ascii, text):
    written = get_syntax("python").render(text, [ToolCall(name=name, arguments=arguments)] * 2)
    for form in (arguments, json.dumps(arguments, ensure_ascii=ensure_ascii)):
        call = {"type": "function", "function": {"name": name, "arguments": form}}
        message = {"role": "assistant", "content": text, "tool_calls": [call] * 2}
        rendered = chat_text(python_tokenizer, [message], [])
        assert rendered == f"<|im_start|>assistant\n{written}<|im_end|>\n"


def test_a_template_that_knows_tools_is_kept(hermes_tokenizer):
    before = hermes_tokenizer.chat_template
    assert ensure_tool_template(hermes_tokenizer) == "hermes"
    assert hermes_tokenizer.chat_template == before


def test_a_template_that_knows_none_is_replaced_and_saved_with_the_model(smollm2, tmp_path):
    from transformers import AutoTokenizer

    tokenizer = copy.deepcopy(smollm2)
    assert not knows_tools(tokenizer)
    assert ensure_tool_template(tokenizer) == "python"
    assert tokenizer.chat_template == own_template("chatml")
    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert knows_tools(loaded)
    assert ensure_tool_template(loaded) == "python"
    assert loaded.chat_template == own_template("chatml")


def test_of_several_templates_the_one_for_tools_counts(hermes_tokenizer, smollm2):
    tokenizer = copy.deepcopy(smollm2)
    tokenizer.chat_template = {"default": smollm2.chat_template, "tool_use": hermes_tokenizer.chat_template}
    assert ensure_tool_template(tokenizer) == "hermes"


def test_without_chatml_tokens_turns_have_the_shape_of_the_paper():
    tokenizer = word_tokenizer(eos_token="</s>")
    assert ensure_tool_template(tokenizer) == "python"
    messages = [
        {"role": "user", "content": "Ping it."},
        {"role": "assistant", "content": "ping()"},
        {"role": "tool", "content": "pong"},
    ]
    assert chat_text(tokenizer, messages, [OK_TOOL], add_generation_prompt=True) == (
        "System: Call a tool by writing name(key='value'); answer in plain text when done. Tools:\nping()\n"
        "User: Ping it.\nAssistant: ping()</s>\nOutput: pong\nAssistant:"
    )


def test_the_begin_of_text_token_is_written_where_the_tokenizer_adds_it():
    tokenizer = word_tokenizer(adds_bos=True, bos_token="<s>", eos_token="</s>")
    ensure_tool_template(tokenizer)
    assert chat_text(tokenizer, [{"role": "user", "content": "Hello"}], []) == "<s>User: Hello\n"


def test_a_tokenizer_without_template_is_refused():
    with pytest.raises(ModelError, match="ensure_tool_template"):
        chat_text(word_tokenizer(), [{"role": "user", "content": "Hello"}], [])


def test_what_a_template_cannot_write_is_an_error_of_the_data(python_tokenizer):
    with pytest.raises(DataError, match="refuses"):
        signature(function_tool({"x": {"enum": 3}}), python_tokenizer)


def test_a_tokenizer_without_any_token_to_end_a_turn_is_refused():
    with pytest.raises(ModelError, match="eos_token"):
        ensure_tool_template(word_tokenizer())
