"""Messages and tools in the shape that chat templates take, and the text that a template makes of them."""

from collections.abc import Sequence
from typing import Any, TypeAlias

from tltrain.errors import DataError, ModelError
from tltrain.render.conventions import TEMPLATE_ERRORS, adapt, conventions_of
from tltrain.syntax import CallSyntax
from tltrain.types import Message, Role, Tool, ToolCall

ChatMessage: TypeAlias = dict[str, Any]
ChatTool: TypeAlias = dict[str, Any]

_IN_CONTENT = frozenset({"python", "tool_code"})
"""Syntaxes whose calls are written into the content."""


def chat_tool(tool: Tool) -> ChatTool:
    """One tool as an OpenAI function."""
    parameters = dict(tool.parameters) or {"type": "object", "properties": {}}
    function = {"name": tool.name, "description": tool.description, "parameters": parameters}
    return {"type": "function", "function": function}


def chat_message(message: Message, syntax: CallSyntax) -> ChatMessage:
    """One message as an OpenAI chat message.

    Calls become `tool_calls`, for the template to write. Python calls, in fences or not, which no template but
    tltrain's own writes, and turns with a call that cannot be read, which no template takes, are written into the
    content by `syntax`.
    """
    fields: ChatMessage = {"role": message.role.value, "content": message.content}
    if message.reasoning:
        fields["reasoning_content"] = message.reasoning
    if message.calls:
        readable = [call for call in message.calls if isinstance(call, ToolCall)]
        if syntax.name in _IN_CONTENT or len(readable) < len(message.calls):
            fields["content"] = syntax.render(message.content, message.calls)
        else:
            fields["tool_calls"] = [_chat_call(call) for call in readable]
    if message.role is Role.TOOL:
        fields |= {"name": message.name, "tool_call_id": message.call_id}
    return {key: value for key, value in fields.items() if value is not None}


def _chat_call(call: ToolCall) -> dict[str, Any]:
    fields = {"id": call.id} if call.id is not None else {}
    return fields | {"type": "function", "function": {"name": call.name, "arguments": dict(call.arguments)}}


def chat_text(
    tokenizer: Any, messages: Sequence[ChatMessage], tools: Sequence[ChatTool], *, add_generation_prompt: bool = False
) -> str:
    """The conversation as the tokenizer's chat template writes it.

    Args:
        tokenizer: a transformers tokenizer with a chat template.
        messages: at least one.
        tools: the tools on offer; may be empty.
        add_generation_prompt: end with what makes the assistant write.

    Raises:
        DataError: there is no message, or the template refuses them or the tools.
        ModelError: the tokenizer has no chat template.
    """
    if not tokenizer.chat_template:
        raise ModelError("the tokenizer has no chat template; give it one with ensure_tool_template")
    if not messages:
        raise DataError("no message stands before the assistant's first; begin with what the user says")
    try:
        text: str = tokenizer.apply_chat_template(
            adapt(messages, conventions_of(tokenizer)),
            tools=list(tools) or None,
            tokenize=False,
            add_generation_prompt=add_generation_prompt,
        )
    except TEMPLATE_ERRORS as error:
        raise DataError(f"the chat template refuses the messages or tools: {error}") from error
    return text
