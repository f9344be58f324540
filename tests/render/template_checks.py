"""What must be trained under a chat template, told without tltrain's renderer.

The messages are put into the template by the test's own hand. A turn is what the template adds to the prompt that
stands before it; each token whose characters lie in a turn must be trained, all others must not. Sentinels, words that
occur once, are then looked for in the decoded tokens. Key tokens are where the conversation with another tool's name in
the call first differs, as token ids.
"""

import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from msgspec.structs import replace

from render.template_shapes import Shape
from tltrain.errors import DataError
from tltrain.render.conversation import RenderedTrajectory, render_pieces
from tltrain.render.weights import KeyTokenWeighting
from tltrain.syntax import get_syntax
from tltrain.types import Message, Role, Tool, ToolCall, Trajectory

NAMES = (
    *("get_user", "get_user_by_id", "get_users", "getUser", "get", "list_events", "list_event_types", "finish"),
    *("math.sqrt", "math.sqrt2", "routes-get", "find_user"),
)


class Writer:
    """Random trajectories whose every part holds a word that occurs nowhere else."""

    def __init__(self, shape: Shape, seed: int):
        self.shape, self.rng, self.num_words, self.num_calls = shape, random.Random(f"{shape.name}:{seed}"), 0, 0
        self.own: dict[int, list[str]] = {}
        self.foreign: list[str] = []
        self.seed = seed

    def word(self, message: int | None) -> str:
        """A new sentinel; of the assistant's message, or of what the assistant reads."""
        self.num_words += 1
        word = f"q{self.num_words}z"
        (self.foreign if message is None else self.own.setdefault(message, [])).append(word)
        return word

    def prose(self, message: int | None) -> str:
        rng = self.rng
        parts = [rng.choice(("Well,", "It's", "So —", "Ana's", "日本", "ok:", "“hm”")), self.word(message)]
        return rng.choice((" ", "\n", "  ")).join(parts) + rng.choice((".", "", "!", " 😀"))

    def trajectory(self) -> Trajectory:
        rng, shape = self.rng, self.shape
        tools = [
            Tool(name=name, description=self.prose(None), parameters={"type": "object", "properties": {"x": {}}})
            for name in rng.sample(NAMES, rng.randint(2, 6))
        ]
        messages = [Message(role=Role.SYSTEM, content=self.prose(None))] * rng.randint(0, 1)
        for _ in range(rng.randint(1, 3)):
            messages.append(Message(role=Role.USER, content=self.prose(None)))
            for _ in range(rng.randint(0, 2)):
                calls = [self.call(rng.choice(tools).name, len(messages)) for _ in range(self.num_calls_of_turn())]
                content = self.prose(len(messages)) if shape.text_beside_calls and rng.random() < 0.4 else ""
                reasoning = self.prose(len(messages)) if shape.thinks and rng.random() < 0.3 else ""
                messages.append(Message(role=Role.ASSISTANT, content=content, reasoning=reasoning, calls=tuple(calls)))
                messages += [
                    Message(role=Role.TOOL, content=self.prose(None), name=call.name, call_id=call.id) for call in calls
                ]
            reasoning = self.prose(len(messages)) if shape.thinks and rng.random() < 0.3 else ""
            messages.append(Message(role=Role.ASSISTANT, content=self.prose(len(messages)), reasoning=reasoning))
        if messages[-2].role is Role.TOOL and rng.random() < 0.2:
            cut = max(at for at, message in enumerate(messages) if message.calls)
            messages = messages[: cut + 1]  # the last turn calls
        return Trajectory(id=f"{shape.name}-{self.seed}", tools=tuple(tools), messages=tuple(messages))

    def num_calls_of_turn(self) -> int:
        return self.rng.choice((1, 1, 2)) if self.shape.many_calls else 1

    def call(self, name: str, message: int) -> ToolCall:
        self.num_calls += 1
        makers: dict[str, Callable[[], Any]] = {
            "x": lambda: self.word(message),
            "text": lambda: f'{self.word(message)} "it\'s" <b>\n日本',
            "n": lambda: self.rng.randint(-5, 10**6),
            "of": lambda: [self.word(message), None, True, 1.5, {"k": self.word(message)}],
        }
        chosen = self.rng.sample(sorted(makers), self.rng.randint(0, 3))
        return ToolCall(name=name, arguments={key: makers[key]() for key in chosen}, id=f"id{self.num_calls:07d}")


@dataclass
class Counts:
    """What was checked, and what was wrong."""

    samples: int = 0
    sequences: int = 0
    tokens: int = 0
    wrong_tokens: int = 0
    calls: int = 0
    wrong_calls: int = 0
    refused: int = 0
    problems: list[str] = field(default_factory=list)

    def wrong(self, what: str) -> None:
        self.problems.append(what)


def check_sample(shape: Shape, tokenizer: Any, seed: int, counts: Counts) -> None:
    """Render one random trajectory and compare."""
    writer = Writer(shape, seed)
    trajectory = writer.trajectory()
    counts.samples += 1
    try:
        pieces = render_pieces(trajectory, tokenizer, get_syntax(shape.syntax), weighting=KeyTokenWeighting())
    except DataError as error:
        counts.refused += 1
        counts.wrong(str(error))
        return
    wanted = list(_wanted_pieces(shape, trajectory))
    if len(wanted) != len(pieces):
        counts.wrong(f"{trajectory.id}: {len(pieces)} sequences, not {len(wanted)}")
    for rendered, (messages, first) in zip(pieces, wanted, strict=False):
        counts.sequences += 1
        _check_piece(shape, tokenizer, writer, rendered, messages, first, trajectory.tools, counts)


def _wanted_pieces(shape: Shape, trajectory: Trajectory) -> Iterator[tuple[tuple[Message, ...], int]]:
    """One sequence if every prompt stands in it as it was, else one for each query."""
    messages = trajectory.messages
    queries = [at for at, message in enumerate(messages) if message.role is Role.USER]
    has_dropped = any(message.reasoning for message in messages[: queries[-1]])
    if len(queries) == 1 or (shape.one_sequence and not has_dropped):
        yield messages, 0
        return
    for start, end in zip(queries, [*queries[1:], len(messages)], strict=True):
        yield messages[:end], start if start > queries[0] else 0


def _check_piece(
    shape: Shape,
    tokenizer: Any,
    writer: Writer,
    rendered: RenderedTrajectory,
    messages: Sequence[Message],
    first: int,
    tools: Sequence[Tool],
    counts: Counts,
) -> None:
    text, turns = _turns(shape, tokenizer, messages, first, tools)
    if rendered.text != text:
        counts.wrong(f"{rendered.id}: the text is {rendered.text[-80:]!r}, not {text[-80:]!r}")
        return
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    if encoded["input_ids"] != rendered.input_ids:
        counts.wrong(f"{rendered.id}: other tokens")
        return
    counts.tokens += sum(weight > 0 for weight in rendered.weights)
    for position, (start, end) in enumerate(encoded["offset_mapping"]):
        is_own = any(low <= start and end <= high for low, high in turns)
        if is_own != (rendered.weights[position] > 0):
            counts.wrong_tokens += 1
            counts.wrong(f"{rendered.id}: {text[start:end]!r} at {position} {'is' if not is_own else 'is not'} trained")
    trained = tokenizer.decode(
        [token for token, weight in zip(rendered.input_ids, rendered.weights, strict=True) if weight]
    )
    own = [word for message, words in writer.own.items() if first <= message < len(messages) for word in words]
    for word in own:
        if word not in trained:
            counts.wrong(f"{rendered.id}: {word} of the assistant is not trained")
    for word in writer.foreign + [word for message, words in writer.own.items() if message < first for word in words]:
        if word in trained:
            counts.wrong(f"{rendered.id}: {word}, which the assistant reads, is trained")
    _check_key_tokens(shape, tokenizer, rendered, messages, first, tools, counts)


def _turns(
    shape: Shape, tokenizer: Any, messages: Sequence[Message], first: int, tools: Sequence[Tool]
) -> tuple[str, list[tuple[int, int]]]:
    """The whole text and the assistant's parts of it, by what the template adds to each prompt."""
    text = write(shape, tokenizer, messages, tools)
    if shape.next_marks and messages[-1].role is Role.ASSISTANT:
        text += shape.next_marks[bool(messages[-1].calls)]
    turns = []
    for index in range(first, len(messages)):
        if messages[index].role is not Role.ASSISTANT:
            continue
        prompt = write(shape, tokenizer, messages[:index], tools, is_prompt=True)
        assert text.startswith(prompt), "the shape says that this prompt stands in the text"
        written = write(shape, tokenizer, messages[: index + 1], tools)[len(prompt) :].rstrip("\n")
        if shape.empty_block and not text.startswith(written, len(prompt)):
            written = written.removeprefix(shape.empty_block)
        if shape.last_end[0] and index + 1 < len(messages):
            written = written.removesuffix(shape.last_end[0])
        if shape.next_marks:
            written += shape.next_marks[bool(messages[index].calls)]
        assert text.startswith(written, len(prompt)), (text[len(prompt) :][:200], written)
        turns.append((len(prompt), len(prompt) + len(written)))
    return text, turns


def write(
    shape: Shape, tokenizer: Any, messages: Sequence[Message], tools: Sequence[Tool], *, is_prompt: bool = False
) -> str:
    """The messages through the template."""
    rows = []
    for message in messages:
        row: dict[str, Any] = {"role": message.role.value, "content": message.content}
        if message.reasoning:
            row["reasoning_content"] = message.reasoning
        if message.calls and shape.calls_in_content:
            written = [shape.calls_in_content.format(_python(call)) for call in message.calls]
            row["content"] = "\n".join([message.content] * bool(message.content) + written)
        elif message.calls:
            row["tool_calls"] = [_chat_call(shape, call) for call in message.calls]
        if message.role is Role.TOOL:
            row |= {"name": message.name, "tool_call_id": message.call_id}
        rows.append(row)
    functions = [
        {"name": tool.name, "description": tool.description, "parameters": dict(tool.parameters)} for tool in tools
    ]
    text: str = tokenizer.apply_chat_template(
        rows,
        tools=[{"type": "function", "function": function} for function in functions],
        tokenize=False,
        add_generation_prompt=is_prompt,
    )
    return text


def _chat_call(shape: Shape, call: ToolCall) -> dict[str, Any]:
    arguments: Any = dict(call.arguments)
    if shape.arguments_as_text:
        arguments = json.dumps(arguments, ensure_ascii=False)
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": arguments}}


def _python(call: ToolCall) -> str:
    arguments = (f"{key}={_literal(value)}" for key, value in call.arguments.items())
    return f"{call.name}({', '.join(arguments)})"


def _literal(value: Any) -> str:
    if isinstance(value, str):
        return (
            f"'{value}'"
            if value.isprintable() and not set(value) & {"'", '"'}
            else json.dumps(value, ensure_ascii=False)
        )
    if isinstance(value, list):
        return f"[{', '.join(map(_literal, value))}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_literal(key)}: {_literal(item)}" for key, item in value.items()) + "}"
    return repr(value)


def _check_key_tokens(
    shape: Shape,
    tokenizer: Any,
    rendered: RenderedTrajectory,
    messages: Sequence[Message],
    first: int,
    tools: Sequence[Tool],
    counts: Counts,
) -> None:
    places = [(at, position) for at, message in enumerate(messages) for position in range(len(message.calls))]
    wanted = [place for place in places if place[0] >= first]
    if len(wanted) != len(rendered.calls):
        counts.wrong(f"{rendered.id}: {len(rendered.calls)} calls, not {len(wanted)}")
    for call, (at, position) in zip(rendered.calls, wanted, strict=False):
        name = messages[at].calls[position].name
        texts = [
            write(
                shape, tokenizer, [*messages[:at], _renamed(messages[at], position, other), *messages[at + 1 :]], tools
            )
            for other in ("Ωq", *(tool.name for tool in tools if tool.name != name))
        ]
        start = _first_difference(rendered.text, texts[0])
        encoded = tokenizer([rendered.text, *texts[1:]], add_special_tokens=False, return_offsets_mapping=True)
        ids, others = encoded["input_ids"][0], encoded["input_ids"][1:]
        begin = next(at for at, (_, end) in enumerate(encoded["offset_mapping"][0]) if end > start)
        splits = {_first_difference(ids, other) for other in others}
        expected = {begin} | {split for split in splits if split > begin}
        counts.calls += 1
        if set(call.key_positions) != expected:
            counts.wrong_calls += 1
            counts.wrong(f"{rendered.id}: K of {name} is {call.key_positions}, not {sorted(expected)}")


def _renamed(message: Message, position: int, name: str) -> Message:
    calls = list(message.calls)
    calls[position] = replace(calls[position], name=name)
    return replace(message, calls=tuple(calls))


def _first_difference(one: Sequence[Any], other: Sequence[Any]) -> int:
    return next((at for at, (left, right) in enumerate(zip(one, other, strict=False)) if left != right), len(one))
