"""Prompts drawn by what the policy still gets wrong."""

import json
import math
import os
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from rl.test_ppo_train import _CONFIG, _KILLER, _are_equal, _metrics
from tltrain.engine.checkpoint import load_checkpoint, save_checkpoint
from tltrain.report.gallery import _ppo_charts
from tltrain.report.records import PpoStep
from tltrain.rl.config import PpoConfig
from tltrain.rl.curriculum import CurriculumConfig, draw_step, moved_mean
from tltrain.rl.curriculum_state import Curriculum
from tltrain.rl.prompts import Prompt
from tltrain.rl.rollouts import Rollout
from tltrain.rl.scoring import Score
from tltrain.rl.train import ppo
from tltrain.rollout.sampler import Completion
from tltrain.stage import Reuse
from tltrain.taxonomy import CallError, Diagnosis
from tltrain.types import ToolCall


def test_a_prompt_is_drawn_in_proportion_to_its_weight():
    rng, weights = random.Random(0), [1.0, 2.0, 5.0, 2.0]
    drawn = Counter(draw_step(weights, [0, 0, 1, 1], batch_size=1, group_size=1, rng=rng)[0][0] for _ in range(10_000))
    for index, weight in enumerate(weights):  # 4 standard deviations
        assert drawn[index] / 10_000 == pytest.approx(weight / 10, abs=4 * math.sqrt(0.25 / 10_000))


def test_others_of_a_group_are_drawn_in_proportion_among_those_of_its_key():
    rng, seconds = random.Random(0), Counter[int]()
    for _ in range(10_000):
        # only 0 has the weight to come first; its key has 1 and 2 beside it
        ((_, second),) = draw_step([1e9, 3.0, 1.0, 50.0], [0, 0, 0, 1], batch_size=2, group_size=2, rng=rng)
        seconds[second] += 1
    assert seconds.keys() == {1, 2}
    assert seconds[1] / 10_000 == pytest.approx(3 / 4, abs=0.02)


def test_a_step_draws_each_prompt_once_in_whole_groups():
    rng = random.Random(0)
    for _ in range(50):
        step = draw_step([1.0] * 9, [0, 0, 0, 0, 0, 1, 1, 1, 1], batch_size=6, group_size=3, rng=rng)
        assert [len(group) for group in step] == [3, 3]
        assert len({index for group in step for index in group}) == 6
    # keys that run out are filled with others, and fewer prompts than wanted are all there is
    step = draw_step([1.0] * 3, [0, 1, 2], batch_size=8, group_size=2, rng=rng)
    assert [len(group) for group in step] == [2, 1]
    assert sorted(index for group in step for index in group) == [0, 1, 2]


def test_a_running_mean():
    assert moved_mean(1.0, [True, False, False, False], 0.4) == pytest.approx(0.6 + 0.4 / 4)
    assert moved_mean(0.5, [True], 1) == 1


def prompt(number: int, *tools: str) -> Prompt:
    golds = tuple(ToolCall(name=name) for name in tools)
    return Prompt(id=f"p#{number}", trajectory="p", tools=(), messages=(), golds=golds, ids=(1,), toolset=0)


PROMPTS = [prompt(0, "find"), prompt(1, "find"), prompt(2, "send", "find"), prompt(3)]


def curriculum(**settings: Any) -> Curriculum:
    config = PpoConfig(
        prompts_per_step=2, group_size=1, minibatch_size=2, curriculum=CurriculumConfig(rate=0.5, **settings)
    )
    return Curriculum(config, PROMPTS)


def answer(which: Prompt, *errors: CallError) -> Rollout:
    score = Score(value=0.0, diagnosis=Diagnosis(errors=errors))
    return Rollout(prompt=which, group=0, completion=Completion(ids=[1]), text="", score=score)


def test_kinds_by_tool():
    made = curriculum(by="tool")
    told = made.learn(((0,), (2,)), [answer(PROMPTS[0]), answer(PROMPTS[0], CallError.CONTENT), answer(PROMPTS[2])])
    assert told == {
        "curriculum_shares": {"find": 0.5, "find+send": 0.5},
        "curriculum_wrong": {"find": 0.75, "find+send": 0.5},
    }
    told = made.learn(((1,), (3,)), [answer(PROMPTS[1]), answer(PROMPTS[3])])
    assert told["curriculum_wrong"] == {"find": 0.375, "text": 0.5}  # both prompts of find are one kind


def test_kinds_by_prompt_are_told_by_tools():
    made = curriculum(by="prompt")
    told = made.learn(((0, 1),), [answer(PROMPTS[0]), answer(PROMPTS[1], CallError.CONTENT)])
    assert told == {"curriculum_shares": {"find": 1.0}, "curriculum_wrong": {"find": 0.75}}
    assert made.means.tolist() == [0.5, 1.0, 1.0, 1.0]


def test_kinds_by_error_follow_the_last_answer():
    made = curriculum()
    both = (CallError.PARAM_REDUNDANT, CallError.PARAM_MISSING)
    first = [answer(PROMPTS[0], CallError.CONTENT)] * 2 + [answer(PROMPTS[0], *both), answer(PROMPTS[1], *both)]
    assert made.learn(((0, 1),), first) == {"curriculum_shares": {"unseen": 1.0}, "curriculum_wrong": {"unseen": 1.0}}
    told = made.learn(((0, 1),), [answer(PROMPTS[0]), answer(PROMPTS[1], CallError.WRONG_TOOL)])
    assert told == {
        "curriculum_shares": {"content_mismatch": 0.5, "param_redundant+param_missing": 0.5},
        "curriculum_wrong": {"content_mismatch": 0.5, "param_redundant+param_missing": 1.0},
    }
    told = made.learn(((0, 3),), [answer(PROMPTS[0]), answer(PROMPTS[3])])
    assert told["curriculum_wrong"] == {"all_right": 0.5, "unseen": 0.5}
    # 1 was wrong and has a kind whose mean is still 1; of the rest, which were not seen, half the answers were right
    assert [made.means.tolist()[int(kind)] for kind in made.kinds.tolist()] == [0.5, 1.0, 0.5, 0.5]


def test_what_goes_wrong_is_drawn_more_often_and_what_is_right_is_not_forgotten():
    made = curriculum(by="prompt", floor=0.1)
    for _ in range(20):
        made.learn(((0,), (1,), (2,), (3,)), [answer(PROMPTS[0], CallError.CONTENT), *map(answer, PROMPTS[1:])])
    firsts = Counter(made.draw(step)[0][0] for step in range(4000))
    # 0 has weight 1.1, the others 0.1 each
    assert firsts[0] / 4000 == pytest.approx(1.1 / 1.4, abs=0.03)
    assert min(firsts[index] for index in (1, 2, 3)) > 0


def test_a_draw_depends_on_seed_and_step_alone():
    assert [curriculum().draw(step) for step in range(20)] == [curriculum().draw(step) for step in range(20)]
    assert len({str(curriculum().draw(step)) for step in range(20)}) > 5


@pytest.mark.parametrize("by", ["error", "tool", "prompt"])
def test_a_checkpoint_holds_what_was_learnt(by: Any, tmp_path: Path):
    made, fresh = curriculum(by=by, floor=0.01), curriculum(by=by, floor=0.01)
    for _ in range(9):
        made.learn(((0, 1), (2, 3)), [*map(answer, PROMPTS[:3]), answer(PROMPTS[3], CallError.UNWANTED_CALL)])
    draws = [made.draw(step) for step in range(9)]
    assert [fresh.draw(step) for step in range(9)] != draws
    save_checkpoint(tmp_path, 9, {"curriculum": made}, {})
    assert load_checkpoint(tmp_path, {"curriculum": fresh}, {}) == 9
    assert [fresh.draw(step) for step in range(9)] == draws
    assert (fresh.kinds.tolist(), fresh.means.tolist()) == (made.kinds.tolist(), made.means.tolist())


CONFIG = _CONFIG.model_copy(
    update={
        "curriculum": CurriculumConfig(),
        "critic": "head",
        "samples_per_prompt": 1,
        "num_updates": 1,
        "max_steps": 4,
        "evaluate_every": 4,
    }
)


@pytest.fixture(scope="module")
def trained(tiny_sft: Path, few_rows: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("ppo") / "out"
    ppo(CONFIG, data=few_rows, model=tiny_sft, out=out)
    return out


def test_a_run_tells_of_its_curriculum_and_the_page_shows_it(trained: Path):
    rows = _metrics(trained)
    assert rows[0]["curriculum_shares"] == {"unseen": 1.0}
    assert any(row["curriculum_shares"].keys() - {"unseen"} for row in rows)
    for row in rows:
        assert sum(row["curriculum_shares"].values()) == pytest.approx(1)
        assert row["curriculum_wrong"].keys() == row["curriculum_shares"].keys()
    charts = _ppo_charts([PpoStep.model_validate(row) for row in rows])
    assert {"ppo_curriculum", "ppo_curriculum_wrong"} <= {chart.name for chart in charts if chart}


@pytest.mark.slow
def test_a_killed_run_draws_the_same_prompts(trained: Path, tiny_sft: Path, few_rows: Path, tmp_path: Path):
    kills = [("log", 12, 2)]  # 5 rows a step: step 2 is in the logs, and not in the checkpoint after step 1
    arguments = [CONFIG.model_dump_json(), str(few_rows), str(tiny_sft), str(tmp_path / "out"), json.dumps(kills)]
    killer = subprocess.run(
        [sys.executable, "-c", _KILLER, *arguments],
        env=os.environ | {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert killer.returncode == 0, killer.stderr
    assert killer.stdout.split() == ["2"]
    ppo(CONFIG, data=few_rows, model=tiny_sft, out=tmp_path / "out", reuse=Reuse.RESUME)
    assert _metrics(tmp_path / "out") == _metrics(trained)
    assert _are_equal(tmp_path / "out" / "model", trained / "model")
    assert (tmp_path / "out" / "rollouts.jsonl").read_text() == (trained / "rollouts.jsonl").read_text()
