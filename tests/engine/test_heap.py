from pathlib import Path
from typing import Any

import pytest
import torch

from tiny_models import tiny_llama
from tltrain.engine import heap
from tltrain.engine.heap import HeapTrimmer
from tltrain.engine.tree_attention import can_run_trees, hidden_states

_MIB = 2**20


def _resident() -> int:
    pages = Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * 4096


@pytest.mark.skipif(heap._find_trim() is None, reason="the C library cannot hand memory back")
def test_holes_go_back_to_the_system():
    tensors = [torch.ones(4096) for _ in range(6000)]  # 16 KiB each, below what is mapped on its own
    kept = tensors[::2]
    del tensors
    before = _resident()
    trimmer = HeapTrimmer(torch.device("cpu"), every=2, num_outputs=2)
    trimmer.count(1)
    assert before - _resident() < 10 * _MIB
    trimmer.count(1)
    assert before - _resident() > 20 * _MIB
    assert len(kept) == 3000


@pytest.fixture
def calls(monkeypatch) -> list[int]:
    made: list[int] = []
    monkeypatch.setattr(heap, "_find_trim", lambda: lambda pad: made.append(pad))
    return made


def test_on_an_accelerator_nothing_is_done(calls):
    HeapTrimmer(torch.device("cuda"), every=1).count(1)
    assert calls == []


def test_large_outputs_make_it_rarer(calls):
    trimmer = HeapTrimmer(torch.device("cpu"), every=3, num_outputs=4)
    for _ in range(12):
        trimmer.count(10)
    assert len(calls) == 3


def test_it_happens_forward_and_backward_as_often_as_the_bytes_say(calls, monkeypatch):
    model: Any = tiny_llama()
    can_run_trees(model)
    monkeypatch.setattr(HeapTrimmer.__init__, "__defaults__", (1, 0))
    states = hidden_states(model.train(), [list(range(30))]).hidden
    num_forward = len(calls)
    states.sum().backward()
    num_layers = model.config.num_hidden_layers
    assert (num_forward, len(calls)) == (3 * num_layers + 1, 2 * (3 * num_layers + 1))
