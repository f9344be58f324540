"""The hook into lm-evaluation-harness: with stand-ins for its command, and, where it is installed, with itself.

TLTRAIN_LM_EVAL_PYTHON names an interpreter that has lm_eval, if this one does not.
"""

import json
import os
import stat
import sys
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import pytest

from tiny_models import byte_tokenizer, tiny_llama
from tltrain.benches.general_config import GeneralConfig, LmEvalConfig
from tltrain.benches.general_run import evaluate_general
from tltrain.benches.lm_eval_run import read_results
from tltrain.cli import main
from tltrain.errors import DataError, UsageError

# cut from what lm_eval 0.4.13 wrote for one task of four questions; the group's numbers are made up
RESULTS = {
    "results": {
        "two_choices": {
            "name": "two_choices",
            "alias": "two_choices",
            "sample_len": 4,
            "acc,none": 0.75,
            "acc_stderr,none": 0.25,
            "exact_match,strict": 0.5,
            "exact_match_stderr,strict": "N/A",
        }
    },
    "groups": {"pair": {"alias": "pair", "acc,none": 0.6, "acc_stderr,none": 0.1}},
    "versions": {"two_choices": 1},
    "n-samples": {"two_choices": {"original": 4, "effective": 3}},
    "higher_is_better": {"two_choices": {"acc": True, "exact_match": True}},
    "lm_eval_version": "0.4.13",
}
TASK = """\
task: two_choices
dataset_path: json
dataset_kwargs:
  data_files:
    test: ROWS
test_split: test
output_type: multiple_choice
doc_to_text: "{{question}}"
doc_to_choice: "{{choices}}"
doc_to_target: answer
metric_list:
  - metric: acc
    aggregation: mean
    higher_is_better: true
metadata:
  version: 1
"""
ROWS = [
    {"question": "one plus one is", "choices": [" two", " three"], "answer": 0},
    {"question": "two plus one is", "choices": [" two", " three"], "answer": 1},
    {"question": "the sky is", "choices": [" blue", " loud"], "answer": 0},
    {"question": "fire is", "choices": [" cold", " hot"], "answer": 1},
]


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "a,b=c"  # lm_eval itself splits its arguments at such signs
    tokenizer = byte_tokenizer(["one plus one is two, the sky is blue"], vocab_size=300)
    tiny_llama(vocab_size=len(tokenizer)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def stand_in(tmp_path: Path, body: str, *, has_lm_eval: bool = True) -> str:
    """A command in place of Python: `-c` asks whether it has lm_eval, `-m lm_eval` runs `body`, with its arguments."""
    script = tmp_path / "python"
    script.write_text(
        f"#!{sys.executable}\nimport json, sys\nfrom pathlib import Path\n"
        f"if sys.argv[1] == '-c':\n    sys.exit({0 if has_lm_eval else 3})\n"
        "arguments = sys.argv[4:]\nvalue = lambda name: arguments[arguments.index(name) + 1]\n" + body
    )
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    return str(script)


def config(python: str, **fields: object) -> GeneralConfig:
    return GeneralConfig(lm_eval=LmEvalConfig(tasks="two_choices", python=python, **fields))


def test_without_the_package_the_extra_is_named(model, tmp_path, capsys):
    python = stand_in(tmp_path, "", has_lm_eval=False)
    with pytest.raises(
        UsageError, match=r'needs the package lm_eval.*pip install "tltrain\[lm-eval\]".*lm_eval.python'
    ):
        evaluate_general(config(python), model=model, out=tmp_path / "out")
    told = ["eval", "general", "--model", str(model), "--lm-eval", "x", "--set", f"lm_eval.python={python}"]
    assert main([*told, "--out", str(tmp_path / "out")]) == 2
    assert "tltrain[lm-eval]" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_extra_is_one_of_the_project():
    pyproject = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    assert '\nlm-eval = ["lm_eval[hf]' in pyproject


def test_an_interpreter_or_a_folder_that_is_not_there(model, tmp_path):
    with pytest.raises(UsageError, match=r"lm_eval.python=/nowhere/python: No such file"):
        evaluate_general(config("/nowhere/python"), model=model, out=tmp_path / "out")
    with pytest.raises(UsageError, match=r"lm_eval.include_path=/nowhere: no such folder"):
        evaluate_general(config(sys.executable, include_path="/nowhere"), model=model, out=tmp_path / "out")


@pytest.mark.parametrize(
    ("log", "said"),
    [
        (
            """    raise ValueError(f"Tasks not found: {missing}")\nValueError: Tasks not found: two_choices""",
            r"there is no task two_choices; `.*python -m lm_eval ls tasks`",
        ),
        (
            """    raise ConnectionError(f"Couldn't reach '{path}' on the Hub")\n"""
            "ConnectionError: Couldn't reach 'allenai/ai2_arc' on the Hub (OfflineModeIsEnabled)",
            r"the data set allenai/ai2_arc of two_choices is not on this machine, .*HF_HOME.*lm_eval.include_path",
        ),
        ("Traceback\nValueError: of its own", r"Traceback / ValueError: of its own; see .*log.txt"),
        ("", "it ended without a word"),
    ],
)
def test_what_went_wrong_in_lm_eval_is_said(model, tmp_path, log, said):
    python = stand_in(tmp_path, f"print({log!r}, file=sys.stderr)\nsys.exit(1)\n")
    with pytest.raises(DataError, match=said):
        evaluate_general(config(python), model=model, out=tmp_path / "out")


def test_settings_reach_the_command_and_its_numbers_come_back(model, tmp_path):
    body = (
        "out = Path(value('--output_path'))\nassert {'--log_samples', '--apply_chat_template'} <= {*arguments}\n"
        "(out.parent / 'arguments.json').write_text(json.dumps(arguments))\n"
        f"out.with_name('results_2026.json').write_text(json.dumps({RESULTS!r}))\n"
    )
    python = stand_in(tmp_path, body)
    fields = {"limit": 3, "num_fewshot": 2, "include_path": str(tmp_path), "apply_chat_template": True}
    found = evaluate_general(config(python, **fields), model=model, out=tmp_path / "out").scores
    assert found.general is None
    assert found.lm_eval == read_results(RESULTS, limit=3)
    given = json.loads((tmp_path / "out" / "lm_eval" / "arguments.json").read_text())
    options = dict(pairwise(given))
    assert json.loads(options["--model_args"]) == {"pretrained": str(model), "dtype": "float32"}
    assert [options[f"--{name}"] for name in ("tasks", "limit", "num_fewshot", "include_path", "seed")] == [
        "two_choices",
        "3",
        "2",
        str(tmp_path),
        "0",
    ]


def test_results_are_read_metric_by_metric():
    found = read_results(RESULTS, limit=None)
    task, group = found.tasks["two_choices"], found.tasks["pair"]
    assert found.version == "0.4.13"
    assert (task.num_questions, task.version) == (3, "1")
    assert task.metrics["acc"].model_dump() == {"value": 0.75, "stderr": 0.25, "higher_is_better": True}
    assert task.metrics["exact_match,strict"].model_dump() == {"value": 0.5, "stderr": None, "higher_is_better": True}
    assert set(task.metrics) == {"acc", "exact_match,strict"}
    assert group.num_questions is None
    assert group.metrics["acc"].value == 0.6


# ------------------------------------------------------------------------------------------------------ lm_eval itself


@pytest.fixture(scope="module")
def lm_eval_python() -> str | None:
    """None: this interpreter has it."""
    named = os.environ.get("TLTRAIN_LM_EVAL_PYTHON")
    if named is None and find_spec("lm_eval") is None:
        pytest.skip("lm_eval is not installed, and TLTRAIN_LM_EVAL_PYTHON names no interpreter that has it")
    return named


@pytest.fixture(scope="module")
def tasks(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("tasks")
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    (folder / "task.yaml").write_text(TASK.replace("ROWS", str(folder / "rows.jsonl")))
    return folder


def choose_directly(folder: Path) -> float:
    """Share of the questions whose right continuation is the likelier one, by the model's log-probs."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder).double(), AutoTokenizer.from_pretrained(folder)
    num_right = 0
    for row in ROWS:
        scores = []
        for choice in row["choices"]:
            # lm_eval's target delimiter is a blank, before the blank of the choice
            start = tokenizer(row["question"]).input_ids
            whole = tokenizer(f"{row['question']} {choice}").input_ids
            with torch.no_grad():
                logprobs = model(torch.tensor([whole])).logits[0].log_softmax(-1)
            scores.append(sum(logprobs[place - 1, whole[place]].item() for place in range(len(start), len(whole))))
        num_right += scores.index(max(scores)) == row["answer"]
    return num_right / len(ROWS)


def test_lm_eval_itself_runs_a_local_task(model, tasks, lm_eval_python, tmp_path):
    found = evaluate_general(
        config(lm_eval_python, include_path=str(tasks), batch_size=4), model=model, out=tmp_path / "out"
    ).scores.lm_eval
    task = found.tasks["two_choices"]
    assert found.version
    assert (task.num_questions, task.version) == (4, "1")
    assert task.metrics["acc"].value == choose_directly(model)
    assert task.metrics["acc"].stderr is not None
    assert task.metrics["acc"].higher_is_better is True
    assert list((tmp_path / "out" / "lm_eval").glob("samples_two_choices*.jsonl"))


@pytest.mark.slow
def test_lm_eval_itself_does_not_know_a_task(model, lm_eval_python, tmp_path):
    wrong = GeneralConfig(lm_eval=LmEvalConfig(tasks="no_such_task", python=lm_eval_python))
    with pytest.raises(DataError, match="there is no task no_such_task"):
        evaluate_general(wrong, model=model, out=tmp_path / "out")


@pytest.mark.slow
def test_lm_eval_itself_lacks_the_data(model, lm_eval_python, tmp_path, monkeypatch):
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "empty"))
    wrong = GeneralConfig(lm_eval=LmEvalConfig(tasks="arc_easy", python=lm_eval_python))
    with pytest.raises(DataError, match="the data set allenai/ai2_arc of arc_easy is not on this machine"):
        evaluate_general(wrong, model=model, out=tmp_path / "out")
