"""The syntaxes of Llama 3, Mistral, DeepSeek, GLM-4, gpt-oss and Gemma, as their templates and models write them."""

import pytest

from tltrain.syntax import get_syntax
from tltrain.types import MalformedCall, ToolCall

MOVE = ToolCall(name="move", arguments={"id": "ev1", "n": 3})
LOOK = ToolCall(name="cal.look")
JSON = '{"id": "ev1", "n": 3}'
DEEPSEEK = f"<｜tool▁call▁begin｜>function<｜tool▁sep｜>move\n```json\n{JSON}\n```<｜tool▁call▁end｜>"


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("llama", f'Sure.\n{{"name": "move", "parameters": {JSON}}}; {{"name": "cal.look", "parameters": {{}}}}'),
        (
            "mistral",
            f'Sure.\n[TOOL_CALLS] [{{"name": "move", "arguments": {JSON}}}, {{"name": "cal.look", "arguments": {{}}}}]',
        ),
        (
            "deepseek",
            f"Sure.\n<｜tool▁calls▁begin｜>{DEEPSEEK}\n"
            "<｜tool▁call▁begin｜>function<｜tool▁sep｜>cal.look\n```json\n{}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
        ),
        ("glm", f"Sure.<|assistant|>move\n{JSON}<|assistant|>cal.look\n{{}}"),
        (
            "harmony",
            "<|channel|>commentary<|message|>Sure.<|end|><|start|>assistant to=functions.move<|channel|>commentary json"
            f"<|message|>{JSON}<|call|><|start|>assistant "
            "to=functions.cal.look<|channel|>commentary json<|message|>{}",
        ),
        ("tool_code", "Sure.\n```tool_code\nmove(id='ev1', n=3)\n```\n```tool_code\ncal.look()\n```"),
    ],
)
def test_calls_are_written_as_the_models_write_them(name: str, written: str):
    syntax = get_syntax(name)
    assert syntax.render("Sure.", [MOVE, LOOK]) == written
    parsed = syntax.parse(written)
    assert (parsed.text, parsed.calls) == ("Sure.", (MOVE, LOOK))
    names = [written[slice(*spans.name)] for spans in parsed.spans if spans.name]
    assert names == ["move", "cal.look"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("llama", f'<|python_tag|>{{"name": "move", "parameters": {JSON}}}'),
        ("llama", f'{{"type": "function", "name": "move", "parameters": {JSON}}}'),
        ("llama", f'{{"name": "move", "arguments": {JSON}}}'),
        (
            "mistral",
            f'[TOOL_CALLS][{{"id": "abcdefghi", "name": "move", "arguments": {JSON}}}]</s>'.removesuffix("</s>"),
        ),
        ("deepseek", DEEPSEEK),
        (
            "deepseek",
            f"<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>move<｜tool▁sep｜>{JSON}<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
        ),
        ("glm", f"\nmove\n{JSON}"),
        ("harmony", f" to=functions.move<|channel|>commentary json<|message|>{JSON}<|call|>"),
        ("harmony", f"<|channel|>commentary to=functions.move <|constrain|>json<|message|>{JSON}"),
        (
            "harmony",
            "<|channel|>analysis<|message|>I < 3 move.<|end|><|start|>assistant<|channel|>commentary "
            f"to=functions.move <|constrain|>json<|message|>{JSON}<|call|>",
        ),
        ("tool_code", "```tool_code\nmove(\n  id='ev1', n=3)\n```"),
    ],
)
def test_other_ways_to_write_a_call_are_read(name: str, text: str):
    parsed = get_syntax(name).parse(text)
    assert (parsed.text, parsed.calls) == ("", (MOVE,))
    assert get_syntax(name).looks_complete(text)


def test_behind_the_mark_of_glm_a_line_break_starts_a_text():
    parsed = get_syntax("glm").parse(f"move\n{JSON}<|assistant|>\nmove\n{JSON}")
    assert (parsed.text, parsed.calls) == (f"move\n{JSON}", (MOVE,))


def test_a_fence_with_two_calls_is_read():
    parsed = get_syntax("tool_code").parse("```tool_code\nmove(id='ev1', n=3)\ncal.look()\n```")
    assert parsed.calls == (MOVE, LOOK)
    assert parsed.text == ""


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("llama", '{"name": "move"}', "the call has no 'parameters'"),
        ("llama", "<|python_tag|>print(1)", "expected '{'"),
        ("mistral", "[TOOL_CALLS] []", "expected '{'"),
        ("mistral", '[TOOL_CALLS] [{"name": "move", "arguments": {}}', "expected ',' or ']', found the end"),
        ("mistral", "[TOOL_CALLS]move[ARGS]{}", "expected '['"),
        ("deepseek", "<｜tool▁calls▁begin｜>", "expected a quoted string, found the end"),
        ("deepseek", DEEPSEEK.replace("```json", "```"), "expected '```json'"),
        ("glm", "move\n{", "expected a quoted string, found the end"),
        ("harmony", "to=functions.move", "the call has no message with JSON"),
        ("harmony", "to=functions.move<|message|>{1}", "expected a quoted string"),
        ("tool_code", "```tool_code\nprint(move(1))\n```", "expected a value"),
        ("tool_code", "```tool_code\nmove(n=3)", "the fence is not closed"),
        ("tool_code", "```tool_code\nmove(n=3)\nas you wish\n```", "text beside the call"),
        ("tool_code", "```tool_code\n\n```", "holds no call"),
    ],
)
def test_attempts_that_cannot_be_read_are_malformed(name: str, text: str, reason: str):
    (call,) = get_syntax(name).parse(text).calls
    assert isinstance(call, MalformedCall)
    assert reason in call.reason
    assert call.raw == text


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("llama", 'Here is what I know: {"name": "Ana"}'),
        ("llama", 'The file holds\n{"name": "Ana", "age": 3}'),
        ("mistral", '[{"name": "move", "arguments": {}}]'),
        ("glm", "Here it is:\n{}"),
        ("glm", "Done\nand over."),
        ("harmony", "Send it to=functions.move"),
        ("tool_code", "```python\nmove(n=3)\n```"),
    ],
)
def test_prose_is_text(name: str, text: str):
    parsed = get_syntax(name).parse(text)
    assert (parsed.text, parsed.calls) == (text, ())
    assert not get_syntax(name).looks_complete(text)
