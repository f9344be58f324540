"""What a run does with episodes where it would with single calls: find tasks, draw, measure, tell, and show."""

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

from tltrain.engine.model import LoadedModel
from tltrain.engine.parallel import Processes
from tltrain.errors import DataError
from tltrain.files import JsonLinesWriter
from tltrain.formats.openai_chat import row_from_trajectory
from tltrain.formats.read import read_trajectories
from tltrain.render.continuation import check_continuation
from tltrain.render.conversation import render_prompt
from tltrain.rl.actor import Actor
from tltrain.rl.config import PpoConfig
from tltrain.rl.episodes import EpisodeRollout, Player
from tltrain.rl.rollouts import Drawn
from tltrain.rl.worlds import EpisodePrompt, sandbox_prompts, user_prompts
from tltrain.syntax import CallSyntax
from tltrain.types import Trajectory


def find_episodes(
    config: PpoConfig, loaded: LoadedModel, syntax: CallSyntax, *, data: Path, quarantine: Path | None
) -> tuple[list[EpisodePrompt], int]:
    """Read trajectories and make a task of each that can be started again; others go to the quarantine file.

    Returns:
        The tasks, at least one, and how many rows were set aside, unreadable ones included.

    Raises:
        DataError: no task is left.
        UsageError: the user's environment cannot be used.
        ModelError: a conversation cannot grow under the model's chat template.
    """
    assert config.episodes is not None, "the config says that there are episodes"
    check_continuation(loaded.tokenizer, syntax)
    read = read_trajectories(data, quarantine=quarantine)
    environment = config.episodes.environment
    found, faults = user_prompts(environment, read.trajectories) if environment else sandbox_prompts(read.trajectories)
    prompts: list[EpisodePrompt] = []
    toolsets: dict[str, int] = {}
    longest = longest_opening(config, loaded.model)
    for prompt in found:
        try:
            ids = tuple(render_prompt(prompt.tools, prompt.messages, loaded.tokenizer, syntax))
        except DataError as error:
            faults[prompt.id] = str(error)
            continue
        if len(ids) > longest:
            faults[prompt.id] = (
                f"the prompt has {len(ids)} tokens, and max_prompt_length, episodes.max_length and the model's context "
                f"allow {longest}; raise the first two, lower max_new_tokens, or offer fewer tools"
            )
            continue
        toolset = toolsets.setdefault(repr(prompt.tools), len(toolsets))
        prompts.append(replace(prompt, ids=ids, toolset=toolset))
    if faults and quarantine is not None:
        with JsonLinesWriter(quarantine) as writer:
            for identity, reason in faults.items():
                writer.write({"file": str(data), "id": identity, "reason": reason})
    if not prompts:
        why = f": {len(faults)} are set aside, the first: {next(iter(faults.values()))}" if faults else ""
        raise DataError(
            f"{data}: no row is a task that can be started again{why}; make rows with `tltrain generate`, which are "
            "tasks of the sandbox, name a file with an environment of your own (episodes.environment), or set episodes "
            "to null to train on single calls"
        )
    if config.max_prompts is not None and config.max_prompts < len(prompts):
        chosen = sorted(random.Random(f"{config.seed}:prompts").sample(range(len(prompts)), config.max_prompts))
        prompts = [prompts[index] for index in chosen]
    return prompts, read.num_bad + len(faults)


def longest_opening(config: PpoConfig, model: Any) -> int:
    """Tokens of a first prompt that leave room for a reply."""
    assert config.episodes is not None, "the config says that there are episodes"
    longest = min(config.episodes.max_length, context_of(model) or config.episodes.max_length)
    return min(config.max_prompt_length, longest - config.max_new_tokens)


def context_of(model: Any) -> int | None:
    """Tokens that a model can read; None where it does not say."""
    context: int | None = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    return context


def draw_episodes(
    player: Player,
    actor: Actor,
    groups: Sequence[Sequence[EpisodePrompt]],
    *,
    config: PpoConfig,
    step: int,
    processes: Processes = Processes(),  # noqa: B008 - immutable
) -> Drawn:
    """Play `samples_per_prompt` episodes of each task; processes share them, and all have them then."""
    planned = [
        (number, prompt, sample_number)
        for number, group in enumerate(groups)
        for prompt in group
        for sample_number in range(config.samples_per_prompt)
    ]
    played = player.play(
        actor,
        [prompt for _, prompt, _ in planned],
        groups=[number for number, _, _ in planned],
        temperature=config.temperature,
        seeds=[f"{config.seed}:episode:{step}:{prompt.id}:{sample}" for _, prompt, sample in planned],
        processes=processes,
    )
    return Drawn(
        [rollout for rollout in played if not rollout.failure],
        [rollout.failure for rollout in played if rollout.failure],
    )


def measure_episodes(
    player: Player,
    actor: Actor,
    prompts: Sequence[EpisodePrompt],
    *,
    processes: Processes = Processes(),  # noqa: B008 - immutable
) -> dict[str, float | None]:
    """Play tasks greedily; processes share them.

    Returns:
        `reward` and what `describe_episodes` tells; None where no episode could be judged.
    """
    played = player.play(
        actor,
        prompts,
        groups=[prompt.toolset for prompt in prompts],
        temperature=0.0,
        seeds=None,
        processes=processes,
    )
    judged = [rollout for rollout in played if not rollout.failure]
    if not judged:
        return {"reward": None, "success": None}
    return {"reward": fmean(rollout.score.value for rollout in judged), **describe_episodes(judged)}


def describe_episodes(rollouts: Sequence[EpisodeRollout]) -> dict[str, float]:
    """Metrics that single calls have not, of at least one episode.

    Returns:
        `success`: share of episodes whose final state is scored 1; `valid_answers`: share that ended with an answer
        that does not give up; means over episodes: `failed_calls`, answered with an error or unreadable, `calls` and
        `turns`.
    """
    scores = [rollout.score for rollout in rollouts]
    return {
        "success": fmean(score.success >= 1 for score in scores),
        "valid_answers": fmean(score.valid_answer for score in scores),
        "failed_calls": fmean(score.num_failed for score in scores),
        "calls": fmean(score.num_calls for score in scores),
        "turns": fmean(score.num_turns for score in scores),
    }


def show_episode(rollout: EpisodeRollout, tokenizer: Any, *, prompt_tail: int) -> dict[str, object]:
    """A row of rollouts.jsonl, but for its step: the whole conversation, as tokens read and as messages."""
    start = len(rollout.prompt.ids)
    chat = row_from_trajectory(Trajectory(id=rollout.prompt.id, tools=(), messages=tuple(rollout.messages)))
    return {
        "id": rollout.prompt.id,
        "prompt": tokenizer.decode(rollout.prompt.ids[-prompt_tail:])[-prompt_tail:],
        "completion": tokenizer.decode(rollout.ids[start:]),
        "gold": "",
        "reward": rollout.score.value,
        "label": rollout.score.label,
        "is_finished": rollout.completion.is_finished,
        "messages": chat["messages"],
        "turn_rewards": rollout.turn_rewards,
        "parts": rollout.score.parts,
    }
