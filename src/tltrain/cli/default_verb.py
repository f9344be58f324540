"""A group of verbs that is a verb itself, as in `eval DATA` beside `eval score RUN`."""

from typing import Any

from typer.core import TyperGroup

DEFAULT = "file"
"""Name of the hidden verb that the group itself stands for."""


class DefaultVerbGroup(TyperGroup):
    """What is no verb of the group goes to the hidden one; a file called like a verb is written as in `./score`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the name of the hidden verb before anything that is no verb."""
        is_named = bool(args) and args[0] in self.commands
        return super().parse_args(ctx, args if is_named else [DEFAULT, *args])

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Leave the name of the hidden verb out of its help."""
        name, command, rest = super().resolve_command(ctx, args)
        return ("" if name == DEFAULT else name), command, rest
