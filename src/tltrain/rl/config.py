"""Settings of `ppo`."""

from typing import ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from tltrain.audit.policy import Block
from tltrain.constrained.config import Constrain
from tltrain.engine.settings import LoraConfig, OptimizerConfig, Precision, Sharding
from tltrain.rewards.compare import CompareConfig
from tltrain.rewards.rules import RewardTable
from tltrain.rl.curriculum import CurriculumConfig
from tltrain.rl.episode_config import EpisodesConfig
from tltrain.rl.turns import Turns
from tltrain.rollout.vllm_config import VllmConfig

CriticKind = Literal["head", "separate"]
"""What estimates the rewards to come:

- head: a linear layer, 0 at the start, on the actor's hidden states, through which nothing flows back. It costs
  nothing.
- separate: a copy of the SFT model of its own, with such a layer on it. The paper's; it needs the memory of one more
  model in training.
"""


Advantage = Literal["gae", "rloo", "grpo", "reinforce++"]
"""What a reward is measured against:

- gae: the critic's value. PPO's, and the paper's.
- rloo: the mean reward of the other completions of the prompt. It needs no critic that has learnt anything yet.
- grpo: the mean reward of all completions of the prompt, in units of their spread.
- reinforce++: nothing but, with `whiten_advantages`, the mean and spread of the whole rollout batch.

All but gae do without a critic.
"""

LossMean = Literal["token", "sequence", "constant"]
"""Over what the policy's loss is averaged:

- token: all trained tokens of the minibatch alike, so that long completions weigh more. PPO's, and DAPO's (Yu et al.
  2025, arXiv:2503.14476, Eq. 8).
- sequence: the tokens of each completion, then the completions. GRPO's (Shao et al. 2024, arXiv:2402.03300, Eq. 3);
  a token of a short completion weighs more.
- constant: the sum over the completions' number times the most tokens that one may have. Dr. GRPO's (Liu et al. 2025,
  arXiv:2503.20783, section 3.2), in which no length is favoured.
"""


Worry = Literal["kl", "entropy", "reward_hacking", "critic", "truncated", "nothing_learnt", "drift"]
"""What can go wrong while the reward looks fine, see `rl.health`."""


class PpoConfig(BaseModel):
    """Everything that decides what reinforcement learning does with its prompts.

    "Paper" is the script and code that TL-Training was released with, see method.md section 3.

    Raises (on construction):
        ValidationError: a field out of its range, or fields that do not go together.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    WITHOUT_EFFECT: ClassVar[frozenset[str]] = frozenset({"activation_checkpointing", "compile", "sharding"})
    """Fields that change time and memory alone: a run can be resumed with others."""

    # what to learn from
    block: Block = "paper"
    """Which verdicts keep a call from being a right answer. Default: method.md, calls outside T_e."""
    turns: Turns = "one_call"
    """Which turns become prompts, see `Turns`. Default: the paper's, of which a completion ends when its call is
    complete. With the others it ends at the end-of-turn token alone, whatever the prompt, as one more call may come."""
    max_prompts: int | None = Field(default=None, ge=2)
    """Most prompts to use, held-out ones included; a random choice is taken of more. None: all, as the paper."""
    max_prompt_length: int = Field(default=8192, ge=1)
    """Tokens; longer prompts are set aside. Default: the paper."""
    curriculum: CurriculumConfig | None = None
    """Draw the prompts of a step by what the policy still gets wrong. None: all of them once an epoch, as the paper."""
    num_epochs: float = Field(default=3.0, gt=0, allow_inf_nan=False)
    """Passes over the prompts; with a curriculum as many steps as that. Default: the paper."""
    max_steps: int | None = Field(default=None, ge=1)
    """Most steps, where the epochs make more."""

    # rollouts
    prompts_per_step: int = Field(default=16, ge=1)
    """Prompts whose completions make one rollout batch. method.md names none; as `sft` has."""
    samples_per_prompt: int = Field(default=1, ge=1)
    """Completions of each prompt. Default: the paper."""
    group_size: int = Field(default=4, ge=1)
    """Prompts of one tool list that are drawn together, where there are so many: their common beginning is computed
    once. More is faster, fewer mixes the tools of a step better."""
    max_new_tokens: int = Field(default=512, ge=1)
    """A completion is cut off there. Default: the paper."""
    temperature: float = Field(default=1.0, gt=0)
    """Of sampling, and of every log-prob. The paper samples greedily, which never tries anything but the best guess."""
    constrain: Constrain = "off"
    """What may be written, see `Constrain`, in training and in answers to held-out prompts. Policy and reference are
    then those over the allowed tokens: probabilities, their ratio, divergence and entropy. Default: the paper."""
    rollout_batch_size: int = Field(default=32, ge=1)
    """Most prompts that are sampled together; memory grows with it, results do not change."""
    vllm: VllmConfig | None = None
    """Sample with vLLM, also the answers to held-out prompts. None: with the model in this process."""

    # whole conversations
    episodes: EpisodesConfig | None = None
    """Play tasks to their end, with real feedback, in place of single calls. A "prompt" is then a task, a
    "completion" all that the model writes in one episode (of each turn `max_new_tokens` at most), and `reward`,
    `compare`, `bad_gold` and verdicts have no effect. Rewards of turns are clipped one by one; `rloo`, `grpo` and
    `drop_equal_groups` compare whole episodes of a task. None: single calls, as the paper."""

    # rewards
    reward: RewardTable = RewardTable()
    """Default: the paper's table."""
    compare: CompareConfig = CompareConfig()
    """When values are the same. Default: when they are equal as JSON; the paper compares texts."""
    bad_gold: Literal["refuse", "drop"] = "refuse"
    """What becomes of prompts whose right call cannot earn `reward.right`, which is checked before training: the stage
    refuses to start and names them, or drops them into quarantine.jsonl."""
    reward_clip: float | None = Field(default=5.0, gt=0)
    """The reward of a completion is clipped to plus and minus this; None: not at all. Default: the paper."""
    kl_coef: float = Field(default=0.4, ge=0)
    """beta: what a nat of divergence from the SFT model costs. Default: the paper."""
    kl_estimator: Literal["k1", "k2", "k3"] = "k1"
    """See `KlEstimator`. Default: the paper."""
    kl_in: Literal["reward", "loss"] = "reward"
    """Where the divergence is paid for: token by token in the reward, as the paper, or in the loss, as GRPO, which
    wants k2 or k3."""
    kl_target: float | None = Field(default=None, gt=0)
    """Nats a completion; `kl_coef` is then only the start, and follows the divergence, see `AdaptiveKl`. None: fixed,
    as the paper."""
    kl_horizon: float = Field(default=10_000, gt=0)
    """Completions over which `kl_coef` may move by a fifth. Default: Ziegler et al. 2019."""
    gamma: float = Field(default=1.0, ge=0, le=1)
    """Discount a token. Default: the paper."""
    gae_lambda: float = Field(default=0.95, ge=0, le=1)
    """Default: the paper."""
    advantage: Advantage = "gae"
    """What a reward is measured against. Default: the paper."""
    scale_by_spread: bool = True
    """Of grpo; False is Dr. GRPO, which does not favour prompts on which nearly all completions earn the same."""
    drop_equal_groups: bool = False
    """Learn nothing from prompts whose completions all earned the same (DAPO)."""
    truncated: Literal["score", "mask"] = "score"
    """Completions that were cut off: learn from their score, as the paper, or nothing at all."""
    overlong_buffer: int = Field(default=0, ge=0)
    """Tokens before `max_new_tokens` over which a completion loses up to 1, see `length_penalty`; 0: none."""
    whiten_advantages: bool = True
    """Scale the advantages of a rollout batch to mean 0 and variance 1. The paper does not; with it a learning rate
    fits whatever the rewards' size."""

    # updates
    num_updates: int = Field(default=2, ge=1)
    """Passes over each rollout batch. The paper's one leaves every ratio at 1, so that nothing is ever clipped."""
    minibatch_size: int = Field(default=16, ge=1)
    """Completions per optimizer step."""
    micro_batch_tokens: int = Field(default=8192, ge=1)
    """Most tokens that run through a model together, those that rollouts share counted once; a longer rollout runs
    alone. Memory grows with it, results do not change."""
    clip_range: float = Field(default=0.2, gt=0, lt=1)
    """Of the ratio. Default: the paper."""
    clip_range_high: float | None = Field(default=None, gt=0)
    """How far the ratio may rise; None: as far as it may fall. DAPO's 0.28 keeps rare tokens alive."""
    loss_mean: LossMean = "token"
    """Over what the policy's loss is averaged. Default: PPO."""
    value_clip_range: float | None = Field(default=0.2, gt=0)
    """How far a value may move in the updates on one rollout batch; None: anywhere. Default: the paper."""
    vf_coef: float = Field(default=1.0, gt=0)
    """Factor of the value loss. The critic has an optimizer of its own, so it acts through the limit on the gradient's
    norm alone."""
    entropy_coef: float = Field(default=0.0, ge=0)
    """Factor of the entropy bonus. Default: the paper has none."""

    # models
    actor_optimizer: OptimizerConfig = OptimizerConfig(learning_rate=1e-5)
    """The paper's rate, 2e-7, is for all weights of a model of 7B."""
    critic_optimizer: OptimizerConfig = OptimizerConfig(learning_rate=1e-4)
    """For a value head alone; all weights of a separate critic want a tenth or less. The paper's rate is 1e-7."""
    lora: LoraConfig | None = None
    """Adapters of the actor; None trains all its weights, as the paper, and keeps a second copy as reference."""
    critic: CriticKind = "head"
    """The paper's is "separate"; "head" needs no second model in training."""
    critic_lora: LoraConfig | None = None
    """Adapters of a separate critic; None trains all its weights, as the paper."""
    precision: Precision = "auto"
    activation_checkpointing: bool = False
    """Of actor and separate critic: keep less of the forward pass and compute it again in the backward pass; less
    memory, more time, the same gradient."""
    compile: bool = False
    """Compile transformer blocks (torch.compile, one compilation for all lengths) where they run with gradient, which
    takes a minute at the start; sampling stays as it is. Needs a C++ compiler, on a GPU Triton. Not with
    sharding=fsdp."""
    sharding: Sharding = "auto"
    """How several processes hold actor, reference and a separate critic. While they sample, each holds the actor
    whole."""
    share_prefixes: bool = True
    """Compute what the sequences of a micro-batch have in common once; the gradient is the same."""

    # measuring and keeping
    heldout_share: float = Field(default=0.05, ge=0, lt=1)
    """Share of the trajectories whose prompts are kept out of training and answered greedily during it."""
    evaluate_every: int = Field(default=10, ge=1)
    """Steps between answering the held-out prompts, which is also done before the first and after the last step."""
    keep: Literal["last", "best"] = "last"
    """Which weights become the result; "best" are those with the highest held-out reward, the SFT model's included."""
    stop_on: tuple[Worry, ...] = ()
    """Warnings at which the run ends, with the weights that `keep` says; see `find_warnings`."""
    checkpoint_every: int = Field(default=10, ge=1)
    """Steps between checkpoints."""
    seed: int = 0

    @property
    def rollouts_per_step(self) -> int:
        """Completions in a full rollout batch."""
        return self.prompts_per_step * self.samples_per_prompt

    @model_validator(mode="after")
    def _check_sizes(self) -> Self:
        made = "prompts_per_step * samples_per_prompt"
        for name, size, whole_name, whole in (
            ("group_size", self.group_size, "prompts_per_step", self.prompts_per_step),
            ("minibatch_size", self.minibatch_size, made, self.rollouts_per_step),
        ):
            if whole % size:
                divisor = max(number for number in range(1, min(size, whole) + 1) if whole % number == 0)
                raise ValueError(f"{name}={size} does not divide {whole_name}={whole}; use a divisor such as {divisor}")
        return self

    @model_validator(mode="after")
    def _check_models(self) -> Self:
        if self.critic_lora is not None and self.critic == "head":
            raise ValueError("critic_lora is set, and critic='head' has no model to adapt; set critic='separate'")
        for name in ("lora", "critic_lora"):
            adapters: LoraConfig | None = getattr(self, name)
            if adapters is not None and adapters.dropout > 0:
                raise ValueError(
                    f"{name}.dropout={adapters.dropout}; the policy that trains must be the one that samples: use 0"
                )
            if adapters is not None and adapters.base != "full":
                raise ValueError(f"{name}.base={adapters.base}: ppo does not train over weights of 4 bits; use full")
        for name, is_on in (
            (f"advantage={self.advantage!r}", self.advantage in ("rloo", "grpo")),
            ("drop_equal_groups=true", self.drop_equal_groups),
        ):
            if is_on and self.samples_per_prompt == 1:
                raise ValueError(f"{name} compares completions of one prompt; raise samples_per_prompt to 4, say")
        if self.advantage != "gae" and self.critic == "separate":
            raise ValueError(f"advantage={self.advantage!r} does without a critic; leave critic='separate' out")
        if self.kl_in == "loss" and self.kl_estimator == "k1":
            raise ValueError(
                "kl_in='loss' with kl_estimator='k1' teaches nothing, its gradient is 0 on average; use k3"
            )
        if self.turns == "all" and self.constrain == "call":
            raise ValueError(
                "turns='all' has turns where text alone is right, and constrain='call' lets none be written; use "
                "constrain='auto', or turns='calls'"
            )
        if self.overlong_buffer > self.max_new_tokens:
            raise ValueError(f"overlong_buffer={self.overlong_buffer} is over max_new_tokens={self.max_new_tokens}")
        if self.vllm is not None and self.constrain != "off":
            raise ValueError(f"constrain={self.constrain!r} is for the model in this process; leave vllm out")
        if self.episodes is not None:
            self._check_episodes(self.episodes)
        if self.keep == "best" and self.heldout_share == 0:
            raise ValueError("keep='best' needs held-out prompts, and heldout_share=0; raise it to 0.05, say")
        return self

    def _check_episodes(self, episodes: EpisodesConfig) -> None:
        for name, is_on in (
            ("vllm", self.vllm is not None),
            ("curriculum", self.curriculum is not None),
            (f"turns={self.turns!r}", self.turns != "one_call"),
        ):
            if is_on:
                raise ValueError(f"{name} is for prompts of single turns; leave it out, or leave episodes out")
        if self.constrain == "call":
            raise ValueError("constrain='call' lets no episode end, which takes an answer in text; use 'auto' or 'off'")
        if self.overlong_buffer:
            raise ValueError(
                f"overlong_buffer={self.overlong_buffer} is for single calls; set episodes.reward.per_token below 0"
            )
        if self.loss_mean == "constant":
            raise ValueError("loss_mean='constant' divides by the most tokens of one call; use 'token' or 'sequence'")
        if episodes.max_length <= self.max_new_tokens:
            raise ValueError(
                f"episodes.max_length={episodes.max_length} leaves no room beside "
                f"max_new_tokens={self.max_new_tokens}; raise the first"
            )
