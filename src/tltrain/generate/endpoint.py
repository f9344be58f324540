"""A teacher behind an OpenAI-compatible chat endpoint; it acts in the sandbox until it answers without a call."""

import json
import os
import time
from typing import TYPE_CHECKING, Any

from tltrain.errors import DataError, UsageError
from tltrain.files import decode_json
from tltrain.formats.openai_chat import row_from_trajectory, trajectory_from_row
from tltrain.generate.config import EndpointSettings
from tltrain.generate.task import Started, run_gold
from tltrain.generate.teacher import Conversation, TeacherFailure, Transcript
from tltrain.types import Message, Role, Tool, Trajectory

if TYPE_CHECKING:
    import openai

_MAX_WAIT_S = 60.0
_RETRIED_STATUS = frozenset({408, 409, 429})
_HOPELESS_STATUS = frozenset({401, 404})


class EndpointTeacher:
    """Does tasks through chat completions with tools.

    Its provenance says how the conversation stopped ("answer" or "max_turns") and whether the final state is the one
    that the task's plan ends in. Which of its calls are mistakes is for an audit to find out.
    """

    def __init__(self, settings: EndpointSettings):
        import openai

        self._settings = settings
        self._client = openai.OpenAI(
            base_url=settings.base_url,
            api_key=os.environ.get(settings.api_key_variable) or "none",
            timeout=settings.timeout_s,
            max_retries=0,  # retried here, where an unreadable answer counts as a failure too
        )

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
        for attempt in range(self._settings.max_retries + 1):
            try:
                return _read_reply(self._complete(request))
            except _Retriable as failure:
                reason = str(failure)
                if attempt < self._settings.max_retries:
                    time.sleep(min(failure.wait_s or self._settings.backoff_s * 2**attempt, _MAX_WAIT_S))
        raise TeacherFailure(reason)

    def _complete(self, request: dict[str, Any]) -> str:
        """The body of the endpoint's answer."""
        import openai

        try:
            return self._client.chat.completions.with_raw_response.create(**request).http_response.text
        except openai.APITimeoutError:
            raise _Retriable(f"no answer within timeout_s={self._settings.timeout_s:g}") from None
        except openai.APIConnectionError as error:
            raise _Retriable(f"no connection: {error.__cause__ or error}") from None
        except openai.APIStatusError as error:
            raise self._status_failure(error) from None

    def _status_failure(self, error: "openai.APIStatusError") -> Exception:
        reason = f"HTTP {error.status_code}: {' '.join(error.response.text.split())[:200]}"
        if error.status_code in _RETRIED_STATUS or error.status_code >= 500:
            return _Retriable(reason, wait_s=_seconds(error.response.headers.get("retry-after")))
        if error.status_code in _HOPELESS_STATUS:
            return UsageError(
                f"teacher.base_url={self._settings.base_url} answers {reason}; check the address, "
                f"teacher.model={self._settings.model} and the key in {self._settings.api_key_variable}"
            )
        return TeacherFailure(reason)


class _Retriable(Exception):  # noqa: N818 - may pass by itself
    """A request that may succeed if made again."""

    def __init__(self, reason: str, wait_s: float | None = None):
        super().__init__(reason)
        self.wait_s = wait_s


def _seconds(header: str | None) -> float | None:
    """Seconds of a Retry-After header; None where it is absent or a date."""
    return float(header) if header and header.isdecimal() else None


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
    request = {"model": settings.model, "messages": system + row["messages"], "tools": row["tools"]}
    if settings.temperature is not None:
        request["temperature"] = settings.temperature
    return request | {"extra_body": settings.extra_body}


def _read_reply(body: str) -> Message:
    """The assistant message of a chat completion.

    Raises:
        _Retriable: the body is no chat completion.
        TeacherFailure: the message is empty, or its text was cut off.
    """
    try:
        answer: Any = decode_json(body)
        choice = answer["choices"][0]
        row = {"messages": [{"role": "user", "content": ""}, {**choice["message"], "role": "assistant"}]}
        message = trajectory_from_row(row, where="reply").messages[-1]
    except DataError as error:
        raise _Retriable(f"no chat completion: {error}") from None
    except (ValueError, TypeError, LookupError):
        excerpt = " ".join(body.split())[:100]
        raise _Retriable(f"no chat completion: {excerpt!r}") from None
    if not message.calls and choice.get("finish_reason") == "length":
        raise TeacherFailure("the reply was cut off (finish_reason length); allow more tokens")
    if not message.calls and not message.content.strip():
        raise TeacherFailure("the reply holds neither text nor calls")
    return message
