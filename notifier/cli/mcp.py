"""`notifier mcp`: tools for language models."""

from typing import Annotated

import typer

from notifier.cli import event_loop
from notifier.cli.common import current_user
from notifier.cli.configured import load_config
from notifier.core.errors import ConfigurationError
from notifier.core.people import Person


def mcp(
    ctx: typer.Context,
    *,
    allow_changes: Annotated[
        bool, typer.Option("--allow-changes", help="Also offer acknowledge, resolve and mute; default: reading only.")
    ] = False,
) -> None:
    """Serve tools for language models on standard input and output (Model Context Protocol), until that ends.

    It reads the database beside a running service, whether the web server runs or not. A program such as an editor
    starts it by itself. Changes are recorded with mcp: and your user name. Needs the extra mcp.
    """
    config = load_config(ctx)
    try:
        from notifier.wiring.mcp import serve_tools  # noqa: PLC0415 - an extra, which few install
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("mcp", "mcp_types"):
            raise
        raise ConfigurationError(
            "notifier mcp needs the extra mcp: make extras, or pip install 'gaussdb-notifier[mcp]'"
        ) from None
    name = current_user().name
    person = Person(id=f"mcp:{name}", name=name)
    event_loop.run(serve_tools(config, person, allow_changes=allow_changes))
