"""Replies that outlive the process: a run that was killed goes on where it stopped."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from tltrain.benches.policy import Policy, Reply, Request, Stop
from tltrain.errors import DataError
from tltrain.files import JsonLinesWriter, read_json_lines
from tltrain.syntax import CallSyntax
from tltrain.types import Json


class Journal:
    """A policy that asks another one, chunk by chunk, and keeps each chunk's replies in a file; itself a `Policy`.

    A later journal on the same file gives the kept replies back, so that whatever is computed from replies can simply
    be computed again. A chunk that was interrupted is asked again as a whole: what a model writes may depend, by
    rounding, on the company in a batch.

    Args:
        path: JSON Lines; made where it does not exist.
        policy: who is asked; its replies must depend on the requests alone.
        chunk_size: requests at a time. Those with equal tools and beginnings are put into the same chunk.
    """

    def __init__(self, path: Path, policy: Policy, *, chunk_size: int):
        self._kept = _read_kept(path)
        self._writer = JsonLinesWriter(path)
        self._policy = policy
        self._chunk_size = chunk_size

    @property
    def syntax(self) -> CallSyntax:
        """That of the policy."""
        return self._policy.syntax

    def answer(self, requests: Sequence[Request], told: Callable[[int], None] | None = None) -> list[Reply]:
        """See `Policy.answer`."""
        texts = [(repr(request.tools), repr(request.messages)) for request in requests]
        order = sorted(range(len(requests)), key=lambda index: texts[index])
        replies: dict[int, Reply] = {}
        for start in range(0, len(order), self._chunk_size):
            chunk = order[start : start + self._chunk_size]
            key = hashlib.sha256(repr([texts[index] for index in chunk]).encode()).hexdigest()
            if key not in self._kept:
                progress = None if told is None else (lambda done, start=start: told(start + done))
                self._keep(key, self._policy.answer([requests[index] for index in chunk], progress))
            replies |= zip(chunk, self._kept[key], strict=True)
            if told:
                told(len(replies))
        return [replies[index] for index in range(len(requests))]

    def close(self) -> None:
        """Close the file."""
        self._writer.close()

    def _keep(self, key: str, replies: list[Reply]) -> None:
        self._kept[key] = replies
        self._writer.write({"chunk": key, "replies": [asdict(reply) for reply in replies]})


def _read_kept(path: Path) -> dict[str, list[Reply]]:
    """Replies by chunk; a line that was cut short by a kill is passed over."""
    if not path.is_file() or not path.stat().st_size:
        return {}
    rows = [row for _, row in read_json_lines(path) if not isinstance(row, DataError)]
    return {str(row["chunk"]): _read_replies(row["replies"]) for row in rows}


def _read_replies(rows: Json) -> list[Reply]:
    assert isinstance(rows, list), "written by Journal"
    return [Reply(**{**row, "stop": Stop(row["stop"])}) for row in rows if isinstance(row, dict)]  # type: ignore[arg-type]
