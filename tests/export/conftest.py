"""Small models with distributions far from uniform, so that a wrong weight is seen."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer

from tiny_models import tiny_llama
from tltrain.export import check

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def check_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a process of its own is told, done in this one: a start takes longer than all else, and one is enough.

    Fixtures of modules are made before this one, and do start one.
    """

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        monkeypatch.setattr(sys, "argv", command[2:])
        check.main()
        return subprocess.CompletedProcess(command, 0, stdout="", stderr="")

    monkeypatch.setattr("tltrain.export.run.subprocess", SimpleNamespace(run=run))


@pytest.fixture(scope="session")
def plain(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama and a tokenizer without chat template; the generation config names no end."""
    return saved(AutoTokenizer.from_pretrained(tiny_model), tmp_path_factory.mktemp("plain") / "model")


def saved(tokenizer: Any, folder: Path, **options: Any) -> Path:
    model = tiny_llama(vocab_size=len(tokenizer), **options)
    model.generation_config.bos_token_id = None
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def adapter(plain: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved_adapter(plain, tmp_path_factory.mktemp("adapter") / "adapter")


def saved_adapter(base: Path, folder: Path) -> Path:
    """An adapter that changes what the base says."""
    from tltrain.engine.model import add_lora, load_model
    from tltrain.engine.settings import LoraConfig

    adapted = add_lora(load_model(base).model, LoraConfig(rank=2))
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in adapted.parameters():
            if parameter.requires_grad:
                parameter.normal_(std=0.3)
    adapted.save_pretrained(folder)
    return folder
