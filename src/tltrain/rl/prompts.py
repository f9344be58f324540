"""Prompts with one right call each, out of trajectories."""

import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from tltrain.errors import DataError
from tltrain.render.conversation import render_prompt
from tltrain.rl.worlds import EpisodePrompt
from tltrain.syntax import CallSyntax
from tltrain.types import CallStep, Message, Tool, ToolCall, Trajectory, iterate_calls, masked_calls


@dataclass(frozen=True, kw_only=True, slots=True)
class Prompt:
    """What the model sees before one call, and the call that is right there."""

    id: str
    """`trajectory#number`, the number of the call."""
    trajectory: str
    tools: tuple[Tool, ...]
    messages: tuple[Message, ...]
    """All before the turn that holds the call; wrong calls among them."""
    gold: ToolCall
    ids: tuple[int, ...]
    """Token ids."""
    toolset: int
    """Equal for prompts with the same tool list."""


AnyPrompt = TypeVar("AnyPrompt", "Prompt", EpisodePrompt)


@dataclass(frozen=True, kw_only=True, slots=True)
class PromptSet:
    """The prompts of a data set."""

    prompts: tuple[Prompt, ...]
    """In the order of the data."""
    set_aside: Mapping[str, str]
    """Prompt id -> why it cannot be used."""
    left_out: Mapping[str, int]
    """Why a call is no prompt -> number of such calls."""


def make_prompts(
    trajectories: Sequence[Trajectory],
    tokenizer: Any,
    syntax: CallSyntax,
    *,
    blocked: Mapping[str, frozenset[int]],
    max_length: int,
    max_prompts: int | None = None,
    seed: int = 0,
) -> PromptSet:
    """Make a prompt of each call that can serve as the one right answer.

    That is a call which can be read, is not blocked, and is the only one of its turn.

    Args:
        trajectories: where from.
        tokenizer: with a chat template that knows tools.
        syntax: how that template writes calls.
        blocked: numbers of the calls that are wrong, by trajectory id; those that the file masks come on top.
        max_length: most tokens of a prompt; longer ones are set aside.
        max_prompts: how many to make at most, chosen at random,
        seed: by this number.
    """
    left_out: Counter[str] = Counter()
    candidates = [
        (trajectory, step)
        for trajectory in trajectories
        for step in right_calls(
            trajectory, blocked.get(trajectory.id, frozenset()) | masked_calls(trajectory), left_out
        )
    ]
    order = list(range(len(candidates)))
    if max_prompts is not None and max_prompts < len(order):
        random.Random(f"{seed}:prompts").shuffle(order)
    toolsets: dict[str, int] = {}
    prompts: dict[int, Prompt] = {}
    set_aside: dict[str, str] = {}
    for index in order:
        if len(prompts) == max_prompts:
            break
        trajectory, step = candidates[index]
        toolset = toolsets.setdefault(repr(trajectory.tools), len(toolsets))
        made = _make_prompt(trajectory, step, tokenizer, syntax, toolset=toolset, max_length=max_length)
        if isinstance(made, Prompt):
            prompts[index] = made
        else:
            set_aside[_id_of(trajectory, step)] = str(made)
    return PromptSet(
        prompts=tuple(prompts[index] for index in sorted(prompts)), set_aside=set_aside, left_out=dict(left_out)
    )


def split_heldout(prompts: Sequence[AnyPrompt], share: float, seed: int) -> tuple[list[AnyPrompt], list[AnyPrompt]]:
    """Training and held-out prompts: whole trajectories, whose prompts have much in common, on either side.

    Where the share is above 0 and there are two trajectories, at least one is held out, and one trains.
    """
    names = list(dict.fromkeys(prompt.trajectory for prompt in prompts))
    num_heldout = min(max(1, round(share * len(names))) if share > 0 else 0, len(names) - 1)
    chosen = set(random.Random(f"{seed}:heldout").sample(names, num_heldout))
    train = [prompt for prompt in prompts if prompt.trajectory not in chosen]
    return train, [prompt for prompt in prompts if prompt.trajectory in chosen]


def right_calls(trajectory: Trajectory, blocked: frozenset[int], left_out: Counter[str]) -> Iterator[CallStep]:
    """The calls that can serve as the one right answer; why others cannot is counted in `left_out`."""
    for step in iterate_calls(trajectory):
        if step.number in blocked:
            left_out["blocked"] += 1
        elif not isinstance(step.call, ToolCall):
            left_out["cannot be read"] += 1
        elif len(trajectory.messages[step.message].calls) > 1:
            left_out["one of several calls in a turn"] += 1
        else:
            yield step


def _make_prompt(
    trajectory: Trajectory, step: CallStep, tokenizer: Any, syntax: CallSyntax, *, toolset: int, max_length: int
) -> Prompt | DataError:
    assert isinstance(step.call, ToolCall), "chosen by right_calls"
    messages = trajectory.messages[: step.message]
    identity = _id_of(trajectory, step)
    try:
        ids = render_prompt(trajectory.tools, messages, tokenizer, syntax)
    except DataError as error:
        return DataError(f"{identity}: {error}")
    if len(ids) > max_length:
        return DataError(
            f"{identity}: the prompt has {len(ids)} tokens, and max_prompt_length and the model's context allow "
            f"{max_length}; raise max_prompt_length, lower max_new_tokens, or offer fewer tools"
        )
    return Prompt(
        id=identity,
        trajectory=trajectory.id,
        tools=trajectory.tools,
        messages=messages,
        gold=step.call,
        ids=tuple(ids),
        toolset=toolset,
    )


def _id_of(trajectory: Trajectory, step: CallStep) -> str:
    return f"{trajectory.id}#{step.number}"
