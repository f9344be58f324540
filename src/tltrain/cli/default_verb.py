"""A group of verbs that is a verb itself, as in `eval DATA` beside `eval score RUN`."""

from typing import Any

from typer import Context
from typer.core import TyperGroup

DEFAULT = "file"
"""Name of the hidden verb that the group itself stands for."""


class _PlainContext(Context):
    """The context of a verb that has no name of its own."""

    @property
    def command_path(self) -> str:
        """What stands before the arguments in the usage line, without the space before no name."""
        return super().command_path.rstrip()


class DefaultVerbGroup(TyperGroup):
    """What is no verb of the group goes to the hidden one; a file called like a verb is written as in `./score`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the name of the hidden verb before anything that is no verb."""
        is_named = bool(args) and args[0] in self.commands
        return super().parse_args(ctx, args if is_named else [DEFAULT, *args])

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Leave the name of the hidden verb out of its help."""
        name, command, rest = super().resolve_command(ctx, args)
        if name != DEFAULT or command is None:
            return name, command, rest
        command.context_class = _PlainContext
        return "", command, rest
