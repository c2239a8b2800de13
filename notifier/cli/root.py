"""The root of the command line: its options, and the commands by name."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from notifier.cli.group import CommandGroup
from notifier.cli.invocation import Invocation

app = typer.Typer(
    name="notifier",
    cls=CommandGroup,
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:  # noqa: FBT001 - the shape of an option's callback
    if wanted:
        from notifier import __version__  # noqa: PLC0415 - only this option needs it

        typer.echo(f"gaussdb-notifier {__version__}")
        raise typer.Exit


@app.callback()
def root(
    ctx: typer.Context,
    *,
    config: Annotated[
        Path | None,
        typer.Option("-c", "--config", help="Configuration file (default: $NOTIFIER_CONFIG, then ./notifier.yaml)."),
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an unexpected error.")] = False,
    version: Annotated[  # noqa: ARG001 - eager: its callback has already answered
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Watches the GaussDB task list of Huawei Cloud and tells people what starts, completes and fails."""
    ctx.obj = Invocation(config=config, debug=debug)
