import json
import re
from pathlib import Path

import pytest
import torch

from tiny_models import byte_tokenizer, tiny_llama
from tltrain.benches.config import EvalConfig
from tltrain.benches.model_policy import ModelPolicy
from tltrain.benches.policy import Request, Stop
from tltrain.benches.public_config import PublicEvalConfig
from tltrain.benches.run import evaluate
from tltrain.benches.scores import read_cases
from tltrain.engine.model import load_tokenizer
from tltrain.render.conversation import render_prompt
from tltrain.render.template import ensure_tool_template
from tltrain.stage import Reuse
from tltrain.syntax import get_syntax
from tltrain.types import Message, Role, Tool, ToolCall

torch.set_num_threads(1)
TOOLS = (Tool(name="look", parameters={"properties": {"key": {"type": "string"}}, "required": ["key"]}),)


def request(text: str) -> Request:
    return Request(TOOLS, (Message(role=Role.USER, content=text),))


REQUESTS = [request("Look."), request("Look at all of it, and then again."), request("x" * 900), request("Done?")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model with room for 700 tokens, and its tokenizer."""
    place = tmp_path_factory.mktemp("model")
    tokenizer = byte_tokenizer(["look(key='a')", "You may call tools. Look at it."], vocab_size=280)
    tiny_llama(vocab_size=len(tokenizer), max_length=700).save_pretrained(place)
    tokenizer.save_pretrained(place)
    return place


def make_policy(folder: Path, **settings) -> ModelPolicy:
    return ModelPolicy(folder, **{"max_new_tokens": 6, "batch_size": 2, "precision": "float32", **settings})


def test_replies_are_what_the_model_writes(folder):
    policy, told = make_policy(folder), []
    replies = policy.answer(REQUESTS, told.append)
    tokenizer = load_tokenizer(folder)
    syntax = get_syntax(ensure_tool_template(tokenizer))
    model = tiny_llama(vocab_size=len(tokenizer))
    for asked, reply in zip(REQUESTS, replies, strict=True):
        ids = render_prompt(asked.tools, asked.messages, tokenizer, syntax)
        assert reply.prompt == tokenizer.decode(ids)
        if len(ids) + 6 > 700:
            continue
        written: list[int] = []
        while len(written) < 6 and tokenizer.eos_token_id not in written:
            written.append(model(input_ids=torch.tensor([ids + written])).logits[0, -1].argmax().item())
        assert reply.text == tokenizer.decode(written).removesuffix("<|im_end|>")
        assert reply.num_tokens == len(written)
        assert reply.stop is (Stop.END if tokenizer.eos_token_id in written else Stop.LENGTH)
    assert [reply.stop is Stop.TOO_LONG for reply in replies] == [False, False, True, False]
    assert told[-1] == 3


def test_the_context_must_hold_prompt_and_reply(folder):
    [reply] = make_policy(folder).answer([request("a")])
    num_tokens = len(load_tokenizer(folder)(reply.prompt, add_special_tokens=False).input_ids)
    fits, too_long = (
        make_policy(folder, max_new_tokens=700 - num_tokens + more).answer([request("a")])[0] for more in (0, 1)
    )
    assert fits.stop is not Stop.TOO_LONG
    assert (too_long.stop, too_long.text, too_long.num_tokens) == (Stop.TOO_LONG, "", 0)


def test_conversations_that_the_template_refuses(folder, tmp_path):
    tokenizer = load_tokenizer(folder)
    ensure_tool_template(tokenizer)
    refusal = "{%- if messages[0]['role'] == 'system' %}{{ raise_exception('no system turn') }}{%- endif %}"
    tokenizer.chat_template = refusal + tokenizer.chat_template
    place = tmp_path / "model"
    tiny_llama(vocab_size=len(tokenizer), max_length=700).save_pretrained(place)
    tokenizer.save_pretrained(place)
    system = Request(TOOLS, (Message(role=Role.SYSTEM, content="Be brief."), *REQUESTS[0].messages))
    refused, answered = make_policy(place).answer([system, REQUESTS[0]])
    assert refused.stop is Stop.UNWRITABLE
    assert "no system turn" in refused.note
    assert answered.stop in (Stop.END, Stop.LENGTH)


def test_a_whole_evaluation(data, tmp_path):
    tokenizer = byte_tokenizer(re.findall(r".{1,400}", data.read_text()), vocab_size=600)
    place = tmp_path / "model"
    tiny_llama(vocab_size=len(tokenizer), max_length=1500).save_pretrained(place)
    tokenizer.save_pretrained(place)
    config = EvalConfig(max_cases=6, max_episodes=3, max_turns=2, max_new_tokens=8, batch_size=4, num_resamples=50)
    out = tmp_path / "out"
    result = evaluate(config, data=data, model=place, out=out)
    assert (result.scores.single.n, result.scores.episodes.n) == (6, 3)
    assert result.scores.precision in ("float32", "bfloat16")
    assert json.loads((out / "scores.json").read_text()) == result.scores.model_dump(mode="json")
    assert all(case.prompt.startswith("<|im_start|>system") for case in read_cases(out / "cases.jsonl"))
    before = (out / "cases.jsonl").read_bytes()
    again = evaluate(config, data=data, model=place, out=tmp_path / "again", reuse=Reuse.RESUME)
    assert again.scores == result.scores
    assert (tmp_path / "again" / "cases.jsonl").read_bytes() == before


def test_auto_precision_is_measured_once(folder, data, tmp_path, monkeypatch):
    from tltrain.engine import precision

    monkeypatch.setattr(precision, "resolve_precision", lambda *_: "bfloat16")
    config = EvalConfig(max_cases=1, max_episodes=0, max_new_tokens=2, num_resamples=5)
    made = []
    real = ModelPolicy.__init__

    def watched(self, *arguments, **settings):
        made.append(settings["precision"])
        if len(made) == 1:
            raise KeyboardInterrupt  # the first start is broken off
        real(self, *arguments, **settings)

    monkeypatch.setattr(ModelPolicy, "__init__", watched)
    with pytest.raises(KeyboardInterrupt):
        evaluate(config, data=data, model=folder, out=tmp_path / "out")
    monkeypatch.setattr(precision, "resolve_precision", lambda *_: "float32")
    scores = evaluate(config, data=data, model=folder, out=tmp_path / "out", reuse=Reuse.RESUME).scores
    assert made == ["bfloat16", "bfloat16"]
    assert scores.precision == "bfloat16"


@pytest.mark.parametrize("constrain", ["auto", "call"])
def test_constrained_replies_hold_no_broken_call(folder, constrain):
    pytest.importorskip("llguidance")
    policy = make_policy(folder, max_new_tokens=60, constrain=constrain)
    without = Request((), REQUESTS[0].messages)
    many = Request((Tool(name="f", parameters={"properties": {str(n): {} for n in range(64)}}),), REQUESTS[0].messages)
    several = Request(TOOLS, REQUESTS[0].messages, one_call=False)
    replies = policy.answer([*REQUESTS, several, without, many])
    assert replies[-1].stop is Stop.UNWRITABLE
    assert "64 properties" in replies[-1].note
    assert (replies[-2].stop is Stop.UNWRITABLE) is (constrain == "call")
    for reply in replies[:-2]:
        calls = policy.syntax.parse(reply.text, tools=TOOLS).calls
        if constrain == "call" and reply.stop is Stop.END:
            assert calls
        if reply.stop is not Stop.LENGTH:
            assert all(isinstance(call, ToolCall) and call.arguments.keys() == {"key"} for call in calls)
    free = make_policy(folder, max_new_tokens=60).answer(REQUESTS)
    assert [reply.text for reply in free] != [reply.text for reply in replies[:4]]


def test_constraints_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match=r"max_episodes=0, or constrain='auto'"):
        EvalConfig(constrain="call")
    assert EvalConfig(constrain="call", max_episodes=0).constrain == "call"
    endpoint = {"base_url": "http://127.0.0.1:1/v1", "model": "m"}
    with pytest.raises(ValueError, match="leave the endpoint out"):
        PublicEvalConfig(benches="toolalpaca", constrain="auto", endpoint=endpoint)
    assert PublicEvalConfig(benches="toolalpaca", endpoint=endpoint).constrain == "off"


def test_turns_with_and_without_what_is_kept(folder):
    kept, plain = make_policy(folder), make_policy(folder, keep_mib=0)
    talk = REQUESTS[0].messages
    for _ in range(3):
        asked = [Request(TOOLS, talk, goes_on=True), Request(TOOLS, (*talk, Message(role=Role.USER, content="So?")))]
        replies = kept.answer(asked)
        assert replies == plain.answer(asked)
        talk = (
            *talk,
            Message(role=Role.ASSISTANT, content=replies[0].text),
            Message(role=Role.USER, content="And?"),
        )
    assert kept._kept.num_reused > 50
    assert plain._kept.num_bytes == plain._kept.num_reused == 0
