"""The loss of GRPO and its relatives, beside that of TRL's GRPOTrainer, on the same numbers.

    python bench/grpo_loss.py --trl-python PATH     # the Python of an environment with TRL

TRL computes log-probs of random completions under a small random model, and its loss on random old and reference
log-probs and advantages; tltrain's formulas get TRL's log-probs. Printed are both losses, and the largest difference of
their derivatives by the log-probs.
"""

import argparse
import json
import subprocess
import tempfile
from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from tltrain.engine.model import load_tokenizer
from tltrain.rl.kl import KlEstimator, compute_mean_kl
from tltrain.rl.losses import clipped_policy_loss, row_denominators

_MAX_TOKENS = 12
_BETA = 0.3
_CLIP = (0.2, 0.28)
_MEAN_OF = {"grpo": "sequence", "bnpo": "token", "dr_grpo": "constant"}
"""TRL's loss types -> `ppo.loss_mean`."""

_TRL_SIDE = """
import json, sys, torch
from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer
from transformers import AutoTokenizer

folder, job = sys.argv[1], json.load(open(sys.argv[2]))
data = Dataset.from_list([{"prompt": "x"}] * 4)
for name in job["loss_types"]:
    config = GRPOConfig(output_dir=folder + "/out", beta=job["beta"], loss_type=name, epsilon=job["clip"][0],
        epsilon_high=job["clip"][1], max_completion_length=job["max_tokens"], num_generations=2, use_cpu=True,
        per_device_train_batch_size=2, report_to=[], bf16=False, use_bias_correction_kl=False)
    trainer = GRPOTrainer(model=folder, reward_funcs=lambda completions, **_: [0.0] * len(completions), args=config,
        train_dataset=data, processing_class=AutoTokenizer.from_pretrained(folder))
    trainer.model.eval()
    inputs = {key: torch.tensor(value) for key, value in job["inputs"].items()}
    kept = {}
    compute = trainer._get_per_token_logps_and_entropies
    def keeping(*arguments, **options):
        logprobs, *rest = compute(*arguments, **options)
        logprobs.retain_grad()
        kept["logprobs"] = logprobs
        return logprobs, *rest
    trainer._get_per_token_logps_and_entropies = keeping
    # old and reference log-probs around the model's own
    with torch.no_grad():
        ids = torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], dim=1)
        mask = torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], dim=1)
        own = compute(trainer.model, ids, mask, inputs["completion_ids"].size(1))[0]
    inputs["old_per_token_logps"], inputs["ref_per_token_logps"] = own + inputs.pop("old"), own + inputs.pop("ref")
    loss = trainer._compute_loss(trainer.model, inputs)
    loss.backward()
    result = {"loss": loss.item(), "logprobs": kept["logprobs"].tolist(), "gradient": kept["logprobs"].grad.tolist()}
    for key in ("old", "ref"):
        result[key] = inputs[key + "_per_token_logps"].tolist()
    print("RESULT " + json.dumps({name: result}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trl-python", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    job = make_job()
    mask = torch.tensor(job["inputs"]["completion_mask"]).bool()
    advantages = torch.tensor(job["inputs"]["advantages"])[:, None].expand(mask.shape)
    for name, theirs in run_trl(options.trl_python, job).items():
        logprobs = torch.tensor(theirs["logprobs"], requires_grad=True)
        denominators = row_denominators(mask, mean=_MEAN_OF[name], max_tokens=_MAX_TOKENS)
        policy = clipped_policy_loss(
            logprobs,
            torch.tensor(theirs["old"]),
            advantages,
            mask,
            clip_range=_CLIP[0],
            clip_range_high=_CLIP[1],
            loss_denominator=denominators,
        )
        kl = compute_mean_kl(
            logprobs, torch.tensor(theirs["ref"]), mask, estimator=KlEstimator.K3, denominator=denominators
        )
        ours = policy.loss + _BETA * kl
        ours.backward()
        assert logprobs.grad is not None
        gap = (logprobs.grad - torch.tensor(theirs["gradient"])).abs().max().item()
        clipped = policy.clip_fraction.item()
        print(
            f"{name:<8} TRL {theirs['loss']:.8f}  tltrain {ours.item():.8f}  derivatives differ by at most {gap:.1e}"
            f"  ({clipped:.0%} of tokens clipped)"
        )


def make_job() -> dict:
    """Random completions of several lengths, with old and reference log-probs away from the model's own."""
    mask = (torch.arange(_MAX_TOKENS) < torch.tensor([12, 3, 7, 1])[:, None]).int()
    noise = {name: (0.3 * torch.randn(4, _MAX_TOKENS)).tolist() for name in ("old", "ref")}
    return {
        "loss_types": list(_MEAN_OF),
        "beta": _BETA,
        "clip": _CLIP,
        "max_tokens": _MAX_TOKENS,
        "inputs": {
            "prompt_ids": torch.randint(5, 400, (4, 6)).tolist(),
            "prompt_mask": torch.ones(4, 6).int().tolist(),
            "completion_ids": torch.randint(5, 400, (4, _MAX_TOKENS)).tolist(),
            "completion_mask": mask.tolist(),
            "advantages": torch.randn(4).tolist(),
            **noise,
        },
    }


def run_trl(python: Path, job: dict) -> dict:
    """What TRL computes, by loss type."""
    with tempfile.TemporaryDirectory() as folder:
        tokenizer = load_tokenizer("smollm2-135m-instruct")
        tokenizer.save_pretrained(folder)
        config = LlamaConfig(
            vocab_size=len(tokenizer), hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2
        )
        LlamaForCausalLM(config).save_pretrained(folder)
        described = Path(folder) / "job.json"
        described.write_text(json.dumps(job))
        done = subprocess.run([python, "-c", _TRL_SIDE, folder, described], capture_output=True, text=True, check=False)
    rows = [line.removeprefix("RESULT ") for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    if done.returncode or not rows:
        raise SystemExit(f"TRL's side failed:\n{done.stderr[-2000:]}")
    return {name: result for row in rows for name, result in json.loads(row).items()}


if __name__ == "__main__":
    main()
