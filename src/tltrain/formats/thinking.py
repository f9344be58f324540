"""Thinking that stands inside a text, between `<think>` tags, as formats without a field for it write it."""

import re

_BLOCK = re.compile(r"\s*<think>(?P<reasoning>.*?)</think>(?P<rest>.*)", re.DOTALL)


def split_thinking(text: str) -> tuple[str, str]:
    """The thinking with which a text begins, and the rest, both without the line breaks around the tags."""
    block = _BLOCK.fullmatch(text)
    if block is None:
        return "", text
    reasoning, rest = block["reasoning"], block["rest"]
    if not reasoning.strip():
        return "", rest.lstrip("\n")
    return reasoning.removeprefix("\n").removesuffix("\n"), rest.removeprefix("\n").removeprefix("\n")


def join_thinking(reasoning: str, text: str) -> str:
    """What `split_thinking` takes apart; the text alone where there is no thinking."""
    return f"<think>\n{reasoning}\n</think>\n\n{text}" if reasoning else text
