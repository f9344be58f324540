"""Chat templates in the shapes that people use, what is peculiar to each, and tokenizers to read them with."""

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tltrain.render.template import own_template

FOLDER = Path(__file__).parent / "templates"
CHATML = ("<|im_start|>", "<|im_end|>")


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A template, and what its authors say about it; nothing here is read from our renderer."""

    name: str
    file: str
    syntax: str
    specials: tuple[str, ...]
    bos: str | None = None
    eos: str
    replaced: tuple[str, str] = ("", "")
    """A part of the file that is written otherwise."""
    many_calls: bool = True
    """Takes several calls a turn."""
    text_beside_calls: bool = True
    thinks: bool = False
    """Takes thinking, and drops it from earlier turns."""
    one_sequence: bool = True
    """Renders a conversation of several queries so that each prompt is a beginning of it; thinking apart."""
    empty_block: str = ""
    """What it writes into the last turn alone."""
    last_end: tuple[str, str] = ("", "")
    """The end of the last turn where it is another one, and what takes its place later."""
    next_marks: tuple[str, ...] = ()
    """Marks of the next speaker, where they are all that ends a turn: the user's and the tool's."""
    arguments_as_text: bool = False
    calls_in_content: str = ""
    """A pattern for calls that stand in the content, as Python; empty where the template writes calls."""
    own: str = ""
    """Shape of tltrain's own template, in place of a file."""

    def template(self) -> str:
        if self.own:
            return own_template(self.own)
        return (FOLDER / self.file).read_text(encoding="utf-8").replace(*self.replaced)


_LLAMA = {
    "file": "llama3_1.jinja",
    "syntax": "llama",
    "specials": (
        *(
            "<|begin_of_text|>",
            "<|start_header_id|>",
            "<|end_header_id|>",
            "<|eot_id|>",
            "<|eom_id|>",
            "<|python_tag|>",
        ),
    ),
    "bos": "<|begin_of_text|>",
    "eos": "<|eot_id|>",
    "many_calls": False,
    "text_beside_calls": False,
}
_MISTRAL = {
    "syntax": "mistral",
    "specials": (
        *("<s>", "</s>", "[INST]", "[/INST]", "[TOOL_CALLS]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]"),
        *("[TOOL_RESULTS]", "[/TOOL_RESULTS]", "[TOOL_CONTENT]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]"),
    ),
    "bos": "<s>",
    "eos": "</s>",
}
SHAPES = {
    shape.name: shape
    for shape in (
        Shape(name="qwen2_5", file="qwen2_5.jinja", syntax="hermes", specials=CHATML, eos="<|im_end|>"),
        Shape(
            name="qwen3",
            file="qwen3.jinja",
            syntax="hermes",
            specials=CHATML,
            eos="<|im_end|>",
            thinks=True,
            empty_block="<think>\n\n</think>\n\n",
        ),
        Shape(name="llama3_1", **_LLAMA),
        Shape(
            name="llama3_1_tag",
            **_LLAMA,
            replaced=(
                """'{"name": "' ~ function.name ~ '", "parameters": ' ~ function.arguments | tojson ~ '}<|eot_id|>'""",
                """'<|python_tag|>{"name": "' ~ function.name ~ '", "parameters": ' """
                """~ function.arguments | tojson ~ '}<|eom_id|>'""",
            ),
        ),
        Shape(name="mistral_v3", file="mistral_v3.jinja", **_MISTRAL, text_beside_calls=False, one_sequence=False),
        Shape(name="mistral_v7", file="mistral_v7.jinja", **_MISTRAL),
        Shape(
            name="gemma3",
            file="gemma3.jinja",
            syntax="tool_code",
            specials=("<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>"),
            bos="<bos>",
            eos="<end_of_turn>",
            calls_in_content="```tool_code\n{}\n```",
        ),
        Shape(
            name="glm4",
            file="glm4.jinja",
            syntax="glm",
            specials=(
                "[gMASK]",
                "<sop>",
                "<|system|>",
                "<|user|>",
                "<|assistant|>",
                "<|observation|>",
                "<|endoftext|>",
            ),
            eos="<|endoftext|>",
            next_marks=("<|user|>", "<|observation|>"),
            arguments_as_text=True,
        ),
        Shape(
            name="deepseek_v3",
            file="deepseek_v3.jinja",
            syntax="deepseek",
            specials=(
                *("<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>"),
                *("<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>", "<｜tool▁call▁begin｜>", "<｜tool▁call▁end｜>"),
                *("<｜tool▁outputs▁begin｜>", "<｜tool▁outputs▁end｜>", "<｜tool▁output▁begin｜>"),
                *("<｜tool▁output▁end｜>", "<｜tool▁sep｜>"),
            ),
            bos="<｜begin▁of▁sentence｜>",
            eos="<｜end▁of▁sentence｜>",
            arguments_as_text=True,
        ),
        Shape(
            name="gpt_oss",
            file="gpt_oss.jinja",
            syntax="harmony",
            specials=(
                *("<|start|>", "<|end|>", "<|message|>", "<|channel|>", "<|call|>", "<|return|>", "<|constrain|>"),
            ),
            eos="<|return|>",
            many_calls=False,
            thinks=True,
            last_end=("<|return|>", "<|end|>"),
        ),
        Shape(
            name="paper", file="", own="plain", syntax="python", specials=("</s>",), eos="</s>", calls_in_content="{}"
        ),
    )
}


def with_shape(tokenizer: Any, shape: Shape) -> Any:
    """A copy of the tokenizer with the shape's template and special tokens."""
    from transformers import AddedToken

    changed = copy.deepcopy(tokenizer)
    changed.add_tokens([AddedToken(text, special=True, normalized=False) for text in shape.specials])
    changed.eos_token = shape.eos
    if shape.bos:
        changed.bos_token = shape.bos
    changed.chat_template = shape.template()
    return changed


def word_start_tokenizer() -> Any:
    """One of the kind of Llama 2's and Gemma's: a blank belongs to the word behind it, rare characters are bytes."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="never")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    bytes_of_any = [f"<0x{byte:02X}>" for byte in range(256)]
    alphabet = [chr(code) for code in range(33, 127)]
    trainer = trainers.BpeTrainer(
        vocab_size=900, special_tokens=["<unk>", *bytes_of_any], initial_alphabet=["▁", *alphabet], show_progress=False
    )
    source = "".join(path.read_text(encoding="utf-8") for path in sorted(FOLDER.glob("*.jinja")))
    lines = [line for line in source.splitlines() if "｜" not in line]
    names = "get_user get_users get_user_by_id list_events list_event_types finish math.sqrt math.sqrt2 getUser"
    tokenizer.train_from_iterator([*lines, *[names] * 20], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<unk>")
