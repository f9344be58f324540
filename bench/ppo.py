"""PPO throughput: one step of tltrain against the plain way, one sample at a time, on the same prompts in one run.

    python bench/ppo.py --model smollm2-135m-instruct --num-prompts 16

The plain way samples each completion with `generate`, of the same length as tltrain's, then runs the reference and the
policy's values once without gradient, and the policy once with it, logits at all positions. Both do one pass of
updates in float32 with a value head; loading, judging and the plain optimizer's update are not timed.
"""

import argparse
import copy
import tempfile
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from tltrain.engine.device import pick_device
from tltrain.engine.model import load_model
from tltrain.formats.read import read_trajectories
from tltrain.generate.config import GenerateConfig
from tltrain.generate.run import generate
from tltrain.render.template import ensure_tool_template
from tltrain.rl.actor import Actor
from tltrain.rl.batches import plan_minibatches, plan_steps
from tltrain.rl.config import PpoConfig
from tltrain.rl.critic import Critic
from tltrain.rl.experience import gain_experience
from tltrain.rl.prompts import make_prompts
from tltrain.rl.rollouts import Rollout, draw_rollouts
from tltrain.rl.scoring import Scorer
from tltrain.rl.update import Updater
from tltrain.syntax import get_syntax


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--num-prompts", type=int, default=16)
    parser.add_argument("--max-new-tokens", type=int, default=32)
    parser.add_argument("--kits", nargs="+", default=["calendar", "bank"], help="fewer kits: more shared prefixes")
    arguments = parser.parse_args()

    loaded = load_model(arguments.model)
    scorer = Scorer(get_syntax(ensure_tool_template(loaded.tokenizer)))
    size = arguments.num_prompts
    config = PpoConfig(
        prompts_per_step=size,
        group_size=min(8, size),
        minibatch_size=size,
        micro_batch_tokens=4096,
        num_updates=1,
        max_new_tokens=arguments.max_new_tokens,
        precision="float32",
    )
    with tempfile.TemporaryDirectory() as folder:
        generate(GenerateConfig(num_train=2 * size, num_test=0, train_kits=tuple(arguments.kits)), Path(folder))
        trajectories = read_trajectories(Path(folder) / "train.jsonl").trajectories
    found = make_prompts(
        trajectories, loaded.tokenizer, scorer.syntax, blocked={}, max_length=4096, max_prompts=size, seed=0
    )
    device = pick_device()
    plain_model = copy.deepcopy(loaded.model).to(device)
    reference = copy.deepcopy(plain_model)
    critic, actor = Critic(config, loaded.model, device), Actor(config, loaded.model, device)

    times = [time.perf_counter()]
    step = plan_steps(found.prompts, config)[0]
    groups = [[found.prompts[index] for index in group] for group in step]
    rollouts = draw_rollouts(actor, loaded.tokenizer, groups, scorer=scorer, config=config, step=0).rollouts
    times.append(time.perf_counter())
    experience = gain_experience(actor, critic, rollouts, config)
    minibatches = plan_minibatches([r.group for r in rollouts], num_updates=1, minibatch_size=size, seed=0, step=0)
    Updater(config, actor, critic, num_steps=1).update(experience, minibatches, first_step=0)
    times.append(time.perf_counter())
    _sample_plainly(plain_model, rollouts)
    times.append(time.perf_counter())
    _update_plainly(plain_model, reference, rollouts)
    times.append(time.perf_counter())

    rollout, update, plain_rollout, plain_update = (end - start for start, end in pairwise(times))
    print(f"{len(rollouts)} samples, {sum(len(r.completion.ids) for r in rollouts)} sampled tokens")
    for name, first, second in (("plain", plain_rollout, plain_update), ("tltrain", rollout, update)):
        speed = len(rollouts) / (first + second)
        print(f"{name:8} {speed:6.3f} samples/s: rollout {first:6.1f} s, update {second:6.1f} s")
    total = (plain_rollout + plain_update) / (rollout + update)
    print(f"ratio {total:.2f}: rollout {plain_rollout / rollout:.2f}, update {plain_update / update:.2f}")


@torch.no_grad()
def _sample_plainly(model: Any, rollouts: Sequence[Rollout]) -> None:
    for rollout in rollouts:
        prompt = torch.tensor([list(rollout.prompt.ids)], device=model.device)
        length = len(rollout.completion.ids)
        model.generate(
            prompt,
            attention_mask=torch.ones_like(prompt),
            do_sample=True,
            max_new_tokens=length,
            min_new_tokens=length,
        )


def _update_plainly(model: Any, reference: Any, rollouts: Sequence[Rollout]) -> None:
    head = torch.nn.Linear(model.config.hidden_size, 1, device=model.device)
    for rollout in rollouts:
        ids = torch.tensor([list(rollout.sequence.ids)], device=model.device)
        own = slice(len(rollout.prompt.ids) - 1, ids.shape[1] - 1)
        with torch.no_grad():
            reference(input_ids=ids).logits.log_softmax(-1)
            head(model(input_ids=ids, output_hidden_states=True).hidden_states[-1])
        output = model(input_ids=ids, output_hidden_states=True)
        logprobs = output.logits[0, own].log_softmax(-1).gather(1, ids[0, own.start + 1 :, None])
        values = head(output.hidden_states[-1].detach())[0, own]
        (logprobs.mean() + values.square().mean()).backward()


if __name__ == "__main__":
    main()
