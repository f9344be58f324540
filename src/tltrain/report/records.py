"""The rows of a run folder as the report reads them: checked once, then trusted.

Only what no view can do without is required; everything else may be absent, so that a report can be made of a run by
an older or newer version, or by another trainer that writes the same files.
"""

import json
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator


def _as_text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


Text = Annotated[str, BeforeValidator(_as_text)]
"""Text to show: null is empty, and a JSON value that is no string shows as JSON."""


class Record(BaseModel):
    """Base: frozen, and fields that the report does not know are passed over."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class StageRecord(Record):
    """What one stage cost."""

    seconds: float | None = None
    peak_memory_mb: float | None = None


class RunRecord(Record):
    """run.json."""

    seed: Text = ""
    versions: dict[str, Text] = {}
    started: Text = ""
    stages: dict[str, StageRecord] = {}
    """In the order in which they ran."""


class SourceFile(Record):
    """What became of the rows of one file that was mixed; names as in data/summary.json."""

    rows: int
    bad_rows: int = 0
    duplicates_removed: int = 0
    in_test_sets: int = 0
    in_test_sets_removed: int = 0
    beyond_cap: int = 0
    validation: int = 0
    train: int = 0


class Overlap(Record):
    """What one training file and one test file have in common, in training rows."""

    train: Text
    test: Text
    same_query: int = 0
    near_query: int = 0
    same_tools: int = 0
    test_rows_met: int = 0


class Mixture(Record):
    """data/summary.json."""

    train: dict[str, int] = {}
    validation: dict[str, int] = {}
    sources: dict[str, SourceFile] = {}
    contamination: list[Overlap] = []

    @property
    def source_rows(self) -> list[dict[str, Any]]:
        """Rows of a table, with the name of each file."""
        return [{"file": name, **source.model_dump()} for name, source in self.sources.items()]

    @property
    def overlap_rows(self) -> list[dict[str, Any]]:
        """Rows of a table."""
        return [overlap.model_dump() for overlap in self.contamination]


class VerdictRow(Record):
    """One line of audit/verdicts.jsonl: what the feedback says about one call."""

    id: Text
    call: int
    """Number of the call in its trajectory, from 0."""
    tool: Text = ""
    source: Text = ""
    label: Text
    """ok, error, ambiguous or unanswered."""
    kind: Text = ""
    blame: Text = ""
    rule: Text = ""
    evidence: Text = ""
    start: int | None = None
    end: int | None = None
    """Offsets of the evidence in the feedback, in characters."""
    truth: Text = ""
    """right, the kind of the error, or silent:<error>; empty where it is not known."""

    @property
    def is_false_alarm(self) -> bool:
        """A verdict of error on a call that did nothing wrong."""
        return self.label == "error" and self.truth == "right"

    @property
    def is_missed(self) -> bool:
        """A mistake, with or without an error in its feedback, that has no verdict of error."""
        return self.label != "error" and self.truth not in ("", "right")


class SpanScores(Record):
    """What one kind of tokens got in a training step."""

    nll: float | None = None
    accuracy: float | None = None


class SftStep(Record):
    """One line of sft/metrics.jsonl."""

    step: int
    loss: float | None = None
    lr: float | None = None
    grad_norm: float | None = None
    tokens_per_second: float | None = None
    spans: dict[str, SpanScores] = {}
    """In the words of `sft.spans.SpanKind`."""
    heldout: dict[str, float | None] = {}


class PpoStep(Record):
    """One line of ppo/metrics.jsonl."""

    step: int
    reward: float | None = None
    kl: float | None = None
    errors: dict[str, float] = {}
    """Label -> share of the rollouts, in [0, 1]."""
    curriculum_shares: dict[str, float] = {}
    """Kind of prompt -> share of the step's prompts, in [0, 1]; with a curriculum alone."""
    curriculum_wrong: dict[str, float] = {}
    """Kind of prompt -> share of its answers that were wrong of late, in [0, 1]."""
    length: float | None = None
    clip_fraction: float | None = None
    explained_variance: float | None = None
    policy_loss: float | None = None
    value_loss: float | None = None
    entropy: float | None = None
    drift_mean: float | None = None
    drift_max: float | None = None
    heldout: dict[str, float | None] = {}
    warnings: dict[str, Text] = {}
    """What was seen to go wrong at this step, and why; see `rl.health`."""


class Rollout(Record):
    """One line of ppo/rollouts.jsonl."""

    step: int
    id: Text = ""
    prompt: Text = ""
    completion: Text = ""
    gold: Text = ""
    reward: float | None = None
    label: Text = ""


class Token(Record):
    """One token of a rendered trajectory."""

    text: str
    weight: float = 0.0
    """Weight of its loss; 0 is not trained."""
    kind: Text = ""
    """What it is a part of, in the words of `render.tokens_view.TokenKind`; `key` decides which tool is called."""
    blocked: bool = False
    """Part of a wrong call, which is context only."""


class CallWeights(Record):
    """The key-token weight of one call."""

    number: int
    num_key: int | None = None
    num_nonkey: int | None = None
    weight: float | None = None
    blocked: bool = False


class Sample(Record):
    """One line of sft/samples.jsonl: a trajectory as the trainer sees it."""

    id: Text
    tokens: list[Token]
    calls: list[CallWeights] = []


class Score(Record):
    """A score in percent with its interval; a bare number is a mean without one."""

    mean: float | None = None
    """None: not measured."""
    low: float | None = None
    high: float | None = None
    n: int | None = None

    @model_validator(mode="before")
    @classmethod
    def _accept_bare_number(cls, value: Any) -> Any:
        return value if isinstance(value, dict | Score) else {"mean": value}

    @property
    def has_interval(self) -> bool:
        """Mean and both ends are known."""
        return None not in (self.mean, self.low, self.high)


class KitScores(Record):
    """Single-turn scores of one kit."""

    n: int = 0
    TS: Score = Score()
    PI: Score = Score()
    CF: Score = Score()


class SingleTurn(KitScores):
    """Single-turn scores of one stage: tool selection, parameter identification, content filling."""

    errors: dict[str, int] = {}
    """Label -> number of cases."""
    by_kit: dict[str, KitScores] = {}


class MultiTurn(Record):
    """Scores of whole conversations; DE and CE count errors, so lower is better."""

    n: int = 0
    success: Score = Score()
    DE: Score = Score()
    CE: Score = Score()
    VA: Score = Score()


class Scores(Record):
    """eval/<stage>/scores.json."""

    single: SingleTurn | None = None
    episodes: MultiTurn | None = None


class Case(Record):
    """One line of eval/<stage>/cases.jsonl: an answer to one prompt, next to the right one."""

    id: Text
    kit: Text = ""
    query: Text = ""
    prompt: Text = ""
    completion: Text = ""
    gold: Text = ""
    label: Text = ""
    is_right: bool = Field(default=False, alias="cf")

    @model_validator(mode="before")
    @classmethod
    def _right_by_label(cls, value: Any) -> Any:
        if isinstance(value, dict) and value.get("cf") is None:
            return value | {"cf": value.get("label") == "all_right"}
        return value


class Episode(Record):
    """One line of eval/<stage>/episodes.jsonl: a conversation in chat format."""

    id: Text
    query: Text = ""
    messages: list[dict[str, Any]]
    success: bool | None = None

    @model_validator(mode="after")
    def _has_messages(self) -> Self:
        if not self.messages:
            raise ValueError("messages is empty")
        return self
