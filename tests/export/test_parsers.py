"""Calls that chat templates write, read by rules written out from the servers' own parsers, and by these if installed.

The rules are those of vLLM 0.33.0 (`vllm/tool_parsers`, `vllm/parser`) and SGLang 0.5.23 (`sglang/srt/function_call`)
for whole replies, without their error handling; bench/parsers.py runs the parsers themselves.
"""

import ast
import json
import re

import pytest
from transformers import AutoTokenizer

from export.written_calls import written_turns
from render.template_shapes import SHAPES, with_shape
from tltrain.export.card import write_example
from tltrain.export.parsers import find_parsers
from tltrain.formats.read import read_trajectories
from tltrain.render.template import ensure_tool_template
from tltrain.syntax import SYNTAXES
from tltrain.types import ToolCall


def vllm_hermes(text):
    bodies = re.findall(r"<tool_call>(.*?)</tool_call>|<tool_call>(.*)", text, re.DOTALL)
    found = [json.loads(closed or open_) for closed, open_ in bodies]
    return [(call["name"], call["arguments"]) for call in found]


def vllm_llama3_json(text):
    found, end = [], -1
    for brace in re.finditer(r"\{", text):
        if brace.start() > end:
            call, length = json.JSONDecoder().raw_decode(text[brace.start() :])
            end = brace.start() + length
            found.append((call["name"], call["arguments"] if "arguments" in call else call["parameters"]))
    return found


def vllm_mistral(text):
    _, *segments = text.split("[TOOL_CALLS]")
    calls, _ = json.JSONDecoder().raw_decode(next(part.strip() for part in segments if part.strip()))
    return [(call["name"], call["arguments"]) for call in calls]


def vllm_deepseek_v3(text):
    assert "<｜tool▁calls▁begin｜>" in text
    pattern = r"<｜tool▁call▁begin｜>(.*)<｜tool▁sep｜>(.*)\n```json\n([\s\S]*?)\n```<｜tool▁call▁end｜>"
    return [(name, json.loads(arguments)) for _, name, arguments in re.findall(pattern, text)]


def vllm_olmo3(text):
    joined = "[" + ", ".join(line.strip() for line in text.splitlines() if line.strip()) + "]"
    if not re.match(r"\[([a-zA-Z]+\w*\(([a-zA-Z]+\w*=.*,\s*)*([a-zA-Z]+\w*=.*\s*)?\)[\s,]*)+\]", joined, re.DOTALL):
        return []
    (statement,) = ast.parse(joined).body
    calls = statement.value.elts
    if not all(isinstance(call, ast.Call) for call in calls):
        return []
    return [(call.func.id, {one.arg: ast.literal_eval(one.value) for one in call.keywords}) for call in calls]


def sglang_hermes(text):
    return vllm_hermes(text)


def sglang_llama3(text):
    if "<|python_tag|>" not in text and not text.startswith("{"):
        return []
    rest, found = text.split("<|python_tag|>", maxsplit=1)[-1], []
    while rest:
        call, length = json.JSONDecoder().raw_decode(rest)
        found.append((call["name"], call.get("parameters", call.get("arguments"))))
        rest = rest[length + len(";") :].lstrip()
    return found


def sglang_mistral(text):
    start = text.index("[TOOL_CALLS] [") + len("[TOOL_CALLS] ")
    calls, _ = json.JSONDecoder().raw_decode(text[start:])
    return [(call["name"], call["arguments"]) for call in calls]


def sglang_deepseekv3(text):
    blocks = re.findall(r"<｜tool▁call▁begin｜>.*?<｜tool▁call▁end｜>", text, re.DOTALL)
    detail = r"<｜tool▁call▁begin｜>(.*)<｜tool▁sep｜>(.*)\n```json\n(.*)\n```<｜tool▁call▁end｜>"
    found = [re.search(detail, block, re.DOTALL) for block in blocks]
    return [(one.group(2), json.loads(one.group(3))) for one in found]


RULES = {
    ("vllm", "hermes"): vllm_hermes,
    ("vllm", "llama3_json"): vllm_llama3_json,
    ("vllm", "mistral"): vllm_mistral,
    ("vllm", "deepseek_v3"): vllm_deepseek_v3,
    ("vllm", "olmo3"): vllm_olmo3,
    ("sglang", "hermes"): sglang_hermes,
    ("sglang", "llama3"): sglang_llama3,
    ("sglang", "mistral"): sglang_mistral,
    ("sglang", "deepseekv3"): sglang_deepseekv3,
}


@pytest.fixture(scope="module")
def trajectories(generated):
    return read_trajectories(generated / "train.jsonl").trajectories


@pytest.fixture(scope="module")
def turns_of(tiny_model, trajectories):
    """Tokenizer, syntax and turns of a template."""

    def make(name):
        tokenizer = with_shape(AutoTokenizer.from_pretrained(tiny_model), SHAPES[name])
        syntax = ensure_tool_template(tokenizer)
        return tokenizer, syntax, list(written_turns(trajectories, tokenizer, syntax))

    return make


def parsers_for(tokenizer, syntax, without=(), **options):
    vocabulary = set(tokenizer.get_vocab()).difference(without)
    example = write_example(tokenizer, SYNTAXES[syntax])
    return find_parsers(syntax, example=example, vocabulary=vocabulary, **{"model_type": "llama", **options})


@pytest.mark.parametrize("name", [name for name in SHAPES if name not in ("gemma3", "glm4", "gpt_oss")])
def test_the_named_parsers_rules_read_what_templates_write(name, turns_of):
    tokenizer, syntax, turns = turns_of(name)
    fitting = parsers_for(tokenizer, syntax)
    choices = [("vllm", fitting.vllm), ("sglang", fitting.sglang)]
    named = [(server, choice.name) for server, choice in choices if choice.name is not None]
    assert named
    assert len(turns) > 20
    for turn in turns:
        if syntax == "python" and not all(call.isidentifier() for call, _ in turn.calls):
            continue
        for key in named:
            assert RULES[key](turn.text) == turn.calls, (key, turn.text)


@pytest.mark.parametrize(
    "text",
    [
        "math.sqrt(x=2.0)",
        "I look it up.\nfind(day='Mon')",
        "find(**{'odd name': 1})",
    ],
)
def test_what_the_note_says_of_python_calls_is_so(text):
    assert [type(call) for call in SYNTAXES["python"].parse(text).calls] == [ToolCall]
    assert read_by_rule(text) == []


def test_python_literals_arrive_as_they_are():
    values = {"a": -5, "b": [True, None, 2.5], "c": {"d": "it's"}, "e": "two\nlines", "f": "a(b='c')"}
    text = SYNTAXES["python"].render("", [ToolCall(name="f", arguments=values), ToolCall(name="g", arguments={})])
    assert read_by_rule(text) == [("f", values), ("g", {})]


def read_by_rule(text):
    """A syntax error is no call either."""
    try:
        return vllm_olmo3(text)
    except SyntaxError:
        return []


def test_a_parser_whose_tokens_are_missing_is_not_named(turns_of):
    for name, token in (
        ("llama3_1", "<|python_tag|>"),
        ("mistral_v3", "[TOOL_CALLS]"),
        ("deepseek_v3", "<｜tool▁calls▁begin｜>"),
    ):
        tokenizer, syntax, _ = turns_of(name)
        assert parsers_for(tokenizer, syntax).vllm.name
        choice = parsers_for(tokenizer, syntax, without=[token]).vllm
        assert choice.name is None
        assert f"without the token {token}" in choice.note
    choice = find_parsers("mistral", example="", vocabulary={"[TOOL_CALLS]", "[ARGS]"}, model_type="llama").vllm
    assert (choice.name, "name[ARGS]{...}" in choice.note) == (None, True)


def test_templates_that_sglang_does_not_read(turns_of):
    for name, mark in (("mistral_v7", "[TOOL_CALLS] ["), ("gpt_oss", "<|channel|>commentary to=")):
        tokenizer, syntax, turns = turns_of(name)
        assert not any(mark in turn.text for turn in turns)
        assert parsers_for(tokenizer, syntax).sglang.name is None
    tokenizer, syntax, _ = turns_of("mistral_v3")
    assert parsers_for(tokenizer, syntax).sglang.name == "mistral"


def test_vllm_reads_harmony_for_gpt_oss_alone(turns_of):
    tokenizer, syntax, _ = turns_of("gpt_oss")
    assert parsers_for(tokenizer, syntax, model_type="gpt_oss").vllm.name == "openai"
    assert parsers_for(tokenizer, syntax).vllm.name is None


def test_every_syntax_has_an_answer_and_a_reason_where_there_is_no_parser():
    for name in SYNTAXES:
        found = find_parsers(name, example="", vocabulary={"<|python_tag|>", "[TOOL_CALLS]"}, model_type="llama")
        for choice in (found.vllm, found.sglang):
            assert choice.name or choice.note


@pytest.mark.parametrize("name", ["qwen2_5", "llama3_1_tag", "deepseek_v3", "paper"])
def test_vllms_own_parsers_read_them(name, turns_of):
    manager = pytest.importorskip("vllm.tool_parsers", reason="vLLM is not installed").ToolParserManager
    tokenizer, syntax, turns = turns_of(name)
    parser = parsers_for(tokenizer, syntax).vllm.name
    reader = manager.get_tool_parser(parser)(tokenizer)
    for turn in turns:
        if syntax != "python" or all(call.isidentifier() for call, _ in turn.calls):
            found = reader.extract_tool_calls(turn.text, None).tool_calls
            assert [(one.function.name, json.loads(one.function.arguments)) for one in found] == turn.calls
