"""SFT throughput: tltrain's step against plain transformers, one sample at a time, on the same samples in one run.

    python bench/sft.py --model smollm2-135m-instruct --num-samples 32

Both compute the gradient of the same weighted loss in float32. Beside the ratio of the times stands how far each
gradient is from one whose logits and cross-entropy are computed in float64, relative to its norm. Loading, rendering
and the optimizer's update are not timed.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from tltrain.audit.run import audit_trajectories, blocked_calls
from tltrain.engine.logprobs import TargetSequence, target_scores
from tltrain.engine.model import load_model
from tltrain.engine.prefix_tree import build_tree, plan_micro_batches
from tltrain.formats.read import read_trajectories
from tltrain.generate.config import GenerateConfig
from tltrain.generate.run import generate
from tltrain.render.conversation import render
from tltrain.render.rendered import RenderedTrajectory
from tltrain.render.template import ensure_tool_template
from tltrain.render.weights import KeyTokenWeighting
from tltrain.sft.loss import loss_coefficients, target_positions, weighted_nll
from tltrain.syntax import get_syntax


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--num-samples", type=int, default=32)
    parser.add_argument("--micro-batch-tokens", type=int, default=2048)
    parser.add_argument("--kits", nargs="+", default=["calendar", "bank"], help="fewer kits: more shared prefixes")
    arguments = parser.parse_args()

    loaded = load_model(arguments.model)
    model = loaded.model.train()
    samples = _samples(loaded.tokenizer, arguments.num_samples, tuple(arguments.kits))
    plan = plan_micro_batches([sample.input_ids for sample in samples], arguments.micro_batch_tokens)
    batches = [[samples[index] for index in batch] for batch in plan]
    num_unique = sum(len(build_tree([sample.input_ids for sample in batch]).ids) for batch in batches)
    factors = {id(s): f for s, f in zip(samples, loss_coefficients(samples, "turn"), strict=True)}

    def plain(*, exact: bool = False) -> None:
        for sample in samples:
            ids = torch.tensor([sample.input_ids], device=model.device)
            if exact:
                logits = model.base_model(input_ids=ids).last_hidden_state[0].double() @ model.lm_head.weight.double().T
            else:
                logits = model(input_ids=ids).logits[0]
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
    ours()  # finds out whether the model runs trees, and warms up
    slow, plain_gradient = _measure(plain, model)
    fast, our_gradient = _measure(ours, model)
    _, reference = _measure(partial(plain, exact=True), model)
    print(
        f"{len(samples)} samples, {num_tokens} tokens, {num_unique} of them computed in {len(batches)} micro-batches, "
        f"{torch.get_num_threads()} threads"
    )
    print(f"plain transformers, one at a time: {num_tokens / slow:8.1f} tokens/s  {len(samples) / slow:6.2f} samples/s")
    print(f"tltrain:                           {num_tokens / fast:8.1f} tokens/s  {len(samples) / fast:6.2f} samples/s")
    print(f"ratio {slow / fast:.2f}")
    for name, gradient in (("plain", plain_gradient), ("tltrain", our_gradient)):
        difference = ((gradient - reference).norm() / reference.norm()).item()
        print(f"gradient of {name}: {difference:.1e} from the reference, relative")


def _samples(tokenizer: object, number: int, kits: tuple[str, ...]) -> list[RenderedTrajectory]:
    with tempfile.TemporaryDirectory() as folder:
        generate(GenerateConfig(num_train=number, num_test=0, train_kits=kits), Path(folder))
        trajectories = read_trajectories(Path(folder) / "train.jsonl").trajectories
    syntax = get_syntax(ensure_tool_template(tokenizer))
    blocked = blocked_calls(audit_trajectories(trajectories))
    return [
        render(t, tokenizer, syntax, blocked=blocked.get(t.id, frozenset()), weighting=KeyTokenWeighting())
        for t in trajectories
    ]


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
