"""tltrain's side of `bench/sft.py`: JOB RESULT, both JSON. The steps run through the loop of `tltrain sft` itself."""

import tempfile
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from measure import Clock, Memory, fill_adapters, measure_matmul, read_job, write_result

from tltrain.engine.backbone import backbone
from tltrain.engine.model import load_model
from tltrain.engine.parallel import find_processes
from tltrain.engine.settings import LoraConfig, OptimizerConfig
from tltrain.engine.tree_attention import can_run_trees
from tltrain.files import read_json_lines
from tltrain.render.rendered import RenderedTrajectory, RenderedTurn, TurnKind
from tltrain.sft.config import SftConfig
from tltrain.sft.samples import Sample
from tltrain.sft.train import Trainee


def main() -> None:
    job = read_job()
    result = measure(job)
    write_result(result | {"matmul": measure_matmul(job["precision"]), "threads": torch.get_num_threads()})


def measure(job: dict[str, Any]) -> dict[str, Any]:
    """Do the steps of a job."""
    config = SftConfig(
        optimizer=OptimizerConfig(**job["optimizer"], schedule="constant", warmup_ratio=0.0),
        micro_batch_tokens=job["micro_batch_tokens"],
        normalisation="token",
        precision=job["precision"],
        lora=LoraConfig(**job["lora"]) if job["lora"] else None,
        activation_checkpointing=job["checkpointing"],
        checkpoint_every=10**9,
    )
    samples: list[Sample] = []
    steps = []
    for rows in job["steps"]:
        steps.append((tuple(range(len(samples), len(samples) + len(rows))),))
        samples += [as_sample(row) for row in rows]
    loaded = load_model(job["model"])
    trainee = Trainee(config, loaded, find_processes(), num_steps=len(steps))
    fill_adapters(trainee.model)
    runs_trees = can_run_trees(trainee.model)
    memory = Memory(trainee.model)
    clock = Clock()
    clock.mark()
    with tempfile.TemporaryDirectory() as folder:
        trainee.run(samples, [], steps, Path(folder), None, lambda *_: clock.mark())
        metrics = [row for _, row in read_json_lines(Path(folder) / "metrics.jsonl")]
    return {
        **clock.read(),
        "losses": [row["loss"] for row in metrics],
        "grad_norms": [row["grad_norm"] for row in metrics],
        "memory": memory.read(),
        "runs_trees": runs_trees,
        "shape": model_shape(trainee.model),
    }


def as_sample(row: dict[str, Any]) -> Sample:
    """A row as the trainer takes it: each run of trained tokens is a turn."""
    weights = [0.0 if label < 0 else 1.0 for label in row["labels"]]
    turns = []
    for is_trained, places in groupby(range(len(weights)), key=lambda place: weights[place] > 0):
        if is_trained:
            own = list(places)
            turns.append(RenderedTurn(message=0, start=own[0], end=own[-1] + 1, kind=TurnKind.ANSWER))
    rendered = RenderedTrajectory(
        id="", input_ids=row["input_ids"], weights=weights, turns=tuple(turns), calls=(), text=""
    )
    return Sample(rendered, 0)


def model_shape(model: Any) -> dict[str, int]:
    """What the count of operations needs to know (see `sft.count_flops`)."""
    config = model.config.get_text_config()
    embedded = {id(parameter) for parameter in model.get_input_embeddings().parameters()}
    matrices = [
        (name, parameter)
        for name, parameter in backbone(model).named_parameters()
        if parameter.ndim == 2 and id(parameter) not in embedded
    ]
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return {
        "block": sum(parameter.numel() for name, parameter in matrices if "lora_" not in name),
        "adapters": sum(parameter.numel() for name, parameter in matrices if "lora_" in name),
        "head": model.get_output_embeddings().weight.numel(),
        "attention": config.num_hidden_layers * config.num_attention_heads * head_dim,
    }


if __name__ == "__main__":
    main()
