"""Help for 80 columns: no word is broken, paragraphs are folded, and no Python type is shown.

It is plain text: typer's boxes take rich, which takes longer to import than everything else that `--help` needs.
"""

import inspect
import re
from collections.abc import Mapping
from typing import Any

import typer
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption

from notifier.cli.parameters import plain_first

_PLACEHOLDERS: Mapping[str, str] = {
    "<bool>": "",
    "<str>": "TEXT",
    "<path>": "FILE",
    "<int>": "N",
    "<int range>": "N",
    "<float>": "N",
}
"""Placeholder of an option's value, by typer's name of its type. A switch takes no value."""

_WRAPPED = re.compile(r"(?<!\n)\n(?!\n|--json)")
"""The end of a line inside a paragraph of the source; `--json:` begins a paragraph of its own."""


class ReadableCommand(TyperCommand):
    """A command with readable help."""

    def get_params(self, ctx: Any) -> list[Any]:  # noqa: ANN401 - typer's own types are private
        """Return all parameters."""
        return plain_first(super().get_params(ctx))

    def format_help(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401 - typer's own types are private
        """Write the help."""
        _adapt_help(self, ctx)
        super().format_help(ctx, formatter)


class ReadableGroup(TyperGroup):
    """A command with subcommands and readable help."""

    def get_params(self, ctx: Any) -> list[Any]:  # noqa: ANN401 - typer's own types are private
        """Return all parameters."""
        return plain_first(super().get_params(ctx))

    def format_help(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401 - typer's own types are private
        """Write the help."""
        _adapt_help(self, ctx)
        super().format_help(ctx, formatter)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 - typer's own types are private
        """Parse the arguments. Where a command is missing, show the help and raise a usage error."""
        if not args and self.no_args_is_help:
            typer.echo(ctx.get_help())
            ctx.fail("Missing command.")
        remaining: list[str] = super().parse_args(ctx, args)
        return remaining

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401 - typer's own types are private
        """Write the commands under the heading of their panel, with all summaries in one column."""
        panels: dict[str, list[tuple[str, str]]] = {}
        names = self.list_commands(ctx)
        width = max(map(len, names))
        for name in names:
            command = self.commands[name]
            rows = panels.setdefault(getattr(command, "rich_help_panel", None) or "Commands", [])
            rows.append((name.ljust(width), _first_sentence(command.help or "")))
        for panel, rows in panels.items():
            with formatter.section(panel):
                formatter.write_dl(rows)


def _first_sentence(text: str) -> str:
    return re.sub(r"(?s)(?<=\.)\s.*", "", " ".join(inspect.cleandoc(text).split()))


def _adapt_help(command: TyperCommand | TyperGroup, ctx: Any) -> None:  # noqa: ANN401 - typer's own types are private
    command.help = _WRAPPED.sub(" ", inspect.cleandoc(command.help or "")).replace("\n--json", "\n\n--json")
    for parameter in command.get_params(ctx):
        if isinstance(parameter, TyperOption) and parameter.metavar is None:
            _name_value(parameter, ctx)
        elif isinstance(parameter, TyperArgument):
            # Typer has no setting that hides the type of an argument alone.
            vars(parameter)["display_type_rich"] = _no_type


def _no_type(ctx: object) -> None:
    """Return the type that the help of an argument shows: none."""


def _name_value(option: TyperOption, ctx: Any) -> None:  # noqa: ANN401 - typer's own types are private
    """Set the placeholder of a value; the values of a choice go into the text, where they are folded between words."""
    shown = option.display_type(ctx)
    if option.type_descriptor.is_choice:
        option.help = f"{option.help} One of: {', '.join(shown.strip('<>').split('|'))}."
        option.metavar = max(option.opts, key=len).strip("-").upper()
    else:
        option.metavar = _PLACEHOLDERS.get(shown, shown)
