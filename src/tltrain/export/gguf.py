"""A GGUF file for llama.cpp, written by llama.cpp's own converter."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tltrain.errors import ModelError, UsageError

TYPES = ("q8_0", "f16", "bf16", "f32")
VARIABLE = "TLTRAIN_GGUF_CONVERTER"
SCRIPT = "convert_hf_to_gguf.py"
_HOW_TO_GET_IT = (
    "get it with `git clone https://github.com/ggml-org/llama.cpp` and `pip install gguf sentencepiece`, then pass "
    f"--converter llama.cpp/{SCRIPT} or set {VARIABLE}"
)


def find_converter(given: Path | None) -> Path:
    """llama.cpp's converter: the one given, that of TLTRAIN_GGUF_CONVERTER, or the first on PATH.

    Args:
        given: the script, a folder that holds it, or a program that takes the same arguments.

    Raises:
        UsageError: there is none; the message says how to get it.
    """
    named = given or (Path(os.environ[VARIABLE]) if os.environ.get(VARIABLE) else None)
    if named is not None:
        path = named / SCRIPT if named.is_dir() else named
        if not path.is_file():
            where = "--converter" if given else VARIABLE
            raise UsageError(f"{where}={named}: there is no {SCRIPT}; {_HOW_TO_GET_IT}")
        return path.absolute()
    for name in (SCRIPT, "convert_hf_to_gguf"):
        if found := shutil.which(name):
            return Path(found)
    raise UsageError(f"no converter to GGUF is installed; {_HOW_TO_GET_IT}")


def check_type(gguf: str) -> None:
    """Raise unless the type is known.

    Raises:
        UsageError: it is not.
    """
    if gguf not in TYPES:
        raise UsageError(f"gguf={gguf!r} is not known; choose one of {', '.join(TYPES)}")


def convert(folder: Path, file: Path, *, gguf: str, converter: Path) -> None:
    """Write `file` out of a transformers folder.

    A script ending in .py is run by this Python, anything else by itself.

    Raises:
        ModelError: the converter fails; the message has its last lines.
    """
    program = [sys.executable, str(converter)] if converter.suffix == ".py" else [str(converter)]
    done = subprocess.run(
        [*program, str(folder), "--outtype", gguf, "--outfile", str(file)],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode == 0 and _is_gguf(file):
        return
    lines = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
    hint = ""
    if lines and lines[-1].startswith("ModuleNotFoundError"):
        hint = f"; install what is missing for {sys.executable}"
    elif any("pre-tokenizer was not recognized" in line for line in lines):
        hint = "; llama.cpp does not know this tokenizer: serve the folder itself, or see convert_hf_to_gguf_update.py"
    said = " | ".join(line.strip() for line in lines[-3:]) or "it wrote no GGUF file"
    raise ModelError(f"{converter} failed with exit code {done.returncode}: {said[-600:]}{hint}")


def _is_gguf(file: Path) -> bool:
    if not file.is_file():
        return False
    with file.open("rb") as opened:
        return opened.read(4) == b"GGUF"
