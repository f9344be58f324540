"""Settings of `ppo.episodes`: whole conversations with real feedback in place of single calls."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field


class EpisodeRewards(BaseModel):
    """What an episode earns: for its end by the state it reached, and for each turn by its calls.

    Each call that is wrong costs the first that applies of `malformed`, `undocumented_call` and `failed_call`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    success: float = 1.0
    """Times the score of the final state, in [0, 1]: of a sandbox task 1 or 0. On the last token."""
    no_answer: float = 0.0
    """It did not end with a valid answer: none, cut off, given up, too many turns, or the context full."""
    step_right: float = 0.2
    """A call that the task needs, with the right values, answered without an error; each needed call counts once."""
    malformed: float = -0.5
    """A call that cannot be read."""
    undocumented_call: float = -0.3
    """An unknown tool, an unknown parameter, or a required parameter missing."""
    failed_call: float = -0.2
    """A call that is answered with an error."""
    per_token: float = 0.0
    """Of each token that the model wrote; below 0 it is a price on length."""


class EpisodesConfig(BaseModel):
    """How episodes are played."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_turns: int = Field(default=6, ge=1)
    """Most replies of the model in an episode, the answer included."""
    max_length: int = Field(default=4096, ge=1)
    """Tokens of a conversation, its replies included. An episode ends where the next reply, of `max_new_tokens`, might
    go beyond it or beyond the model's context."""
    keep_mib: int = Field(default=1024, ge=0)
    """Mebibytes of keys and values kept of conversations from one turn to the next while they are sampled, those of
    longest ago thrown out. 0: each turn is computed as a whole. Episodes are the same, up to the rounding of sums."""
    reward: EpisodeRewards = EpisodeRewards()
    environment: Path | None = None
    """A Python file with an environment of one's own, see `envs.user_environment.UserEnvironment`; its code is
    run. None: the sandbox, in which rows of the data are started again from their provenance."""
