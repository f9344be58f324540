"""The endpoint teacher against a real HTTP server: what it sends, what it reads, and how it takes failures."""

import json
from collections.abc import Callable, Iterator

import pytest

from generate.chat_server import Answer, completion, serve
from tltrain.envs.sandbox import KITS
from tltrain.errors import UsageError
from tltrain.generate.config import EndpointSettings
from tltrain.generate.endpoint import EndpointTeacher
from tltrain.generate.task import Task, run_gold, start
from tltrain.generate.teacher import TeacherFailure, Transcript
from tltrain.generate.toolsets import choose_toolset
from tltrain.types import MalformedCall, Role, ToolCall

MOVE = Task(kit="calendar", template="move_by_title", seed=12, toolset=choose_toolset("calendar", 1, tuple(KITS), 0))
GOLD = run_gold(MOVE)
FIND, CHANGE = ((call.name, json.dumps(dict(call.arguments))) for call in GOLD.calls)


def act(answers: list[Answer], **settings) -> tuple[Transcript, list[dict]]:
    """Let the teacher do the task against a server with these answers, in order; the last one is repeated."""
    queue: Iterator[Answer] = iter(answers)
    with serve(lambda _: next(queue, answers[-1])) as endpoint:
        teacher = _teacher(endpoint.url, **settings)
        transcript = teacher.act(start(MOVE))
    return transcript, endpoint.requests


def fail(answer: Callable[[dict], Answer], **settings) -> tuple[str, int]:
    """The reason why the teacher fails against this server, and the number of requests it made."""
    with serve(answer) as endpoint, pytest.raises(TeacherFailure) as caught:
        _teacher(endpoint.url, **settings).act(start(MOVE))
    return str(caught.value), len(endpoint.requests)


def _teacher(url: str, **settings) -> EndpointTeacher:
    defaults = {"base_url": url, "model": "tiny", "backoff_s": 0.001, "timeout_s": 5, "max_retries": 2}
    return EndpointTeacher(EndpointSettings(**(defaults | settings)))


def test_acts_until_it_answers_without_a_call():
    transcript, requests = act([completion("Let me look.", FIND), completion(None, CHANGE), completion("Moved.")])
    calls = [call for message in transcript.messages for call in message.calls]
    assert calls == list(GOLD.calls)
    assert [message.role for message in transcript.messages] == [
        Role.USER, Role.ASSISTANT, Role.TOOL, Role.ASSISTANT, Role.TOOL, Role.ASSISTANT
    ]  # fmt: skip
    assert transcript.messages[1].content == "Let me look."
    assert transcript.messages[-1].content == "Moved."
    assert transcript.truth == (None, None)
    assert transcript.mistakes is None
    assert transcript.notes == {"stopped": "answer", "final_state_right": True}
    assert len(requests) == 3


def test_request_has_the_tools_the_settings_and_the_conversation_so_far(monkeypatch):
    monkeypatch.setenv("MY_KEY", "secret")
    answers = iter([completion(None, FIND), completion("Done.")])
    with serve(lambda _: next(answers)) as endpoint:
        _teacher(
            endpoint.url,
            api_key_variable="MY_KEY",
            temperature=0.25,
            extra_body={"top_k": 5},
            system_prompt="Be brief.",
        ).act(start(MOVE))
    first, second = endpoint.requests
    assert endpoint.keys == {"Bearer secret"}
    assert (first["model"], first["temperature"], first["top_k"]) == ("tiny", 0.25, 5)
    assert [tool["function"]["name"] for tool in first["tools"]] == list(MOVE.toolset.names)
    assert first["tools"][0]["type"] == "function"
    assert first["tools"][0]["function"]["parameters"]["type"] == "object"
    query = start(MOVE).query
    assert first["messages"] == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": query}]
    asked, answered = second["messages"][2:]
    assert asked["tool_calls"][0]["function"] == {"name": FIND[0], "arguments": FIND[1]}
    assert answered["tool_call_id"] == asked["tool_calls"][0]["id"]
    assert "event_id" in answered["content"]


def test_no_temperature_and_no_system_prompt_send_none():
    _, (request,) = act([completion("Hello.")], temperature=None, system_prompt="")
    assert "temperature" not in request
    assert [message["role"] for message in request["messages"]] == ["user"]


def test_errors_of_the_model_get_feedback_and_are_known_to_the_sandbox_alone():
    wrong = ("get_event", '{"event_id": "nope"}')
    transcript, _ = act([completion(None, wrong), completion(None, ("fly", "{}")), completion("Sorry.")])
    assert transcript.truth == ("refused", "tool_not_defined")
    assert transcript.notes["final_state_right"] is False


@pytest.mark.parametrize("arguments", ['{"event_id": "ev1"', "event_id=ev1", '["ev1"]', '{"event_id": NaN}', '"ev1"'])
def test_unreadable_arguments_become_a_malformed_call(arguments):
    transcript, requests = act([completion(None, ("get_event", arguments)), completion("Sorry.")])
    (call,) = transcript.messages[1].calls
    assert isinstance(call, MalformedCall)
    assert call.raw == f"get_event({arguments})"
    assert transcript.truth == ("type_or_value",)
    assert transcript.messages[2].content.startswith("ValueError: invalid call: ")
    # Servers refuse a history whose arguments are no JSON object; the model still sees what it wrote.
    sent = requests[1]["messages"][2]["tool_calls"][0]
    assert json.loads(sent["function"]["arguments"]) == {"unreadable": arguments}
    assert set(sent) == {"id", "type", "function"}


def test_empty_arguments_mean_none_and_objects_are_taken_as_they_are():
    task = Task(kit="units", template="all_currencies", seed=0, toolset=choose_toolset("units", 0, ("units",), 0))
    answer = json.loads(completion(None, ("list_currencies", "")).body)
    plain = json.loads(completion(None, ("list_currencies", "{}")).body)
    plain["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"] = {}
    bodies = iter([answer, plain])
    with serve(
        lambda _: Answer(body=json.dumps(body)) if (body := next(bodies, None)) else completion("x")
    ) as endpoint:
        transcript = _teacher(endpoint.url).act(start(task))
    assert [message.calls for message in transcript.messages if message.calls] == [
        (ToolCall(name="list_currencies"),),
        (ToolCall(name="list_currencies"),),
    ]
    assert transcript.truth == (None, None)


def test_several_calls_of_one_message_are_all_answered():
    transcript, requests = act([completion(None, FIND, FIND), completion("Done.")])
    assert [message.role for message in transcript.messages[1:4]] == [Role.ASSISTANT, Role.TOOL, Role.TOOL]
    assert [message.call_id for message in transcript.messages[2:4]] == ["call_1", "call_2"]
    assert transcript.truth == (None, None)
    assert len(requests) == 2


def test_reasoning_is_kept_but_not_sent_back():
    transcript, requests = act([completion(None, FIND, reasoning_content="I should search."), completion("Done.")])
    assert transcript.messages[1].reasoning == "I should search."
    assert all("reasoning" not in key for message in requests[1]["messages"] for key in message)


def test_stops_after_max_turns():
    transcript, requests = act([completion(None, FIND)], max_turns=3)
    assert len(requests) == 3
    assert transcript.notes["stopped"] == "max_turns"
    assert transcript.messages[-1].role is Role.TOOL


@pytest.mark.parametrize(
    "trouble",
    [
        Answer(status=500, body='{"error": "boom"}'),
        Answer(status=503, body="busy"),
        Answer(status=429, body='{"error": "slow down"}', headers={"Retry-After": "0"}),
        Answer(body="<html>gateway</html>"),
        Answer(body='{"choices": ['),
        Answer(body='{"choices": []}'),
        Answer(body="[]"),
        Answer(body='{"choices": [{"message": {"role": "assistant", "tool_calls": "none"}}]}'),
        Answer(body='{"choices": [{"message": {"role": "assistant", "content": "\\ud800"}}]}'),
        Answer(body="", headers={"Content-Type": "text/plain"}),
    ],
    ids=["500", "503", "429", "html", "cut", "no choice", "list", "no calls", "surrogate", "empty"],
)
def test_passing_trouble_is_retried(trouble):
    transcript, requests = act([trouble, trouble, completion("Hello.")])
    assert transcript.messages[-1].content == "Hello."
    assert len(requests) == 3


def test_lasting_trouble_fails_the_task_after_the_retries():
    reason, num_requests = fail(lambda _: Answer(status=500, body="boom\n" * 500), max_retries=3)
    assert reason.startswith("HTTP 500: boom boom")
    assert len(reason) < 250
    assert num_requests == 4
    reason, num_requests = fail(lambda _: Answer(body="garbage"))
    assert reason == "no chat completion: 'garbage'"
    assert num_requests == 3


def test_time_outs_are_retried_then_fail():
    reason, num_requests = fail(lambda _: Answer(body="{}", delay_s=0.3), timeout_s=0.05, max_retries=1)
    assert reason == "no answer within timeout_s=0.05"
    assert num_requests == 2


def test_no_server_is_no_connection():
    with serve(lambda _: completion("x")) as endpoint:
        pass
    with pytest.raises(TeacherFailure, match="no connection"):
        _teacher(endpoint.url, max_retries=1).act(start(MOVE))


def test_waits_as_long_as_the_server_says_and_longer_each_time_otherwise(monkeypatch):
    waits: list[float] = []
    monkeypatch.setattr("time.sleep", waits.append)
    busy = Answer(status=429, body="", headers={"Retry-After": "7"})
    dated = Answer(status=429, body="", headers={"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"})
    down = Answer(status=502, body="")
    act([busy, dated, down, down, completion("Hello.")], max_retries=4, backoff_s=30)
    # 0.0 is the server's own delay. 30 * 2, then 30 * 4 and 30 * 8 cut to a minute.
    assert [wait for wait in waits if wait] == [7, 60, 60, 60]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (completion(""), "neither text nor calls"),
        (completion("I will now", finish_reason="length"), "cut off"),
        (Answer(status=400, body='{"error": "context too long"}'), "HTTP 400: .*context too long"),
    ],
)
def test_replies_that_no_retry_mends_fail_at_once(answer, reason):
    with serve(lambda _: answer) as endpoint, pytest.raises(TeacherFailure, match=reason):
        _teacher(endpoint.url).act(start(MOVE))
    assert len(endpoint.requests) == 1


@pytest.mark.parametrize("status", [401, 404])
def test_a_refused_key_or_an_unknown_model_is_the_users_to_mend(status):
    with (
        serve(lambda _: Answer(status=status, body="no")) as endpoint,
        pytest.raises(UsageError, match=f"HTTP {status}: no; check the address, teacher.model=tiny and the key in K"),
    ):
        _teacher(endpoint.url, api_key_variable="K").act(start(MOVE))
