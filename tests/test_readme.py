"""The README's commands and code work as written."""

import re
import shlex
from pathlib import Path

import pytest

from tltrain.cli import main
from tltrain.envs.sandbox import KITS
from tltrain.files import read_json_lines
from tltrain.generate.templates import TEMPLATES

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)


COMMANDS = re.findall(r"^tltrain [^#\n]+", "\n".join(blocks("sh")), flags=re.MULTILINE)


def test_the_readme_shows_every_verb():
    assert {command.split()[1] for command in COMMANDS} == {
        *(
            "generate",
            "audit",
            "inspect",
            "explain",
            "convert",
            "data",
            "sft",
            "ppo",
            "eval",
            "compare",
            "report",
            "export",
            "run",
        ),
        *("reward", "key-tokens"),
    }


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_are_valid(command, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_recipe.yaml").write_text(blocks("yaml")[0])
    arguments = shlex.split(command)[1:]
    if arguments[0] in ("reward", "key-tokens", "inspect", "explain", "convert", "data"):
        assert main(arguments) == 1
        assert "no such file" in capsys.readouterr().err
    elif arguments[:2] == ["eval", "score"]:
        monkeypatch.delenv("TLTRAIN_DATA", raising=False)
        assert main(arguments) == 2
        assert "no folder of test sets" in capsys.readouterr().err
    elif arguments[0] == "export":
        assert main(arguments) in (1, 2)
        assert re.search(
            "model folder .* not found|no converter to GGUF|there is no convert_hf_to_gguf", capsys.readouterr().err
        )
    elif arguments[0] in ("report", "compare"):
        assert main(arguments) == 2
        assert "is no folder" in capsys.readouterr().err
    else:
        assert main([*arguments, "--dry-run"]) == 0


def test_the_code_for_own_tools_makes_data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (code,) = (block for block in blocks("python") if "KITS" in block)
    try:
        exec(compile(code, "own_tools.py", "exec"), {"__name__": "own_tools"})
    finally:
        KITS.pop("garden", None)
        TEMPLATES.pop(("garden", "water"), None)
    rows = [row for _, row in read_json_lines(tmp_path / "garden" / "train.jsonl")]
    assert len(rows) == 40
    assert {row["provenance"]["kit"] for row in rows} == {"garden"}


def test_the_files_of_the_method_table_exist():
    table = README.partition("## The method in the code")[2].partition("## Limits")[0]
    paths = re.findall(r"`([a-z]+/[\w./]*|\w+\.py)`", table)
    assert len(paths) > 5
    assert [path for path in paths if not (ROOT / "src" / "tltrain" / path).exists()] == []
