"""The command line: start-up, exit codes, streams, dry runs, used folders, and what is said about bad input."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from tltrain.cli import main
from tltrain.cli.failures import is_out_of_memory
from tltrain.errors import DataError
from tltrain.files import JsonLinesWriter, read_json_lines

VERBS = [
    "generate",
    "audit",
    "convert",
    "inspect",
    "explain",
    "sft",
    "ppo",
    "eval",
    "compare",
    "report",
    "export",
    "run",
    "demo",
    "key-tokens",
    "reward score",
    "reward audit",
]
DATA_VERBS = ["data mix", "data check"]
GENERATE = ["generate", "--num-train", "6", "--num-test", "2"]
PIECES = {"id": "a", "tool_pieces": {"get": ["get"], "gets": ["gets"]}, "gold_tool": "get", "call_pieces": ["get", "("]}
TOOLS = [{"name": "find", "params": ["day"]}]
CALL = {"id": "r1", "tools": TOOLS, "gold": "find(day='Mon')", "pred": "find(day='Tue')"}


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "tltrain", *arguments]


def start(*arguments: str, **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*arguments), capture_output=True, text=True, timeout=120, check=False, **options)


def write_rows(path: Path, *rows: object) -> Path:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("data") / "made"
    assert main([*GENERATE, "--out", str(out)]) == 0
    return out


# ------------------------------------------------------------------------------------------------------------ start


def test_help_loads_nothing_heavy():
    shown = start("--help")
    assert shown.returncode == 0
    assert [line.split()[0] for line in shown.stdout.partition("Commands:")[2].splitlines() if line.strip()] == [
        *dict.fromkeys(verb.split()[0] for verb in VERBS),
        "data",
    ]
    assert "..." not in shown.stdout.partition("Commands:")[2]
    script = "import sys, tltrain.cli; print({'torch', 'pydantic', 'yaml', 'rich', 'numpy'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout == "set()\n"


@pytest.mark.parametrize("verb", [*VERBS, *DATA_VERBS])
def test_every_verb_has_help_with_an_example(verb, capsys):
    assert main([*verb.split(), "--help"]) == 0
    shown = capsys.readouterr().out
    assert f"Example: tltrain {verb}" in " ".join(shown.split())
    assert shown.startswith((f"Usage: tltrain {verb} [OPTIONS]", f"Usage: tltrain {verb} COMMAND"))


def test_the_package_gives_the_stage_functions_without_loading_torch():
    script = """
import sys
import tltrain
from tltrain.sft.config import SftConfig  # loads the subpackage that has the stage's name
from tltrain import audit, compare, generate, report, run, sft
assert all(map(callable, (audit, compare, generate, report, run, sft)))
assert "torch" not in sys.modules
import tltrain.sft.train as module
import inspect
assert inspect.signature(sft) == inspect.signature(module.sft)
from tltrain import evaluate, ppo
assert (ppo.__module__, evaluate.__module__) == ("tltrain.rl.train", "tltrain.benches.run")
assert not hasattr(tltrain, "nothing")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_stage_is_called_by_its_name(tmp_path):
    from tltrain import generate
    from tltrain.generate.config import GenerateConfig

    assert generate(GenerateConfig(num_train=2, num_test=0), out=tmp_path / "data").num_train == 2


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip().count(".") == 2


# ------------------------------------------------------------------------------------------------- usage and config


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["evla"], "No such command 'evla'"),
        (["sft"], "Missing argument 'DATA'"),
        (["audit"], "audit needs DATA and --out DIR, or --feedback FILE"),
        (["audit", "--feedback", "f", "--out", "o"], "leave DATA and --out away"),
        (["generate", "--out", "o", "--num-train", "many"], "Invalid value for '--num-train': Input should be"),
        (["generate", "--out", "o", "--num-train", "0"], "num_train=0 should be greater than or equal to 1"),
        (["generate", "--out", "o", "--resume", "--overwrite"], "--resume and --overwrite exclude each other"),
        (["sft", "d", "--out", "o", "--set", "lerning_rate=1"], "did you mean optimizer.learning_rate?"),
        (["sft", "d", "--out", "o", "--config", "no.yaml"], "no.yaml: no such YAML file"),
        (["eval", "d", "--out", "o", "--set", "max_case=1"], "did you mean max_cases?"),
        (["run", "dmeo", "--out", "o"], "did you mean demo?"),
        (["demo", "--set", "ppo.max_step=1"], "did you mean max_steps"),
        (["key-tokens", "f", "--w-max", "0"], "Invalid value for '--w-max'"),
        (["report", "nowhere"], "run=nowhere is no folder"),
        (["compare", "nowhere"], "compare got nowhere alone; give two or more folders"),
        (["compare", "nowhere", "neither"], "nowhere is no folder; give folders that `tltrain eval` wrote"),
        (["reward", "score", "f", "--syntax", "pyton"], "did you mean python?"),
    ],
)
def test_wrong_usage_exits_with_2_and_says_why(arguments, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    shown = capsys.readouterr()
    assert said in shown.err
    assert "Traceback" not in shown.err
    assert shown.out == ""
    assert list(tmp_path.iterdir()) == []


def test_a_recipe_with_a_wrong_type_names_file_line_field_and_value(tmp_path, capsys):
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("extends: demo\nsft:\n  batch_size: lots\n")
    assert main(["run", str(recipe), "--out", str(tmp_path / "out")]) == 2
    assert f'Error: {recipe}:3: sft.batch_size="lots" should be a valid integer' in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "setting", "again"),
    [
        (["generate"], ["--num-train", "9"], ["--config", "again.yaml"]),
        (["audit", "data.jsonl"], [], ["--config", "again.yaml"]),
        (["sft", "data.jsonl"], ["--learning-rate", "3e-5"], ["--config", "again.yaml"]),
        (["ppo", "data.jsonl", "--model", "m"], ["--max-steps", "3"], ["--config", "again.yaml"]),
        (["eval", "data.jsonl"], ["--max-cases", "3"], ["--config", "again.yaml"]),
        (["run"], ["paper"], ["again.yaml"]),
        (["run"], ["demo", "--set", "sft.num_epochs=3"], ["again.yaml"]),
    ],
)
def test_a_dry_run_prints_the_config_and_does_nothing(arguments, setting, again, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main([*arguments, *setting, "--out", "out", "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert isinstance(yaml.safe_load(shown), dict)
    assert list(tmp_path.iterdir()) == []
    # What was printed is the file that gives the same again.
    (tmp_path / "again.yaml").write_text(shown)
    assert main([*arguments, *again, "--out", "out", "--dry-run"]) == 0
    assert capsys.readouterr().out == shown


# ---------------------------------------------------------------------------------------------- folders and streams


def test_a_used_folder_is_refused_resumed_or_overwritten(tmp_path, capsys):
    arguments = [*GENERATE, "--out", str(tmp_path / "data")]
    assert main(arguments) == 0
    made = (tmp_path / "data" / "train.jsonl").read_bytes()
    assert main(arguments) == 2
    assert "pass --resume to go on there, or --overwrite" in capsys.readouterr().err
    assert main([*arguments, "--resume"]) == 0
    assert main([*arguments, "--seed", "5", "--resume"]) == 2
    assert "config.seed was 0 and is 5" in capsys.readouterr().err
    assert main([*arguments, "--seed", "5", "--overwrite"]) == 0
    assert (tmp_path / "data" / "train.jsonl").read_bytes() != made


def test_results_go_to_stdout_and_progress_to_stderr(tmp_path, capsys):
    assert main([*GENERATE, "--out", str(tmp_path / "data"), "--json"]) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out) == {
        "train": str(tmp_path / "data" / "train.jsonl"),
        "test": str(tmp_path / "data" / "test.jsonl"),
        "summary": str(tmp_path / "data" / "summary.json"),
        "num_train": 6,
        "num_test": 2,
        "num_failed": 0,
    }
    assert shown.err.startswith("generate: 100% (8 of 8; took ")


def test_audit_prints_counts_or_its_summary(data, tmp_path, capsys):
    arguments = ["audit", str(data / "train.jsonl"), "--out"]
    assert main([*arguments, str(tmp_path / "a")]) == 0
    assert "against the truth: recall" in capsys.readouterr().out
    assert main([*arguments, str(tmp_path / "b"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads((tmp_path / "b" / "summary.json").read_text())


def test_report_prints_its_page(tmp_path, capsys):
    (tmp_path / "run").mkdir()
    assert main(["report", str(tmp_path / "run"), "--out", str(tmp_path / "page")]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "page" / "index.html")


# --------------------------------------------------------------------------------------------------------- bad data


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "no such file of trajectories"),
        (b"", "is empty; it should hold trajectories"),
        (b'{"messages": \0}\n', "NUL byte at column 14"),
        (b'{"messages": [\n', "not JSON"),
        (b"\xff\xfe\n", "is not UTF-8"),
        (b'[{"messages": []}]\n', "messages is empty"),
        (b'{"messages": "hello"}\n', "messages"),
    ],
)
def test_unusable_data_exits_with_1_and_says_where(content, said, tmp_path, capsys):
    path = tmp_path / "data.jsonl"
    if content is not None:
        path.write_bytes(content)
    assert main(["audit", str(path), "--out", str(tmp_path / "out")]) == 1
    shown = capsys.readouterr()
    assert said in shown.err
    assert str(path) in shown.err
    assert "Traceback" not in shown.err


def test_trainers_explain_unusable_data_and_wrong_names(tmp_path, capsys):
    model = _tiny_model(tmp_path)
    damaged = write_rows(tmp_path / "damaged.jsonl", '{"messages": [')
    assert main(["sft", str(damaged), "--model", model, "--out", str(tmp_path / "out")]) == 1
    assert f"{damaged}:1: not JSON" in capsys.readouterr().err
    for verb in ("sft", "ppo", "eval"):
        for wrong in ([str(tmp_path / "none.jsonl"), "--model", model], [str(damaged), "--model", "./none"]):
            assert main([verb, *wrong, "--out", str(tmp_path / "new")]) == 1
            assert "none" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def _tiny_model(folder: Path) -> str:
    from tiny_models import byte_tokenizer, tiny_llama

    tokenizer = byte_tokenizer()
    tiny_llama(vocab_size=len(tokenizer)).save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    return str(folder / "model")


def test_a_folder_in_place_of_a_file_is_named_with_what_is_in_it(data, tmp_path, capsys):
    assert main(["audit", str(data), "--out", str(tmp_path / "out")]) == 1
    assert "is a folder with several splits (test, train); name a file" in capsys.readouterr().err


def test_bad_rows_among_good_ones_are_set_aside_and_counted(data, tmp_path, capsys):
    good = (data / "train.jsonl").read_text().splitlines()
    mixed = write_rows(tmp_path / "mixed.jsonl", good[0], '{"messages": [', "\0", good[1])
    assert main(["audit", str(mixed), "--out", str(tmp_path / "out")]) == 0
    assert f"2, listed in {tmp_path / 'out' / 'quarantine.jsonl'}" in capsys.readouterr().out
    reasons = [row["reason"] for _, row in read_json_lines(tmp_path / "out" / "quarantine.jsonl")]
    assert [f"{mixed}:{line}" in reason for line, reason in zip((2, 3), reasons, strict=True)] == [True, True]


def test_a_model_folder_without_tokenizer_is_explained(data, tmp_path, capsys):
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text('{"model_type": "llama"}')
    for verb in ("sft", "ppo", "eval"):
        arguments = [verb, str(data / "train.jsonl"), "--model", str(model), "--out", str(tmp_path / verb)]
        assert main(arguments) == 1
        assert f"model folder {model}: holds no tokenizer" in capsys.readouterr().err


def test_a_damaged_stage_record_is_explained(tmp_path, capsys):
    arguments = [*GENERATE, "--out", str(tmp_path / "data")]
    assert main(arguments) == 0
    (tmp_path / "data" / "stage.json").write_text("{")
    assert main([*arguments, "--resume"]) == 1
    assert "is damaged" in capsys.readouterr().err


# ------------------------------------------------------------------------------------------------- plain-file verbs


def test_scores_of_calls_and_rows_that_cannot_be_scored(tmp_path, capsys):
    file = write_rows(tmp_path / "calls.jsonl", CALL, "{", CALL | {"id": "r3", "gold": "find("}, CALL | {"id": "r4"})
    assert main(["reward", "score", str(file), "--json"]) == 1
    shown = capsys.readouterr()
    rows = [json.loads(line) for line in shown.out.splitlines()]
    assert rows[0] == {
        "id": "r1",
        "reward": -0.25,
        "kind": "content_mismatch",
        "breakdown": {"content_mismatch": -0.25},
    }
    assert [row["id"] for row in rows] == ["r1", 2, "r3", "r4"]
    assert [row["line"] for row in rows if "error" in row] == [2, 3]
    assert shown.err.splitlines()[0].startswith(f"{file}:2: not JSON")
    assert shown.err.splitlines()[1].startswith("line 3: gold: not one python call")
    assert "2 of 4 rows could not be used" in shown.err


def test_scores_as_a_table(tmp_path, capsys):
    file = write_rows(tmp_path / "calls.jsonl", *[CALL | {"id": f"\x1b[31m{number}"} for number in range(40)])
    assert main(["reward", "score", str(file)]) == 0
    shown = capsys.readouterr().out
    assert "... and 10 more rows; --json prints all" in shown
    assert "content_mismatch       40  100.0%" in shown
    assert "mean reward: -0.2500" in shown
    assert "\x1b" not in shown


def test_hermes_calls_are_scored(tmp_path, capsys):
    call = '<tool_call>\n{"name": "find", "arguments": {"day": "Mon"}}\n</tool_call>'
    file = write_rows(tmp_path / "calls.jsonl", CALL | {"gold": call, "pred": call})
    assert main(["reward", "score", str(file), "--syntax", "hermes", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["reward"] == 1


def test_key_tokens_of_calls(tmp_path, capsys):
    file = write_rows(tmp_path / "calls.jsonl", PIECES, {"id": "b"})
    assert main(["key-tokens", str(file), "--json"]) == 1
    shown = capsys.readouterr()
    first, second = map(json.loads, shown.out.splitlines())
    assert first == {"id": "a", "key_positions": [0], "n_key": 1, "n_nonkey": 1, "weight": 1.0}
    assert second["line"] == 2
    assert "1 of 2 rows could not be used" in shown.err
    long = write_rows(tmp_path / "long.jsonl", PIECES | {"call_pieces": ["get", *"(a=1)"]})
    assert main(["key-tokens", str(long), "--json", "--w-max", "3"]) == 0
    assert json.loads(capsys.readouterr().out)["weight"] == 3


def test_verdicts_on_single_feedbacks(tmp_path, capsys):
    rows = ({"id": 7, "tool": "find", "feedback": "TypeError: missing 1 required argument: 'day'"}, {"tool": 3})
    file = write_rows(tmp_path / "feedback.jsonl", *rows)
    assert main(["audit", "--feedback", str(file), "--json"]) == 1
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert {name: first[name] for name in ("id", "label", "kind", "blame")} == {
        "id": 7,
        "label": "error",
        "kind": "missing_argument",
        "blame": "model",
    }
    assert first["evidence"]
    assert second["line"] == 2


def test_own_rules_reach_the_audit(tmp_path, capsys):
    file = write_rows(tmp_path / "feedback.jsonl", {"tool": "find", "feedback": "NACK 17"})
    rules = tmp_path / "rules.yaml"
    rules.write_text("rules:\n  - {name: nack, patterns: ['^NACK'], kind: refused}\n")
    assert main(["audit", "--feedback", str(file), "--config", str(rules), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rule"] == "nack"


# -------------------------------------------------------------------------------------- interruptions and full disks


def test_a_full_disk_is_named_and_a_second_start_goes_on(tmp_path, capsys, monkeypatch):
    arguments = [*GENERATE, "--out", str(tmp_path / "data")]
    assert main([*GENERATE, "--out", str(tmp_path / "whole")]) == 0
    write = JsonLinesWriter.write
    written: list[object] = []

    def write_until_full(self: JsonLinesWriter, row: dict[str, object]) -> None:
        if len(written) == 4:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written.append(row)
        write(self, row)

    with monkeypatch.context() as patched:
        patched.setattr(JsonLinesWriter, "write", write_until_full)
        assert main(arguments) == 1
    shown = capsys.readouterr().err
    assert f"Error: {tmp_path / 'data'}: No space left on device; free some space" in shown
    assert "the same command with --resume goes on" in shown
    assert main([*arguments, "--resume"]) == 0
    for name in ("train.jsonl", "test.jsonl"):
        assert (tmp_path / "data" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_under_stdout_fails(tmp_path):
    file = write_rows(tmp_path / "calls.jsonl", PIECES)
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            command("key-tokens", str(file), "--json"), stdout=full, stderr=subprocess.PIPE, text=True, timeout=60
        )
    assert done.returncode == 1
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_folder_that_cannot_be_made_is_explained(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main([*GENERATE, "--out", str(tmp_path / "file" / "data")]) == 1
    assert "Not a directory" in capsys.readouterr().err


def test_ctrl_c_says_how_to_go_on_and_the_rest_is_then_made(tmp_path):
    out = tmp_path / "data"
    arguments = ["generate", "--num-train", "400", "--num-test", "0", "--out", str(out)]
    process = subprocess.Popen(
        command(*arguments),
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        # a shell's background jobs ignore Ctrl-C, and so would what they start
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 60
    while not (out / "partial.jsonl").exists() or (out / "partial.jsonl").stat().st_size < 20_000:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    shown, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"Interrupted; what is done is kept in {out}; the same command with --resume goes on." in said
    assert "Traceback" not in said
    assert shown == ""
    num_kept = len((out / "partial.jsonl").read_text().splitlines()) - 1
    assert 0 < num_kept < 400
    assert start(*arguments, "--resume").returncode == 0
    assert len((out / "train.jsonl").read_text().splitlines()) == 400


def test_a_reader_that_leaves_is_no_error_to_tell(tmp_path):
    file = write_rows(tmp_path / "calls.jsonl", *[PIECES] * 20_000)
    process = subprocess.Popen(
        command("key-tokens", str(file), "--json"), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    _, said = process.communicate(timeout=60)
    assert said == b""


def test_a_bug_keeps_its_traceback_and_debugging_shows_all_of_them(tmp_path, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr("tltrain.config.load_config", lambda *_, **__: 1 // 0)
        with pytest.raises(ZeroDivisionError):
            main([*GENERATE, "--out", str(tmp_path / "data")])
    monkeypatch.setenv("TLTRAIN_DEBUG", "1")
    with pytest.raises(DataError, match="no such file"):
        main(["audit", str(tmp_path / "none.jsonl"), "--out", str(tmp_path / "out")])


def test_running_out_of_memory_is_explained(tmp_path, monkeypatch, capsys):
    def starve(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr("tltrain.data_stages.generate_files", starve)
    assert main([*GENERATE, "--out", str(tmp_path / "data")]) == 1
    assert "out of memory; make micro_batch_tokens smaller" in capsys.readouterr().err
    assert is_out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate"))
    assert not is_out_of_memory(RuntimeError("shapes differ"))
