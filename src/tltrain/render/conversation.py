"""A trajectory as a model is trained on it: rendered once, with a loss weight for each token."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from msgspec.structs import replace

from tltrain.errors import DataError, ModelError
from tltrain.render.calls import find_calls
from tltrain.render.carried import carried_factors
from tltrain.render.chat import chat_message, chat_text, chat_tool
from tltrain.render.name_paths import NamePaths, written_name
from tltrain.render.rendered import RenderedCall, RenderedParameter, RenderedTrajectory, RenderedTurn, TurnKind
from tltrain.render.tokens import TokenizedText, TokenSpan, tokenize
from tltrain.render.turns import RewrittenTurnError, TurnText, find_turns
from tltrain.render.weights import KeyTokenWeighting, argument_weights
from tltrain.syntax import CallSpans, CallSyntax, Span
from tltrain.types import MalformedCall, Message, Role, Tool, Trajectory, masked_calls

__all__ = [
    "RenderedCall",
    "RenderedParameter",
    "RenderedTrajectory",
    "RenderedTurn",
    "TurnKind",
    "render",
    "render_pieces",
    "render_prompt",
]


class NothingToTrainError(DataError):
    """No token of a trajectory is trained."""


class OverlongError(DataError):
    """A trained token of a trajectory lies beyond the longest length.

    Args:
        message: what is wrong.
        num_tokens: up to the last one that is trained.
    """

    def __init__(self, message: str, num_tokens: int = 0):
        super().__init__(message)
        self.num_tokens = num_tokens


@dataclass(frozen=True, slots=True)
class _Facts:
    """What is worth remembering of a tokenizer."""

    paths: NamePaths
    special_ids: frozenset[int]


_FACTS: WeakKeyDictionary[Any, _Facts] = WeakKeyDictionary()


def _facts_of(tokenizer: Any) -> _Facts:
    if tokenizer not in _FACTS:
        added = (token_id for token_id, token in tokenizer.added_tokens_decoder.items() if token.special)
        # The paths keep no reference to the tokenizer, or neither would ever be freed.
        _FACTS[tokenizer] = _Facts(NamePaths(), frozenset([*tokenizer.all_special_ids, *added]))
    return _FACTS[tokenizer]


def render(
    trajectory: Trajectory,
    tokenizer: Any,
    syntax: CallSyntax,
    *,
    blocked: frozenset[int] = frozenset(),
    weighting: KeyTokenWeighting,
    max_length: int | None = None,
    first: int = 0,
) -> RenderedTrajectory:
    """Render a trajectory once, with all its calls.

    Trained are the assistant's turns. A blocked call's tokens weigh 0, and so do the blanks that lead to it; a turn
    whose calls are all blocked weighs 0 as a whole. A call that cannot be read is always blocked. A token that stands
    in a blocked call and also outside it weighs 0. Weights that the file carries are factors on top.

    Args:
        trajectory: what to render.
        tokenizer: a fast transformers tokenizer whose chat template knows tools, see `ensure_tool_template`.
        syntax: how that template writes calls.
        blocked: numbers of the calls that must not teach, see `audit`.
        weighting: weight of key tokens.
        max_length: most tokens that can be trained on; None for no limit. What follows the last trained token is
            cut off where the sequence is longer.
        first: messages before this one are context alone, see `render_pieces`.

    Raises:
        RewrittenTurnError: the template renders a turn differently once more follows.
        NothingToTrainError: nothing is left to train on.
        OverlongError: a trained token lies beyond the limit.
        DataError: names the row, as those above do: the template cannot write it, the calls read from the text are not
            those listed, or a number in `blocked` is of no call.
        ModelError: the tokenizer gives no offsets, or its template ends turns without a special token.
    """
    try:
        return _render(trajectory, tokenizer, syntax, blocked, weighting, max_length, first)
    except DataError as error:
        error.args = (f"{trajectory.id}: {error}",)
        raise


def render_pieces(
    trajectory: Trajectory, tokenizer: Any, syntax: CallSyntax, **options: Any
) -> list[RenderedTrajectory]:
    """Render a trajectory as one sequence or, where its template rewrites earlier turns, as one for each query.

    Templates drop earlier thinking, write tools before the last query alone, or end earlier answers with another token.
    Each query then gets a sequence that ends with what the assistant does about it, as the model will see it, and in
    which all that comes before is context alone.

    Args:
        trajectory: what to render.
        tokenizer: see `render`.
        syntax: see `render`.
        options: those of `render`.

    Raises:
        DataError: see `render`.
        ModelError: see `render`.
    """
    try:
        return [render(trajectory, tokenizer, syntax, **options)]
    except RewrittenTurnError:
        pieces = list(_pieces(trajectory))
        if len(pieces) < 2:
            raise
    blocked: frozenset[int] = options.pop("blocked", frozenset())
    rendered, last_error = [], None
    for piece, first in pieces:
        own = frozenset(number for number in blocked if number < sum(len(message.calls) for message in piece.messages))
        try:
            rendered.append(render(piece, tokenizer, syntax, blocked=own, first=first, **options))
        except NothingToTrainError as error:
            last_error = error
    if not rendered and last_error is not None:
        raise last_error
    return rendered


def _pieces(trajectory: Trajectory) -> Iterator[tuple[Trajectory, int]]:
    """For each query that the assistant acts on: the trajectory up to the next query, and where its own part starts."""
    messages = trajectory.messages
    ends = [at for at, message in enumerate(messages) if at and message.role is Role.USER] + [len(messages)]
    start = 0
    for end in ends:
        if any(message.role is Role.ASSISTANT for message in messages[start:end]):
            yield replace(trajectory, messages=messages[:end]), start
            start = end


def render_prompt(tools: Sequence[Tool], messages: Sequence[Message], tokenizer: Any, syntax: CallSyntax) -> list[int]:
    """Token ids of the prompt on which the assistant writes its next turn; a beginning of what `render` gives.

    Raises:
        DataError: the template cannot write the messages.
        ModelError: the tokenizer gives no offsets.
    """
    chat = [chat_message(message, syntax) for message in messages]
    text = chat_text(tokenizer, chat, [chat_tool(tool) for tool in tools], add_generation_prompt=True)
    return prompt_ids(tokenizer, text)


def prompt_ids(tokenizer: Any, text: str) -> list[int]:
    """Token ids of a text that ends where the assistant begins to write."""
    if not text.endswith(" "):
        return tokenize(tokenizer, text).ids
    # A blank at the end would be a token of its own here, and part of the first word's token in training.
    tokens = tokenize(tokenizer, text + "x")
    return tokens.ids[: tokens.overlap(len(text), len(text) + 1).start]


def _render(
    trajectory: Trajectory,
    tokenizer: Any,
    syntax: CallSyntax,
    blocked: frozenset[int],
    weighting: KeyTokenWeighting,
    max_length: int | None,
    first: int,
) -> RenderedTrajectory:
    tools = [chat_tool(tool) for tool in trajectory.tools]
    chat = [chat_message(message, syntax) for message in trajectory.messages]
    text, turn_texts = find_turns(tokenizer, chat, tools, first=first)
    tokens = tokenize(tokenizer, text)
    facts = _facts_of(tokenizer)
    masked = masked_calls(trajectory)
    names = [written_name(syntax.name, tool.name) for tool in trajectory.tools]
    turns: list[RenderedTurn] = []
    calls: list[RenderedCall] = []
    num_before = sum(len(message.calls) for message in trajectory.messages[:first])
    for turn_text in turn_texts:
        message = trajectory.messages[turn_text.message]
        span = tokens.overlap(turn_text.start, turn_text.end)
        _check_start(turn_text, span, tokens)
        body = _without_end_of_turn(turn_text, span, tokens, facts.special_ids)
        own_calls: list[RenderedCall] = []
        for call, spans in zip(message.calls, find_calls(text, body, message, syntax), strict=True):
            number = num_before + len(calls) + len(own_calls)
            key_positions = facts.paths.key_positions(tokenizer, tokens, spans.name, names) if spans.name else ()
            is_blocked = number in blocked or number in masked or isinstance(call, MalformedCall)
            own_calls.append(_place_call(number, spans, tokens, key_positions, weighting, is_blocked))
        calls += own_calls
        turns.append(
            RenderedTurn(
                message=turn_text.message,
                start=span.start,
                end=span.end,
                kind=_kind_of_turn(own_calls),
                has_end=turn_text.has_end,
            )
        )
    _check_blocked(blocked, num_before + len(calls))
    carried = carried_factors(trajectory, tokens, turns, calls)
    own = _weigh_tokens(tokens, turns, calls, weighting)
    weights = [weight * factor for weight, factor in zip(own, carried, strict=True)]
    length = _kept_length(weights, turns, calls, max_length)
    return RenderedTrajectory(
        id=trajectory.id,
        input_ids=tokens.ids[:length],
        weights=weights[:length],
        turns=tuple(turn for turn in turns if turn.end <= length),
        calls=tuple(call for call in calls if call.span.end <= length),
        text=text,
    )


def _without_end_of_turn(turn: TurnText, span: TokenSpan, tokens: TokenizedText, special_ids: frozenset[int]) -> Span:
    """The part of a turn's text that is no end-of-turn token."""
    if not turn.has_end:
        return Span(turn.start, turn.end)
    last = span.end - 1
    if last < span.start or tokens.ids[last] not in special_ids:
        raise ModelError(
            f"the chat template ends an assistant's turn with {tokens.text[turn.start : turn.end][-20:]!r}, which is "
            "no special token: a model trained on it would never stop; use a template that writes the end-of-turn token"
        )
    if tokens.ids[last] in tokens.ids[span.start : last]:
        raise DataError(
            f"messages[{turn.message}] holds the end-of-turn token {tokens.token_text(last)!r} in its text: the model "
            "would learn to stop there; remove it from the text"
        )
    return Span(turn.start, tokens.starts[last])


def _check_start(turn: TurnText, span: TokenSpan, tokens: TokenizedText) -> None:
    """That no token holds both a character of the prompt and one of the turn; a blank may be part of the first word."""
    if span.start < span.end and tokens.text[tokens.starts[span.start] : turn.start].strip():
        raise DataError(
            f"the token {tokens.token_text(span.start)!r} holds the end of the prompt and the beginning of the "
            f"assistant's turn messages[{turn.message}], so that no prompt ends there; use a chat template whose "
            "generation prompt ends with a special token or a line break"
        )


def _place_call(
    number: int,
    spans: CallSpans,
    tokens: TokenizedText,
    key_positions: tuple[int, ...],
    weighting: KeyTokenWeighting,
    is_blocked: bool,
) -> RenderedCall:
    span = tokens.overlap(*spans.call)
    num_key = len(key_positions)
    num_nonkey = span.end - span.start - num_key
    return RenderedCall(
        number=number,
        span=span,
        name=tokens.overlap(*spans.name) if spans.name else None,
        key_positions=key_positions,
        num_key=num_key,
        num_nonkey=num_nonkey,
        weight=weighting.weight(num_key=num_key, num_nonkey=num_nonkey, num_values=len(spans.parameters)),
        blocked=is_blocked,
        parameters=tuple(
            RenderedParameter(
                name=parameter.name, key=tokens.overlap(*parameter.key), value=tokens.overlap(*parameter.value)
            )
            for parameter in spans.parameters
        ),
    )


def _kind_of_turn(calls: Sequence[RenderedCall]) -> TurnKind:
    if not calls:
        return TurnKind.ANSWER
    return TurnKind.BLOCKED if all(call.blocked for call in calls) else TurnKind.CALLS


def _check_blocked(blocked: frozenset[int], num_calls: int) -> None:
    unknown = blocked - set(range(num_calls))
    if unknown:
        raise DataError(
            f"call {min(unknown)} is to be blocked, but the row has {num_calls} calls; audit this file anew"
        )


def _weigh_tokens(
    tokens: TokenizedText, turns: Sequence[RenderedTurn], calls: Sequence[RenderedCall], weighting: KeyTokenWeighting
) -> list[float]:
    weights = [0.0] * len(tokens.ids)
    for turn in turns:
        if turn.kind is not TurnKind.BLOCKED:
            weights[turn.start : turn.end] = [1.0] * (turn.end - turn.start)
    for call in calls:
        for position, factor in argument_weights(call, weighting).items():
            weights[position] *= factor
        for position in call.key_positions:
            weights[position] *= call.weight
    for call in calls:
        if call.blocked:
            start = call.span.start
            while weights[start - 1] and tokens.token_text(start - 1).isspace():
                start -= 1
            weights[start : call.span.end] = [0.0] * (call.span.end - start)
    return weights


def _kept_length(
    weights: Sequence[float], turns: Sequence[RenderedTurn], calls: Sequence[RenderedCall], max_length: int | None
) -> int:
    """How many tokens of the sequence are kept."""
    needed = max((position + 1 for position, weight in enumerate(weights) if weight > 0), default=0)
    if needed == 0:
        why = "it has no message of the assistant"
        if turns:
            why = f"all {len(calls)} calls are blocked" if calls else "the file's own weights of all its messages are 0"
        raise NothingToTrainError(f"nothing to train on: {why}; leave the row out, or audit it with another policy")
    if max_length is None or len(weights) <= max_length:
        return len(weights)
    if needed > max_length:
        raise OverlongError(
            f"{needed} tokens up to the last that is trained, of which {turns[0].start} are the first prompt, and "
            f"max_length={max_length}: the end would not be trained; raise max_length to {needed}, or drop tools",
            needed,
        )
    return max_length
