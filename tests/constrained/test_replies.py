"""What grammars take and refuse; the judges are the syntaxes' readers, `diagnose_schema` and the audit's faults."""

import random
from functools import cache

import pytest
import torch
from tokenizers import AddedToken

pytest.importorskip("llguidance")

from shared import data_file
from tiny_models import byte_tokenizer, tiny_llama
from tltrain.audit.json_schema import find_faults
from tltrain.constrained.masks import Constrainer
from tltrain.constrained.values import MAX_MEMBERS
from tltrain.errors import DataError, UsageError
from tltrain.formats.read import read_trajectories
from tltrain.rollout.sampler import SamplingConfig, sample
from tltrain.syntax import SYNTAXES, get_syntax
from tltrain.taxonomy import diagnose_schema
from tltrain.types import MalformedCall, Tool, ToolCall

torch.set_num_threads(1)
SUPPORTED = ("python", "tool_code", "hermes", "react", "llama")
TOOLS = (
    Tool(
        name="look_up",
        parameters={
            "properties": {
                "key": {"type": "str"},
                "n": {"type": "integer"},
                "how": {"enum": ["near", "far", 'a "b"', "é", 3]},
                "tags": {"type": "array", "enum": ["x", "y"]},
                "odd name": {"anyOf": [{"type": "number"}, {"type": "null"}]},
            },
            "required": ["key", "undescribed"],
        },
    ),
    Tool(
        name="book flight",
        parameters={
            "properties": {
                "who": {
                    "type": "object",
                    "properties": {"name": {"type": "string", "nullable": True}, "age": {"type": "integer"}},
                    "required": ["age"],
                    "additionalProperties": False,
                },
                "legs": {"type": "list", "items": {"allOf": [{"type": "boolean"}]}},
                "it": {"const": [1, {"a": None}]},
            },
            "required": ["who", "legs"],
        },
    ),
    Tool(name="ping"),
)
GOOD = (
    ToolCall(
        name="look_up", arguments={"n": -5, "key": 'it\'s "é" <tool_call> ```日本\n\x85', "undescribed": [{"a": 1}]}
    ),
    ToolCall(name="look_up", arguments={"undescribed": None, "odd name": 1.5e-7, "tags": ["y", "x"], "key": "a'b"}),
    ToolCall(name="look_up", arguments={"key": "", "undescribed": True, "how": 'a "b"', "odd name": None, "n": 2.0}),
    ToolCall(name="look_up", arguments={"key": "", "undescribed": {}, "how": 3, "tags": []}),
    ToolCall(name="book flight", arguments={"legs": [], "who": {"age": 3}}),
    ToolCall(
        name="book flight", arguments={"who": {"name": None, "age": 3}, "legs": [True, False], "it": [1, {"a": None}]}
    ),
    ToolCall(name="ping"),
)
BAD = {
    "unknown tool": ToolCall(name="look", arguments={"key": "a", "undescribed": 1}),
    "no required parameter": ToolCall(name="look_up", arguments={"key": "a"}),
    "unknown parameter": ToolCall(name="look_up", arguments={"key": "a", "undescribed": 1, "keys": "b"}),
    "parameter of a tool without": ToolCall(name="ping", arguments={"a": 1}),
    "number for a string": ToolCall(name="look_up", arguments={"key": 1, "undescribed": 1}),
    "string for an integer": ToolCall(name="look_up", arguments={"key": "", "undescribed": 1, "n": "1"}),
    "fraction for an integer": ToolCall(name="look_up", arguments={"key": "", "undescribed": 1, "n": 1.5}),
    "not in the list": ToolCall(name="look_up", arguments={"key": "", "undescribed": 1, "how": "fa"}),
    "item not in the list": ToolCall(name="look_up", arguments={"key": "", "undescribed": 1, "tags": ["z"]}),
    "fits no option": ToolCall(name="look_up", arguments={"key": "", "undescribed": 1, "odd name": "x"}),
    "wrong item": ToolCall(name="book flight", arguments={"who": {"age": 3}, "legs": [1]}),
    "missing inside": ToolCall(name="book flight", arguments={"who": {"name": "x"}, "legs": []}),
    "unknown inside": ToolCall(name="book flight", arguments={"who": {"age": 1, "b": 2}, "legs": []}),
    "not the constant": ToolCall(name="book flight", arguments={"who": {"age": 1}, "legs": [], "it": [1]}),
}
TEXTS = ("", "It is done.", "Sure.\n\n It's 'so', (see) {it} \"there\"\n\tlook_up is a tool.\n", "'a", "日本 (é)\n...")
TOKENIZER = byte_tokenizer([SYNTAXES[name].render("Sure.", GOOD) for name in SUPPORTED], vocab_size=330)
END = TOKENIZER.eos_token_id


@cache
def constrainer(name: str, mode="auto") -> Constrainer:
    return Constrainer(TOKENIZER, get_syntax(name), mode, vocab_size=len(TOKENIZER) + 5, end_ids=[END])


def first_refused(constraint, text: str, *, tokenizer=TOKENIZER) -> str | None:
    """What stands before the first token that is not allowed, the end token included; None: all are."""
    mask, ids = constraint(), [*tokenizer(text, add_special_tokens=False).input_ids, tokenizer.eos_token_id]
    for place, token in enumerate(ids):
        if not mask.allowed()[token // 32] >> (token % 32) & 1:
            return tokenizer.decode(ids[:place])
        mask.accept(token)
    return None


def has_fault(call, tools) -> bool:
    if diagnose_schema(call, tools).errors:
        return True
    properties = next(tool.properties for tool in tools if tool.name == call.name)
    return any(find_faults(value, properties.get(name), name) for name, value in call.arguments.items())


@pytest.mark.parametrize("name", SUPPORTED)
def test_good_calls_and_text_are_taken_as_the_syntax_writes_them(name):
    syntax, auto, call = (
        get_syntax(name),
        constrainer(name).constraint(TOOLS),
        constrainer(name, "call").constraint(TOOLS),
    )
    assert not any(has_fault(good, TOOLS) for good in GOOD)
    for calls in ([good] for good in GOOD), [GOOD], [GOOD[::-1]]:
        for own in calls:
            assert first_refused(call, syntax.render("", own)) is None
            for text in TEXTS:
                assert first_refused(auto, syntax.render(text, own)) is None
    for text in TEXTS:
        assert first_refused(auto, text) is None
        assert first_refused(call, text) is not None


@pytest.mark.parametrize("is_special", [True, False])
def test_tags_that_are_tokens_are_written_as_tokens(is_special):
    # as Qwen has them, not special, and as others do
    tokenizer, syntax = byte_tokenizer(["a b"], vocab_size=300), get_syntax("hermes")
    tags = [AddedToken(tag, special=is_special, normalized=False) for tag in ("<tool_call>", "</tool_call>", "<think>")]
    tokenizer.add_tokens(tags, special_tokens=is_special)
    made = Constrainer(tokenizer, syntax, "auto", vocab_size=len(tokenizer), end_ids=[tokenizer.eos_token_id])
    constraint = made.constraint(TOOLS)
    for text in ("", "Sure.\n", *(() if is_special else ("<think>\nSo?\n<think>\n",))):
        assert first_refused(constraint, syntax.render(text, GOOD), tokenizer=tokenizer) is None
    for text in ("<tool_call>", "a <tool_call>", "a\n<|im_start|>", syntax.render("", [BAD["unknown tool"]])):
        assert first_refused(constraint, text, tokenizer=tokenizer) is not None


@pytest.mark.parametrize("name", SUPPORTED)
@pytest.mark.parametrize("what", BAD)
def test_calls_with_an_error_are_refused(name, what):
    assert has_fault(BAD[what], TOOLS)
    text = get_syntax(name).render("", [BAD[what]])
    for mode in ("auto", "call"):
        assert first_refused(constrainer(name, mode).constraint(TOOLS), text) is not None


@pytest.mark.parametrize("name", SUPPORTED)
def test_a_parameter_given_twice_is_refused(name):
    once = get_syntax(name).render("", [ToolCall(name="look_up", arguments={"key": "", "undescribed": 0, "n": 17})])
    written = "n=17" if "n=17" in once else '"n": 17'
    constraint = constrainer(name).constraint(TOOLS)
    assert first_refused(constraint, once) is None
    assert first_refused(constraint, once.replace(written, f"{written}, {written}")) is not None


@pytest.mark.parametrize("name", SUPPORTED)
def test_a_reply_may_not_end_within_a_call(name):
    text = get_syntax(name).render("", [GOOD[0]])
    constraint = constrainer(name, "call").constraint(TOOLS)
    for length in range(len(text)):
        assert first_refused(constraint, text[:length]) is not None


@pytest.mark.parametrize("name", SUPPORTED)
@pytest.mark.parametrize("mode", ["auto", "call"])
def test_what_a_random_model_writes_has_no_error_but_truncation(name, mode):
    # 36 samples each of 5 syntaxes and 2 modes
    made, syntax = constrainer(name, mode), get_syntax(name)
    model = tiny_llama(vocab_size=len(TOKENIZER) + 5, seed=1)
    prompts = [[5 + number % 40, 7] for number in range(36)]
    config = SamplingConfig(max_new_tokens=120, temperature=1.5, batch_size=36)
    completions = sample(
        model, TOKENIZER, prompts, config, end_ids=[END], constraints=[made.constraint(TOOLS)] * len(prompts)
    )
    finished = [completion for completion in completions if completion.is_finished]
    assert all(completion.ids[-1] == END for completion in finished)
    assert all(len(completion.ids) == 120 for completion in completions if not completion.is_finished)
    assert len(finished) >= 6
    num_calls = 0
    for completion in finished:
        text = TOKENIZER.decode(completion.ids[:-1])
        parsed = syntax.parse(text, tools=TOOLS)
        calls = [call for call in parsed.calls if not is_double_key(call)]
        assert [call for call in calls if has_fault(call, TOOLS)] == []
        assert parsed.calls or mode == "auto"
        assert mode == "auto" or not parsed.text
        num_calls += len(calls)
    assert num_calls or mode == "auto"


def is_double_key(call) -> bool:
    """The one error that no grammar keeps out: a key given twice in an object without listed properties."""
    return isinstance(call, MalformedCall) and "occurs twice" in call.reason


PIECES = ("ping", "(", ")", "'", '"', "\\", "\n", " ", "\t", "\x1c", "\u3000", "é", "=", "1", "{", "}", ":", "-", "`")
MARKS = {
    "python": ("ping(", "'ping'(", "ping()", "'a\\'("),
    "tool_code": ("```tool_code\n", "```", "ping()", "\n"),
    "hermes": ("<tool_call>", "</tool_call>", "{}", '{"name": "ping", "arguments": {}}'),
    "react": ("Action:", "Action :", "Action: ping", "Action Input: {}", "\n"),
    "llama": ('{"name": "ping"', ', "parameters":', "{}", "<|python_tag|>", '{ "name":'),
}


@pytest.mark.parametrize("name", SUPPORTED)
def test_no_text_that_is_taken_holds_a_broken_call(name):
    rng, syntax, constraint = random.Random(name), get_syntax(name), constrainer(name).constraint((TOOLS[2],))
    num_taken = num_broken = 0
    for _ in range(600):
        pieces = (rng.choice(PIECES if rng.random() < 0.7 else MARKS[name]) for _ in range(rng.randrange(1, 8)))
        text = "".join(pieces)
        broken = any(has_fault(call, TOOLS) for call in syntax.parse(text, tools=TOOLS).calls)
        num_broken += broken
        if first_refused(constraint, text) is None:
            num_taken += 1
            assert not broken, text
    assert num_taken > 100
    assert num_broken > 40


@pytest.mark.parametrize("name", sorted(SYNTAXES.keys() - set(SUPPORTED)))
def test_other_syntaxes_are_refused_by_name(name):
    with pytest.raises(UsageError, match=f"no grammar of calls in the syntax '{name}'"):
        constrainer(name)


def test_what_cannot_be_called_is_refused():
    with pytest.raises(DataError, match="no tool is on offer"):
        constrainer("python", "call").constraint(())
    assert first_refused(constrainer("python").constraint(()), "Hello.") is None
    assert first_refused(constrainer("python").constraint(()), "ping()") == "ping"
    many = Tool(name="many", parameters={"properties": {f"p{number}": {} for number in range(MAX_MEMBERS + 1)}})
    with pytest.raises(DataError, match=r"tool 'many'.*64 properties.*constrain=off"):
        constrainer("hermes").constraint((many,))


@pytest.mark.parametrize("name", ["python", "hermes", "react"])
def test_right_calls_of_a_public_set_are_taken(name):
    from tltrain.engine.model import load_tokenizer

    tokenizer = load_tokenizer("smollm2-135m-instruct")
    made = Constrainer(tokenizer, get_syntax(name), "call", vocab_size=len(tokenizer), end_ids=[tokenizer.eos_token_id])
    trajectories = read_trajectories(data_file("bfcl/BFCL_v4_multiple.json")).trajectories[:60]
    num_taken = 0
    for trajectory in trajectories:
        calls = [call for message in trajectory.messages for call in message.calls]
        if calls and not any(has_fault(call, trajectory.tools) for call in calls):
            text = get_syntax(name).render("", calls)
            assert first_refused(made.constraint(trajectory.tools), text, tokenizer=tokenizer) is None, text
            num_taken += 1
    assert num_taken > 50
