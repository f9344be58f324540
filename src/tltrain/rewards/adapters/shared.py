"""What the adapters share: rules out of plain settings, and calls out of completions of either kind."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from functools import lru_cache
from typing import Any

from tltrain.config import check_config
from tltrain.errors import DataError
from tltrain.formats.chat_fields import read_calls
from tltrain.rewards.compare import CompareConfig
from tltrain.rewards.gold import read_golds, read_offered
from tltrain.rewards.judge import RewardRules, judge_calls
from tltrain.rewards.rules import Reward, RewardTable
from tltrain.syntax import CallSyntax, get_syntax
from tltrain.types import AnyCall, MalformedCall, Tool

Table = RewardTable | Mapping[str, float] | None
Compare = CompareConfig | Mapping[str, Any] | None


class Judge:
    """Scores completions by one set of rules.

    Args:
        syntax: how calls are written in text.
        reward: what each error is worth, as a table or as some of its fields; None: the paper's.
        compare: when values are the same, as a config or as some of its fields; None: when they are equal as JSON.

    Raises:
        UsageError: there is no such syntax, or a setting is not known or breaks a rule.
    """

    def __init__(self, syntax: str, reward: Table, compare: Compare):
        table = asdict(reward) if isinstance(reward, RewardTable) else dict(reward or {})
        loose = compare.model_dump() if isinstance(compare, CompareConfig) else dict(compare or {})
        self.syntax = get_syntax(syntax)
        self.rules = check_config(RewardRules, {"reward": table, "compare": loose})

    def score(self, completion: Any, gold: Any, tools: Any) -> Reward:
        """Score one completion, of which the first turn counts.

        Args:
            completion: a text, or chat messages.
            gold: what is right, see `read_golds`.
            tools: what is on offer, see `read_offered`.

        Raises:
            DataError: gold or tools cannot be read; whatever the completion is, it has a score.
        """
        offered = read_offered(tools)
        golds = read_golds(gold, self.syntax, offered)
        return judge_calls(_calls_of(completion, self.syntax, offered), offered, golds, self.rules)


@lru_cache(maxsize=16)
def judge_from_json(settings: str) -> Judge:
    """The judge of settings as JSON: syntax, reward, compare; for callers that pass them with every completion."""
    return Judge(**json.loads(settings))


def stages_of(reward: Reward) -> dict[str, float]:
    """1 or 0: the right tools (`ts`), the right parameters too (`pi`), the right values too (`cf`)."""
    diagnosis = reward.diagnosis
    return {
        "ts": float(diagnosis.tool_selected),
        "pi": float(diagnosis.parameters_identified),
        "cf": float(diagnosis.content_filled),
    }


def _calls_of(completion: Any, syntax: CallSyntax, tools: tuple[Tool, ...]) -> list[AnyCall]:
    if isinstance(completion, str) or completion is None:
        return list(syntax.parse(completion or "", tools=tools).calls)
    turns = (message for message in completion if _field(message, "role") in ("assistant", None))
    message = next(turns, None)
    if message is None:
        return []
    in_text = syntax.parse(_text_of(_field(message, "content")), tools=tools).calls
    return [*in_text, *_listed_calls(_field(message, "tool_calls"))]


def _listed_calls(value: Any) -> Iterator[AnyCall]:
    for call in value or ():
        if isinstance(call, str):
            try:
                call = json.loads(call)
            except ValueError:
                yield MalformedCall(raw=call, reason="the call is no JSON")
                continue
        call = call.model_dump() if hasattr(call, "model_dump") else call
        try:
            yield from read_calls({"tool_calls": [call]}, "completion", "message")
        except DataError as error:
            yield MalformedCall(raw=str(call), reason=str(error))


def _text_of(content: Any) -> str:
    if isinstance(content, str) or content is None:
        return content or ""
    return "".join(str(_field(part, "text") or "") for part in content)


def _field(message: Any, name: str) -> Any:
    return message.get(name) if isinstance(message, Mapping) else getattr(message, name, None)
