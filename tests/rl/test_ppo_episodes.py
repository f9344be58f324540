"""Episodes: which tokens are trained, what they earn, and that a run of them can be repeated or killed and resumed."""

import json
import os
import signal
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
import walk
from safetensors.torch import load_file

from tltrain.engine.model import load_model
from tltrain.engine.parallel import Processes
from tltrain.engine.settings import OptimizerConfig
from tltrain.errors import DataError, TltrainError, UsageError
from tltrain.formats.openai_chat import write_trajectories
from tltrain.formats.read import read_trajectories
from tltrain.generate.task import run_gold, task_from_provenance
from tltrain.render.template import ensure_tool_template
from tltrain.rl import episodes
from tltrain.rl.actor import Actor
from tltrain.rl.advantages import token_rewards
from tltrain.rl.config import PpoConfig
from tltrain.rl.critic import Critic
from tltrain.rl.episode_config import EpisodeRewards, EpisodesConfig
from tltrain.rl.episode_steps import draw_episodes, find_episodes, measure_episodes
from tltrain.rl.episodes import Player
from tltrain.rl.experience import gain_experience
from tltrain.rl.train import ppo
from tltrain.rollout.sampler import Completion
from tltrain.stage import Reuse
from tltrain.syntax import get_syntax
from tltrain.types import ToolCall

_RATE = OptimizerConfig(learning_rate=3e-3, schedule="constant")
_CONFIG = PpoConfig(
    prompts_per_step=4,
    group_size=4,
    samples_per_prompt=8,
    minibatch_size=16,
    micro_batch_tokens=4000,
    rollout_batch_size=32,
    max_new_tokens=12,
    max_steps=8,
    num_epochs=100,
    kl_coef=0.0,
    actor_optimizer=_RATE,
    critic_optimizer=_RATE,
    precision="float32",
    heldout_share=0.25,
    evaluate_every=20,
)


def with_environment(
    code: Path | None, *, settings: dict[str, Any] | None = None, **episodes_settings: Any
) -> PpoConfig:
    chosen = EpisodesConfig(environment=code, **{"max_turns": 3, "max_length": 1024} | episodes_settings)
    return PpoConfig.model_validate(_CONFIG.model_dump() | {"episodes": chosen} | (settings or {}))


class Table:
    """Everything that plays episodes, without training."""

    def __init__(self, config: PpoConfig, model: Path, data: Path):
        self.config = config
        self.loaded = load_model(model)
        self.tokenizer = self.loaded.tokenizer
        self.syntax = get_syntax(ensure_tool_template(self.tokenizer))
        self.prompts, self.num_set_aside = find_episodes(config, self.loaded, self.syntax, data=data, quarantine=None)
        self.critic = Critic(config, self.loaded.model, torch.device("cpu"))
        self.actor = Actor(config, self.loaded.model, torch.device("cpu"))
        self.player = Player(self.tokenizer, self.syntax, config, context=1024)

    def draw(self, *, step: int = 0):
        return draw_episodes(
            self.player, self.actor, [self.prompts[:2], self.prompts[2:4]], config=self.config, step=step
        )


@pytest.fixture
def table(walker: Path, tmp_path: Path) -> Table:
    data, code = walk.write_walk(tmp_path)
    return Table(with_environment(code), walker, data)


def test_own_tokens_and_no_others_are_trained(table: Table, monkeypatch: pytest.MonkeyPatch):
    sampled: dict[tuple[int, ...], list[list[int]]] = {}
    original = episodes.sample

    def watched(model: Any, tokenizer: Any, prompts: Any, *arguments: Any, **options: Any) -> list[Completion]:
        completions = original(model, tokenizer, prompts, *arguments, **options)
        for prompt, completion in zip(prompts, completions, strict=True):
            sampled.setdefault(tuple(prompt), []).append(list(completion.ids))
        return completions

    monkeypatch.setattr(episodes, "sample", watched)
    drawn = table.draw()
    assert len(drawn.rollouts) == 32
    assert {len(rollout.turn_ends) for rollout in drawn.rollouts} >= {2, 3}
    for rollout in drawn.rollouts:
        ids, positions = rollout.sequence.ids, list(rollout.sequence.positions)
        # each piece between the ends of turns is one that the sampler gave behind all that precedes it
        pieces = [[positions[0]]]
        for before, position in pairwise(positions):
            if before in {positions[end] for end in rollout.turn_ends}:
                pieces.append([])
            pieces[-1].append(position)
        assert len(pieces) == rollout.score.num_turns
        for piece in pieces:
            assert piece == list(range(piece[0], piece[-1] + 1))
            assert [ids[position] for position in piece] in sampled[tuple(ids[: piece[0]])]
        assert positions[-1] == len(ids) - 1
        assert [ids[position] for position in positions] == rollout.completion.ids
    # the sampler's log-probs are the trainer's at just these positions
    scores = table.actor.scores([rollout.sequence for rollout in drawn.rollouts])
    old = torch.tensor([number for rollout in drawn.rollouts for number in rollout.completion.logprobs])
    torch.testing.assert_close(scores.scores.logprobs.detach(), old, atol=2e-5, rtol=0)


def test_greedy_conversations_are_those_of_apply_chat_template(table: Table):
    played = table.player.play(
        table.actor, table.prompts, groups=[0] * 8, temperature=0.0, seeds=None, processes=Processes()
    )
    for rollout in played:
        assert len(rollout.messages) > 2
        chat = [{"role": message.role.value, "content": message.content} for message in rollout.messages]
        for fields, message in zip(chat, rollout.messages, strict=True):
            if message.calls:
                fields["content"] = table.syntax.render("", message.calls)
        text = table.tokenizer.apply_chat_template(
            chat, tools=[{"type": "function", "function": walk_document(tool)} for tool in walk.TOOLS], tokenize=False
        )
        whole = table.tokenizer(text, add_special_tokens=False)["input_ids"]
        assert whole[: len(rollout.ids)] == rollout.ids
        assert table.tokenizer.decode(whole[len(rollout.ids) :]).strip() in ("", "<|im_end|>")


def walk_document(tool: Any) -> dict[str, Any]:
    return {
        "name": tool.name,
        "description": tool.description,
        "parameters": {"type": "object", "properties": {}},
    }


def test_what_is_played_depends_not_on_the_batch(table: Table, walker: Path, tmp_path: Path):
    config = table.config.model_copy(update={"rollout_batch_size": 3})
    other = Table(config, walker, tmp_path / "tasks.jsonl")
    first, second = table.draw().rollouts, other.draw().rollouts
    assert [rollout.ids for rollout in first] == [rollout.ids for rollout in second]
    alone = draw_episodes(table.player, table.actor, [[table.prompts[3]]], config=config, step=0)
    assert [rollout.ids for rollout in alone.rollouts] == [rollout.ids for rollout in first[24:]]
    assert [rollout.ids for rollout in table.draw(step=1).rollouts] != [rollout.ids for rollout in first]


def logprobs_of(rollouts: Any) -> torch.Tensor:
    return torch.tensor([number for rollout in rollouts for number in rollout.completion.logprobs])


@pytest.mark.parametrize("batch_size", [32, 5])
def test_kept_keys_and_values_change_nothing(table: Table, walker: Path, tmp_path: Path, batch_size: int):
    sizes: dict[int, list[int]] = {}
    drawn = {}
    for kilobytes in (0, 40, 2**20):
        other = Table(
            table.config.model_copy(update={"rollout_batch_size": batch_size}), walker, tmp_path / "tasks.jsonl"
        )
        kept = other.player._kept
        kept.max_bytes, real, own = kilobytes * 1024, kept.add, sizes.setdefault(kilobytes, [])

        def add(ids: Any, layers: Any, real: Any = real, kept: Any = kept, own: list[int] = own) -> None:
            real(ids, layers)
            own.append(kept.num_bytes)

        kept.add = add
        drawn[kilobytes] = other.draw().rollouts
        assert (kept.num_reused > 0) == (kilobytes > 0)
        assert kept.num_bytes == 0  # nothing stays for the next weights
    for kilobytes in (40, 2**20):
        assert [rollout.ids for rollout in drawn[kilobytes]] == [rollout.ids for rollout in drawn[0]]
        torch.testing.assert_close(logprobs_of(drawn[kilobytes]), logprobs_of(drawn[0]), atol=2e-5, rtol=0)
    assert 0 < max(sizes[40]) <= 40 * 1024 < max(sizes[2**20])


def test_nothing_that_is_kept_outlives_the_weights(table: Table, walker: Path, tmp_path: Path):
    fresh = Table(table.config, walker, tmp_path / "tasks.jsonl")
    table.draw()
    for one in (table, fresh):
        with torch.no_grad():
            for weight in one.actor.model.parameters():
                weight.mul_(1.2)
    assert [rollout.ids for rollout in table.draw().rollouts] == [rollout.ids for rollout in fresh.draw().rollouts]
    assert torch.equal(logprobs_of(table.draw().rollouts), logprobs_of(fresh.draw().rollouts))


def scripted(tokenizer: Any, replies: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the sampler give these texts, one a turn."""
    left = iter(replies)

    def sample(_model: Any, _tokenizer: Any, prompts: Any, *_: Any, **__: Any) -> list[Completion]:
        text = next(left)
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        is_finished = not text.endswith("…")
        return [Completion(ids=list(ids), logprobs=[-1.0] * len(ids), is_finished=is_finished) for _ in prompts]

    monkeypatch.setattr(episodes, "sample", sample)


@pytest.fixture
def bank(tiny_sft: Path, few_rows: Path, tmp_path: Path) -> Table:
    """One task of the sandbox."""
    rows = read_trajectories(few_rows).trajectories
    data = tmp_path / "one.jsonl"
    write_trajectories(data, rows[:1])
    config = with_environment(None, max_turns=6, max_length=4096, reward=EpisodeRewards(per_token=-0.01))
    table = Table(config.model_copy(update={"samples_per_prompt": 1}), tiny_sft, data)
    table.player = Player(table.tokenizer, table.syntax, table.config, context=None)
    table.row = rows[0]  # type: ignore[attr-defined]
    return table


def test_each_turn_earns_what_its_calls_and_the_end_say(bank: Table, monkeypatch: pytest.MonkeyPatch):
    row = bank.row  # type: ignore[attr-defined]
    gold = run_gold(task_from_provenance(row.provenance)).calls
    tool = gold[0].name
    right = [bank.syntax.render("", [call]) for call in gold]
    unknown = bank.syntax.render("", [ToolCall(name="no_such_tool", arguments={})])
    replies = [f"{tool}(x=[)", unknown, *right, "All done.<|im_end|>"]
    scripted(bank.tokenizer, replies, monkeypatch)
    drawn = draw_episodes(bank.player, bank.actor, [bank.prompts], config=bank.config, step=0)
    (rollout,) = drawn.rollouts
    lengths = [len(bank.tokenizer(reply, add_special_tokens=False)["input_ids"]) for reply in replies]
    by_hand = [-0.5, -0.3, *[0.2] * len(right), 1.0]
    assert rollout.turn_rewards == pytest.approx(
        [value - 0.01 * length for value, length in zip(by_hand, lengths, strict=True)]
    )
    assert rollout.score.value == pytest.approx(sum(rollout.turn_rewards))
    assert {name: round(value, 6) for name, value in rollout.score.parts.items()} == {
        "malformed": -0.5,
        "undocumented_call": -0.3,
        "step_right": pytest.approx(0.2 * len(right)),
        "success": 1.0,
        "per_token": pytest.approx(-0.01 * sum(lengths)),
    }
    assert rollout.score.label == "success"
    assert rollout.score.num_failed == 2
    assert [end + 1 for end in rollout.turn_ends] == [sum(lengths[: at + 1]) for at in range(len(lengths))]


@pytest.mark.parametrize(
    ("replies", "label", "earned"),
    [
        (["All done.<|im_end|>"], "wrong_state", 0.0),
        (["I cannot handle the task.<|im_end|>"], "gave_up", -1.0),
        (["<|im_end|>"], "empty", -1.0),
        (["and on and on…"], "cut_off", -1.0),
        (["no_such_tool()"] * 6, "max_turns", -1.0 - 6 * 0.3),
    ],
)
def test_ends(bank: Table, monkeypatch: pytest.MonkeyPatch, replies: list[str], label: str, earned: float):
    bank.player._episodes = bank.player._episodes.model_copy(update={"reward": EpisodeRewards(no_answer=-1.0)})
    scripted(bank.tokenizer, replies, monkeypatch)
    (rollout,) = draw_episodes(bank.player, bank.actor, [bank.prompts], config=bank.config, step=0).rollouts
    assert (rollout.score.label, rollout.score.value) == (label, pytest.approx(earned))
    assert rollout.completion.is_finished is (label != "cut_off")


def test_an_episode_ends_where_the_context_is_full(bank: Table, monkeypatch: pytest.MonkeyPatch):
    scripted(bank.tokenizer, ["no_such_tool()"] * 6, monkeypatch)
    bank.player._longest = len(bank.prompts[0].ids) + 60
    (rollout,) = draw_episodes(bank.player, bank.actor, [bank.prompts], config=bank.config, step=0).rollouts
    assert rollout.score.end == "context_full"
    assert rollout.score.num_turns < 6
    assert rollout.positions[-1] == len(rollout.ids) - 1  # nothing stands behind the last own token
    assert len(rollout.ids) <= bank.player._longest


def test_advantages_skip_what_the_model_did_not_write(table: Table):
    """Against float64 and the definition, over the steps of an episode: its own tokens, one after the other."""
    config = table.config.model_copy(update={"kl_coef": 0.1, "whiten_advantages": False, "gamma": 0.97})
    torch.manual_seed(1)
    torch.nn.init.normal_(table.critic.head.weight)
    with torch.no_grad():  # away from the reference
        for parameter in table.actor.model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.02)
    rollouts = table.draw().rollouts
    experience = gain_experience(table.actor, table.critic, rollouts, config)
    assert any(len(rollout.turn_rewards) > 2 and rollout.turn_rewards[0] for rollout in rollouts)
    reference = table.actor.reference_scores([rollout.sequence for rollout in rollouts]).logprobs.double().tolist()
    values = table.critic.values([], table.actor.states([rollout.sequence for rollout in rollouts])).double().tolist()
    for row, rollout in enumerate(rollouts):
        num_steps = len(rollout.positions)
        ref, own_values = reference[:num_steps], values[:num_steps]
        reference, values = reference[num_steps:], values[num_steps:]
        rewards = [-0.1 * (old - other) for old, other in zip(rollout.completion.logprobs, ref, strict=True)]
        for end, reward in zip(rollout.turn_ends, rollout.turn_rewards, strict=True):
            rewards[end] += reward
        nexts = [*own_values[1:], 0.0]
        deltas = [r + 0.97 * after - v for r, after, v in zip(rewards, nexts, own_values, strict=True)]
        expected = [sum((0.97 * 0.95) ** (k - t) * deltas[k] for k in range(t, num_steps)) for t in range(num_steps)]
        torch.testing.assert_close(
            experience.advantages[row, :num_steps].double(), torch.tensor(expected).double(), atol=2e-4, rtol=1e-4
        )
        assert not experience.advantages[row, num_steps:].any()


def test_rewards_of_earlier_turns_stand_at_their_own_tokens_and_are_clipped():
    mask = torch.tensor([[True, True, True, True], [True, True, False, False]])
    earlier = torch.tensor([[0.0, -7.0, 0.0, 0.0], [0.0, 0.0, 9.0, 0.0]])
    rewards = token_rewards(
        torch.tensor([1.0, 2.0]), torch.zeros(2, 4), mask, kl_coef=0.0, reward_clip=5.0, earlier_BT=earlier
    )
    assert rewards.tolist() == [[0.0, -5.0, 0.0, 1.0], [0.0, 2.0, 0.0, 0.0]]


def test_an_environment_that_raises_leaves_the_episode_unscored(walker: Path, tmp_path: Path):
    breaks_at_1 = walk.ENVIRONMENT.replace("self.place += 1", "self.place += 1 / (self.place < 1)")
    data, code = walk.write_walk(tmp_path, environment=breaks_at_1)
    result = ppo(
        with_environment(code, settings={"max_steps": 1, "heldout_share": 0}),
        data=data,
        model=walker,
        out=tmp_path / "out",
    )
    assert result.num_steps == 1
    (row,) = [json.loads(line) for line in (tmp_path / "out" / "metrics.jsonl").read_text().splitlines()]
    assert 0 < row["num_unscored"] < 32
    assert row["num_rollouts"] + row["num_unscored"] == 32
    # the worlds of the 8 rows can be made when they are looked for, and none after that
    later = walk.ENVIRONMENT.replace("self.row, self", "OPENED.append(1 / (len(OPENED) < 8)); self.row, self")
    data, code = walk.write_walk(tmp_path, environment=f"OPENED = []\n{later}")
    with pytest.raises(TltrainError, match=r"the environment judges none of 32 episodes; .*ZeroDivisionError"):
        ppo(with_environment(code, settings={"heldout_share": 0}), data=data, model=walker, out=tmp_path / "broken")


def test_data_without_tasks_says_what_to_do(walker: Path, tmp_path: Path):
    data, code = walk.write_walk(tmp_path)
    with pytest.raises(DataError, match=r"no row is a task .* `tltrain generate`"):
        ppo(with_environment(None), data=data, model=walker, out=tmp_path / "out")
    code.write_text("def start(row): ...")
    with pytest.raises(UsageError, match=r"walk\.py has no function reset"):
        ppo(with_environment(code), data=data, model=walker, out=tmp_path / "out2")
    with pytest.raises(UsageError, match=r"nowhere\.py is no file"):
        ppo(with_environment(tmp_path / "nowhere.py"), data=data, model=walker, out=tmp_path / "out3")


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"constrain": "call"}, "lets no episode end"),
        ({"overlong_buffer": 4}, "per_token"),
        ({"loss_mean": "constant"}, "most tokens of one call"),
    ],
)
def test_settings_that_do_not_go_with_episodes_are_refused(settings: dict[str, Any], reason: str):
    with pytest.raises(ValueError, match=reason):
        PpoConfig.model_validate({"episodes": {}} | settings)


_KILLER = """
import os, signal, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
import tltrain.engine.checkpoint as checkpoint, tltrain.engine.optimizer as optimizer
import tltrain.rl.episodes as episodes, tltrain.rl.train as train
from tltrain.rl.config import PpoConfig
from tltrain.stage import Reuse

PLACES = {
    "turn": (episodes.Player, "_take"),
    "update": (optimizer.Optimizer, "step"),
    "saving": (checkpoint, "write_json_atomic"),
    "log": (train.MetricsLog, "write"),
    "finish": (train.Stage, "finish"),
}
config, data, model, out, place, call = sys.argv[1:]
owner, name = PLACES[place]
original, calls = getattr(owner, name), iter(range(int(call)))
def replaced(*arguments, **options):
    if next(calls, None) is None:
        os.kill(os.getpid(), signal.SIGKILL)
    return original(*arguments, **options)
setattr(owner, name, replaced)
train.ppo(PpoConfig.model_validate_json(config), data=Path(data), model=model, out=Path(out), reuse=Reuse.RESUME)
"""
_TIMES = ("seconds", "seconds_rollout", "seconds_experience", "seconds_update", "samples_per_second")


def _metrics(out: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if key not in _TIMES} for row in rows]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("place", "call", "checkpoint"),
    [
        ("turn", 50, 1),  # in step 1, in the middle of an episode
        ("update", 5, 1),  # in step 1, after the actor's first of two
        ("saving", 1, 1),  # the second checkpoint, its weights written, itself not yet in place
        ("log", 9, 1),  # step 1 is in the logs, and not in the checkpoint
        ("finish", 0, 2),  # after step 2, the model saved
    ],
)
def test_a_killed_run_goes_on_to_the_same_result(place: str, call: int, checkpoint: int, walker: Path, tmp_path: Path):
    """A step makes about 35 turns, 4 optimizer steps and 9 rows of logs; a checkpoint follows all but the last."""
    data, code = walk.write_walk(tmp_path)
    settings = {"max_steps": 3, "samples_per_prompt": 4, "checkpoint_every": 1, "kl_coef": 0.05, "heldout_share": 0.1}
    config = with_environment(code, settings=settings)
    ppo(config, data=data, model=walker, out=tmp_path / "whole")
    arguments = [config.model_dump_json(), str(data), str(walker), str(tmp_path / "out"), place, str(call)]
    killed = subprocess.run(
        [sys.executable, "-c", _KILLER, *arguments],
        env=os.environ | {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"},
        capture_output=True,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert [path.name for path in (tmp_path / "out" / "checkpoints").glob("step-*")] == [f"step-{checkpoint:06d}"]
    ppo(config, data=data, model=walker, out=tmp_path / "out", reuse=Reuse.RESUME)
    first, second = (load_file(tmp_path / name / "model" / "model.safetensors") for name in ("whole", "out"))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert _metrics(tmp_path / "out") == _metrics(tmp_path / "whole")
    shown = [(tmp_path / name / "rollouts.jsonl").read_text() for name in ("whole", "out")]
    assert shown[0] == shown[1]
    row = json.loads(shown[0].splitlines()[0])
    assert row["messages"][0]["content"].startswith("go ")
    assert row["completion"].count("<|im_start|>assistant") == len(row["turn_rewards"]) - 1
    assert {"success", "valid_answers", "failed_calls", "calls", "turns"} <= _metrics(tmp_path / "out")[0].keys()


def share_done(log: str) -> tuple[float, float]:
    """How many answers were given in the right place, of the first and of the last 60."""
    return log[:60].count("1") / 60, log[-60:].count("1") / 60


# at a constant rate the policy learns it too, and may lose it again in the last update
_FALLING = OptimizerConfig(learning_rate=3e-3)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_final_state_success_rises(seed: int, walker: Path, tmp_path: Path):
    data, code = walk.write_walk(tmp_path)
    config = with_environment(
        code, settings={"seed": seed, "max_steps": 16, "advantage": "rloo", "actor_optimizer": _FALLING}
    )
    result = ppo(config, data=data, model=walker, out=tmp_path / "out")
    before, after = share_done(Path(f"{code}.log").read_text())
    assert after - before > 0.3
    assert result.heldout["success"] == 1.0


@pytest.mark.slow
def test_scrambled_rewards_teach_nothing(walker: Path, tmp_path: Path):
    gains = []
    for seed in range(3):
        folder = tmp_path / str(seed)
        folder.mkdir()
        data, code = walk.write_walk(folder, environment=walk.SCRAMBLED)
        config = with_environment(
            code,
            settings={"seed": seed, "max_steps": 16, "advantage": "rloo", "actor_optimizer": _FALLING},
            reward=EpisodeRewards(step_right=0),
        )
        ppo(config, data=data, model=walker, out=folder / "out")
        before, after = share_done(Path(f"{code}.log").read_text())
        gains.append(after - before)
    assert sum(gains) / 3 < 0.2


def test_measuring_is_greedy_and_tells_success(table: Table):
    first, second = (measure_episodes(table.player, table.actor, table.prompts) for _ in range(2))
    assert first == second
    assert set(first) == {"reward", "success", "valid_answers", "failed_calls", "calls", "turns"}
