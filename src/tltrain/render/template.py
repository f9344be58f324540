"""tltrain's own chat templates, for models whose template knows no tools."""

import re
from importlib import resources
from typing import Any

from tltrain.errors import ModelError
from tltrain.render.conventions import TEMPLATE_ERRORS, conventions_of
from tltrain.syntax import SYNTAXES, detect_syntax

VERSION = 1
"""Raised whenever a template renders anything differently; it stands in the saved template's first line."""
_START, _END = "<|im_start|>", "<|im_end|>"
_PROBE = "tltrain_probe_tool"


def own_template(shape: str, *, starts_with_bos: bool = False) -> str:
    """The whole text of one of tltrain's templates.

    Args:
        shape: `chatml`, turns between `<|im_start|>role` and `<|im_end|>` as SmolLM2 has them; or `plain`, the
            `User: / Assistant: / Output:` lines of the paper, the assistant's ended by the model's end-of-text token.
        starts_with_bos: write the tokenizer's begin-of-text token in front.
    """
    folder = resources.files(__package__)
    mark = f"{{#- tltrain/{shape} {VERSION}; calls: python -#}}"
    bos = ["{{- bos_token -}}"] if starts_with_bos else []
    parts = [
        (folder / f"{part}.jinja").read_text(encoding="utf-8") for part in ("python_calls", "tool_signatures", shape)
    ]
    return "\n".join([mark, *bos, *(part.rstrip("\n") for part in parts)])


def ensure_tool_template(tokenizer: Any) -> str:
    """Give the tokenizer a chat template that knows tools, unless its own does.

    Args:
        tokenizer: a transformers tokenizer; `chat_template` is set on it, and is saved with it.

    Returns:
        Name of the call syntax in which the template writes calls.

    Raises:
        ModelError: the tokenizer has neither ChatML tokens nor an end-of-text token, or its template writes calls in a
            syntax that is not known.
    """
    if not knows_tools(tokenizer):
        tokenizer.chat_template = _fitting_template(tokenizer)
    conventions = conventions_of(tokenizer)
    if conventions.unreadable is not None:
        raise ModelError(
            f"the chat template writes calls as {conventions.unreadable[:200]!r}, which none of the known syntaxes "
            f"({', '.join(SYNTAXES)}) reads; give the tokenizer another chat template, or none to train with tltrain's"
        )
    return conventions.syntax or detect_syntax(tokenizer.get_chat_template(tools=[])).name


def template_name(tokenizer: Any) -> str:
    """What a tokenizer's chat template is called: such as "tltrain/chatml 1", or "the model's own"."""
    mark = re.match(r"\{#- (tltrain/[^;]+);", str(tokenizer.chat_template))
    return mark.group(1) if mark else "the model's own"


def knows_tools(tokenizer: Any) -> bool:
    """Whether the tokenizer's chat template shows the tools it is given; found out by rendering one."""
    if not tokenizer.chat_template:
        return False
    function = {"name": _PROBE, "description": "", "parameters": {"type": "object", "properties": {}}}
    try:
        text = tokenizer.apply_chat_template(
            [{"role": "user", "content": "Hello"}], tools=[{"type": "function", "function": function}], tokenize=False
        )
    except TEMPLATE_ERRORS:
        return False
    return _PROBE in text


def _fitting_template(tokenizer: Any) -> str:
    starts_with_bos = tokenizer.bos_token_id is not None and tokenizer("a").input_ids[0] == tokenizer.bos_token_id
    # Rendered text is tokenised without special tokens, so the template writes the one that the model expects.
    if all(len(tokenizer(token, add_special_tokens=False).input_ids) == 1 for token in (_START, _END)):
        return own_template("chatml", starts_with_bos=starts_with_bos)
    if tokenizer.eos_token is None:
        raise ModelError(
            "the tokenizer has no chat template that knows tools, no ChatML tokens and no eos_token to end a turn "
            "with; set tokenizer.eos_token, or use a model that has a chat template"
        )
    return own_template("plain", starts_with_bos=starts_with_bos)
