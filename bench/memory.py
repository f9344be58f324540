"""Memory and operations of SFT for models from 135M to 7B, computed; beside it what SmolLM2 takes when it trains here.

    python bench/memory.py                   # the table, float32 states with bfloat16 or float32 products
    python bench/memory.py --measure         # and a step of SmolLM2-135M, to see how good the numbers are

States: 4 bytes a weight, and 12 more for each that trains (gradient, two moments of AdamW). Activations: what the
backward pass keeps of one block of the model's own widths, counted on real tensors of one and of two blocks with random
weights, times the number of blocks; with checkpointing the input of each, and one block whole. The head keeps no
logits.
Operations: 6 for each weight of a matrix and token, 4 where adapters train, 2 more with checkpointing; attention apart.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

from tltrain.engine.logprobs import TargetSequence, target_scores
from tltrain.engine.model import add_lora, checkpoint_activations, load_model
from tltrain.engine.settings import LoraConfig

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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=2048, help="of a micro-batch: micro_batch_tokens")
    parser.add_argument("--counted", type=int, default=128, help="tokens on which activations are counted")
    parser.add_argument("--rank", type=int, default=16, help="of adapters")
    parser.add_argument("--measure", action="store_true")
    options = parser.parse_args()
    print(f"GiB at {options.tokens} tokens a micro-batch: states + activations, in float32 products (computed)")
    print(f"{'model':<14}{'weights':>9}{'all':>14}{'all, ckpt':>14}{'LoRA':>14}{'LoRA, ckpt':>14}{'GFLOP a token':>15}")
    for shape in SHAPES:
        print(describe(shape, options.tokens, options.counted, options.rank))
    if options.measure:
        measure(SHAPES[0], options.tokens, options.counted)


def describe(shape: Shape, tokens: int, counted: int, rank: int) -> str:
    """A row of the table."""
    weights, blocks = count_weights(shape)
    adapters = count_adapters(shape, rank)
    cells = []
    for lora in (False, True):
        states = 4 * weights + (16 * adapters if lora else 12 * weights)
        kept = bytes_of_block(shape, counted, rank if lora else None)
        inputs = 4 * shape.hidden
        for activations in (shape.layers * kept, shape.layers * inputs + kept):
            cells.append(f"{states / _GIB:6.1f}+{activations * tokens / _GIB:5.1f}")
    flops = f"{6 * (blocks + shape.hidden * shape.vocabulary) / 1e9:.1f}"
    return f"{shape.name:<14}{weights / 1e6:>7,.0f} M" + "".join(f"{cell:>14}" for cell in cells) + f"{flops:>15}"


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


def bytes_of_block(shape: Shape, tokens: int, rank: int | None) -> float:
    """What one block keeps for the backward pass, bytes a token: two blocks less one, so that nothing else counts."""
    return (kept_bytes(shape, 2, tokens, rank) - kept_bytes(shape, 1, tokens, rank)) / tokens


def kept_bytes(shape: Shape, num_layers: int, tokens: int, rank: int | None) -> int:
    """Bytes of all tensors that a forward pass keeps, weights left out, each storage once."""
    model = shape.build(num_layers, 64)
    if rank is not None:
        model = add_lora(model, LoraConfig(rank=rank))
    model.train()
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        output = target_scores(model, [TargetSequence([3] * tokens, [tokens - 1])])
    del output
    return sum(kept.values())


def measure(shape: Shape, tokens: int, counted: int) -> None:
    """Steps of the real model, its peak over what was loaded beside the computed one."""
    from measure import Memory

    weights, _ = count_weights(shape)
    kept = bytes_of_block(shape, counted, None)
    for name, prepare, per_token in (
        ("all weights", lambda _: None, shape.layers * kept),
        ("with checkpointing", checkpoint_activations, shape.layers * 4 * shape.hidden + kept),
    ):
        seconds, peak = run_step(prepare, tokens, Memory)
        computed = 12 * weights + per_token * tokens
        print(
            f"SmolLM2-135M, {name}, one step of {tokens} tokens: {peak / _GIB:.2f} GiB over loading (measured), "
            f"{computed / _GIB:.2f} (computed); {seconds:.0f} s with {torch.get_num_threads()} threads"
        )


def run_step(prepare: Callable[[Any], object], tokens: int, memory_type: Any) -> tuple[float, int]:
    """Seconds and peak bytes of a second step, when the moments are there."""
    model = load_model("smollm2-135m-instruct").model.train()
    prepare(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6)
    memory = memory_type(model)
    seconds = 0.0
    for _ in range(2):
        start = time.monotonic()
        targets = list(range(tokens - 64, tokens))
        scores = target_scores(model, [TargetSequence([3 + place % 900 for place in range(tokens)], targets)]).scores
        (-scores.logprobs.mean()).backward()
        optimizer.step()
        optimizer.zero_grad()
        seconds = time.monotonic() - start
    read = memory.read()
    return seconds, read["peak"] - read["loaded"]


if __name__ == "__main__":
    main()
