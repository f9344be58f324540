"""Turns with calls as a chat template writes them, for parsers that know nothing of ours."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from tltrain.errors import DataError
from tltrain.render.chat import chat_message, chat_text, chat_tool
from tltrain.syntax import get_syntax
from tltrain.types import Role, ToolCall, Trajectory


@dataclass(frozen=True, kw_only=True)
class WrittenTurn:
    text: str
    """What the model writes in this turn, the token that ends it left out, as a server hands it to a parser."""
    calls: list[tuple[str, Any]]
    """Names and arguments, of the data."""
    tools: list[dict[str, Any]]


def written_turns(trajectories: Iterable[Trajectory], tokenizer: Any, syntax: str) -> Iterator[WrittenTurn]:
    """The turns whose calls can all be read and that the template takes."""
    added = [token.content for token in tokenizer.added_tokens_decoder.values() if token.special]
    specials = sorted({*added, *tokenizer.all_special_tokens}, key=len, reverse=True)
    for trajectory in trajectories:
        tools = [chat_tool(tool) for tool in trajectory.tools]
        for index, message in enumerate(trajectory.messages):
            if message.role is not Role.ASSISTANT or not message.calls:
                continue
            if not all(isinstance(call, ToolCall) for call in message.calls):
                continue
            chat = [chat_message(one, get_syntax(syntax)) for one in trajectory.messages[: index + 1]]
            try:
                prompt = chat_text(tokenizer, chat[:-1], tools, add_generation_prompt=True)
                text = chat_text(tokenizer, chat, tools)
            except DataError:
                continue
            assert text.startswith(prompt)
            written = text[len(prompt) :].rstrip()
            ending = next((special for special in specials if written.endswith(special)), "")
            if ending not in ("<｜tool▁calls▁end｜>", "<｜tool▁call▁end｜>"):
                written = written[: len(written) - len(ending)]
            calls = [(call.name, dict(call.arguments)) for call in message.calls if isinstance(call, ToolCall)]
            yield WrittenTurn(text=written, calls=calls, tools=tools)
