"""The gradient of tltrain's SFT, prefixes shared, against plain transformers, one sample at a time, in float32.

    python bench/sft_gradient.py                                        # small random models of six architectures
    python bench/sft_gradient.py --model smollm2-135m-instruct --num-samples 4

Both compute the gradient of the same loss, the mean negative log-prob of the trained tokens: of all weights, of LoRA
adapters, and of all weights with gradient checkpointing. The reference is plain transformers with logits and
cross-entropy in float64, as a float32 log-softmax over a large vocabulary rounds more than all else. Printed are the
norms of the differences, relative to the norm of the gradient. A model is timed too; loading, rendering and the
optimizer's update are not in that. Exits with 1 where tltrain is 1e-5 or more from the reference.
"""

import argparse
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
from sft_sets import IGNORED, make_set
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM

from tltrain.engine.logprobs import TargetSequence, target_scores
from tltrain.engine.model import add_lora, load_model
from tltrain.engine.prefix_tree import plan_micro_batches
from tltrain.engine.settings import LoraConfig
from tltrain.engine.tree_attention import can_run_trees
from tltrain.errors import ModelError
from tltrain.sft.loss import weighted_nll

KINDS = ("llama", "qwen2", "qwen3", "gemma2", "gemma3_text", "mistral")
MODES = ("all weights", "LoRA", "checkpointing")
_BOUND = 1e-5


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """Gradients of one loss."""

    difference: float
    """Norm of the difference of tltrain's to the reference, relative to the latter's."""
    plain_difference: float
    """The same of plain transformers, float32 throughout."""
    direct_difference: float
    """The same of tltrain's to that."""
    runs_trees: bool
    """Whether prefixes were shared, or samples run one by one."""
    speedup: float
    """Time of plain transformers by that of tltrain."""

    def describe(self, *, is_timed: bool) -> str:
        """The figures as one line."""
        return (
            f"tltrain {self.difference:.1e}, plain transformers {self.plain_difference:.1e} from the reference, "
            f"{self.direct_difference:.1e} from each other; "
            f"{'prefixes shared' if self.runs_trees else 'run one by one'}"
            f"{f'; {self.speedup:.2f} times as fast' if is_timed else ''}"
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a name or folder, in place of the small random ones")
    parser.add_argument("--num-samples", type=int, default=8)
    parser.add_argument("--micro-batch-tokens", type=int, default=2048)
    parser.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES))
    arguments = parser.parse_args()
    worst = 0.0
    for name, load, sequences in _subjects(arguments):
        for mode in arguments.modes:
            try:
                found = compare_gradients(prepare(load(), mode), sequences, arguments.micro_batch_tokens)
            except (ModelError, ValueError) as error:  # an architecture that a mode cannot run with
                print(f"{name}, {mode}: left out ({error})")
                continue
            worst = max(worst, found.difference)
            print(f"{name}, {mode}: {found.describe(is_timed=arguments.model is not None)}", flush=True)
    print(f"largest difference {worst:.1e}")
    return int(worst >= _BOUND)


def _subjects(arguments: argparse.Namespace) -> Iterator[tuple[str, Callable[[], Any], list[TargetSequence]]]:
    if arguments.model is None:
        for kind in KINDS:
            yield f"random {kind}", partial(random_model, kind), random_sequences(arguments.num_samples)
        return
    rows = make_set(
        "fixed",
        load_model(arguments.model).tokenizer,
        max_length=arguments.micro_batch_tokens,
        num_rows=arguments.num_samples,
        rlla=None,
    ).rows
    sequences = [
        TargetSequence(row.input_ids, [place for place, label in enumerate(row.labels) if label != IGNORED])
        for row in rows
    ]
    yield arguments.model, lambda: load_model(arguments.model).model, sequences


def random_model(kind: str) -> Any:
    """A small random model; windows of 40 tokens where the architecture has them."""
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        kind,
        vocab_size=211,
        hidden_size=48,
        intermediate_size=96,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=12,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        **({"sliding_window": 40} if kind in ("gemma2", "gemma3_text", "mistral") else {}),
    )
    return AutoModelForCausalLM.from_config(config).float()


def random_sequences(number: int) -> list[TargetSequence]:
    """Two families with a long common beginning each, the tokens after it trained."""
    rng = random.Random(0)
    stems = [[rng.randrange(3, 211) for _ in range(length)] for length in (90, 60)]
    sequences = []
    for sample in range(number):
        stem = stems[sample % 2]
        ids = stem + [rng.randrange(3, 211) for _ in range(rng.randint(5, 60))]
        sequences.append(TargetSequence(ids, range(len(stem), len(ids))))
    return sequences


def prepare(model: Any, mode: str) -> Any:
    """The model as a mode trains it."""
    if mode == "LoRA":
        model = add_lora(model, LoraConfig(rank=4))
        generator = torch.Generator().manual_seed(1)
        for name, parameter in model.named_parameters():
            if "lora_B" in name:  # zero as they come, so that the gradient of A would be zero too
                parameter.data.copy_(torch.randn(parameter.shape, generator=generator) * 0.02)
    if mode == "checkpointing":
        model.gradient_checkpointing_enable()
    return model.train()


def compare_gradients(model: Any, sequences: Sequence[TargetSequence], micro_batch_tokens: int) -> Comparison:
    """Both gradients of the mean negative log-prob of the sequences' targets.

    Raises:
        ModelError: tltrain does not train this architecture.
    """
    share = 1 / sum(len(sequence.positions) for sequence in sequences)
    batches = plan_micro_batches([sequence.ids for sequence in sequences], micro_batch_tokens)

    def ours() -> None:
        for batch in batches:
            own = [sequences[index] for index in batch]
            scores = target_scores(model, own).scores
            weighted_nll(scores.logprobs, [[share] * len(sequence.positions) for sequence in own]).backward()

    def plain(dtype: torch.dtype) -> None:
        for sequence in sequences:
            ids = torch.tensor([list(sequence.ids)], device=model.device)
            if dtype == torch.float64:
                inner = model.get_base_model() if hasattr(model, "get_base_model") else model
                hidden = inner.base_model(input_ids=ids, use_cache=False).last_hidden_state[0]
                logits = hidden.double() @ inner.get_output_embeddings().weight.double().T
                if cap := getattr(model.config, "final_logit_softcapping", None):
                    logits = torch.tanh(logits / cap) * cap
            else:
                logits = model(input_ids=ids, use_cache=False).logits[0]
            places = torch.tensor(list(sequence.positions), device=model.device)
            nll = torch.nn.functional.cross_entropy(logits[places - 1], ids[0, places], reduction="sum")
            (nll * share).backward()

    # before our attention is set in the model's own
    seconds, plain_gradient = _measure(partial(plain, torch.float32), model)
    reference = _measure(partial(plain, torch.float64), model).gradient
    runs_trees = can_run_trees(model)
    our_seconds, our_gradient = _measure(ours, model)

    def apart(one: Tensor, other: Tensor) -> float:
        return ((one - other).norm() / other.norm()).item()

    return Comparison(
        difference=apart(our_gradient, reference),
        plain_difference=apart(plain_gradient, reference),
        direct_difference=apart(our_gradient, plain_gradient),
        runs_trees=runs_trees,
        speedup=seconds / our_seconds,
    )


class _Measured(NamedTuple):
    seconds: float
    gradient: Tensor


def _measure(work: Callable[[], None], model: torch.nn.Module) -> _Measured:
    model.zero_grad()
    start = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    seconds = time.perf_counter() - start
    gradients = [parameter.grad.flatten() for parameter in model.parameters() if parameter.grad is not None]
    return _Measured(seconds, torch.cat(gradients))


if __name__ == "__main__":
    raise SystemExit(main())
