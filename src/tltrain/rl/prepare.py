"""From a file of trajectories to the prompts of a run."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from tltrain.audit.run import blocked_calls, verdicts_on
from tltrain.engine.model import LoadedModel
from tltrain.errors import DataError
from tltrain.files import JsonLinesWriter
from tltrain.formats.read import read_trajectories
from tltrain.rewards.compare import check_parameters
from tltrain.rewards.judge import RewardRules
from tltrain.rl.config import PpoConfig
from tltrain.rl.prompts import PromptSet, make_prompts
from tltrain.rl.reward_audit import check_gold
from tltrain.rl.scoring import Scorer


def find_prompts(
    config: PpoConfig, loaded: LoadedModel, scorer: Scorer, *, data: Path, verdicts: Path | None, out: Path
) -> tuple[PromptSet, int]:
    """Read trajectories, block what is wrong, make prompts; what cannot be used goes to `out`/quarantine.jsonl.

    Returns:
        The prompts, at least one, and how many rows of the data could not be read.

    Raises:
        DataError: no prompt is left, or a right call cannot earn the highest reward and `config.bad_gold` says to
            refuse.
        UsageError: `config.compare` names a parameter that no tool of the data has.
    """
    quarantine = out / "quarantine.jsonl"
    read = read_trajectories(data, quarantine=quarantine)
    check_parameters(config.compare, (tool for trajectory in read.trajectories for tool in trajectory.tools))
    judged = verdicts_on(data, read.trajectories, verdicts)
    found = make_prompts(
        read.trajectories,
        loaded.tokenizer,
        scorer.syntax,
        blocked=blocked_calls(judged, policy=config.block),
        max_length=_longest_prompt(config, loaded.model),
        turns=config.turns,
        max_prompts=config.max_prompts,
        seed=config.seed,
    )
    found = _check_rewards(config, found, scorer)
    if found.set_aside:
        with JsonLinesWriter(quarantine) as writer:
            for identity, reason in found.set_aside.items():
                writer.write({"file": str(data), "id": identity, "reason": reason})
    if not found.prompts:
        counts = [f"{number} left out ({why})" for why, number in found.left_out.items()]
        counts += [f"{len(found.set_aside)} prompts are set aside (see {quarantine})"] if found.set_aside else []
        remedy = "" if config.turns == "all" else "set turns=all to learn from turns of several calls and of text, "
        raise DataError(
            f"{data}: no prompt is left to train on: {'; '.join(counts) or 'no row has a call'}; "
            f"{remedy}audit it with a more lenient policy, or use other data"
        )
    return found, read.num_bad


def _check_rewards(config: PpoConfig, found: PromptSet, scorer: Scorer) -> PromptSet:
    """Refuse to start, or set prompts aside, where right calls cannot earn the most.

    What a function of one's own gives is not checked.
    """
    if scorer.function is not None:
        return found
    rules = RewardRules(reward=config.reward, compare=config.compare)
    bad = check_gold(found.prompts, scorer.syntax, rules, refuse=config.bad_gold == "refuse")
    return replace(
        found,
        prompts=tuple(prompt for prompt in found.prompts if prompt.id not in bad),
        set_aside={**found.set_aside, **bad},
    )


def _longest_prompt(config: PpoConfig, model: Any) -> int:
    """Tokens of a prompt that leave room for a completion in the model's context."""
    context = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    return min(config.max_prompt_length, context - config.max_new_tokens) if context else config.max_prompt_length
