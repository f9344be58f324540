"""A model behind an OpenAI-compatible chat endpoint as the one who is tested."""

import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any, NamedTuple

from msgspec.structs import replace
from pydantic import Field

from tltrain.benches.policy import Reply, Request, Stop
from tltrain.chat_client import ChatClient, ChatSettings, NoReply, UnreadableReply
from tltrain.errors import DataError
from tltrain.files import decode_json
from tltrain.formats.openai_chat import row_from_trajectory, trajectory_from_row
from tltrain.syntax import CallSyntax, get_syntax
from tltrain.types import Message, ToolCall, Trajectory

_UNFIT = re.compile(r"[^a-zA-Z0-9_-]")
_MAX_NAME = 64
"""Characters that endpoints allow in a tool's name."""


class EndpointModel(ChatSettings):
    """The endpoint that is tested."""

    num_parallel: int = Field(default=4, ge=1)
    """Requests under way at the same time."""


class _Answered(NamedTuple):
    message: Message
    num_tokens: int
    is_cut_off: bool


class EndpointPolicy:
    """See `Policy`. Answers are asked for at temperature 0.

    Calls come back apart from the text, so a reply's text is written in the Hermes syntax, from which it is read again.
    Tools whose names endpoints refuse (`math.factorial`) go by others (`math_factorial`), and back.

    Args:
        settings: of the endpoint.
        max_new_tokens: of one reply.
        syntax: in which the prompts themselves ask for calls, where they do; replies are then taken as text.
    """

    def __init__(self, settings: EndpointModel, *, max_new_tokens: int, syntax: CallSyntax | None = None):
        self._client = ChatClient(settings, section="endpoint")
        self._num_parallel = settings.num_parallel
        self._max_new_tokens = max_new_tokens
        self.syntax = syntax or get_syntax("hermes")

    def answer(self, requests: Sequence[Request], told: Callable[[int], None] | None = None) -> list[Reply]:
        """See `Policy.answer`."""
        with ThreadPoolExecutor(self._num_parallel) as pool:
            futures = [pool.submit(self._answer, request) for request in requests]
            for done, _ in enumerate(as_completed(futures), start=1):
                if told:
                    told(done)
            return [future.result() for future in futures]

    def _answer(self, request: Request) -> Reply:
        names = _shown_names(request)
        try:
            answered = self._client.ask(self._build(request, names), _read_reply)
        except NoReply as failure:
            return Reply(text="", num_tokens=0, stop=Stop.FAILED, note=str(failure))
        own = {shown: name for name, shown in names.items()}
        calls = [
            replace(call, name=own.get(call.name, call.name)) if isinstance(call, ToolCall) else call
            for call in answered.message.calls
        ]
        return Reply(
            text=self.syntax.render(answered.message.content, calls) if calls else answered.message.content,
            num_tokens=answered.num_tokens,
            stop=Stop.LENGTH if answered.is_cut_off else Stop.END,
            prompt=f"{request.tools!r}\n{request.messages!r}",
        )

    def _build(self, request: Request, names: Mapping[str, str]) -> dict[str, Any]:
        tools = tuple(replace(tool, name=names[tool.name]) for tool in request.tools)
        messages = tuple(_rename(message, names) for message in request.messages)
        row: dict[str, Any] = row_from_trajectory(Trajectory(id="request", tools=tools, messages=messages))
        for message in row["messages"]:
            message.pop("reasoning_content", None)
            for call in message.get("tool_calls", ()):
                if call.pop("malformed", None) is not None:
                    # servers decode the arguments of earlier calls and refuse the request if that fails
                    call["function"] = {"name": call["function"]["name"] or "unknown", "arguments": "{}"}
        fields = {"messages": row["messages"], "temperature": 0, "max_tokens": self._max_new_tokens}
        return fields | ({"tools": row["tools"]} if tools else {})


def _shown_names(request: Request) -> dict[str, str]:
    """Name -> what the endpoint sees, different for different names."""
    shown: dict[str, str] = {}
    for tool in request.tools:
        if tool.name in shown:
            continue
        base = _UNFIT.sub("_", tool.name)[:_MAX_NAME] or "_"
        name, number = base, 1
        while name in shown.values():
            number += 1
            name = f"{base[: _MAX_NAME - 4]}_{number}"
        shown[tool.name] = name
    return shown


def _rename(message: Message, names: Mapping[str, str]) -> Message:
    calls = tuple(
        replace(call, name=names.get(call.name, _UNFIT.sub("_", call.name)[:_MAX_NAME]))
        if isinstance(call, ToolCall)
        else call
        for call in message.calls
    )
    name = None if message.name is None else names.get(message.name, _UNFIT.sub("_", message.name)[:_MAX_NAME])
    return replace(message, calls=calls, name=name)


def _read_reply(body: str) -> _Answered:
    """The assistant message of a chat completion. Raises UnreadableReply where the body is none."""
    try:
        answer: Any = decode_json(body)
        choice = answer["choices"][0]
        written = {**choice["message"], "role": "assistant"}
        if written.get("content") is None and not written.get("tool_calls"):
            written["content"] = ""
        row = {"messages": [{"role": "user", "content": ""}, written]}
        message = trajectory_from_row(row, where="reply").messages[-1]
        usage = answer.get("usage") or {}
        return _Answered(message, int(usage.get("completion_tokens") or 0), choice.get("finish_reason") == "length")
    except DataError as error:
        raise UnreadableReply(f"no chat completion: {error}") from None
    except (ValueError, TypeError, LookupError, AttributeError):
        raise UnreadableReply(f"no chat completion: {' '.join(body.split())[:100]!r}") from None
