"""A teacher behind an OpenAI-compatible chat endpoint; it acts in the sandbox until it answers without a call."""

import json
from typing import Any

from tltrain.chat_client import ChatClient, NoReply, UnreadableReply
from tltrain.errors import DataError
from tltrain.files import decode_json
from tltrain.formats.openai_chat import row_from_trajectory, trajectory_from_row
from tltrain.generate.config import EndpointSettings
from tltrain.generate.task import Started, run_gold
from tltrain.generate.teacher import Conversation, TeacherFailure, Transcript
from tltrain.types import Message, Role, Tool, Trajectory


class EndpointTeacher:
    """Does tasks through chat completions with tools.

    Its provenance says how the conversation stopped ("answer" or "max_turns") and whether the final state is the one
    that the task's plan ends in. Which of its calls are mistakes is for an audit to find out.
    """

    def __init__(self, settings: EndpointSettings):
        self._settings = settings
        self._client = ChatClient(settings, section="teacher")

    @property
    def name(self) -> str:
        """`endpoint:` and the model."""
        return f"endpoint:{self._settings.model}"

    def act(self, started: Started) -> Transcript:
        """See `Teacher.act`.

        Raises:
            TeacherFailure: no usable reply after all retries, an empty reply, or one that was cut off.
            UsageError: the endpoint refuses the key, or knows no such model.
        """
        talk = Conversation(started)
        stopped = "max_turns"
        for _ in range(self._settings.max_turns):
            reply = self._ask(talk.messages, started.sandbox.tools)
            talk.reply(reply)
            if not reply.calls:
                stopped = "answer"
                break
        is_right = started.sandbox.snapshot() == run_gold(started.task).snapshot
        return talk.transcript(mistakes_known=False, stopped=stopped, final_state_right=is_right)

    def _ask(self, messages: tuple[Message, ...], tools: tuple[Tool, ...]) -> Message:
        request = _build_request(messages, tools, self._settings)
        try:
            return self._client.ask(request, _read_reply)
        except NoReply as failure:
            raise TeacherFailure(str(failure)) from None


def _build_request(
    messages: tuple[Message, ...], tools: tuple[Tool, ...], settings: EndpointSettings
) -> dict[str, Any]:
    row: dict[str, Any] = row_from_trajectory(Trajectory(id="request", tools=tools, messages=messages))
    system = [{"role": Role.SYSTEM.value, "content": settings.system_prompt}] if settings.system_prompt else []
    for message in row["messages"]:
        message.pop("reasoning_content", None)
        for call in message.get("tool_calls", ()):
            if call.pop("malformed", None) is not None:
                # Servers decode the arguments of earlier calls and refuse the request if that fails.
                function = call["function"]
                call["function"] = {
                    "name": function["name"] or "unknown",
                    "arguments": json.dumps({"unreadable": function["arguments"]}),
                }
    request = {"messages": system + row["messages"], "tools": row["tools"]}
    if settings.temperature is not None:
        request["temperature"] = settings.temperature
    return request


def _read_reply(body: str) -> Message:
    """The assistant message of a chat completion.

    Raises:
        UnreadableReply: the body is no chat completion.
        TeacherFailure: the message is empty, or its text was cut off.
    """
    try:
        answer: Any = decode_json(body)
        choice = answer["choices"][0]
        row = {"messages": [{"role": "user", "content": ""}, {**choice["message"], "role": "assistant"}]}
        message = trajectory_from_row(row, where="reply").messages[-1]
    except DataError as error:
        raise UnreadableReply(f"no chat completion: {error}") from None
    except (ValueError, TypeError, LookupError):
        excerpt = " ".join(body.split())[:100]
        raise UnreadableReply(f"no chat completion: {excerpt!r}") from None
    if not message.calls and choice.get("finish_reason") == "length":
        raise TeacherFailure("the reply was cut off (finish_reason length); allow more tokens")
    if not message.calls and not message.content.strip():
        raise TeacherFailure("the reply holds neither text nor calls")
    return message
