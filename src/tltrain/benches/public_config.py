"""Settings of `eval --bench`."""

import re
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from tltrain.benches.bfcl_cases import ALL_PARTS, expand_parts
from tltrain.benches.endpoint_policy import EndpointModel
from tltrain.benches.rotbench import LEVELS, PromptStyle
from tltrain.benches.tool_answers import Missing
from tltrain.constrained.config import Constrain
from tltrain.engine.settings import Precision

BENCHES = ("toolalpaca", "rotbench", "bfcl", "tooleyes")
_SPEC = re.compile(r"(?P<name>\w+)(?::(?P<parts>\w+(?:\+\w+)*))?")


class PublicEvalConfig(BaseModel):
    """Which public test sets a model is tested on, and how it answers. Answers are greedy.

    Raises (on construction):
        ValidationError: a field out of its range, or an unknown test set or part of one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    benches: tuple[str, ...] = Field(min_length=1)
    """Test sets; parts follow a colon, as in `rotbench:clean+heavy` and `bfcl:exec+live`. bfcl alone is bfcl:exec, the
    240 cases of the paper; rotbench alone is all five levels. bfcl:multi_turn needs a Python that has bfcl-eval."""
    style: PromptStyle = PromptStyle.NATIVE
    """Of RoTBench and ToolEyes, which bring prompts of their own; native: the model's own tool template."""
    openapi: bool = False
    """ToolAlpaca: offer the 6 tools that only the OpenAPI documents list, too."""
    first_call: bool = False
    """BFCL exec: judge the first call alone."""
    max_cases: int | None = Field(default=None, ge=1)
    """Cases of each test set, balanced over its parts; None takes all."""
    max_turns: int = Field(default=8, ge=1)
    """ToolEyes: replies to one query."""
    tooleyes_replay: Path | None = None
    """ToolEyes: a recording of calls and their answers, such as tooleyes_calls.jsonl of another run.
    None: simulated."""
    tooleyes_tools: Path | None = None
    """ToolEyes: a Python file whose functions are the tools, see `live_tools`; its code is run, with what the model
    writes. It makes the calls that are not in the recording. None: none is made."""
    tooleyes_timeout_s: float = Field(default=30.0, gt=0)
    """ToolEyes: seconds that one live call may take; then its answer is an error."""
    tooleyes_max_chars: int = Field(default=4000, ge=1)
    """ToolEyes: characters of a live answer; what is beyond is cut off."""
    tooleyes_missing: Missing = "simulate"
    """ToolEyes: what a call gets that is neither in the recording nor known to the file: a simulated answer, or none
    (an error)."""
    max_new_tokens: int = Field(default=192, ge=1)
    """Tokens of one reply."""
    batch_size: int = Field(default=32, ge=1)
    """Prompts that run together; so many conversations are under way at the same time."""
    keep_mib: int = Field(default=1024, ge=0)
    """Mebibytes of keys and values kept of conversations from one turn to the next, those of longest ago
    thrown out; not for an endpoint. 0: each turn is computed as a whole. Replies are the same, up to rounding."""
    constrain: Constrain = "off"
    """What the model may write, see `Constrain`; not for an endpoint."""
    precision: Precision = "auto"
    """Number format of weights and products. "auto": bfloat16 where the device gains from it."""
    endpoint: EndpointModel | None = None
    """An OpenAI-compatible endpoint to test in place of a model in this process."""
    allow_changed: bool = False
    """Take files that differ from the published ones; the scores name them."""
    seed: int = 0
    """Decides which cases are chosen, and the resampling of intervals."""
    confidence: float = Field(default=0.95, gt=0, lt=1)
    """Of the intervals: the share of resampled scores that lies inside."""
    num_resamples: int = Field(default=2000, ge=1)
    """Resamplings behind each interval."""

    @field_validator("benches", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return [part.strip() for part in value.split(",")] if isinstance(value, str) else value

    @model_validator(mode="after")
    def _check_constrain(self) -> Self:
        if self.constrain != "off" and self.endpoint is not None:
            raise ValueError(f"constrain={self.constrain!r} is for a model in this process; leave the endpoint out")
        return self

    @model_validator(mode="after")
    def _check_benches(self) -> Self:
        names = []
        for spec in self.benches:
            name, parts = split_spec(spec)
            names.append(name)
            if name == "bfcl":
                expand_parts(parts, ALL_PARTS)
            unknown = [part for part in parts if name != "bfcl" and part not in (LEVELS if name == "rotbench" else ())]
            if unknown:
                known = f"has the parts {', '.join(LEVELS)}" if name == "rotbench" else "has no parts"
                raise ValueError(f"benches: {spec!r}: {name} {known}")
        for name in ("tooleyes_replay", "tooleyes_tools"):
            if getattr(self, name) is not None and "tooleyes" not in names:
                raise ValueError(f"{name} is for tooleyes, which benches does not name; add it, or leave {name} out")
        if len(set(names)) < len(names):
            raise ValueError(f"benches: {', '.join(self.benches)}: name each test set once, its parts joined with +")
        return self


def split_spec(spec: str) -> tuple[str, tuple[str, ...]]:
    """Name and parts of `name:part+part`.

    Raises:
        ValueError: it is none, or there is no such test set.
    """
    match = _SPEC.fullmatch(spec)
    if match is None or match["name"] not in BENCHES:
        raise ValueError(f"benches: {spec!r} is no test set; choose from {', '.join(BENCHES)}")
    return match["name"], tuple((match["parts"] or "").split("+")) if match["parts"] else ()
