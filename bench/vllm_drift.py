"""How far the log-probs of a process of vLLM are from the trainer's, for the number formats of either.

    python bench/vllm_drift.py --python PATH --data train.jsonl --model sft/model --prompts 8

One completion is drawn for each of the first prompts, at temperature 1. Prints a row for each format of vLLM and of the
trainer (bfloat16: autocast over float32 weights): mean and maximum of the difference a token, in nats, the mean of the
truncated importance weights (cap 2), and the share of tokens that the cap cuts off.
"""

import argparse
import tempfile
from pathlib import Path

import torch

from tltrain.engine.logprobs import TargetSequence, target_scores
from tltrain.engine.model import load_model
from tltrain.engine.precision import autocast
from tltrain.render.template import ensure_tool_template
from tltrain.render.turns import turn_end_ids
from tltrain.rl.config import PpoConfig
from tltrain.rl.drift import importance_weights, measure_drift
from tltrain.rl.prepare import find_prompts
from tltrain.rl.scoring import Scorer
from tltrain.rollout.sampler import SamplingConfig
from tltrain.rollout.vllm_colocated import VllmWorker
from tltrain.rollout.vllm_config import VllmConfig
from tltrain.syntax import get_syntax

_CAP = 2.0


def main() -> None:
    """See above."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", type=Path, required=True, help="of an environment with vllm")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--prompts", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=48)
    given = parser.parse_args()
    loaded = load_model(given.model)
    model, tokenizer = loaded.model.eval(), loaded.tokenizer
    config = PpoConfig(max_prompts=given.prompts)
    scorer = Scorer(get_syntax(ensure_tool_template(tokenizer)), config.reward, None, config.compare)
    with tempfile.TemporaryDirectory() as out:
        found, _ = find_prompts(config, loaded, scorer, data=given.data, verdicts=None, out=Path(out))
    prompts = [list(prompt.ids) for prompt in found.prompts]
    longest = max(map(len, prompts)) + given.tokens
    print(f"{len(prompts)} prompts of {sum(map(len, prompts)) / len(prompts):.0f} tokens")
    print("| vLLM | trainer | tokens | mean | max | importance | capped |\n|---|---|---|---|---|---|---|")
    for theirs in ("float32", "bfloat16"):
        settings = VllmConfig(python=given.python, dtype=theirs, enforce_eager=True, kv_cache_gib=0.5)
        with VllmWorker(settings, tokenizer, dtype=torch.float32, max_model_len=longest) as engine:
            completions = engine.sample(
                model,
                prompts,
                SamplingConfig(max_new_tokens=given.tokens, temperature=1.0),
                end_ids=turn_end_ids(tokenizer),
                is_complete=scorer.syntax.looks_complete,
            )
        sequences = [
            TargetSequence([*ids, *one.ids], range(len(ids), len(ids) + len(one.ids)))
            for ids, one in zip(prompts, completions, strict=True)
        ]
        sampled = torch.tensor([logprob for one in completions for logprob in one.logprobs])[None]
        mask = torch.ones_like(sampled, dtype=torch.bool)
        for ours in ("float32", "bfloat16"):
            with torch.no_grad(), autocast(ours, "cpu"):
                own = target_scores(model, sequences).scores.logprobs.float()[None]
            drift = measure_drift(own, sampled, mask, cap=_CAP)
            weight = importance_weights(own, sampled, mask, cap=_CAP).mean()
            print(
                f"| {theirs} | {ours} | {mask.sum()} | {drift.mean:.2e} | {drift.max:.2e} | {weight:.4f} | "
                f"{drift.num_capped / int(mask.sum()):.1%} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
