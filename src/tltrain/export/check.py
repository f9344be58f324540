"""Loads an exported folder as a user would, and compares it with what its source gave.

    python -m tltrain.export.check ORDER.json

A process of its own, so that nothing but the folder is in it. The order names the folders; the outcome is written to
the file that it names.
"""

import json
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tltrain.export.agreement import (
    MAX_NEW_TOKENS,
    Found,
    count_agreeing,
    find_problem,
    largest_difference,
)
from tltrain.export.reference import Reference, read_reference


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """What to check."""

    model: str
    """The folder, or a GGUF file."""
    dtype: str
    """Of the weights, and the key of `TOLERANCES`."""
    reference: str
    """Folder that `write_reference` filled."""
    outcome: str
    """File for the outcome."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What was compared, and the first problem."""

    dtype: str
    num_prompts: int
    num_tokens: int
    """Of the source's greedy answers, in all."""
    num_top_equal: int
    """Of these places, those with the same likeliest token."""
    num_answers_equal: int | None
    """Prompts whose whole greedy answer is the same, by the folder's own generation config."""
    num_ended: int
    """Answers of the source that end within the tokens asked for."""
    max_logprob_difference: float | None
    """Over the tokens of all answers, in nats; None where one is no number."""
    max_next_difference: float | None
    """Over the whole vocabulary, right after each prompt."""
    num_served_equal: int | None
    """Prompts that are the same where earlier calls come as `tool_calls`, as a server sends them."""
    first_served_otherwise: str | None
    problem: str | None = None
    """Names the prompt; None: all is as it should be."""
    not_checked: str | None = None
    """Why nothing was compared."""


def check(order: Order) -> Outcome:
    """Load and compare; see `Outcome`."""
    reference = read_reference(Path(order.reference))
    if not order.model.endswith(".gguf"):
        return _compare(Path(order.model), order.dtype, reference, is_folder=True)
    from tltrain.engine.embedded import convert_gguf
    from tltrain.errors import ModelError

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "model"
        try:
            convert_gguf(Path(order.model), folder)
        except ModelError as error:
            return _nothing(order.dtype, f"transformers cannot read the file back ({error})")
        # its own template: transformers gives none back
        (folder / "chat_template.jinja").write_text(_gguf_template(Path(order.model)), encoding="utf-8")
        return _compare(folder, order.dtype, reference, is_folder=False)


def _gguf_template(file: Path) -> str:
    """The chat template of a GGUF file; empty if it has none."""
    from gguf import GGUFReader

    field = GGUFReader(file).fields.get("tokenizer.chat_template")
    return bytes(field.parts[field.data[0]]).decode("utf-8") if field else ""


def _compare(folder: Path, dtype: str, reference: Reference, *, is_folder: bool) -> Outcome:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from tltrain.engine.device import pick_device

    tokenizer = AutoTokenizer.from_pretrained(folder)
    number_format: Any = getattr(torch, dtype) if is_folder else torch.float32
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=number_format).to(pick_device()).eval()
    problem = _wrong_ends(model, tokenizer, reference) if is_folder else None
    found = [_run(model, tokenizer, reference, number, is_folder) for number in range(len(reference.prompts))]
    pairs = list(zip(reference.expected, found, strict=True))
    for expected, one in pairs:
        wrong = find_problem(expected, one, dtype=dtype)
        if wrong is not None:
            problem = problem or f"prompt {expected.name}: {wrong}"
    served = [_render(tokenizer, prompt.served, prompt.tools) == prompt.text for prompt in reference.prompts]
    return Outcome(
        dtype=dtype,
        num_prompts=len(pairs),
        num_tokens=sum(len(expected.tokens) for expected, _ in pairs),
        num_top_equal=sum(count_agreeing(*pair) for pair in pairs),
        num_answers_equal=sum(one.tokens == expected.tokens for expected, one in pairs) if is_folder else None,
        num_ended=sum(expected.tokens[-1] in reference.end_ids for expected in reference.expected),
        max_logprob_difference=_finite(max(largest_difference(*pair) for pair in pairs)),
        max_next_difference=_finite(max(one.next_difference for one in found)),
        num_served_equal=sum(served),
        first_served_otherwise=next(
            (prompt.name for prompt, same in zip(reference.prompts, served, strict=True) if not same), None
        ),
        problem=problem,
    )


def _run(model: Any, tokenizer: Any, reference: Reference, number: int, is_folder: bool) -> Found:
    from tltrain.export.greedy import answer_greedily, answer_logprobs

    prompt, expected = reference.prompts[number], reference.expected[number]
    text = _render(tokenizer, prompt.messages, prompt.tools) or ""
    ids = tokenizer(text, add_special_tokens=False).input_ids
    logprobs_TV = answer_logprobs(model, prompt.ids, expected.tokens)
    tokens = None
    if is_folder:
        ends = model.generation_config.eos_token_id
        tokens = answer_greedily(
            model,
            ids or prompt.ids,
            end_ids=[ends] if isinstance(ends, int) else ends or [],
            pad_id=model.generation_config.pad_token_id,
            max_new_tokens=MAX_NEW_TOKENS,
        )
    place = range(len(expected.tokens))
    difference = (logprobs_TV[0] - reference.next_logprobs[number]).abs().max().item()
    return Found(
        text=text,
        ids=ids,
        logprobs=logprobs_TV[place, expected.tokens].tolist(),
        top=logprobs_TV.argmax(dim=-1).tolist(),
        next_difference=difference if difference == difference else float("inf"),
        tokens=tokens,
    )


def _render(tokenizer: Any, messages: list[dict[str, Any]], tools: list[dict[str, Any]]) -> str | None:
    """None: the template refuses them."""
    from tltrain.render.conventions import TEMPLATE_ERRORS

    try:
        text: str = tokenizer.apply_chat_template(
            messages, tools=tools or None, tokenize=False, add_generation_prompt=True
        )
    except TEMPLATE_ERRORS:
        return None
    return text


def _wrong_ends(model: Any, tokenizer: Any, reference: Reference) -> str | None:
    ends = model.generation_config.eos_token_id
    found = [ends] if isinstance(ends, int) else ends or []
    missing = [tokenizer.convert_ids_to_tokens(token) for token in reference.end_ids if token not in found]
    if missing:
        return f"generation_config.json: eos_token_id={ends} lacks {', '.join(missing)}, which end the model's turns"
    if model.generation_config.pad_token_id is None:
        return "generation_config.json: has no pad_token_id"
    return None


def _finite(number: float) -> float | None:
    return number if number < float("inf") else None


def _nothing(dtype: str, reason: str) -> Outcome:
    return Outcome(
        dtype=dtype,
        num_prompts=0,
        num_tokens=0,
        num_top_equal=0,
        num_answers_equal=None,
        num_ended=0,
        max_logprob_difference=None,
        max_next_difference=None,
        num_served_equal=None,
        first_served_otherwise=None,
        not_checked=reason,
    )


def main() -> None:
    """Do what the order file says."""
    order = Order(**json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    Path(order.outcome).write_text(json.dumps(asdict(check(order))), encoding="utf-8")


if __name__ == "__main__":
    main()
