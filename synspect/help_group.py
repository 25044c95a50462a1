"""A group of commands in whose help and errors Typer's own types do not show.

Typer would call each flag `<bool>`, and begin the refusal of a choice with pydantic's "Value error,".
"""

from collections.abc import Iterable
from typing import Any

from typer import BadParameter
from typer.core import TyperGroup


class HelpGroup(TyperGroup):
    """Shows no type beside what takes no value, in its own help and its commands', and no word of pydantic's."""

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 — the same
        """Read the arguments of a command, and run it."""
        try:
            return super().invoke(ctx)
        except BadParameter as error:
            error.message = error.message.removeprefix("Value error, ")
            raise

    def get_params(self, ctx: Any) -> list[Any]:  # noqa: ANN401 — of a class that Typer keeps to itself
        """Return the options of the group itself."""
        return _without_types(super().get_params(ctx))

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ANN401 — the same
        """Return a command of the group; None where it has none of that name."""
        command = super().get_command(ctx, cmd_name)
        if command is not None:
            _without_types(command.get_params(ctx))  # its --help too, which is made here and kept
        return command


def _without_types(params: Iterable[Any]) -> list[Any]:
    shown = list(params)
    for param in shown:
        if getattr(param, "is_flag", False) and param.metavar is None:
            param.metavar = ""
    return shown
