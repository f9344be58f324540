"""Episodes: conversations with real feedback, of which the model's own tokens are trained.

An episode is one sequence of tokens: those of the prompt, those sampled in each turn, exactly as they were sampled, and
between turns those that the chat template writes, see `render.continuation`. What episodes have in common is computed
once, and keys and values are kept from turn to turn, so that a turn runs only what is new in it.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from msgspec.structs import replace

from tltrain.constrained.masks import Constrainer
from tltrain.engine.logprobs import TargetSequence
from tltrain.engine.model import adapters_merged
from tltrain.engine.parallel import Processes
from tltrain.envs.base import Feedback
from tltrain.envs.user_environment import World
from tltrain.errors import DataError, ModelError
from tltrain.generate.episode_tasks import gives_up
from tltrain.render.continuation import continuation
from tltrain.render.turns import turn_end_ids
from tltrain.rl.actor import Actor
from tltrain.rl.batches import share_rows
from tltrain.rl.config import PpoConfig
from tltrain.rl.episode_config import EpisodesConfig
from tltrain.rl.worlds import EpisodePrompt
from tltrain.rollout.kept_prefix import KeptPrefixes
from tltrain.rollout.sampler import Completion, SamplingConfig, sample
from tltrain.syntax import CallSyntax
from tltrain.taxonomy import diagnose_schema
from tltrain.types import AnyCall, MalformedCall, Message, Role


@dataclass(kw_only=True, slots=True)
class EpisodeScore:
    """What an episode is worth, and what became of it."""

    parts: dict[str, float] = field(default_factory=dict)
    """By field of `EpisodeRewards`; they add up to the value."""
    success: float = 0.0
    """Score of the final state, in [0, 1]."""
    valid_answer: bool = False
    end: str = "max_turns"
    """How it ended: answer, gave_up, empty, cut_off, context_full or max_turns."""
    num_turns: int = 0
    num_calls: int = 0
    num_failed: int = 0
    """Calls that were answered with an error, or cannot be read."""

    @property
    def value(self) -> float:
        """The reward of the whole episode."""
        return sum(self.parts.values())

    @property
    def label(self) -> str:
        """`success`, `wrong_state` after a valid answer, else how it ended."""
        if self.success >= 1:
            return "success"
        return "wrong_state" if self.valid_answer else self.end


@dataclass(kw_only=True, slots=True)
class EpisodeRollout:
    """One episode, as it goes on and when it has ended."""

    prompt: EpisodePrompt
    group: int
    ids: list[int]
    """The whole conversation up to the last sampled token."""
    positions: list[int] = field(default_factory=list)
    """Of the sampled tokens in it; exactly these are trained."""
    completion: Completion = field(default_factory=Completion)
    """The sampled tokens of all turns, one after the other."""
    turn_ends: list[int] = field(default_factory=list)
    """Index of each turn's last token among the sampled ones."""
    turn_rewards: list[float] = field(default_factory=list)
    """What each turn earned; the last one with what the episode's end earned."""
    messages: list[Message] = field(default_factory=list)
    """What was said, as read back from the text."""
    score: EpisodeScore = field(default_factory=EpisodeScore)
    failure: str = ""
    """Why it cannot be judged; nothing is learnt from it then."""
    is_over: bool = False

    @property
    def sequence(self) -> TargetSequence:
        """The conversation, the sampled tokens being targets, with the constraint under which they were sampled."""
        allowed = torch.from_numpy(np.stack(self.completion.allowed)) if self.completion.allowed else None
        return TargetSequence(self.ids, self.positions, allowed)

    @property
    def earlier_rewards(self) -> list[tuple[int, float]]:
        """Rewards of turns before the last: index of the token among the sampled ones, and the reward."""
        return list(zip(self.turn_ends[:-1], self.turn_rewards[:-1], strict=True))

    @property
    def last_reward(self) -> float:
        """Of the last turn and of the episode's end."""
        return self.turn_rewards[-1]


class Player:
    """Plays episodes, `rollout_batch_size` of them side by side, a turn at a time.

    Args:
        tokenizer: with the chat template.
        syntax: how calls are written.
        config: settings; `config.episodes` is set.
        context: tokens that the model can read; None: any number.
        constrainer: says what may be written.
    """

    def __init__(
        self,
        tokenizer: Any,
        syntax: CallSyntax,
        config: PpoConfig,
        *,
        context: int | None,
        constrainer: Constrainer | None = None,
    ):
        assert config.episodes is not None, "the config says that there are episodes"
        self._tokenizer, self._syntax, self._config = tokenizer, syntax, config
        self._episodes: EpisodesConfig = config.episodes
        self._longest = min(config.episodes.max_length, context or config.episodes.max_length)
        self._constrainer = constrainer
        self._end_ids = turn_end_ids(tokenizer)
        self._kept = KeptPrefixes(config.episodes.keep_mib * 2**20)

    def play(
        self,
        actor: Actor,
        prompts: Sequence[EpisodePrompt],
        *,
        groups: Sequence[int],
        temperature: float,
        seeds: Sequence[str] | None,
        processes: Processes,
    ) -> list[EpisodeRollout]:
        """Play an episode of each prompt, each in one of the processes; all have them, in the order of the prompts.

        What is sampled in an episode depends on the weights, its own seed and its world, not on the other episodes, up
        to the rounding of sums. Keys and values are kept while episodes are played, and no longer: weights change then.
        """
        own = share_rows(groups, [len(prompt.ids) for prompt in prompts], processes)

        def play_own(model: Any) -> dict[int, dict[str, Any]]:
            rollouts = [EpisodeRollout(prompt=prompts[row], group=groups[row], ids=[*prompts[row].ids]) for row in own]
            self._kept.clear()
            with actor.autocast(), adapters_merged(model):
                self._play(model, rollouts, temperature, [seeds[row] for row in own] if seeds else None)
            self._kept.clear()
            # a world is opened by a function, which no process can send to another
            return {row: _packed(rollout) for row, rollout in zip(own, rollouts, strict=True)}

        with actor.sampling_model() as model:
            found = processes.from_each(lambda: play_own(model))
        played = {row: packed for part in found for row, packed in part.items()}
        return [EpisodeRollout(prompt=prompt, **played[row]) for row, prompt in enumerate(prompts)]

    def _play(
        self, model: Any, rollouts: Sequence[EpisodeRollout], temperature: float, seeds: Sequence[str] | None
    ) -> None:
        worlds = [self._open(rollout) for rollout in rollouts]
        sampling = SamplingConfig(
            max_new_tokens=self._config.max_new_tokens,
            temperature=temperature,
            batch_size=self._config.rollout_batch_size,
        )
        # those that begin alike come after each other, and an ended one makes room for the next, so that what is kept
        # is needed again before much else has been read
        waiting = sorted(range(len(rollouts)), key=lambda row: rollouts[row].group)[::-1]
        running: list[int] = []
        while True:
            running = [row for row in running if not rollouts[row].is_over]
            while waiting and len(running) < sampling.batch_size:
                if not rollouts[row := waiting.pop()].is_over:
                    running.append(row)
            if not running:
                return
            turns = [rollouts[row].score.num_turns for row in running]
            completions = sample(
                model,
                self._tokenizer,
                [rollouts[row].ids for row in running],
                sampling,
                seeds=[
                    random.Random(f"{seeds[row]}:{turn}").getrandbits(63)
                    for row, turn in zip(running, turns, strict=True)
                ]
                if seeds
                else None,
                end_ids=self._end_ids,
                is_complete=self._syntax.looks_complete,
                constraints=[self._constrainer.constraint(rollouts[row].prompt.tools) for row in running]
                if self._constrainer
                else None,
                kept=self._kept,
            )
            for row, turn, completion in zip(running, turns, completions, strict=True):
                world = worlds[row]
                assert world is not None, "an episode without a world is over"
                self._take(rollouts[row], world, completion, is_last=turn + 1 == self._episodes.max_turns)

    def _open(self, rollout: EpisodeRollout) -> World | None:
        rollout.messages = [*rollout.prompt.messages]
        try:
            return rollout.prompt.open()
        except Exception as error:  # not our code: whatever it raises
            _fail(rollout, error)
            return None

    def _take(self, rollout: EpisodeRollout, world: World, completion: Completion, *, is_last: bool) -> None:
        """Write down one turn, act on it, and prepare the next."""
        rollout.positions += range(len(rollout.ids), len(rollout.ids) + len(completion.ids))
        rollout.ids += completion.ids
        rollout.completion.ids += completion.ids
        rollout.completion.logprobs += completion.logprobs
        rollout.completion.allowed += completion.allowed
        rollout.completion.is_finished = completion.is_finished
        rollout.turn_ends.append(len(rollout.completion.ids) - 1)
        score = rollout.score
        score.num_turns += 1
        ended = completion.ids[-1] in self._end_ids
        text = self._tokenizer.decode(completion.ids[:-1] if ended else completion.ids)
        parsed = self._syntax.parse(text, tools=rollout.prompt.tools)
        calls = tuple(
            replace(call, id=f"call_{number}") for number, call in enumerate(parsed.calls, start=score.num_calls + 1)
        )
        rollout.messages.append(Message(role=Role.ASSISTANT, content=parsed.text, calls=calls))
        parts = {"per_token": self._episodes.reward.per_token * len(completion.ids)}
        try:
            feedback = [self._execute(rollout, world, call, parts) for call in calls]
            if not calls:
                self._close(rollout, world, parsed.text, completion, parts)
        except Exception as error:  # the environment is not ours: whatever it raises
            _fail(rollout, error)
            return
        if calls:
            rollout.messages += feedback
            self._go_on(rollout, feedback, parts, is_last=is_last)
        rollout.turn_rewards.append(sum(parts.values()))
        for name, value in parts.items():
            if value:
                score.parts[name] = score.parts.get(name, 0.0) + value

    def _execute(self, rollout: EpisodeRollout, world: World, call: AnyCall, parts: dict[str, float]) -> Message:
        score, table = rollout.score, self._episodes.reward
        score.num_calls += 1
        feedback = world.execute(call)
        is_bad = isinstance(call, MalformedCall)
        score.num_failed += is_bad or feedback.error is not None
        name = _fault(call, feedback, rollout.prompt)
        if name is not None:
            parts[name] = parts.get(name, 0.0) + getattr(table, name)
        if name is None and world.is_step(call, feedback):
            parts["step_right"] = parts.get("step_right", 0.0) + table.step_right
        tool = None if isinstance(call, MalformedCall) else call.name
        return Message(role=Role.TOOL, content=feedback.text, call_id=call.id, name=tool)

    def _close(
        self, rollout: EpisodeRollout, world: World, text: str, completion: Completion, parts: dict[str, float]
    ) -> None:
        """The model wrote no call: the episode ends."""
        score = rollout.score
        rollout.is_over = True
        score.valid_answer = bool(text.strip()) and completion.is_finished and not gives_up(text)
        if not completion.is_finished:
            score.end = "cut_off"
        elif not text.strip():
            score.end = "empty"
        else:
            score.end = "answer" if score.valid_answer else "gave_up"
        if score.valid_answer:
            score.success = world.score(text)
            parts["success"] = self._episodes.reward.success * score.success
        else:
            parts["no_answer"] = self._episodes.reward.no_answer

    def _go_on(
        self, rollout: EpisodeRollout, feedback: Sequence[Message], parts: dict[str, float], *, is_last: bool
    ) -> None:
        """Put the feedback behind the conversation, unless it ends here."""
        if not is_last:
            before = rollout.messages[: len(rollout.messages) - len(feedback)]
            try:
                more = continuation(
                    rollout.prompt.tools,
                    before,
                    feedback,
                    self._tokenizer,
                    self._syntax,
                    last_id=rollout.ids[-1],
                )
            except (DataError, ModelError) as error:
                _fail(rollout, error)
                return
            if len(rollout.ids) + len(more) + self._config.max_new_tokens <= self._longest:
                rollout.ids += more
                return
            rollout.score.end = "context_full"
            rollout.completion.is_finished = False
        rollout.is_over = True
        parts["no_answer"] = self._episodes.reward.no_answer


def _fault(call: AnyCall, feedback: Feedback, prompt: EpisodePrompt) -> str | None:
    """The field of `EpisodeRewards` that a wrong call costs."""
    if isinstance(call, MalformedCall):
        return "malformed"
    if diagnose_schema(call, prompt.tools).errors:
        return "undocumented_call"
    return "failed_call" if feedback.error is not None else None


def _fail(rollout: EpisodeRollout, error: Exception) -> None:
    rollout.failure = f"{rollout.prompt.id}: {type(error).__name__}: {error}"
    rollout.is_over = True


def _packed(rollout: EpisodeRollout) -> dict[str, Any]:
    names = [name for name in EpisodeRollout.__dataclass_fields__ if name != "prompt"]
    return {name: getattr(rollout, name) for name in names}
