"""Memory and time of SFT for models from 135M to 7B, computed; beside it what SmolLM2 takes when it trains here.

    python bench/memory.py                   # the table, in a few seconds
    python bench/memory.py --measure all     # and steps of SmolLM2-135M, to check the numbers; or checkpointed

All in float32, per device. States: 4 bytes a weight, and 12 more for each that trains (gradient, two moments of AdamW).
Activations, a token and block: what `bytes_of_block` says the backward pass keeps; with checkpointing the input of
each block, and one block whole. Head: the logits of a chunk three times over, and the gradient of the output matrix
once more where it trains. Over 8 devices (FSDP): an eighth of the states, embeddings and two blocks whole, with their
gradients. tests/test_bench_memory.py holds the formulas against what is kept, and against the peak of a small model.
Operations: 6 for each weight of a matrix and token, 4 where adapters train, 2 more with checkpointing; attention apart.
Time is operations over those that a matrix product gets done here (or `--gflops`), so it is a lower bound.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

from tltrain.engine.logprobs import TargetSequence, target_scores
from tltrain.engine.model import checkpoint_activations, load_model
from tltrain.engine.tree_attention import can_run_trees

_GIB = 2**30


@dataclass(frozen=True)
class Shape:
    """A published model, by what its config.json says."""

    name: str
    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    vocabulary: int
    is_tied: bool
    is_qwen: bool = False

    def build(self, num_layers: int, vocabulary: int) -> Any:
        """A random model of these widths."""
        kind, config = (Qwen2ForCausalLM, Qwen2Config) if self.is_qwen else (LlamaForCausalLM, LlamaConfig)
        return kind(
            config(
                vocab_size=vocabulary,
                hidden_size=self.hidden,
                intermediate_size=self.intermediate,
                num_hidden_layers=num_layers,
                num_attention_heads=self.heads,
                num_key_value_heads=self.kv_heads,
                tie_word_embeddings=self.is_tied,
            )
        )


SHAPES = (
    Shape("SmolLM2-135M", 576, 1536, 30, 9, 3, 49152, True),
    Shape("Qwen2.5-0.5B", 896, 4864, 24, 14, 2, 151936, True, True),
    Shape("Qwen2.5-1.5B", 1536, 8960, 28, 12, 2, 151936, True, True),
    Shape("Qwen2.5-3B", 2048, 11008, 36, 16, 2, 151936, True, True),
    Shape("Qwen2.5-7B", 3584, 18944, 28, 28, 4, 152064, False, True),
    Shape("CodeLlama-7B", 4096, 11008, 32, 32, 32, 32016, False),
)


_CHUNK = 128
"""Targets whose logits exist at once."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=2048, help="of a micro-batch: micro_batch_tokens")
    parser.add_argument("--rank", type=int, default=16, help="of adapters")
    parser.add_argument("--devices", type=int, default=8, help="of FSDP")
    parser.add_argument("--gflops", type=float, help="operations a device gets done, 1e9 a second; default: measured")
    parser.add_argument("--measure", choices=["all", "checkpointed"], help="one a process: what is freed stays there")
    options = parser.parse_args()
    gflops = options.gflops
    if gflops is None:
        from measure import measure_matmul

        gflops = measure_matmul("float32")["seconds"] / 1e9
    fsdp = f"all, ckpt, 1 of {options.devices}"
    print(f"GiB a device at {options.tokens} tokens a micro-batch: states + the rest; float32, computed")
    print(
        f"{'model':<14}{'weights':>9}{'all':>14}{'all, ckpt':>14}{'LoRA':>14}{'LoRA, ckpt':>14}{fsdp:>22}"
        f"{'GFLOP a token':>15}{f's for 1,000 at {gflops:,.0f} GFLOP/s':>32}"
    )
    for shape in SHAPES:
        print(describe(shape, options.tokens, options.rank, options.devices, gflops))
    if options.measure:
        measure(SHAPES[0], options.tokens, options.measure == "checkpointed")


def describe(shape: Shape, tokens: int, rank: int, devices: int, gflops: float) -> str:
    """A row of the table."""
    weights, blocks = count_weights(shape)
    cells = []
    for lora in (None, rank):
        for is_checkpointed in (False, True):
            states, rest = memory_of_step(shape, tokens, lora, is_checkpointed)
            cells.append(f"{states / _GIB:6.1f}+{rest / _GIB:5.1f}")
    states, rest = memory_of_step(shape, tokens, None, True, devices)
    cells.append(f"{states / _GIB:14.1f}+{rest / _GIB:5.1f}")
    flops = 6 * (blocks + shape.hidden * shape.vocabulary) / 1e9
    row = f"{shape.name:<14}{weights / 1e6:>7,.0f} M" + "".join(f"{cell:>14}" for cell in cells)
    return f"{row}{flops:>15.1f}{1000 * flops / gflops:>32,.1f}"


def memory_of_step(
    shape: Shape, tokens: int, rank: int | None, is_checkpointed: bool, devices: int = 1
) -> tuple[float, float]:
    """Bytes a device: of weights, gradients and moments, and of all else at the peak of a step.

    Args:
        shape: of the model.
        tokens: of a micro-batch.
        rank: of adapters; None: all weights train.
        is_checkpointed: activation checkpointing.
        devices: that share the states; 1: none does.
    """
    weights, in_blocks = count_weights(shape)
    trained = weights if rank is None else count_adapters(shape, rank)
    states = 4 * (weights if rank is None else weights + trained) + 12 * trained
    # remaking is off where blocks are made again or split
    is_plain = is_checkpointed or devices > 1
    kept = bytes_of_block(shape, rank, is_plain=is_plain)
    activations = (4 * shape.hidden * shape.layers + kept if is_checkpointed else kept * shape.layers) * tokens
    matrix = 4 * shape.hidden * shape.vocabulary
    rest = activations + 3 * 4 * _CHUNK * shape.vocabulary + (matrix if rank is None else 0)
    if devices > 1:
        rest += 2 * (matrix if shape.is_tied else 2 * matrix) + 2 * 2 * 4 * in_blocks / shape.layers
    return states / devices, rest


def bytes_of_block(shape: Shape, rank: int | None = None, *, is_plain: bool = False) -> int:
    """What the backward pass keeps of one block, bytes a token, float32.

    Inputs of both norms; queries, keys, values and result of attention with a number a head; both halves of the
    feed-forward layer; of each adapter its inner states. Plain blocks also keep the output of each norm, its inner
    state where its weight trains, the activation and the product.
    """
    head = shape.hidden // shape.heads
    attention = 2 * shape.heads * head + 2 * shape.kv_heads * head + shape.heads
    norms, halves = (6 if rank is None else 4, 4) if is_plain else (2, 2)
    return 4 * (norms * shape.hidden + attention + halves * shape.intermediate + (7 * rank if rank else 0))


def count_weights(shape: Shape) -> tuple[int, int]:
    """All weights, and those of the matrices in blocks."""
    with torch.device("meta"):
        model = shape.build(shape.layers, shape.vocabulary)
    blocks = sum(p.numel() for name, p in model.named_parameters() if ".layers." in name and p.ndim == 2)
    return sum(parameter.numel() for parameter in model.parameters()), blocks


def count_adapters(shape: Shape, rank: int) -> int:
    """Weights of LoRA on all linear layers of the blocks."""
    with torch.device("meta"):
        model = shape.build(1, 64)
    sizes = [p.shape for name, p in model.named_parameters() if ".layers." in name and p.ndim == 2]
    return shape.layers * sum(rank * (rows + columns) for rows, columns in sizes)


def measure(shape: Shape, tokens: int, is_checkpointed: bool) -> None:
    """Steps of the real model, its peak over what was loaded beside the computed one."""
    weights, _ = count_weights(shape)
    model = load_model("smollm2-135m-instruct").model
    seconds, peak = run_steps(model, checkpoint_activations if is_checkpointed else None, tokens)
    states, rest = memory_of_step(shape, tokens, None, is_checkpointed)
    computed = states - 4 * weights + rest
    print(
        f"{shape.name}, all weights{', checkpointed' * is_checkpointed}, two micro-batches of {tokens} tokens: "
        f"{peak / _GIB:.2f} GiB over loading (measured), {computed / _GIB:.2f} (computed); {seconds:.0f} s a step with "
        f"{torch.get_num_threads()} threads"
    )


def run_steps(
    model: Any, prepare: Callable[[Any], object] | None, tokens: int, num_micro_batches: int = 2
) -> tuple[float, int]:
    """Seconds of a second step, when the moments are there, and peak bytes of both over the loaded model.

    Two micro-batches a step, so that a whole gradient is there while the second one runs.
    """
    from measure import Memory

    model.train()
    if prepare:
        prepare(model)
    vocabulary = model.config.vocab_size
    can_run_trees(model)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-6, fused=True)
    memory = Memory(model)
    seconds = 0.0
    for _ in range(2):
        start = time.monotonic()
        for number in range(num_micro_batches):
            ids = [(3 + number + 7 * place) % vocabulary for place in range(tokens)]
            scores = target_scores(model, [TargetSequence(ids, range(tokens - 64, tokens))]).scores
            (-scores.logprobs.mean()).backward()
        optimizer.step()
        optimizer.zero_grad()
        seconds = time.monotonic() - start
    read = memory.read()
    return seconds, read["peak"] - read["loaded"]


if __name__ == "__main__":
    main()
