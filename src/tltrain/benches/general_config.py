"""Settings of `eval general`."""

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from tltrain.engine.settings import Precision


class LmEvalConfig(BaseModel):
    """Tasks of lm-evaluation-harness (the package lm_eval), which runs them by its own rules in its own process."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tasks: tuple[str, ...] = Field(min_length=1)
    """Names of tasks or groups, such as `mmlu`; their data must be on this machine, or be fetched by `datasets`."""
    include_path: str | None = None
    """A folder of one's own task files (.yaml)."""
    python: str | None = None
    """The Python interpreter that has lm_eval; None: this one. For an environment of its own."""
    num_fewshot: int | None = Field(default=None, ge=0)
    """Examples before each question; None: as the task says."""
    limit: int | None = Field(default=None, ge=1)
    """Questions of each task; None: all. A score of a part is not that of the task."""
    batch_size: int = Field(default=8, ge=1)
    apply_chat_template: bool = False
    """Put each question into a user turn."""

    @field_validator("tasks", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return [part.strip() for part in value.split(",")] if isinstance(value, str) else value

    @field_validator("tasks")
    @classmethod
    def _check_names(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if not all(names) or len(set(names)) < len(names):
            raise ValueError(f"lm_eval.tasks: {','.join(names)!r}: give each task once, with commas between")
        return names


class GeneralConfig(BaseModel):
    """How a model is measured on plain text: in windows, each token once, with context before it.

    Raises (on construction):
        ValidationError: a field out of its range, or windows that leave a token without context.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    text_field: str = Field(default="text", min_length=1)
    """Field of a JSON Lines file's rows that holds the text."""
    max_bytes: int | None = Field(default=100_000, ge=1)
    """Text from the beginning of the file that is measured, the same for every tokenizer; None takes all."""
    window: int = Field(default=1024, ge=2)
    """Tokens that the model reads at a time."""
    stride: int = Field(default=512, ge=1)
    """Tokens by which the window moves on. All tokens but those of a text's first window have at least window - stride
    tokens before them."""
    precision: Precision = "float32"
    """Number format of weights and products. bfloat16 rounds so much that small KLs drown."""
    seed: int = 0
    """Of the resampling."""
    confidence: float = Field(default=0.95, gt=0, lt=1)
    """Of the intervals: the share of resampled values that lies inside."""
    num_resamples: int = Field(default=2000, ge=1)
    """Resamplings behind each interval."""
    lm_eval: LmEvalConfig | None = None
    """Tasks of lm-evaluation-harness beside the text, or in place of it; None: none."""

    @model_validator(mode="after")
    def _check_windows(self) -> Self:
        if self.stride >= self.window:
            raise ValueError(
                f"stride={self.stride} must be less than window={self.window}, or the first token of each window has "
                f"nothing before it; use for example stride={max(1, self.window // 2)}"
            )
        return self
