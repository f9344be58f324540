import pytest
from public_sets import write_public_sets

from generate.chat_server import Answer, completion, serve
from tltrain.benches.endpoint_policy import EndpointModel, EndpointPolicy
from tltrain.benches.policy import Request, Stop
from tltrain.benches.public_config import PublicEvalConfig
from tltrain.benches.public_run import evaluate_public
from tltrain.errors import UsageError
from tltrain.stage import Reuse
from tltrain.syntax import get_syntax
from tltrain.types import Message, Role, Tool, ToolCall

TOOLS = (Tool(name="math.add", parameters={"properties": {"a": {}}}), Tool(name="math_add"), Tool(name="x" * 80))
ASKED = Request(TOOLS, (Message(role=Role.USER, content="Add."),))


def policy(url, **fields):
    settings = EndpointModel(base_url=url, model="m", backoff_s=0, max_retries=1, **fields)
    return EndpointPolicy(settings, max_new_tokens=9)


def read(reply):
    return get_syntax("hermes").parse(reply.text).calls


def test_names_that_endpoints_refuse_go_by_others():
    with serve(lambda _: completion("I add.", ("math_add", '{"a": 1}'), ("math_add_2", "{}"))) as endpoint:
        (reply,) = policy(endpoint.url).answer([ASKED])
    (request,) = endpoint.requests
    shown = [tool["function"]["name"] for tool in request["tools"]]
    assert shown == ["math_add", "math_add_2", "x" * 64]
    assert (request["temperature"], request["max_tokens"], request["model"]) == (0, 9, "m")
    assert read(reply) == (ToolCall(name="math.add", arguments={"a": 1}), ToolCall(name="math_add"))
    assert (reply.stop, reply.text.startswith("I add.")) == (Stop.END, True)


def test_text_limits_and_empty_replies():
    answers = iter([completion("No."), completion("I thi", finish_reason="length"), completion(None)])
    with serve(lambda _: next(answers)) as endpoint:
        replies = policy(endpoint.url, num_parallel=1).answer([ASKED] * 3)
    assert [(reply.text, reply.stop) for reply in replies] == [
        ("No.", Stop.END),
        ("I thi", Stop.LENGTH),
        ("", Stop.END),
    ]


def test_arguments_that_cannot_be_read_stay_malformed():
    with serve(lambda _: completion(None, ("math_add", '{"a": '))) as endpoint:
        (reply,) = policy(endpoint.url).answer([ASKED])
    (call,) = get_syntax("hermes").parse(reply.text).calls or (None,)
    assert not isinstance(call, ToolCall)
    assert "math_add" in reply.text


def test_earlier_turns_are_sent_with_the_names_and_ids():
    call = ToolCall(name="math.add", arguments={"a": 1}, id="call_1")
    talk = (
        *ASKED.messages,
        Message(role=Role.ASSISTANT, calls=(call,)),
        Message(role=Role.TOOL, content="1", call_id="call_1", name="math.add"),
    )
    with serve(lambda _: completion("Done.")) as endpoint:
        policy(endpoint.url).answer([Request(TOOLS, talk)])
    _, assistant, tool = endpoint.requests[0]["messages"]
    assert assistant["tool_calls"][0]["function"] == {"name": "math_add", "arguments": '{"a": 1}'}
    assert (tool["tool_call_id"], tool["name"]) == ("call_1", "math_add")


def test_failures_are_retried_and_then_counted():
    answers = iter([Answer(body="", status=503), completion("Yes."), *[Answer(body="{}")] * 2])
    with serve(lambda _: next(answers)) as endpoint:
        replies = policy(endpoint.url, num_parallel=1).answer([ASKED] * 2)
    assert [(reply.text, reply.stop) for reply in replies] == [("Yes.", Stop.END), ("", Stop.FAILED)]
    assert "no chat completion" in replies[1].note


def test_a_refused_key_ends_the_run():
    with (
        serve(lambda _: Answer(body="no", status=401)) as endpoint,
        pytest.raises(UsageError, match=r"endpoint.base_url"),
    ):
        policy(endpoint.url).answer([ASKED])


def test_an_endpoint_that_dies_half_way(tmp_path):
    data_dir = write_public_sets(tmp_path / "sets")

    def answer(request):
        done = any(message["role"] == "tool" for message in request["messages"])
        first = request["tools"][0]["function"]["name"]
        return completion(None, ("finish", '{"answer": "x"}') if done else (first, '{"key": "a"}'))

    def run(url, out, **options):
        endpoint = EndpointModel(base_url=url, model="m", backoff_s=0, max_retries=0, num_parallel=1)
        config = PublicEvalConfig(
            benches=("rotbench:clean", "toolalpaca", "tooleyes"), allow_changed=True, endpoint=endpoint, batch_size=1
        )
        return evaluate_public(config, data_dir=data_dir, model="m", out=out, **options).scores.benches

    left = iter(range(4))
    with serve(lambda body: answer(body) if next(left, None) is not None else Answer(body="", status=500)) as endpoint:
        broken = run(endpoint.url, tmp_path / "out")
        assert sum(scores.failed for scores in broken.values()) > 0
        left = iter(range(1000))  # it is back
        num_asked = len(endpoint.requests)
        resumed = run(endpoint.url, tmp_path / "out", reuse=Reuse.RESUME)
        assert len(endpoint.requests) > num_asked
        whole = run(endpoint.url, tmp_path / "whole")
    assert resumed == whole
    assert all(scores.failed == 0 for scores in resumed.values())
