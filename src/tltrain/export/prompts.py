"""Prompts on which source and export are compared."""

import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from tltrain.errors import DataError, UsageError
from tltrain.files import check_file
from tltrain.formats.read import iterate_trajectories
from tltrain.render.chat import chat_message, chat_text, chat_tool
from tltrain.render.conventions import adapt, conventions_of
from tltrain.render.conversation import render_prompt
from tltrain.syntax import CallSyntax
from tltrain.types import Message, Role, ToolCall, Trajectory


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckPrompt:
    """What stands before one turn of the assistant."""

    name: str
    """`trajectory, messages[index]`."""
    messages: list[dict[str, Any]]
    """As the model was trained on them: what tltrain hands to the chat template."""
    served: list[dict[str, Any]]
    """As a server hands them to it: OpenAI's messages, arguments decoded."""
    tools: list[dict[str, Any]]
    text: str
    """`messages` as the source's template writes them, with what makes the assistant write."""
    ids: list[int]
    """Token ids of the prompt, as in training."""


def make_check_prompts(
    path: Path | None, tokenizer: Any, syntax: CallSyntax, *, num_prompts: int, max_length: int | None
) -> list[CheckPrompt]:
    """So many prompts, one a trajectory: of the first its first turn, of the second its second, and so on.

    Args:
        path: trajectories in any format, a file or a folder; None: they are made in the sandbox.
        tokenizer: the source's, with a chat template that knows tools.
        syntax: in which that template writes calls.
        num_prompts: how many; fewer if the file has fewer trajectories that fit.
        max_length: most tokens of a prompt; None for any.

    Raises:
        DataError: the file cannot be read, or not one row of it gives a prompt.
    """
    if path is None:
        return list(_fitting(_made_trajectories(num_prompts), tokenizer, syntax, num_prompts, max_length))
    problems: list[str] = []
    readable = (item for item in iterate_trajectories(path) if isinstance(item, Trajectory))
    found = list(_fitting(readable, tokenizer, syntax, num_prompts, max_length, problems))
    if not found:
        why = f", such as: {problems[0]}" if problems else ""
        raise DataError(
            f"{path}: no row gives a prompt of at most {max_length} tokens that the model's chat template takes{why}; "
            "give other --prompts, or leave it out to make some"
        )
    return found


def check_prompt_options(path: Path | None, num_prompts: int) -> None:
    """Find wrong options before a model is loaded.

    Raises:
        UsageError: the number is below 1.
        DataError: there is no such file.
    """
    if num_prompts < 1:
        raise UsageError(f"num_prompts={num_prompts} compares nothing; give 1 or more")
    if path is not None and not path.is_dir():
        check_file(path, "file of trajectories")


def _fitting(
    trajectories: Iterable[Trajectory],
    tokenizer: Any,
    syntax: CallSyntax,
    num_prompts: int,
    max_length: int | None,
    problems: list[str] | None = None,
) -> Iterator[CheckPrompt]:
    found = 0
    for trajectory in trajectories:
        turns = [at for at, message in enumerate(trajectory.messages) if at and message.role is Role.ASSISTANT]
        if not turns:
            continue
        try:
            prompt = _make_prompt(trajectory, turns[found % len(turns)], tokenizer, syntax)
        except DataError as error:
            if problems is not None:
                problems.append(str(error))
            continue
        if max_length is None or len(prompt.ids) <= max_length:
            yield prompt
            found += 1
            if found == num_prompts:
                return


def _make_prompt(trajectory: Trajectory, turn: int, tokenizer: Any, syntax: CallSyntax) -> CheckPrompt:
    before = trajectory.messages[:turn]
    chat = [chat_message(message, syntax) for message in before]
    tools = [chat_tool(tool) for tool in trajectory.tools]
    return CheckPrompt(
        name=f"{trajectory.id}, messages[{turn}]",
        messages=adapt(chat, conventions_of(tokenizer)),
        served=[_served_message(message, chat_message(message, syntax)) for message in before],
        tools=tools,
        text=chat_text(tokenizer, chat, tools, add_generation_prompt=True),
        ids=render_prompt(trajectory.tools, before, tokenizer, syntax),
    )


def _served_message(message: Message, trained: dict[str, Any]) -> dict[str, Any]:
    """The message as a client sends it: calls that can be read in `tool_calls`, whatever the syntax."""
    if not message.calls or not all(isinstance(call, ToolCall) for call in message.calls):
        return trained
    calls = [
        {"id": call.id or f"call{at:05d}", "type": "function", "function": _function(call)}
        for at, call in enumerate(message.calls)
        if isinstance(call, ToolCall)
    ]
    return {**trained, "content": message.content or "", "tool_calls": calls}


def _function(call: ToolCall) -> dict[str, Any]:
    return {"name": call.name, "arguments": dict(call.arguments)}


def _made_trajectories(number: int) -> list[Trajectory]:
    from tltrain.generate.config import GenerateConfig
    from tltrain.generate.run import generate

    # more than wanted: some may be too long for a small context
    config = GenerateConfig(num_train=2 * number, num_test=0, toolsets_per_kit=1, seed=0)
    with tempfile.TemporaryDirectory() as folder:
        made = generate(config, Path(folder))
        rows = (item for item in iterate_trajectories(made.train) if isinstance(item, Trajectory))
        return list(islice(rows, 2 * number))
