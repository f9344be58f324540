"""compute_score through verl's own loader and reward managers, on a few rows; prints JSON."""

import asyncio
import importlib.metadata
import json
import sys

import numpy as np
import torch
from omegaconf import OmegaConf
from rows import CASES, TOOLS
from verl import DataProto
from verl.trainer.ppo.reward import load_reward_manager
from verl.workers.reward_manager import get_reward_manager_cls


class Tokenizer:
    """Characters; 0 is padding."""

    pad_token_id = 0

    def encode(self, text):
        """One token a character."""
        return [ord(letter) for letter in text]

    def decode(self, ids, **_):
        """The text of the tokens."""
        return "".join(chr(int(number)) for number in ids if number)


def batch_of(tokenizer, as_json):
    """The rows as verl batches them: prompts padded on the left, responses on the right."""
    prompts = torch.tensor([tokenizer.encode("When?")] * len(CASES))
    written = [tokenizer.encode(text) for _, text, _, _ in CASES]
    longest = max(map(len, written))
    responses = torch.tensor([ids + [0] * (longest - len(ids)) for ids in written])
    mask = torch.cat([torch.ones_like(prompts), (responses != 0).long()], dim=1)
    golds = [json.dumps(gold) if as_json else gold for gold, _, _, _ in CASES]
    infos = [{"index": number, "tools": json.dumps(TOOLS) if as_json else TOOLS} for number in range(len(CASES))]
    return DataProto.from_single_dict(
        {
            "prompts": prompts,
            "responses": responses,
            "attention_mask": mask,
            "data_source": np.array(["slots"] * len(CASES), dtype=object),
            "reward_model": np.array([{"style": "rule", "ground_truth": gold} for gold in golds], dtype=object),
            "extra_info": np.array(infos, dtype=object),
        }
    )


async def judge(path, settings, as_json):
    """What the reward manager that verl loads for a run says of each row."""
    config = OmegaConf.create(
        {
            "reward": {
                "custom_reward_function": {"path": path, "name": "compute_score", "reward_kwargs": settings},
                "reward_manager": {"source": "register", "name": "naive"},
            }
        }
    )
    tokenizer = Tokenizer()
    manager = load_reward_manager(config, tokenizer)
    batch = batch_of(tokenizer, as_json)
    single = [await manager.run_single(batch[number : number + 1]) for number in range(len(CASES))]
    older = get_reward_manager_cls("naive")(tokenizer, 0, compute_score=manager.compute_score)
    whole = older(batch_of(tokenizer, as_json), return_dict=True)
    return {
        "single": single,
        "whole": whole["reward_tensor"].sum(1).tolist(),
        "extra": {key: list(values) for key, values in whole["reward_extra_info"].items()},
    }


if __name__ == "__main__":
    path = sys.argv[1]
    found = {
        "version": importlib.metadata.version("verl"),
        "json": asyncio.run(judge(path, {}, as_json=True)),
        "objects": asyncio.run(
            judge(path, {"reward": {"content": -1.0}, "compare": {"text": "folded"}}, as_json=False)
        ),
    }
    print(json.dumps(found))
