"""Where a run's rollouts come from: single turns of the data, or whole episodes in an environment."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch

from tltrain.constrained.masks import make_constrainer
from tltrain.engine.device import pick_device
from tltrain.engine.model import LoadedModel
from tltrain.engine.parallel import Processes
from tltrain.rewards.answers import gold_text
from tltrain.rl.actor import Actor
from tltrain.rl.batches import plan_steps
from tltrain.rl.config import PpoConfig
from tltrain.rl.curriculum_state import Curriculum
from tltrain.rl.episode_steps import (
    context_of,
    describe_episodes,
    draw_episodes,
    find_episodes,
    measure_episodes,
    show_episode,
)
from tltrain.rl.episodes import EpisodeRollout, Player
from tltrain.rl.prepare import find_prompts
from tltrain.rl.prompts import split_heldout
from tltrain.rl.reward_audit import turn_of
from tltrain.rl.rollouts import Attempt, Drawn, Rollout, draw_rollouts, measure_heldout
from tltrain.rl.sampling_engine import make_engine
from tltrain.rl.scoring import Scorer
from tltrain.sft.batches import Step
from tltrain.syntax import CallSyntax

_PROMPT_TAIL = 600
"""Characters of a prompt that are shown."""


class Source(Protocol):
    """What a trainer asks for rollouts."""

    judge: str
    """Who judges what, for messages."""
    step_sizes: Sequence[int]
    """Prompts of each step."""
    num_train: int
    """Prompts that are trained on."""
    num_heldout: int
    """Prompts that are kept out of training."""
    num_set_aside: int
    """Rows and prompts that could not be used; listed in quarantine.jsonl."""
    left_out: Mapping[str, int]
    """Why something of the data is no prompt -> number of such."""

    @property
    def modules(self) -> Mapping[str, torch.nn.Module]:
        """What checkpoints must hold so that a resumed run draws the same."""

    def plan(self, number: int) -> Step:
        """The prompts of a step."""

    def draw(self, actor: Actor, number: int, step: Step) -> Drawn:
        """Sample and judge its rollouts."""

    def learn(self, step: Step, drawn: Drawn) -> dict[str, Any]:
        """Take in what a step brought, after its update; returns metrics that only this source has."""

    def measure(self, actor: Actor) -> dict[str, float | None]:
        """Answer what was held out, greedily."""

    def show(self, rollout: Attempt) -> dict[str, object]:
        """A row of rollouts.jsonl, but for its step."""

    def close(self) -> None:
        """End what samples, where it is a process of its own."""


class CallSource:
    """Turns of the data, each answered by itself.

    Args:
        config: without episodes.
        loaded: model and tokenizer.
        scorer: judges completions.
        data: trajectories.
        verdicts: of their audit; None audits them on the way.
        out: folder of the stage, for quarantine.jsonl.
        processes: share the prompts.

    Raises:
        DataError, UsageError: see `find_prompts`.
    """

    judge = "the reward function judges none of {} completions"

    def __init__(
        self,
        config: PpoConfig,
        loaded: LoadedModel,
        scorer: Scorer,
        processes: Processes,
        *,
        data: Path,
        verdicts: Path | None,
        out: Path,
    ):
        self._config, self._tokenizer, self._scorer = config, loaded.tokenizer, scorer
        self._processes = processes
        found, num_bad_rows = processes.from_main(
            lambda: find_prompts(config, loaded, scorer, data=data, verdicts=verdicts, out=out)
        )
        train, heldout = split_heldout(found.prompts, config.heldout_share, config.seed)
        self._train, self._heldout = train, heldout
        self._steps = plan_steps(train, config)
        self._curriculum = Curriculum(config, train) if config.curriculum else None
        self.step_sizes: Sequence[int] = [
            self._curriculum.num_prompts if self._curriculum else sum(map(len, step)) for step in self._steps
        ]
        self.num_train, self.num_heldout = len(train), len(heldout)
        self.num_set_aside = num_bad_rows + len(found.set_aside)
        self.left_out = found.left_out
        self._constrainer = make_constrainer(config.constrain, loaded.model, loaded.tokenizer, scorer.syntax)
        self._engine = processes.in_each(
            lambda: make_engine(config, loaded.tokenizer, found.prompts, pick_device()) if processes.is_main else None
        )

    @property
    def modules(self) -> Mapping[str, torch.nn.Module]:
        """See `Source`."""
        return {"curriculum": self._curriculum} if self._curriculum is not None else {}

    def plan(self, number: int) -> Step:
        """See `Source`."""
        return self._curriculum.draw(number) if self._curriculum else self._steps[number]

    def draw(self, actor: Actor, number: int, step: Step) -> Drawn:
        """See `Source`."""
        return draw_rollouts(
            actor,
            self._tokenizer,
            [[self._train[index] for index in group] for group in step],
            scorer=self._scorer,
            config=self._config,
            step=number,
            constrainer=self._constrainer,
            engine=self._engine,
            processes=self._processes,
        )

    def learn(self, step: Step, drawn: Drawn) -> dict[str, Any]:
        """See `Source`."""
        if self._engine is not None:
            self._engine.forget_weights()
        if self._curriculum is None:
            return {}
        return self._curriculum.learn(step, [one for one in drawn.rollouts if isinstance(one, Rollout)])

    def measure(self, actor: Actor) -> dict[str, float | None]:
        """See `Source`."""
        return measure_heldout(
            actor,
            self._tokenizer,
            self._heldout,
            scorer=self._scorer,
            config=self._config,
            constrainer=self._constrainer,
            engine=self._engine,
            processes=self._processes,
        )

    def show(self, rollout: Attempt) -> dict[str, object]:
        """See `Source`."""
        assert isinstance(rollout, Rollout), "of this source"
        return {
            "id": rollout.prompt.id,
            # a token stands for at least one character as a rule, so this many hold the tail
            "prompt": self._tokenizer.decode(rollout.prompt.ids[-_PROMPT_TAIL:])[-_PROMPT_TAIL:],
            "completion": rollout.text,
            "gold": gold_text(turn_of(rollout.prompt), self._scorer.syntax),
            "reward": rollout.score.value,
            "label": rollout.score.label,
            "is_finished": rollout.completion.is_finished,
        }

    def close(self) -> None:
        """See `Source`."""
        if self._engine is not None:
            self._engine.close()


class EpisodeSource:
    """Tasks, each played to its end in a world of its own.

    Args:
        config: with episodes.
        loaded: model and tokenizer.
        syntax: how calls are written.
        data: trajectories; each row that can be started again is a task.
        out: folder of the stage, for quarantine.jsonl.
        processes: share the tasks.

    Raises:
        DataError, UsageError, ModelError: see `find_episodes`.
    """

    judge = "the environment judges none of {} episodes"
    modules: Mapping[str, torch.nn.Module] = {}
    left_out: Mapping[str, int] = {}

    def __init__(
        self,
        config: PpoConfig,
        loaded: LoadedModel,
        syntax: CallSyntax,
        processes: Processes,
        *,
        data: Path,
        out: Path,
    ):
        self._config, self._tokenizer = config, loaded.tokenizer
        self._processes = processes
        # each process makes its own: a task holds what opens its world
        quarantine = out / "quarantine.jsonl" if processes.is_main else None
        tasks, self.num_set_aside = processes.in_each(
            lambda: find_episodes(config, loaded, syntax, data=data, quarantine=quarantine)
        )
        self._train, self._heldout = split_heldout(tasks, config.heldout_share, config.seed)
        self._steps = plan_steps(self._train, config)
        self.step_sizes: Sequence[int] = [sum(map(len, step)) for step in self._steps]
        self.num_train, self.num_heldout = len(self._train), len(self._heldout)
        self._player = Player(
            loaded.tokenizer,
            syntax,
            config,
            context=context_of(loaded.model),
            constrainer=make_constrainer(config.constrain, loaded.model, loaded.tokenizer, syntax),
        )

    def plan(self, number: int) -> Step:
        """See `Source`."""
        return self._steps[number]

    def draw(self, actor: Actor, number: int, step: Step) -> Drawn:
        """See `Source`."""
        groups = [[self._train[index] for index in group] for group in step]
        return draw_episodes(self._player, actor, groups, config=self._config, step=number, processes=self._processes)

    def learn(self, step: Step, drawn: Drawn) -> dict[str, Any]:  # noqa: ARG002 - the interface
        """See `Source`."""
        return dict(describe_episodes([one for one in drawn.rollouts if isinstance(one, EpisodeRollout)]))

    def measure(self, actor: Actor) -> dict[str, float | None]:
        """See `Source`."""
        return measure_episodes(self._player, actor, self._heldout, processes=self._processes)

    def show(self, rollout: Attempt) -> dict[str, object]:
        """See `Source`."""
        assert isinstance(rollout, EpisodeRollout), "of this source"
        return show_episode(rollout, self._tokenizer, prompt_tail=_PROMPT_TAIL)

    def close(self) -> None:
        """See `Source`."""
