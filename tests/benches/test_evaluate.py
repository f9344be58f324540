import json
import os
import signal
from pathlib import Path

import pytest
from msgspec.structs import replace
from policies import Oracle, Script, TextPolicy, reply
from pydantic import ValidationError

from tltrain.benches.config import EvalConfig
from tltrain.benches.policy import Stop
from tltrain.benches.run import evaluate
from tltrain.benches.scores import read_cases, read_episodes, score_cases
from tltrain.errors import DataError, UsageError
from tltrain.formats.openai_chat import write_trajectories
from tltrain.report.records import Case, Episode, Scores
from tltrain.stage import Reuse, read_stage
from tltrain.types import iterate_calls

CONFIG = EvalConfig(max_cases=None, max_episodes=None, num_resamples=200, batch_size=1)


def read_all(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "stage.json"}


@pytest.mark.parametrize("syntax", ["python", "hermes"])
def test_gold_scores_full_marks(data, trajectories, tmp_path, syntax):
    policy = Oracle(trajectories, syntax)
    result = evaluate(CONFIG, data=data, model="oracle", out=tmp_path / "out", policy=policy)
    single, episodes = result.scores.single, result.scores.episodes
    assert single.n == sum(len(list(iterate_calls(trajectory))) for trajectory in trajectories)
    for score in (single.TS, single.PI, single.CF, episodes.success, episodes.VA):
        assert (score.mean, score.low, score.high) == (100, 100, 100)
    assert (episodes.n, episodes.DE.mean, episodes.CE.mean) == (12, 0, 0)
    assert single.errors == {"all_right": single.n}
    assert len(single.by_kit) == 3
    assert result.scores.left_out == {}
    assert read_stage(tmp_path / "out")["result"] == {"num_cases": single.n, "num_episodes": 12}


def test_empty_text_scores_nothing(data, tmp_path):
    scores = evaluate(CONFIG, data=data, model="mute", out=tmp_path / "out", policy=Script("")).scores
    for score in (scores.single.TS, scores.single.PI, scores.single.CF, scores.episodes.success, scores.episodes.VA):
        assert score.mean == 0
    assert scores.episodes.DE.mean is None  # it never called anything
    assert scores.single.errors.keys() == {"missing_call"}


def test_the_report_reads_what_is_written(data, trajectories, tmp_path):
    out = tmp_path / "out"
    evaluate(CONFIG, data=data, model="oracle", out=out, policy=Oracle(trajectories))
    scores = Scores.model_validate_json((out / "scores.json").read_text())
    assert scores.single.CF.mean == scores.episodes.success.mean == 100
    assert scores.single.CF.has_interval
    cases = [Case.model_validate_json(line) for line in (out / "cases.jsonl").read_text().splitlines()]
    assert len(cases) == scores.single.n
    assert all(case.is_right and case.gold and case.query and case.label == "all_right" for case in cases)
    episodes = [Episode.model_validate_json(line) for line in (out / "episodes.jsonl").read_text().splitlines()]
    assert [(episode.id, episode.success) for episode in episodes] == [(row.id, True) for row in trajectories]


def test_cases_can_be_scored_again(data, mistaken, tmp_path):
    write_trajectories(data, mistaken)
    words = ["look(", "", "No."]
    policy = TextPolicy(lambda request: words[len(request.messages) % 3])
    result = evaluate(CONFIG, data=data, model="m", out=tmp_path / "out", policy=policy)
    assert len(result.scores.single.errors) == 2
    assert score_cases(tmp_path / "out" / "cases.jsonl", data=data, config=CONFIG) == result.scores.single


def test_a_choice_is_balanced_and_kept_in_the_order_of_the_data(data, trajectories, tmp_path):
    config = CONFIG.model_copy(update={"max_cases": 6, "max_episodes": 3})
    result = evaluate(config, data=data, model="m", out=tmp_path / "out", policy=Oracle(trajectories))
    single, episodes = result.scores.single.by_kit, result.scores.episodes.by_kit
    assert {kit: scores.n for kit, scores in single.items()} == {"devices": 2, "notes": 2, "shop": 2}
    assert {kit: scores.n for kit, scores in episodes.items()} == {"devices": 1, "notes": 1, "shop": 1}
    order = [row.id for row in trajectories]
    places = [order.index(row.trajectory) for row in read_cases(tmp_path / "out" / "cases.jsonl")]
    assert places == sorted(places)
    assert len(read_episodes(tmp_path / "out" / "episodes.jsonl")) == 3


def test_one_part_alone(data, trajectories, tmp_path):
    config = CONFIG.model_copy(update={"max_cases": 0})
    scores = evaluate(config, data=data, model="m", out=tmp_path / "a", policy=Oracle(trajectories)).scores
    assert (scores.single.n, scores.single.CF.mean, scores.episodes.success.mean) == (0, None, 100)
    assert not (tmp_path / "a" / "cases.jsonl").exists()
    with pytest.raises(ValidationError, match="leave nothing to test on"):
        EvalConfig(max_cases=0, max_episodes=0)


def test_progress_counts_cases_and_episodes(data, trajectories, tmp_path):
    heard = []
    evaluate(
        CONFIG,
        data=data,
        model="m",
        out=tmp_path / "out",
        policy=Oracle(trajectories),
        progress=lambda *told: heard.append(told),
    )
    done = [units for units, _, _ in heard]
    assert done == sorted(done)
    total = len(read_cases(tmp_path / "out" / "cases.jsonl")) + 12
    assert heard[-1][:2] == (total, total)


class MortalPolicy(Oracle):
    """Kills its own process when it is asked for the nth time."""

    def __init__(self, trajectories, lives: int):
        super().__init__(trajectories)
        self._lives = lives

    def answer(self, requests, told=None):
        self._lives -= 1
        if self._lives < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().answer(requests, told)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("lives", [0, 2, 5])
def test_a_killed_run_goes_on_where_it_stopped(data, trajectories, tmp_path, lives):
    whole = Oracle(trajectories)
    evaluate(CONFIG, data=data, model="m", out=tmp_path / "whole", policy=whole)
    assert len(whole.asked) > 5  # chunks of 4: some for the cases, then some for each turn

    def run(policy):
        return evaluate(CONFIG, data=data, model="m", out=tmp_path / "out", reuse=Reuse.RESUME, policy=policy)

    child = os.fork()
    if child == 0:
        run(MortalPolicy(trajectories, lives))
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status)
    assert not (tmp_path / "out" / "scores.json").exists()
    rest = Oracle(trajectories)
    run(rest)
    assert rest.asked == whole.asked[lives:]
    assert read_all(tmp_path / "out") == read_all(tmp_path / "whole")


def test_a_finished_run_is_not_done_again(data, trajectories, tmp_path):
    def run(policy, config=CONFIG, reuse=Reuse.RESUME):
        return evaluate(config, data=data, model="m", out=tmp_path / "out", reuse=reuse, policy=policy)

    first = run(Oracle(trajectories))
    assert run(Script("x")) == first
    with pytest.raises(UsageError, match=r"config.max_turns was 6 and is 5"):
        run(Script("x"), config=CONFIG.model_copy(update={"max_turns": 5}))
    with pytest.raises(UsageError, match="--resume"):
        run(Script("x"), reuse=Reuse.REFUSE)
    assert run(Script(""), reuse=Reuse.OVERWRITE).scores.single.CF.mean == 0


def test_rows_that_cannot_be_used_are_listed(data, trajectories, tmp_path):
    odd = replace(trajectories[0], id="odd", provenance={**trajectories[0].provenance, "style": "morse"})
    write_trajectories(data, [odd, *trajectories[1:]])
    with data.open("a") as file:
        file.write("{}\n")
    result = evaluate(CONFIG, data=data, model="m", out=tmp_path / "out", policy=Oracle(trajectories))
    assert result.scores.left_out == {"unreadable row": 1, "task that cannot be started again": 1}
    listed = [json.loads(line) for line in (tmp_path / "out" / "quarantine.jsonl").read_text().splitlines()]
    assert ["messages" in row["reason"] or "morse" in row["reason"] for row in listed] == [True, True]
    assert result.scores.episodes.n == 11


def test_data_without_anything_to_ask_is_refused(data, trajectories, tmp_path):
    def run(rows, **limits):
        write_trajectories(data, rows)
        config = CONFIG.model_copy(update=limits)
        return evaluate(config, data=data, model="m", out=tmp_path / "out", policy=Script(""), reuse=Reuse.OVERWRITE)

    mute = [replace(trajectories[0], messages=trajectories[0].messages[:1], provenance={})]
    with pytest.raises(DataError, match="nothing to test on: 0 right calls"):
        run(mute)
    elsewhere = [replace(trajectories[0], provenance={})]
    with pytest.raises(DataError, match="1 right calls with max_cases=0, 0 tasks of the sandbox with"):
        run(elsewhere, max_cases=0)
    assert run(elsewhere).scores.episodes.n == 0


def test_a_model_that_can_be_asked_nothing_is_refused(data, tmp_path):
    policy = Script(reply("", Stop.UNWRITABLE, note="no tools here"))
    with pytest.raises(DataError, match=r"prompts can be written for this model.* First: no tools"):
        evaluate(CONFIG, data=data, model="m", out=tmp_path / "out", policy=policy)
