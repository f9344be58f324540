"""Settings of `eval`."""

from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from tltrain.constrained.config import Constrain
from tltrain.engine.settings import Precision


class EvalConfig(BaseModel):
    """Everything that decides which cases a model is tested on, and how it answers. Answers are greedy.

    Raises (on construction):
        ValidationError: a field out of its range, or nothing to test on.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_cases: int | None = Field(default=200, ge=0)
    """Single-turn cases, balanced over kits or, without kits, sources; None takes all, 0 none."""
    max_episodes: int | None = Field(default=60, ge=0)
    """Conversations in the sandbox, balanced over kits and templates, or in `environment`; None takes all, 0 none."""
    max_turns: int = Field(default=6, ge=1)
    """Replies of the model in one episode, the answer included; the sandbox's tasks need at most 5."""
    environment: Path | None = None
    """A Python file with an environment of one's own, as `ppo.episodes.environment` takes it; its code is run. Each
    row of the data is a task in it. None: the sandbox, in which rows are started again from their provenance."""
    max_new_tokens: int = Field(default=96, ge=1)
    """Tokens of one reply."""
    batch_size: int = Field(default=32, ge=1)
    """Prompts that run together; so many conversations are under way at the same time."""
    keep_mib: int = Field(default=1024, ge=0)
    """Mebibytes of keys and values kept of conversations from one turn to the next, those of longest ago
    thrown out; not for an endpoint. 0: each turn is computed as a whole. Replies are the same, up to rounding."""
    constrain: Constrain = "off"
    """What the model may write, see `Constrain`."""
    precision: Precision = "auto"
    """Number format of weights and products. "auto": bfloat16 where the device gains from it."""
    seed: int = 0
    """Decides which cases and episodes are chosen, and the resampling of intervals."""
    confidence: float = Field(default=0.95, gt=0, lt=1)
    """Of the intervals: the share of resampled scores that lies inside."""
    num_resamples: int = Field(default=2000, ge=1)
    """Resamplings behind each interval."""

    @model_validator(mode="after")
    def _has_work(self) -> Self:
        if self.max_cases == 0 and self.max_episodes == 0:
            raise ValueError("max_cases=0 and max_episodes=0 leave nothing to test on; raise one of them")
        if self.constrain == "call" and self.max_episodes != 0:
            raise ValueError(
                "constrain='call' and episodes, which end with an answer in plain text; set max_episodes=0, or "
                "constrain='auto'"
            )
        if self.environment is not None and self.max_episodes == 0:
            raise ValueError("environment and max_episodes=0, so that nothing is done in it; leave one of them out")
        return self
