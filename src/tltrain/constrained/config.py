"""The setting `constrain`, which evaluation and reinforcement learning share."""

from typing import Literal, TypeAlias

Constrain: TypeAlias = Literal["off", "auto", "call"]
"""What a model may write. off: anything. auto: plain text, or text and then well-formed calls of tools on offer. call:
such calls at once."""
