"""The table of memory: its formulas against what is kept, and against the peak of steps that run."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.kept import num_bytes, watching
from tltrain.engine.logprobs import TargetSequence, target_scores
from tltrain.engine.model import add_lora
from tltrain.engine.settings import LoraConfig

_BENCH = Path(__file__).parents[1] / "bench"
_TOKENS = 96


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(_BENCH))
    return importlib.import_module("memory")


def _kept(shape: Any, num_layers: int, rank: int | None, is_plain: bool) -> int:
    """Bytes that a forward pass keeps, counted on real tensors."""
    torch.manual_seed(0)
    model = shape.build(num_layers, 64)
    if rank is not None:
        model = add_lora(model, LoraConfig(rank=rank))
    if is_plain:
        model.gradient_checkpointing_enable()  # turns remaking off; in evaluation mode it is all that it does
    target_scores(model.eval(), [TargetSequence([3, 4], [1])])
    with watching() as kept:
        output = target_scores(model, [TargetSequence([place % 64 for place in range(_TOKENS)], [_TOKENS - 1])])
    size = num_bytes(kept, model)
    del output
    return size


@pytest.mark.parametrize("is_plain", [False, True])
@pytest.mark.parametrize("rank", [None, 4])
@pytest.mark.parametrize("is_qwen", [False, True])
def test_what_a_block_keeps_is_what_is_counted(memory: Any, is_qwen: bool, rank: int | None, is_plain: bool):
    shape = memory.Shape("small", 96, 256, 3, 6, 2, 64, True, is_qwen)
    # of a third block, so that neither the ends nor a first block without gradient count
    counted = (_kept(shape, 3, rank, is_plain) - _kept(shape, 2, rank, is_plain)) / _TOKENS
    assert memory.bytes_of_block(shape, rank, is_plain=is_plain) == pytest.approx(counted, rel=0.03)


_RUN = """
import json, sys, torch
sys.path[:0] = [sys.argv[1]]
import memory
from tltrain.engine.model import checkpoint_activations
torch.set_num_threads(1)
shape = memory.Shape(*json.loads(sys.argv[2]))
model = shape.build(shape.layers, shape.vocabulary)
prepare = checkpoint_activations if json.loads(sys.argv[3]) else None
print(memory.run_steps(model, prepare, int(sys.argv[4]))[1])
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peaks are read from Linux's /proc")
@pytest.mark.parametrize("is_checkpointed", [False, True])
def test_the_computed_peak_is_within_an_eighth_of_the_measured_one(memory: Any, is_checkpointed: bool):
    fields = ("small", 384, 1024, 8, 6, 2, 8000, True)
    shape, tokens = memory.Shape(*fields), 1024
    found = subprocess.run(
        [sys.executable, "-c", _RUN, str(_BENCH), json.dumps(fields), json.dumps(is_checkpointed), str(tokens)],
        env=os.environ | {"OMP_NUM_THREADS": "1", "MALLOC_MMAP_THRESHOLD_": "200000"},
        check=True,
        capture_output=True,
        text=True,
        timeout=100,
    )
    states, rest = memory.memory_of_step(shape, tokens, None, is_checkpointed)
    computed = states - 4 * memory.count_weights(shape)[0] + rest
    assert computed == pytest.approx(int(found.stdout.split()[-1]), rel=1 / 8)


def test_parts_of_a_step_by_hand(memory: Any):
    # one block of width 2: embeddings 3 x 2, attention 4 x 2 x 2, feed-forward 3 x 2 x 4, norms 3 x 2
    shape = memory.Shape("tiny", 2, 4, 1, 1, 1, 3, True)
    assert memory.count_weights(shape) == (6 + 16 + 24 + 6, 40)
    # norms 2 x 2, queries to result 4 x 2 and one number, halves 2 x 4; plain: 4 x 2 and 2 x 4 more
    assert memory.bytes_of_block(shape) == 4 * (4 + 9 + 8)
    assert memory.bytes_of_block(shape, is_plain=True) == 4 * (12 + 9 + 16)
    head = 3 * 4 * 128 * 3
    assert memory.memory_of_step(shape, 10, None, False) == (16 * 52, 10 * 84 + head + 4 * 6)
    # adapters of rank 1: 4 x (2 + 2) and 3 x (2 + 4); of 52 frozen weights neither gradient nor moments
    assert memory.count_adapters(shape, 1) == 34
    assert memory.memory_of_step(shape, 10, 1, False) == (4 * 52 + 16 * 34, 10 * (84 + 28) + head)
    # a checkpoint keeps the block's input, and one block whole
    assert memory.memory_of_step(shape, 10, None, True)[1] == 10 * (8 + 148) + head + 24
    assert memory.memory_of_step(shape, 10, None, True, 8)[0] == 16 * 52 / 8
