"""A model in this process as the one who is tested; it answers greedily."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from tltrain.benches.policy import Reply, Request, Stop
from tltrain.constrained.config import Constrain
from tltrain.constrained.masks import make_constrainer
from tltrain.engine.device import pick_device
from tltrain.engine.model import load_model
from tltrain.errors import DataError
from tltrain.render.conversation import render_prompt
from tltrain.render.template import ensure_tool_template
from tltrain.render.turns import turn_end_ids
from tltrain.rollout.kept_prefix import KeptPrefixes
from tltrain.rollout.sampler import Completion, Constraint, SamplingConfig, sample
from tltrain.syntax import CallSyntax, get_syntax


class _Prompt(NamedTuple):
    ids: list[int]
    constraint: Constraint | None
    """None where anything may be written."""


class ModelPolicy:
    """See `Policy`. A reply ends at the end-of-turn token, or, where one call is wanted, once a call is complete.

    Args:
        model: see `load_model`.
        syntax: in which calls are written, where the prompts themselves say so; by default that of the chat template.
        max_new_tokens: of one reply.
        batch_size: prompts that run together.
        precision: dtype of the weights.
        constrain: what may be written. A request of whose tools no grammar can be made is not asked.
        keep_mib: most mebibytes of keys and values kept of conversations that go on.

    Raises:
        UsageError: what is written cannot be constrained, see `Constrainer`.
        ModelError: the model cannot be loaded.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        max_new_tokens: int,
        batch_size: int,
        precision: Literal["float32", "bfloat16"],
        syntax: CallSyntax | None = None,
        constrain: Constrain = "off",
        keep_mib: int = 1024,
    ):
        loaded = load_model(model, dtype=precision)
        self._model = loaded.model.to(pick_device())
        self._tokenizer = loaded.tokenizer
        self._sampling = SamplingConfig(max_new_tokens=max_new_tokens, temperature=0, batch_size=batch_size)
        self._kept = KeptPrefixes(keep_mib * 2**20)
        own = get_syntax(ensure_tool_template(self._tokenizer))
        self.syntax = syntax or own
        self._constrainer = make_constrainer(constrain, self._model, self._tokenizer, self.syntax)

    def answer(self, requests: Sequence[Request], told: Callable[[int], None] | None = None) -> list[Reply]:
        """See `Policy.answer`."""
        prompts = [self._write_prompt(request) for request in requests]
        found: dict[int, Completion] = {}
        for one_call, goes_on in itertools.product((True, False), repeat=2):
            fitting = {
                index: prompt
                for index, prompt in enumerate(prompts)
                if isinstance(prompt, _Prompt)
                and (requests[index].one_call, requests[index].goes_on) == (one_call, goes_on)
                and self._has_room(prompt)
            }
            found |= self._sample(fitting, one_call=one_call, goes_on=goes_on, told=told, num_done=len(found))
        return [self._reply(prompt, found.get(index)) for index, prompt in enumerate(prompts)]

    def _sample(
        self,
        prompts: Mapping[int, _Prompt],
        *,
        one_call: bool,
        goes_on: bool,
        told: Callable[[int], None] | None,
        num_done: int,
    ) -> dict[int, Completion]:
        completions = sample(
            self._model,
            self._tokenizer,
            [prompt.ids for prompt in prompts.values()],
            self._sampling,
            end_ids=turn_end_ids(self._tokenizer),
            is_complete=self.syntax.looks_complete if one_call else None,
            constraints=[prompt.constraint for prompt in prompts.values() if prompt.constraint],
            kept=self._kept if goes_on else None,
            progress=(lambda done, _: told(num_done + done)) if told else None,
        )
        return dict(zip(prompts, completions, strict=True))

    def _write_prompt(self, request: Request) -> _Prompt | DataError:
        try:
            ids = render_prompt(request.tools, request.messages, self._tokenizer, self.syntax)
            return _Prompt(ids, self._constrainer.constraint(request.tools) if self._constrainer else None)
        except DataError as error:
            return error

    def _has_room(self, prompt: _Prompt) -> bool:
        context: int | None = getattr(self._model.config.get_text_config(), "max_position_embeddings", None)
        return context is None or len(prompt.ids) + self._sampling.max_new_tokens <= context

    def _reply(self, prompt: _Prompt | DataError, completion: Completion | None) -> Reply:
        if isinstance(prompt, DataError):
            return Reply(text="", num_tokens=0, stop=Stop.UNWRITABLE, note=str(prompt))
        text = self._decode(prompt.ids)
        if completion is None:
            return Reply(text="", num_tokens=0, stop=Stop.TOO_LONG, prompt=text)
        ids = completion.ids
        has_end = ids[-1] in turn_end_ids(self._tokenizer)
        return Reply(
            text=self._decode(ids[:-1] if has_end else ids),
            num_tokens=len(ids),
            stop=Stop.END if completion.is_finished else Stop.LENGTH,
            prompt=text,
        )

    def _decode(self, ids: Sequence[int]) -> str:
        text: str = self._tokenizer.decode(ids, clean_up_tokenization_spaces=False)
        return text
