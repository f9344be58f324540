"""Where the public test sets and labelled vectors lie, for tests that use them."""

import os
from pathlib import Path

import pytest


def data_file(name: str) -> Path:
    """The file of that name below TLTRAIN_DATA (or ../shared/data); the test is skipped where it is absent."""
    root = Path(os.environ.get("TLTRAIN_DATA") or Path(__file__).parents[2] / "shared" / "data")
    path = root / name
    if not path.exists():
        pytest.skip(f"{name} is not there; set TLTRAIN_DATA to the folder that holds it")
    return path
