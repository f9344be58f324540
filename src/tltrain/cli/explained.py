"""Prints one row for people: who says what, and each call with its verdict, its evidence and what is trained of it."""

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import TYPE_CHECKING

from tltrain.cli.output import make_console, visible_text
from tltrain.inspection.body import write_value
from tltrain.inspection.explain import ExplainedRow
from tltrain.inspection.rows import InspectedCall, Span
from tltrain.inspection.tokens import RowTokens, TokenPiece
from tltrain.types import Message, Role, ToolCall

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

_SIGNS = {"ok": "✓", "error": "✗", "ambiguous": "?", "unanswered": "…"}
_STYLES = {"ok": "green", "error": "red", "ambiguous": "yellow", "unanswered": "cyan"}
_MESSAGE_CHARS = 600
_AROUND_CHARS = 240
"""Characters of a feedback that are shown before and after the evidence."""


def print_explained(explained: ExplainedRow) -> None:
    """Print a row; of its messages only those that hold the calls asked for, where not all are."""
    console = make_console()
    row = explained.row
    messages = row.trajectory.messages
    is_whole = len(explained.calls) == len(row.calls)
    _print(console, row.trajectory.id, style="bold")
    _print(
        console,
        f"{row.source}, {len(messages)} messages, {len(row.calls)} call{'s' * (len(row.calls) != 1)}",
        style="dim",
    )
    if row.trajectory.tools:
        _print(console, f"tools: {', '.join(tool.name for tool in row.trajectory.tools)}", style="dim")
    for index, message in enumerate(messages):
        calls = [call for call in explained.calls if call.step.message == index]
        is_feedback = any(call.answer == index for call in row.calls)
        if not is_feedback and (is_whole or calls):
            _print_message(console, message)
        for call in calls:
            _print_call(console, call, explained)
        _print_turn(console, index, explained, is_shown=is_whole or bool(calls))
    _print_totals(console, explained)


def _print(console: "Console", text: str, *, style: str = "", indent: int = 0) -> None:
    from rich.padding import Padding
    from rich.text import Text

    console.print(Padding(Text(visible_text(text), style=style), (0, 0, 0, indent), expand=False))


def _print_message(console: "Console", message: Message) -> None:
    console.print()
    weight = "" if message.weight is None else f"  (weight {message.weight:g} in the file{_reason(message)})"
    _print(console, f"{message.role}{weight}", style="bold cyan" if message.role is Role.USER else "bold")
    if message.reasoning:
        _print(console, _clip(message.reasoning), style="italic dim", indent=2)
    if message.content:
        _print(console, _clip(message.content), indent=2)


def _reason(message: Message) -> str:
    return f": {message.mask_reason}" if message.mask_reason else ""


def _clip(text: str) -> str:
    left = len(text) - _MESSAGE_CHARS
    return text if left <= 0 else f"{text[:_MESSAGE_CHARS]} … ({left:,} more characters)"


def _print_call(console: "Console", call: InspectedCall, explained: ExplainedRow) -> None:
    verdict = call.verdict.verdict if call.verdict else None
    label = verdict.label.value if verdict else "not judged"
    facts = [label]
    if verdict and verdict.kind and verdict.kind != verdict.label.value:
        facts.append(verdict.kind.replace("_", " "))
    if verdict and verdict.blame != "none":
        facts.append(f"blame: {verdict.blame}")
    head = f"{_SIGNS.get(label, '○')} call {call.step.number}  {call.tool or '(unreadable)'}   {', '.join(facts)}"
    _print(console, head, style=f"bold {_STYLES.get(label, '')}".strip(), indent=2)
    _print_fields(console, [*_written(call), ("feedback", _feedback(call)), *_judged(call), *_trained(call, explained)])


def _judged(call: InspectedCall) -> Iterator[tuple[str, str]]:
    """What was found, and by which rule."""
    if call.verdict is None:
        return
    verdict = call.verdict.verdict
    yield "rule", verdict.rule
    if verdict.evidence and not call.evidence:
        yield "evidence", verdict.evidence
    for witness in verdict.witnesses:
        if witness.words or len(verdict.witnesses) > 1:
            words = f": {witness.words}" if witness.words else ""
            yield "found", f"{witness.layer} says {witness.says}, {witness.rule}{words}"
    if call.verdict.truth is not None:
        yield "truth", call.verdict.truth.replace("_", " ")


def _trained(call: InspectedCall, explained: ExplainedRow) -> Iterator[tuple[str, str]]:
    """What the policy and the file do with the call, and how its key tokens weigh."""
    if not call.blocks:
        yield "trained", "yes"
    for block in call.blocks:
        yield "not trained", f"by the {block.by}: {block.reason}"
    if isinstance(explained.tokens, RowTokens) and call.step.number in explained.tokens.calls:
        weights = explained.tokens.calls[call.step.number]
        yield "key tokens", f"|K| = {weights.num_key}, |NK| = {weights.num_nonkey}, w = {weights.weight:.2f}"


def _written(call: InspectedCall) -> list[tuple[str, str]]:
    if isinstance(call.step.call, ToolCall):
        return [(name, _clip(write_value(value))) for name, value in call.step.call.arguments.items()]
    return [("as written", _clip(call.step.call.raw))]


def _print_fields(console: "Console", fields: Iterable[tuple[str, "str | Text"]]) -> None:
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2))
    grid.add_column(width=16, overflow="fold")
    grid.add_column(overflow="fold")
    for name, value in fields:
        shown = Text(visible_text(value)) if isinstance(value, str) else value
        grid.add_row(Text(f"    {visible_text(name)}", style="dim"), shown)
    console.print(grid)


def _feedback(call: InspectedCall) -> "str | Text":
    """The feedback around its evidence, which is marked."""
    from rich.text import Text

    feedback = call.step.feedback
    if feedback is None:
        return "none"
    start, end = _shown_part(feedback, call.evidence)
    text = Text("… " if start else "")
    position = start
    for span in call.evidence:
        text.append(visible_text(feedback[position : span.start]))
        text.append(f"«{visible_text(feedback[span.start : span.end])}»", style="bold reverse")
        position = span.end
    text.append(visible_text(feedback[position:end]))
    if end < len(feedback):
        text.append(f" … ({len(feedback):,} characters in all)", style="dim")
    return text


def _shown_part(feedback: str, evidence: tuple[Span, ...]) -> tuple[int, int]:
    """The part of a feedback that is shown: around the evidence, or its beginning."""
    if not evidence:
        return 0, min(len(feedback), 2 * _AROUND_CHARS)
    return max(0, evidence[0].start - _AROUND_CHARS), min(len(feedback), evidence[-1].end + _AROUND_CHARS)


def _print_turn(console: "Console", message: int, explained: ExplainedRow, *, is_shown: bool) -> None:
    if not is_shown or not isinstance(explained.tokens, RowTokens):
        return
    for piece in explained.tokens.pieces:
        if piece.message == message:
            _print_fields(console, [("tokens", _weighted(piece))])


def _weighted(piece: TokenPiece) -> "Text":
    """The tokens of a turn: as they are at weight 1, struck out at weight 0, else in brackets with the weight."""
    from rich.text import Text

    text = Text()
    tokens = zip(piece.token_texts(), piece.weights, strict=True)
    for weight, same in groupby(tokens, key=lambda token: token[1]):
        words = [visible_text(word) for word, _ in same]
        if weight == 1:
            text.append("".join(words))
        elif weight == 0:
            text.append(f"[{''.join(words)}]0", style="strike dim")
        else:
            for word in words:
                text.append(f"[{word}]{weight:.2f}", style="bold yellow")
    return text


def _print_totals(console: "Console", explained: ExplainedRow) -> None:
    match explained.tokens:
        case RowTokens(num_tokens=total, num_trained=trained):
            console.print()
            _print(console, f"{total:,} tokens, {trained:,} trained ({100 * trained / total:.1f}%)")
        case None:
            return
        case error:
            console.print()
            _print(console, f"no training sequence: {error}", style="red")
