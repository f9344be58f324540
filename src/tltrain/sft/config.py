"""Settings of `sft`."""

from typing import ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from tltrain.audit.policy import Block
from tltrain.engine.settings import LoraConfig, OptimizerConfig, Precision, Sharding
from tltrain.render.weights import KeyTokenWeighting

Normalisation = Literal["turn", "step", "token"]
"""What the weighted sum over a step is divided by:

- turn: each trained turn by the sum of its own weights, then the mean over turns. The released code of TL-Training,
  whose samples are single turns: sum(w nll) / sum(w), averaged over samples.
- step: the sum of all weights of the step.
- token: the number of trained tokens of the step, so that weights over 1 also raise the step's share.
"""

Overlong = Literal["refuse", "drop", "cut_tools"]
"""What becomes of a trajectory that would lose trained tokens at `max_length`:

- refuse: the stage does not start, and names the rows with their tokens.
- drop: it is set aside, see quarantine.jsonl.
- cut_tools: documents of tools that it does not use are left out until it fits, see `sft.overlong`; what was left out
  stands in cut_tools.jsonl. One that does not fit then either is set aside.
"""

Measure = Literal["call_accuracy", "name_accuracy", "parameter_accuracy", "value_accuracy", "nll"]
"""What is measured on held-out trajectories and can decide which weights are kept."""


class SftConfig(BaseModel):
    """Everything that decides what supervised fine-tuning does with its data.

    Raises (on construction):
        ValidationError: a field out of its range, or a batch size that the micro-batch size does not divide.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    WITHOUT_EFFECT: ClassVar[frozenset[str]] = frozenset({"activation_checkpointing", "compile", "sharding"})
    """Fields that change time and memory alone: a run can be resumed with others."""

    optimizer: OptimizerConfig = OptimizerConfig(learning_rate=1e-4)
    num_epochs: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    """Passes over the data; at least one step is made. Default: the paper's script."""
    batch_size: int = Field(default=16, ge=1)
    """Trajectories per optimizer step."""
    group_size: int = Field(default=4, ge=1)
    """Trajectories of one tool list that are drawn into a step together, where there are so many: their common
    beginning is computed once. More is faster, fewer mixes the tools of a step better."""
    micro_batch_tokens: int = Field(default=2048, ge=1)
    """Most tokens that run through the model together, those that trajectories share counted once; a longer trajectory
    runs alone. Memory grows with it, results do not change. On a CPU more is hardly faster; a GPU gains from 8192."""
    max_length: int = Field(default=8192, ge=2)
    """Tokens; `overlong` says what becomes of a trajectory with a trained token beyond. Default: the paper's script."""
    overlong: Overlong = "drop"
    block: Block = "paper"
    """Which verdicts keep a call from teaching (MAE); "none" is standard SFT."""
    weighting: KeyTokenWeighting = KeyTokenWeighting()
    """Weights of key tokens (PKT)."""
    answer_share: float = Field(default=1.0, ge=0, le=1)
    """Share of the trajectories whose text turns train; the others teach their calls alone, and end with the last one.
    Feedback and answers are often half of a trajectory: with less of them the same time holds more calls."""
    normalisation: Normalisation = "turn"
    lora: LoraConfig | None = None
    """None trains all weights."""
    precision: Precision = "auto"
    activation_checkpointing: bool = False
    """Keep less of the forward pass and compute it again in the backward pass: less memory, more time, the same
    gradient."""
    compile: bool = False
    """Compile transformer blocks (torch.compile, one compilation for all lengths) where they run with gradient, which
    takes a minute at the start; on a CPU it gains nothing. Needs a C++ compiler, on a GPU Triton. Not with
    sharding=fsdp or weights of 4 bits."""
    sharding: Sharding = "auto"
    """How several processes hold the model."""
    heldout_share: float = Field(default=0.05, ge=0, lt=1)
    """Share of the trajectories that is kept out of training and measured during it."""
    num_evaluations: int = Field(default=3, ge=1)
    """How often the held-out part is measured, the last time at the end."""
    keep: Literal["last", "best"] = "last"
    """Which weights become the result; "best" are those of the best measurement, the earliest of equal ones."""
    best_by: Measure = "call_accuracy"
    """What makes a measurement better, for `keep` and `patience`; see `sft.heldout`. Of `nll` less is better."""
    patience: int | None = Field(default=None, ge=1)
    """Training stops after so many measurements in a row that are no better than the best; None: never. The schedule
    of the learning rate is that of all steps."""
    checkpoint_every: int = Field(default=50, ge=1)
    """Optimizer steps between checkpoints."""
    share_prefixes: bool = True
    """Compute what the sequences of a micro-batch have in common once; the gradient is the same."""
    seed: int = 0

    @model_validator(mode="after")
    def _check_batch(self) -> Self:
        if self.batch_size % self.group_size:
            raise ValueError(
                f"group_size={self.group_size} does not divide batch_size={self.batch_size}; use a divisor"
            )
        return self

    @model_validator(mode="after")
    def _check_sharding(self) -> Self:
        if self.sharding == "fsdp" and self.lora is not None and self.lora.base == "nf4":
            raise ValueError("sharding=fsdp does not split weights of 4 bits; use lora.base=full or sharding=none")
        if self.compile and self.lora is not None and self.lora.base == "nf4":
            raise ValueError("compile=true does not go with weights of 4 bits; use lora.base=full or compile=false")
        return self
