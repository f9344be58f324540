"""Which tool-call parser of vLLM and SGLang reads what a model writes.

Names and rules were read in the two projects' own code, in the versions below; `bench/parsers.py` runs their parsers
on calls that our chat templates write. A parser that needs a token in the vocabulary refuses to start without it.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

VLLM_VERSION = "0.33.0"
SGLANG_VERSION = "0.5.23"


@dataclass(frozen=True, kw_only=True, slots=True)
class ParserChoice:
    """A value for `--tool-call-parser`, or that there is none."""

    name: str | None
    """None: no parser of that server reads these calls; they arrive as text of the reply."""
    note: str = ""
    """What it does not read, or why there is none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerParsers:
    """The parsers that fit one model."""

    vllm: ParserChoice
    sglang: ParserChoice


_PYTHON_NOTE = (
    "reads turns that are calls alone, one a line, whose tools and parameters are named with letters, digits and _; "
    "with stream=True, beside text, or with a name such as `math.sqrt`, the calls arrive as text"
)
_PYTHON_NONE = "its `pythonic` wants all calls in one pair of square brackets, `[f(a=1), g(b=2)]`"
_NO_PARSER = "none of its parsers reads this syntax"
_GLM_NOTE = "its glm parsers read the XML of GLM-4.5 and later, not GLM-4's name with JSON below"
_LLAMA_SGLANG = "reads turns that start with the call; several calls parted by `; `"

_FITTING: Mapping[str, ServerParsers] = {
    "hermes": ServerParsers(
        vllm=ParserChoice(name="hermes"),
        sglang=ParserChoice(name="hermes", note="versions without it have `qwen25`, which wants the line breaks"),
    ),
    "llama": ServerParsers(
        vllm=ParserChoice(name="llama3_json", note="text beside a call is dropped; a `{` in plain text is tried too"),
        sglang=ParserChoice(name="llama3", note=_LLAMA_SGLANG),
    ),
    "mistral": ServerParsers(vllm=ParserChoice(name="mistral"), sglang=ParserChoice(name="mistral")),
    "deepseek": ServerParsers(vllm=ParserChoice(name="deepseek_v3"), sglang=ParserChoice(name="deepseekv3")),
    "harmony": ServerParsers(
        vllm=ParserChoice(name="openai", note="read by OpenAI's harmony library out of gpt-oss's own token ids"),
        sglang=ParserChoice(name="gpt-oss"),
    ),
    "python": ServerParsers(
        vllm=ParserChoice(name="olmo3", note=_PYTHON_NOTE), sglang=ParserChoice(name=None, note=_PYTHON_NONE)
    ),
    "tool_code": ServerParsers(
        vllm=ParserChoice(name=None, note=_NO_PARSER), sglang=ParserChoice(name=None, note=_NO_PARSER)
    ),
    "react": ServerParsers(
        vllm=ParserChoice(name=None, note=_NO_PARSER), sglang=ParserChoice(name=None, note=_NO_PARSER)
    ),
    "glm": ServerParsers(vllm=ParserChoice(name=None, note=_GLM_NOTE), sglang=ParserChoice(name=None, note=_GLM_NOTE)),
}
_SGLANG_WANTS = {"mistral": "[TOOL_CALLS] [", "harmony": "<|channel|>commentary to="}
"""What SGLang's parser looks for in the text of a call; templates write it in this or another way."""
_VLLM_TOKENS = {
    "llama": ("<|python_tag|>",),
    "mistral": ("[TOOL_CALLS]",),
    "deepseek": ("<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"),
}
"""Tokens without which vLLM's parser does not start."""


def find_parsers(syntax: str, *, example: str, vocabulary: Collection[str], model_type: str) -> ServerParsers:
    """The parsers for a model.

    Args:
        syntax: name of the call syntax that its chat template writes.
        example: a turn with a call, as that template writes it.
        vocabulary: the texts of its tokens.
        model_type: of its config; vLLM reads harmony for `gpt_oss` alone.
    """
    fitting = _FITTING[syntax]
    vllm = fitting.vllm
    missing = [token for token in _VLLM_TOKENS.get(syntax, ()) if token not in vocabulary]
    if missing:
        vllm = ParserChoice(
            name=None, note=f"its `{vllm.name}` does not start without the token {missing[0]}, which is not there"
        )
    elif syntax == "mistral" and "[ARGS]" in vocabulary:
        vllm = ParserChoice(name=None, note="its `mistral` expects `name[ARGS]{...}` where [ARGS] is a token")
    elif syntax == "harmony" and model_type != "gpt_oss":
        vllm = ParserChoice(name=None, note=f"its `{vllm.name}` is for model_type gpt_oss; this is {model_type}")
    sglang, wanted = fitting.sglang, _SGLANG_WANTS.get(syntax, "")
    if wanted not in example:
        sglang = ParserChoice(
            name=None, note=f"its `{sglang.name}` looks for `{wanted}`, which the template writes otherwise"
        )
    return ServerParsers(vllm=vllm, sglang=sglang)
