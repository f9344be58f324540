"""Replies that outlive the process: a run that was killed goes on where it stopped."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tltrain.benches.policy import Policy, Reply, Request, Stop
from tltrain.errors import DataError
from tltrain.files import JsonLinesWriter, read_json_lines
from tltrain.syntax import CallSyntax


class Journal:
    """A policy that asks another one, chunk by chunk, and keeps each chunk's replies in a file; itself a `Policy`.

    A later journal on the same file gives the kept replies back, so that whatever is computed from replies can simply
    be computed again. A chunk that was interrupted is asked again as a whole: what a model writes may depend, by
    rounding, on the company in a batch. A request that was answered before, in any company, gets the same reply.
    Replies that failed are not kept, so that a later journal asks for them again.

    Args:
        path: JSON Lines; made where it does not exist.
        policy: who is asked.
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
        texts = [_text(request) for request in requests]
        new = {text: request for text, request in zip(texts, requests, strict=True) if _key(text) not in self._kept}
        order = sorted(new)
        num_known = len(requests) - len(new)
        for start in range(0, len(order), self._chunk_size):
            chunk = order[start : start + self._chunk_size]
            progress = None if told is None else (lambda done, before=num_known + start: told(before + done))
            self._keep(chunk, self._policy.answer([new[text] for text in chunk], progress))
        if told:
            told(len(requests))
        return [self._kept[_key(text)] for text in texts]

    def close(self) -> None:
        """Close the file."""
        self._writer.close()

    def _keep(self, texts: Sequence[str], replies: Sequence[Reply]) -> None:
        found = {_key(text): reply for text, reply in zip(texts, replies, strict=True)}
        self._kept |= found
        self._writer.write({key: asdict(reply) for key, reply in found.items() if reply.stop is not Stop.FAILED})


def _text(request: Request) -> str:
    text = f"{request.tools!r}\n{request.messages!r}"
    return text if request.one_call else f"{text}\nseveral calls"


def _key(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _read_kept(path: Path) -> dict[str, Reply]:
    """Replies by request; a line that was cut short by a kill is passed over."""
    if not path.is_file() or not path.stat().st_size:
        return {}
    rows = [row for _, row in read_json_lines(path) if not isinstance(row, DataError)]
    return {key: _read_reply(fields) for row in rows for key, fields in row.items()}


def _read_reply(fields: Any) -> Reply:
    return Reply(**{**fields, "stop": Stop(fields["stop"])})
