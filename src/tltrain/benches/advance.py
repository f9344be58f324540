"""How many conversations go on at the same time, and which."""

from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

from tltrain.benches.policy import Policy, Reply, Request
from tltrain.stage import Progress


class _Conversation(Protocol):
    end: Any
    """None while it goes on."""

    def request(self) -> Request:
        """What the model reads next."""

    def take(self, reply: Reply) -> None:
        """Act on its reply."""


_Any = TypeVar("_Any", bound=_Conversation)


def advance(
    conversations: Sequence[_Any],
    policy: Policy,
    *,
    max_replies: int | None,
    at_once: int | None,
    progress: Progress | None,
) -> None:
    """Hold conversations to their ends, a reply at a time each.

    Those with the same tools come after each other, so that what is kept of one (see `KeptPrefixes`) serves the next,
    and is needed again before much else has been read.

    Args:
        conversations: none of them begun.
        policy: who replies.
        max_replies: most replies in one; None: it ends by itself.
        at_once: conversations under way at the same time; None: all.
        progress: told (conversations ended, all conversations, a remark).
    """
    order = sorted(range(len(conversations)), key=lambda number: repr(conversations[number].request().tools))
    waiting = [conversations[number] for number in reversed(order)]
    running: list[tuple[_Any, int]] = []
    num_over = 0
    while waiting or running:
        while waiting and (at_once is None or len(running) < at_once):
            running.append((waiting.pop(), 0))
        replies = policy.answer([conversation.request() for conversation, _ in running])
        going: list[tuple[_Any, int]] = []
        for (conversation, number), reply in zip(running, replies, strict=True):
            conversation.take(reply)
            if conversation.end is None and (max_replies is None or number + 1 < max_replies):
                going.append((conversation, number + 1))
            else:
                num_over += 1
        running = going
        if progress:
            remark = f"{len(running)} under way, {len(waiting)} to come"
            progress(num_over, len(conversations), remark)
