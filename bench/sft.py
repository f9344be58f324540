"""SFT throughput: tltrain's step against plain transformers, one sample at a time, on the same samples in one run.

    python bench/sft.py --model smollm2-135m-instruct --num-samples 32

Both compute the gradient of the same weighted loss in float32; the relative difference of the two gradients is printed
beside the ratio of the times. Loading, rendering and the optimizer's update are not timed.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from tltrain.audit.run import audit_trajectories, blocked_calls
from tltrain.engine.logprobs import TargetSequence, target_scores
from tltrain.engine.model import load_model
from tltrain.formats.read import read_trajectories
from tltrain.generate.config import GenerateConfig
from tltrain.generate.run import generate
from tltrain.render.conversation import render
from tltrain.render.rendered import RenderedTrajectory
from tltrain.render.template import ensure_tool_template
from tltrain.render.weights import KeyTokenWeighting
from tltrain.sft.batches import plan_epoch
from tltrain.sft.loss import loss_coefficients, target_positions, weighted_nll
from tltrain.syntax import get_syntax


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--num-samples", type=int, default=32)
    parser.add_argument("--micro-batch-size", type=int, default=8)
    parser.add_argument("--kits", nargs="+", default=["calendar", "bank"], help="fewer kits: more shared prefixes")
    arguments = parser.parse_args()

    loaded = load_model(arguments.model)
    model = loaded.model.train()
    samples, keys = _samples(loaded.tokenizer, arguments.num_samples, tuple(arguments.kits))
    size = arguments.micro_batch_size
    steps = plan_epoch(keys, batch_size=size, micro_batch_size=size, seed=0, epoch=0)
    batches = [[samples[index] for index in batch] for step in steps for batch in step]
    factors = {id(s): f for s, f in zip(samples, loss_coefficients(samples, "turn"), strict=True)}

    def plain() -> None:
        for sample in samples:
            logits = model(input_ids=torch.tensor([sample.input_ids], device=model.device)).logits[0]
            nll = torch.nn.functional.cross_entropy(
                logits[:-1], torch.tensor(sample.input_ids[1:], device=model.device), reduction="none"
            )
            places = torch.tensor(target_positions(sample)) - 1
            (nll[places] * torch.tensor(factors[id(sample)], device=model.device)).sum().backward()

    def ours() -> None:
        for batch in batches:
            sequences = [TargetSequence(sample.input_ids, target_positions(sample)) for sample in batch]
            scores = target_scores(model, sequences).scores
            weighted_nll(scores.logprobs, [factors[id(sample)] for sample in batch]).backward()

    num_tokens = sum(len(sample.input_ids) for sample in samples)
    slow, reference = _measure(plain, model)
    fast, gradient = _measure(ours, model)
    difference = ((gradient - reference).norm() / reference.norm()).item()
    print(f"{len(samples)} samples, {num_tokens} tokens, micro-batches of {size}, {torch.get_num_threads()} threads")
    print(f"plain transformers, one at a time: {num_tokens / slow:8.1f} tokens/s  {len(samples) / slow:6.2f} samples/s")
    print(f"tltrain:                           {num_tokens / fast:8.1f} tokens/s  {len(samples) / fast:6.2f} samples/s")
    print(f"ratio {slow / fast:.2f}; relative difference of the gradients {difference:.1e}")


def _samples(tokenizer: object, number: int, kits: tuple[str, ...]) -> tuple[list[RenderedTrajectory], list[str]]:
    with tempfile.TemporaryDirectory() as folder:
        generate(GenerateConfig(num_train=number, num_test=0, train_kits=kits), Path(folder))
        trajectories = read_trajectories(Path(folder) / "train.jsonl").trajectories
    syntax = get_syntax(ensure_tool_template(tokenizer))
    blocked = blocked_calls(audit_trajectories(trajectories))
    samples = [
        render(t, tokenizer, syntax, blocked=blocked.get(t.id, frozenset()), weighting=KeyTokenWeighting())
        for t in trajectories
    ]
    return samples, [repr(trajectory.tools) for trajectory in trajectories]


def _measure(work: Callable[[], None], model: torch.nn.Module) -> tuple[float, torch.Tensor]:
    model.zero_grad()
    start = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    seconds = time.perf_counter() - start
    return seconds, torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


if __name__ == "__main__":
    main()
