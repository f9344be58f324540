"""Evaluation throughput: tltrain's sampler against `generate` of transformers, on the same cases in one run.

    python bench/eval.py --data-dir DIR --bench rotbench:clean --max-cases 48 --model smollm2-135m-instruct

Three ways, all greedy and in one precision: tltrain; `generate` case by case; `generate` in batches of the same size,
padded on the left. All end a reply where tltrain's evaluation does: at the end of the turn, when a call is complete
and the set wants one, or at the limit. Prints cases a second and how many replies are the same text; in float32
replies differ only where two tokens are as likely as each other to the last digits.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import StoppingCriteria, StoppingCriteriaList

from tltrain.benches.bench_case import Bench
from tltrain.benches.bfcl import Bfcl
from tltrain.benches.data_folder import DataFolder
from tltrain.benches.public_config import split_spec
from tltrain.benches.rotbench import LEVELS, PromptStyle, RoTBench
from tltrain.engine.device import pick_device
from tltrain.engine.model import load_model
from tltrain.render.conversation import render_prompt
from tltrain.render.template import ensure_tool_template
from tltrain.rollout.sampler import SamplingConfig, sample
from tltrain.syntax import get_syntax


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, required=True, help="folder of the public test sets")
    parser.add_argument("--bench", default="rotbench:clean", help="rotbench or bfcl, parts after a colon")
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--max-cases", type=int, default=48, help="neighbours in the file, as an evaluation has them")
    parser.add_argument("--max-new-tokens", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--precision", choices=["float32", "bfloat16"], default="float32")
    options = parser.parse_args()

    loaded = load_model(options.model, dtype=options.precision)
    model, tokenizer = loaded.model.to(pick_device()).eval(), loaded.tokenizer
    # a model of its own: tltrain sets the other's attention
    untouched = load_model(options.model, dtype=options.precision).model.to(pick_device()).eval()
    syntax = get_syntax(ensure_tool_template(tokenizer))
    room = model.config.max_position_embeddings - options.max_new_tokens
    cases = _bench(options.bench, DataFolder(options.data_dir)).load()
    requests = [case.request for case in cases]
    one_call = all(request.one_call for request in requests)
    if not one_call and any(request.one_call for request in requests):
        raise SystemExit(
            f"--bench {options.bench}: some cases want one call and some want several; name parts of a kind"
        )
    is_complete = syntax.looks_complete if one_call else None
    prompts = [render_prompt(request.tools, request.messages, tokenizer, syntax) for request in requests]
    prompts = [prompt for prompt in prompts if len(prompt) <= room][: options.max_cases]
    print(f"{len(prompts)} cases of {options.bench}, {sum(map(len, prompts)) / len(prompts):.0f} tokens a prompt")

    config = SamplingConfig(max_new_tokens=options.max_new_tokens, temperature=0, batch_size=options.batch_size)
    plain = _Plain(untouched, tokenizer, is_complete, options.max_new_tokens)
    ways: dict[str, Callable[[], list[str]]] = {
        "tltrain": lambda: [
            _text(tokenizer, completion.ids)
            for completion in sample(model, tokenizer, prompts, config, is_complete=is_complete)
        ],
        "generate, one by one": lambda: plain.answer(prompts, 1),
        f"generate, batches of {options.batch_size}": lambda: plain.answer(prompts, options.batch_size),
    }
    first: list[str] | None = None
    base = 0.0
    for name, answer in ways.items():
        start = time.perf_counter()
        texts = answer()
        seconds = time.perf_counter() - start
        first, base = first or texts, base or seconds
        same = sum(one == other for one, other in zip(first, texts, strict=True))
        print(
            f"{name:<24} {seconds:7.1f} s  {len(prompts) / seconds:6.2f} cases/s  "
            f"tltrain is {seconds / base:.2f} times as fast  {same} of {len(texts)} replies the same"
        )


def _bench(spec: str, data: DataFolder) -> Bench:
    name, parts = split_spec(spec)
    if name == "bfcl":
        return Bfcl(data, parts=parts or ("exec",), first_call=True)
    return RoTBench(data, levels=parts or LEVELS, style=PromptStyle.NATIVE)


def _text(tokenizer: Any, ids: Sequence[int]) -> str:
    text: str = tokenizer.decode(ids, skip_special_tokens=True)
    return text


class _Complete(StoppingCriteria):
    """Ends a row when its reply is a complete call."""

    def __init__(self, tokenizer: Any, is_complete: Callable[[str], bool], start: int):
        self._tokenizer, self._is_complete, self._start = tokenizer, is_complete, start

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:  # noqa: ARG002 - the interface
        texts = self._tokenizer.batch_decode(input_ids[:, self._start :], skip_special_tokens=True)
        return torch.tensor([self._is_complete(text) for text in texts], device=input_ids.device)


class _Plain:
    def __init__(self, model: Any, tokenizer: Any, is_complete: Callable[[str], bool] | None, max_new_tokens: int):
        self._model, self._tokenizer, self._is_complete, self._limit = model, tokenizer, is_complete, max_new_tokens

    @torch.inference_mode()
    def answer(self, prompts: Sequence[Sequence[int]], batch_size: int) -> list[str]:
        texts = []
        pad = self._tokenizer.pad_token_id
        for first in range(0, len(prompts), batch_size):
            batch = prompts[first : first + batch_size]
            longest = max(map(len, batch))
            ids = torch.tensor([[pad] * (longest - len(prompt)) + list(prompt) for prompt in batch])
            mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in batch])
            output = self._model.generate(
                input_ids=ids.to(self._model.device),
                attention_mask=mask.to(self._model.device),
                do_sample=False,
                max_new_tokens=self._limit,
                pad_token_id=pad,
                eos_token_id=self._tokenizer.eos_token_id,
                stopping_criteria=StoppingCriteriaList(
                    [_Complete(self._tokenizer, self._is_complete, longest)] if self._is_complete else []
                ),
            )
            texts += [_text(self._tokenizer, row[longest:]) for row in output.tolist()]
        return texts


if __name__ == "__main__":
    main()
