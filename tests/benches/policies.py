"""Stand-ins for a model."""

from collections.abc import Callable, Sequence

from tltrain.benches.policy import Reply, Request, Stop
from tltrain.syntax import CallSyntax, get_syntax
from tltrain.types import Trajectory


def reply(text: str, stop: Stop = Stop.END, **fields: str) -> Reply:
    return Reply(text=text, num_tokens=len(text.split()), stop=stop, **fields)


class TextPolicy:
    """Answers a request with what a function makes of it, a text or a reply; keeps what it was asked."""

    def __init__(self, write: Callable[[Request], str | Reply], syntax: str = "python"):
        self.syntax: CallSyntax = get_syntax(syntax)
        self.asked: list[list[Request]] = []
        self._write = write

    def answer(self, requests: Sequence[Request], told: Callable[[int], None] | None = None) -> list[Reply]:
        self.asked.append(list(requests))
        written = [self._write(request) for request in requests]
        if told:
            told(len(requests))
        return [text if isinstance(text, Reply) else reply(text) for text in written]


class Oracle(TextPolicy):
    """Writes the next message of the trajectory with the same query and tools."""

    def __init__(self, trajectories: Sequence[Trajectory], syntax: str = "python"):
        super().__init__(self._go_on, syntax)
        self._trajectories = trajectories

    def _go_on(self, request: Request) -> str:
        length = len(request.messages)
        for trajectory in self._trajectories:
            if trajectory.messages[0] == request.messages[0] and trajectory.tools == request.tools:
                message = trajectory.messages[length]
                return self.syntax.render(message.content, message.calls)
        raise AssertionError(f"no trajectory begins with {request.messages[0]}")


class Script(TextPolicy):
    """Writes one text after the other, whatever was asked; the last one again and again."""

    def __init__(self, *texts: str | Reply):
        super().__init__(lambda request: texts[min(_num_turns(request), len(texts) - 1)])


def _num_turns(request: Request) -> int:
    return sum(message.role == "assistant" for message in request.messages)
