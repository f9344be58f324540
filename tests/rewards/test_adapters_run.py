"""The adapters in their trainers, each in a Python of its own that has it, and what tltrain.rewards imports.

Set TLTRAIN_TRL_PYTHON, TLTRAIN_VERL_PYTHON, TLTRAIN_VERIFIERS_PYTHON; tests without theirs are skipped.
"""

import json
import os
import subprocess
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

from rewards.trainers.rows import CASES, TOOLS
from tltrain.rewards.adapters import verl
from tltrain.rewards.gold import read_golds, read_offered
from tltrain.rewards.judge import RewardRules, judge_text
from tltrain.syntax import get_syntax

pytestmark = pytest.mark.slow
_SCRIPTS = Path(__file__).parent / "trainers"
_SOURCE = Path(verl.__file__).parents[3]
PAPER = [reward for _, _, reward, _ in CASES]
STAGES = [list(stages) for _, _, _, stages in CASES]


def run(trainer: str, *arguments: str) -> Any:
    """What a script prints in that trainer's Python."""
    python = os.environ.get(f"TLTRAIN_{trainer.upper()}_PYTHON")
    if not python:
        pytest.skip(f"set TLTRAIN_{trainer.upper()}_PYTHON to a Python that has the package {trainer}")
    path = os.pathsep.join([str(_SOURCE), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [python, str(_SCRIPTS / f"run_{trainer}.py"), *arguments],
        env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    print(f"{trainer} {found['version']}")
    return found


@pytest.fixture(scope="module")
def trl_runs(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return run("trl", str(tmp_path_factory.mktemp("trl")))


@pytest.mark.parametrize("trainer", ["grpo", "rloo"])
def test_trl_trains_on_the_reward_and_logs_it(trl_runs, trainer):
    found = trl_runs[trainer]
    assert len(found["seen"]) == len(found["log"]) == 5
    syntax, tools = get_syntax("python"), read_offered(TOOLS)
    num_bad = 0
    for batch, logged in zip(found["seen"], found["log"], strict=True):
        scored = []
        for text, gold, value in batch:
            if gold == "find(day=":  # cannot be read
                assert value is None
                num_bad += 1
                continue
            judged = judge_text(text, tools, read_golds(gold, syntax, tools), syntax, RewardRules())
            assert value == judged.total
            scored.append(judged)
        assert logged["rewards/tool_call_reward/mean"] == pytest.approx(fmean(one.total for one in scored))
        assert logged["tool_call/unscored"] == pytest.approx(1 - len(scored) / len(batch))
        assert logged["tool_call/cf"] == pytest.approx(fmean(one.diagnosis.content_filled for one in scored))
        assert logged["tool_call/ts"] == pytest.approx(fmean(one.diagnosis.tool_selected for one in scored))
    assert num_bad == found["warned"] > 0
    assert len({value for batch in found["seen"] for _, _, value in batch}) > 4
    assert found["changed"]


def test_verl_loads_the_function_and_its_reward_managers_call_it():
    found = run("verl", verl.__file__)
    harder = [-1.0 if reward == -0.25 else reward for reward in PAPER]
    for way, rewards in (("json", PAPER), ("objects", harder)):
        assert [one["reward_score"] for one in found[way]["single"]] == rewards
        assert found[way]["whole"] == pytest.approx(rewards)
        told = [one["reward_extra_info"] for one in found[way]["single"]]
        assert [[one[name] for name in ("ts", "pi", "cf")] for one in told] == STAGES
        assert found[way]["extra"]["acc"] == [cf for _, _, cf in STAGES]


def test_rollouts_of_verifiers_are_scored_by_a_rubric():
    found = run("verifiers")
    for tools_in in ("info", "environment"):
        for form in ("text", "objects"):
            assert [reward for reward, _ in found[f"{tools_in}, {form}"]] == PAPER
            assert [metrics["tool_call_reward"] for _, metrics in found[f"{tools_in}, {form}"]] == PAPER
    # what a function raises, a rubric logs, and gives 0
    assert {reward for reward, _ in found["nowhere, text"]} == {0.0}
