import json
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from render.template_shapes import SHAPES, with_shape
from tltrain.errors import DataError
from tltrain.formats.openai_chat import row_from_trajectory
from tltrain.sft.config import SftConfig
from tltrain.sft.samples import PreparedSamples, prepare_samples
from tltrain.types import Message, Role, Tool, ToolCall, Trajectory


def user(content: str) -> Message:
    return Message(role=Role.USER, content=content)


def says(content: str, **fields: Any) -> Message:
    return Message(role=Role.ASSISTANT, content=content, **fields)


TWO_QUERIES = Trajectory(
    id="row",
    tools=(Tool(name="get_tea"),),
    messages=(
        user("Who?"),
        says("Ana.", reasoning="Hm."),
        user("And?"),
        says("", calls=(ToolCall(name="get_tea", id="c1"),)),
        Message(role=Role.TOOL, content="tea", name="get_tea", call_id="c1"),
        says("Tea."),
    ),
)


def prepare(tokenizer: Any, folder: Path, trajectories: list[Trajectory], **settings: Any) -> PreparedSamples:
    data = folder / "data.jsonl"
    data.write_text("".join(json.dumps(row_from_trajectory(row)) + "\n" for row in trajectories), encoding="utf-8")
    config = SftConfig(**settings)
    return prepare_samples(config, tokenizer, data=data, verdicts=None, validation=None, out=folder)


def test_a_trajectory_that_the_template_rewrites_is_a_sample_for_each_query(smollm2, tmp_path):
    tokenizer = with_shape(smollm2, SHAPES["qwen3"])
    train, heldout, num_bad, _ = prepare(tokenizer, tmp_path, [TWO_QUERIES], heldout_share=0)
    assert ([sample.rendered.id for sample in train], heldout, num_bad) == (["row", "row"], [], 0)
    assert [len(sample.rendered.calls) for sample in train] == [0, 1]


def test_all_samples_of_a_trajectory_are_held_out_together(smollm2, tmp_path):
    tokenizer = with_shape(smollm2, SHAPES["qwen3"])
    rows = [replace(TWO_QUERIES, id=f"row-{number}") for number in range(6)]
    train, heldout, *_ = prepare(tokenizer, tmp_path, rows, heldout_share=0.5)
    ids = [{sample.rendered.id for sample in part} for part in (train, heldout)]
    assert [len(part) for part in (train, heldout, *ids)] == [6, 6, 3, 3]
    assert not ids[0] & ids[1]


def test_rows_that_all_weigh_nothing_are_refused_with_the_reason_for_each(smollm2, tmp_path):
    tokenizer = with_shape(smollm2, SHAPES["qwen2_5"])
    silent = replace(TWO_QUERIES, messages=(user("Who?"), says("Ana.", weight=0.0)))
    with pytest.raises(DataError, match=r"no row is left to train on.*The first: row: nothing to train on.*leave the"):
        prepare(tokenizer, tmp_path, [silent])
    assert "own weights of all its messages are 0" in (tmp_path / "quarantine.jsonl").read_text(encoding="utf-8")
