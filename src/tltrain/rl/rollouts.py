"""Prompts to scored completions."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch

from tltrain.constrained.masks import Constrainer
from tltrain.engine.logprobs import TargetSequence
from tltrain.engine.model import adapters_merged
from tltrain.engine.parallel import Processes
from tltrain.render.turns import turn_end_ids
from tltrain.rl.actor import Actor
from tltrain.rl.batches import share_rows
from tltrain.rl.config import PpoConfig
from tltrain.rl.episodes import EpisodeRollout
from tltrain.rl.prompts import Prompt
from tltrain.rl.scoring import Score, Scorer, Unscored
from tltrain.rollout.sampler import Completion, SamplingConfig, sample
from tltrain.rollout.vllm_engine import VllmEngine


@dataclass(frozen=True, kw_only=True, slots=True)
class Rollout:
    """One sampled completion and what it is worth."""

    prompt: Prompt
    group: int
    """Equal for rollouts of one step that were drawn together."""
    completion: Completion
    """Exactly its tokens are trained. With prompts of one call each, a completion ends when its call is complete; it
    has no end-of-turn token then, and none is trained: the model keeps the way of ending a turn that SFT taught it."""
    text: str
    score: Score

    @property
    def sequence(self) -> TargetSequence:
        """Prompt and completion, the completion's tokens being targets.

        A constraint goes with it: then policy, reference and their ratio are those over the allowed tokens, from which
        the completion was drawn. With the log-probs of the free policy the gradient would not be that of the reward,
        and a token that the grammar forces would count as a choice, against which the reference's opinion is paid for.
        """
        start = len(self.prompt.ids)
        ids = [*self.prompt.ids, *self.completion.ids]
        allowed = torch.from_numpy(np.stack(self.completion.allowed)) if self.completion.allowed else None
        return TargetSequence(ids, range(start, len(ids)), allowed)


Attempt: TypeAlias = Rollout | EpisodeRollout
"""What is learnt from: one call, or a whole episode."""


class Drawn(NamedTuple):
    """The rollouts of a step."""

    rollouts: Sequence[Attempt]
    """Group by group, prompt by prompt."""
    unscored: list[str]
    """Why other completions could not be judged."""


def draw_rollouts(
    actor: Actor,
    tokenizer: Any,
    groups: Sequence[Sequence[Prompt]],
    *,
    scorer: Scorer,
    config: PpoConfig,
    step: int,
    constrainer: Constrainer | None = None,
    engine: VllmEngine | None = None,
    processes: Processes = Processes(),  # noqa: B008 - immutable
) -> Drawn:
    """Sample and judge `samples_per_prompt` completions of each prompt; processes share them, and all have them then.

    What is drawn depends on the weights, the seed, the step and the prompt, not on the other prompts; a constrainer
    says what may be written. With an engine the first process has it sample for all.
    """
    planned = [
        (number, prompt, sample_number)
        for number, group in enumerate(groups)
        for prompt in group
        for sample_number in range(config.samples_per_prompt)
    ]
    prompts = [prompt for _, prompt, _ in planned]
    seeds = [_seed(config.seed, step, prompt, sample_number) for _, prompt, sample_number in planned]
    answers = _answer(
        actor,
        tokenizer,
        prompts,
        groups=[number for number, _, _ in planned],
        scorer=scorer,
        config=config,
        constrainer=constrainer,
        engine=engine,
        temperature=config.temperature,
        seeds=seeds,
        processes=processes,
    )
    rollouts: list[Rollout] = []
    unscored: list[str] = []
    for (number, prompt, _), (completion, text, score) in zip(planned, answers, strict=True):
        if isinstance(score, Score):
            rollouts.append(Rollout(prompt=prompt, group=number, completion=completion, text=text, score=score))
        else:
            unscored.append(f"{prompt.id}: {score.reason}")
    return Drawn(rollouts, unscored)


def measure_heldout(
    actor: Actor,
    tokenizer: Any,
    prompts: Sequence[Prompt],
    *,
    scorer: Scorer,
    config: PpoConfig,
    constrainer: Constrainer | None = None,
    engine: VllmEngine | None = None,
    processes: Processes = Processes(),  # noqa: B008 - immutable
) -> dict[str, float | None]:
    """Answer prompts greedily; processes share them.

    Returns:
        `reward`: mean; `ts`, `pi`, `cf`: shares of answers with the right tool, the right parameters too, the right
        values too (method.md section 4), in all calls of the turn; text where no call is right has them all. None where
        there is no answer that could be judged.
    """
    answers = _answer(
        actor,
        tokenizer,
        prompts,
        groups=[prompt.toolset for prompt in prompts],
        scorer=scorer,
        config=config,
        constrainer=constrainer,
        engine=engine,
        temperature=0.0,
        processes=processes,
    )
    scores = [answer.score for answer in answers if isinstance(answer.score, Score)]
    return {
        "reward": _mean([score.value for score in scores]),
        "ts": _mean([score.diagnosis.tool_selected for score in scores]),
        "pi": _mean([score.diagnosis.parameters_identified for score in scores]),
        "cf": _mean([score.diagnosis.content_filled for score in scores]),
    }


def completion_text(tokenizer: Any, completion: Completion) -> str:
    """What the model wrote, without the end-of-turn token."""
    ended = bool(completion.ids) and completion.ids[-1] in turn_end_ids(tokenizer)
    text: str = tokenizer.decode(completion.ids[:-1] if ended else completion.ids)
    return text


class _Answer(NamedTuple):
    """A completion of a prompt, judged."""

    completion: Completion
    text: str
    score: Score | Unscored


def _answer(
    actor: Actor,
    tokenizer: Any,
    prompts: Sequence[Prompt],
    *,
    groups: Sequence[int],
    scorer: Scorer,
    config: PpoConfig,
    constrainer: Constrainer | None,
    engine: VllmEngine | None,
    temperature: float,
    seeds: Sequence[int] | None = None,
    processes: Processes,
) -> list[_Answer]:
    """Complete and judge prompts, each in one of the processes; all have the answers, in the order of the prompts."""
    if config.vllm is None:
        own = share_rows(groups, [len(prompt.ids) for prompt in prompts], processes)
    else:
        own = list(range(len(prompts))) if processes.is_main else []
    sampling = SamplingConfig(
        max_new_tokens=config.max_new_tokens, temperature=temperature, batch_size=config.rollout_batch_size
    )

    def complete_own(model: Any) -> list[Completion]:
        ids = [prompts[row].ids for row in own]
        own_seeds = [seeds[row] for row in own] if seeds else None
        end_ids = turn_end_ids(tokenizer)
        # where turns may have several calls, or none, one call is not the end for any prompt
        is_complete = scorer.syntax.looks_complete if config.turns == "one_call" else None
        if config.vllm is not None:
            if not own:
                return []
            assert engine is not None, "the main process has it"
            return engine.sample(model, ids, sampling, seeds=own_seeds, end_ids=end_ids, is_complete=is_complete)
        with actor.autocast(), adapters_merged(model):
            return sample(
                model,
                tokenizer,
                ids,
                sampling,
                seeds=own_seeds,
                end_ids=end_ids,
                is_complete=is_complete,
                constraints=[constrainer.constraint(prompts[row].tools) for row in own] if constrainer else None,
            )

    def answer_own(model: Any) -> dict[int, _Answer]:
        completions = complete_own(model)
        texts = [completion_text(tokenizer, completion) for completion in completions]
        return {
            row: _Answer(completion, text, scorer.score(prompts[row], text))
            for row, completion, text in zip(own, completions, texts, strict=True)
        }

    with actor.sampling_model() as model:
        found = processes.from_each(lambda: answer_own(model))
    answers = {row: answer for part in found for row, answer in part.items()}
    return [answers[row] for row in range(len(prompts))]


def _seed(seed: int, step: int, prompt: Prompt, sample_number: int) -> int:
    return random.Random(f"{seed}:rollout:{step}:{prompt.id}:{sample_number}").getrandbits(63)


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
