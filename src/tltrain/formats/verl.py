"""verl's rows: `messages` for supervised training, `prompt` with `reward_model` for reinforcement learning.

- SFT: `{"messages", "tools", "enable_thinking"}`, with `loss_mask` 0 or 1 on each message, as a proposed change of
  verl names it; verl 0.9.1 trains on every turn of the assistant. It hands tools and calls to the chat template as
  they stand in the Parquet file: tools with the fields of all others, as null, and arguments as JSON text.
- RL: `{"data_source", "prompt", "ability", "reward_model": {"style", "ground_truth"}, "extra_info"}`; it holds no
  answer, so the trajectory ends with the prompt; the rest is kept in provenance.
"""

from collections.abc import Iterator
from typing import Any

from msgspec.structs import replace

from tltrain.errors import DataError
from tltrain.formats.base import CallMasks, Companions, WrittenRow
from tltrain.formats.chat_fields import write_tool
from tltrain.formats.export import Losses, kept_columns
from tltrain.formats.loss_fields import with_masks
from tltrain.formats.openai_chat import trajectory_from_row, write_message
from tltrain.formats.openai_rows import as_prompt, has_field
from tltrain.formats.untrusted import expect_object, missing
from tltrain.types import Json, Message, Role, Trajectory

PENDING = "loss weights; verl 0.9.1 trains on every turn; kept as `loss_mask` on messages, for a pending change"


class VerlRows:
    """See the module."""

    name = "verl"
    summary = "verl: messages with loss_mask and enable_thinking; prompts with reward_model (read as prompts alone)"

    def refuse(self, record: Json) -> str | None:
        """A row has `prompt` and `reward_model`, or messages with `loss_mask` or beside `enable_thinking`."""
        if isinstance(record, dict) and isinstance(record.get("prompt"), list):
            return None if isinstance(record.get("reward_model"), dict) else "there is 'prompt' without 'reward_model'"
        reason = missing(record, messages=list)
        if reason or not isinstance(record, dict):
            return reason
        if record.get("enable_thinking") is not None or has_field(record["messages"], {"loss_mask"}):
            return None
        return "there is neither 'enable_thinking' nor a message with 'loss_mask'"

    def read(self, record: Json, *, where: str, companions: Companions) -> Iterator[Trajectory | DataError]:  # noqa: ARG002
        """One trajectory; a `ground_truth` is in its provenance, in `reward_model`."""
        row = expect_object(record, where, "the record")
        if "prompt" not in row:
            yield trajectory_from_row(row, where=where, default_id="")
            return
        chat = {name: value for name, value in row.items() if name != "prompt"} | {"messages": row["prompt"]}
        trajectory = trajectory_from_row(chat, where=where, default_id="")
        yield replace(trajectory, messages=tuple(map(as_prompt, trajectory.messages)))

    def write(self, trajectory: Trajectory, masks: CallMasks) -> WrittenRow:
        """A row for supervised training."""
        losses = Losses()
        trajectory = with_masks(trajectory, masks)
        row: dict[str, Json] = kept_columns(trajectory)
        row["messages"] = [_write(message, losses) for message in trajectory.messages]
        row["tools"] = [write_tool(tool) for tool in trajectory.tools]
        return WrittenRow(row, losses.phrases())


def _write(message: Message, losses: Losses) -> Json:
    weight = losses.binary(losses.whole(message))
    row: dict[str, Any] = write_message(replace(message, weight=None, spans=(), mask_reason=""), with_faults=False)
    if message.role is Role.ASSISTANT:
        row["loss_mask"] = 1 if weight is None else int(weight)
        if weight == 0:
            losses.note(PENDING)
    return row


VERL = VerlRows()
