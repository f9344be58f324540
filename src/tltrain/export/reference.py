"""What the source gives, written down for the process that checks the export."""

import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tltrain.export.agreement import MAX_NEW_TOKENS, Expected
from tltrain.export.greedy import answer_greedily, answer_logprobs
from tltrain.export.prompts import CheckPrompt

_PROMPTS, _LOGPROBS = "prompts.json", "next_logprobs.safetensors"


@dataclass(frozen=True, kw_only=True, slots=True)
class Reference:
    """All of it."""

    prompts: list[CheckPrompt]
    expected: list[Expected]
    next_logprobs: list[Tensor]
    """Of every token right after each prompt; [V], float32."""
    end_ids: list[int]
    """Tokens that must end a turn."""


def make_reference(
    model: Any,
    prompts: Sequence[CheckPrompt],
    *,
    end_ids: Collection[int],
    pad_id: int | None,
    told: Callable[[int], None] | None = None,
) -> Reference:
    """Run the source on every prompt.

    Args:
        model: in float32, on the device where it is to run.
        prompts: one or more.
        end_ids: tokens that end a turn.
        pad_id: of the tokenizer.
        told: called with the number of prompts done.
    """
    expected, next_logprobs = [], []
    for number, prompt in enumerate(prompts, start=1):
        tokens = answer_greedily(model, prompt.ids, end_ids=end_ids, pad_id=pad_id, max_new_tokens=MAX_NEW_TOKENS)
        logprobs_TV = answer_logprobs(model, prompt.ids, tokens)
        best = logprobs_TV.topk(2, dim=-1).values
        expected.append(
            Expected(
                name=prompt.name,
                text=prompt.text,
                ids=prompt.ids,
                tokens=tokens,
                logprobs=logprobs_TV.gather(1, torch.tensor(tokens)[:, None]).squeeze(1).tolist(),
                margins=(best[:, 0] - best[:, 1]).tolist(),
            )
        )
        next_logprobs.append(logprobs_TV[0].clone())
        if told:
            told(number)
    return Reference(prompts=list(prompts), expected=expected, next_logprobs=next_logprobs, end_ids=sorted(end_ids))


def write_reference(reference: Reference, folder: Path) -> None:
    """Write it for `read_reference`."""
    rows = [
        {"prompt": asdict(prompt), "expected": asdict(expected)}
        for prompt, expected in zip(reference.prompts, reference.expected, strict=True)
    ]
    text = json.dumps({"rows": rows, "end_ids": reference.end_ids})
    (folder / _PROMPTS).write_text(text, encoding="utf-8")
    save_file({str(number): row for number, row in enumerate(reference.next_logprobs)}, folder / _LOGPROBS)


def read_reference(folder: Path) -> Reference:
    """Read what `write_reference` wrote."""
    fields = json.loads((folder / _PROMPTS).read_text(encoding="utf-8"))
    tensors = load_file(folder / _LOGPROBS)
    return Reference(
        prompts=[CheckPrompt(**row["prompt"]) for row in fields["rows"]],
        expected=[Expected(**row["expected"]) for row in fields["rows"]],
        next_logprobs=[tensors[str(number)] for number in range(len(fields["rows"]))],
        end_ids=fields["end_ids"],
    )
