"""Prompts with the calls that are right there, out of trajectories."""

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from tltrain.errors import DataError
from tltrain.render.conversation import render_prompt
from tltrain.rl.turns import RightTurn, Turns, right_turns
from tltrain.rl.worlds import EpisodePrompt
from tltrain.syntax import CallSyntax
from tltrain.types import Message, Tool, ToolCall, Trajectory, masked_calls


@dataclass(frozen=True, kw_only=True, slots=True)
class Prompt:
    """What the model sees before one turn, and the calls that are right there."""

    id: str
    """See `RightTurn`."""
    trajectory: str
    tools: tuple[Tool, ...]
    messages: tuple[Message, ...]
    """All before the turn; wrong calls among them."""
    golds: tuple[ToolCall, ...]
    """The right calls, one unless `turns` says otherwise; none: text alone is right."""
    ids: tuple[int, ...]
    """Token ids."""
    toolset: int
    """Equal for prompts with the same tool list."""
    text: str = ""
    """The text of the data's turn; a right answer where no call is right."""

    @property
    def gold(self) -> ToolCall | tuple[ToolCall, ...] | None:
        """The one right call, or several, or None where none is right; the forms that `read_golds` reads too."""
        return self.golds[0] if len(self.golds) == 1 else self.golds or None


AnyPrompt = TypeVar("AnyPrompt", "Prompt", EpisodePrompt)


@dataclass(frozen=True, kw_only=True, slots=True)
class PromptSet:
    """The prompts of a data set."""

    prompts: tuple[Prompt, ...]
    """In the order of the data."""
    set_aside: Mapping[str, str]
    """Prompt id -> why it cannot be used."""
    left_out: Mapping[str, int]
    """Why a call, or a turn, is no prompt -> number of such."""


def make_prompts(
    trajectories: Sequence[Trajectory],
    tokenizer: Any,
    syntax: CallSyntax,
    *,
    blocked: Mapping[str, frozenset[int]],
    max_length: int,
    turns: Turns = "one_call",
    max_prompts: int | None = None,
    seed: int = 0,
) -> PromptSet:
    """Make a prompt of each turn that can serve as the right answer.

    That is one whose calls can all be read, and none of which is blocked.

    Args:
        trajectories: where from.
        tokenizer: with a chat template that knows tools.
        syntax: how that template writes calls.
        blocked: numbers of the calls that are wrong, by trajectory id; those that the file masks come on top.
        max_length: most tokens of a prompt; longer ones are set aside.
        turns: which turns.
        max_prompts: how many to make at most, chosen at random,
        seed: by this number.
    """
    left_out: Counter[str] = Counter()
    candidates = [
        (trajectory, turn)
        for trajectory in trajectories
        for turn in right_turns(
            trajectory, turns, blocked.get(trajectory.id, frozenset()) | masked_calls(trajectory), left_out
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
        trajectory, turn = candidates[index]
        toolset = toolsets.setdefault(repr(trajectory.tools), len(toolsets))
        made = _make_prompt(trajectory, turn, tokenizer, syntax, toolset=toolset, max_length=max_length)
        if isinstance(made, Prompt):
            prompts[index] = made
        else:
            set_aside[turn.id] = str(made)
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


def _make_prompt(
    trajectory: Trajectory, turn: RightTurn, tokenizer: Any, syntax: CallSyntax, *, toolset: int, max_length: int
) -> Prompt | DataError:
    messages = trajectory.messages[: turn.message]
    try:
        ids = render_prompt(trajectory.tools, messages, tokenizer, syntax)
    except DataError as error:
        return DataError(f"{turn.id}: {error}")
    if len(ids) > max_length:
        return DataError(
            f"{turn.id}: the prompt has {len(ids)} tokens, and max_prompt_length and the model's context allow "
            f"{max_length}; raise max_prompt_length, lower max_new_tokens, or offer fewer tools"
        )
    return Prompt(
        id=turn.id,
        trajectory=trajectory.id,
        tools=trajectory.tools,
        messages=messages,
        golds=turn.golds,
        text=turn.text,
        ids=tuple(ids),
        toolset=toolset,
    )
