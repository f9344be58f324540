"""What is known about the kinds of prompts while a run goes on."""

import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import torch

from tltrain.rl.config import PpoConfig
from tltrain.rl.curriculum import draw_step, moved_mean
from tltrain.rl.prompts import Prompt
from tltrain.rl.rollouts import Rollout
from tltrain.sft.batches import Step
from tltrain.taxonomy import CallError, Diagnosis, TurnDiagnosis

_UNSEEN = 0
"""Kind, by error, of a prompt that was not answered yet."""
_ERRORS = tuple(CallError)


class Curriculum(torch.nn.Module):
    """Draws each step's prompts by the running means of what their kinds got wrong; all start at 1.

    An answer is wrong where the shipped rules find an error in it, whatever gives the reward. It is a module so that
    checkpoints hold it: a resumed run draws what an uninterrupted one would.

    Args:
        config: with a curriculum.
        prompts: those that train.
    """

    def __init__(self, config: PpoConfig, prompts: Sequence[Prompt]):
        super().__init__()
        assert config.curriculum is not None, "made only where there is one"
        self._config, self._settings, self._prompts = config, config.curriculum, prompts
        self._indices = {prompt.id: index for index, prompt in enumerate(prompts)}
        tools = [_tools_of(prompt) for prompt in prompts]
        match self._settings.by:
            case "error":
                kinds, num_kinds = [_UNSEEN] * len(prompts), 1 + 2 ** len(_ERRORS)
            case "tool":
                numbers = {name: number for number, name in enumerate(dict.fromkeys(tools))}
                kinds, num_kinds = [numbers[name] for name in tools], len(numbers)
            case "prompt":
                kinds, num_kinds = list(range(len(prompts))), len(prompts)
        # integers of this size are exact
        self.kinds = torch.nn.Parameter(torch.tensor(kinds, dtype=torch.float64))
        """Of each prompt."""
        self.means = torch.nn.Parameter(torch.ones(num_kinds, dtype=torch.float64))
        """Of each kind the share of wrong answers, in [0, 1]."""

    @property
    def num_prompts(self) -> int:
        """Prompts of every step."""
        return min(self._config.prompts_per_step, len(self._prompts))

    def draw(self, step: int) -> Step:
        """The prompts of a step, decided by the seed, its number, and what was learnt of the kinds so far."""
        means = self.means.tolist()
        return draw_step(
            [self._settings.floor + means[kind] for kind in self._kinds()],
            [prompt.toolset for prompt in self._prompts],
            batch_size=self._config.prompts_per_step,
            group_size=self._config.group_size,
            rng=random.Random(f"{self._config.seed}:curriculum:{step}"),
        )

    @torch.no_grad()
    def learn(self, step: Step, rollouts: Iterable[Rollout]) -> dict[str, Any]:
        """Take in the answers to a step's prompts; returns what metrics.jsonl tells of it.

        Returns:
            `curriculum_shares`: kind -> share of the step's prompts, as they were told apart when they were drawn;
            `curriculum_wrong`: kind -> its running mean now. Where each prompt is a kind, both are told by tools.
        """
        answers: defaultdict[int, list[Diagnosis | TurnDiagnosis]] = defaultdict(list)
        for rollout in rollouts:
            answers[self._indices[rollout.prompt.id]].append(rollout.score.diagnosis)
        kinds, drawn = self._kinds(), [index for group in step for index in group]
        seen: defaultdict[int, list[bool]] = defaultdict(list)
        for index, found in answers.items():
            seen[kinds[index]] += [bool(one.errors) for one in found]
        means = self.means.tolist()
        for kind, wrong in seen.items():
            self.means[kind] = means[kind] = moved_mean(means[kind], wrong, self._settings.rate)
        told = {index: self._name(index, kinds[index]) for index in drawn}
        if self._settings.by == "error":
            for index, found in answers.items():
                self.kinds[index] = _error_kind(found)
        by_name: defaultdict[str, list[float]] = defaultdict(list)
        for index, name in told.items():
            by_name[name].append(means[kinds[index]])
        return {
            "curriculum_shares": {name: len(own) / len(drawn) for name, own in sorted(by_name.items())},
            "curriculum_wrong": {name: sum(own) / len(own) for name, own in sorted(by_name.items())},
        }

    def _kinds(self) -> list[int]:
        return [int(kind) for kind in self.kinds.tolist()]

    def _name(self, index: int, kind: int) -> str:
        if self._settings.by != "error":
            return _tools_of(self._prompts[index])
        return "unseen" if kind == _UNSEEN else _label(kind)


def _tools_of(prompt: Prompt) -> str:
    return "+".join(sorted({gold.name for gold in prompt.golds})) or "text"


def _error_kind(answers: Sequence[Diagnosis | TurnDiagnosis]) -> int:
    """The set of errors that most answers to a prompt have, as a number; the first seen of equally frequent ones."""
    ((errors, _),) = Counter(answer.errors for answer in answers).most_common(1)
    return 1 + sum(1 << _ERRORS.index(error) for error in errors)


def _label(kind: int) -> str:
    return Diagnosis(errors=tuple(error for place, error in enumerate(_ERRORS) if (kind - 1) >> place & 1)).label
