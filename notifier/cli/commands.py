"""The list of commands, and the loading of one when it runs.

A command is a module of this package with a function, or a Typer, of the same name; the list names the exceptions.
Importing only the module of the command that runs keeps `notifier --help` quick.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from notifier.cli.help_format import ReadableCommand


@dataclass(frozen=True, slots=True, kw_only=True)
class Invocation:
    """The options that are valid before and after any command."""

    config: Path | None = None
    """The configuration file; None means $NOTIFIER_CONFIG, then ./notifier.yaml."""
    debug: bool = False


@dataclass(frozen=True, slots=True)
class CommandEntry:
    """One command: its line in the overview, and where its function or Typer is."""

    panel: str
    name: str
    summary: str
    target: str = ""
    """`module:attribute`; empty where both have the name of the command."""
    configured: bool = True
    """False for a command that reads no configuration."""

    def imported(self) -> Any:  # noqa: ANN401 - a function of any signature, or a Typer
        """Import the module; return the command's function, or a Typer where it has commands of its own."""
        module, _, attribute = self.target.partition(":")
        return getattr(import_module(f"notifier.cli.{module or self.name}"), attribute or self.name)


_START, _SERVICE, _QUERY, _OUTBOX, _TRY = "Start", "Service", "Look up", "Outbox", "Try out"

COMMANDS: tuple[CommandEntry, ...] = (
    CommandEntry(_START, "init", "Write a commented configuration file.", configured=False),
    CommandEntry(_START, "check", "Check the configuration; --online tests every service."),
    CommandEntry(_START, "demo", "Run everything on a simulated cloud.", configured=False),
    CommandEntry(_SERVICE, "run", "Run the service: poll and deliver until stopped."),
    CommandEntry(_SERVICE, "poll", "Poll and deliver once, then exit (for cron)."),
    CommandEntry(_SERVICE, "health", "Report problems with commands that fix them."),
    CommandEntry(_SERVICE, "mcp", "Serve tools for language models (MCP)."),
    CommandEntry(_SERVICE, "db", "Migrate, back up and prune the database."),
    CommandEntry(_SERVICE, "token", "Make, list and revoke tokens of the API."),
    CommandEntry(
        _SERVICE, "hash-password", "Hash a password for the page.", "hash_password:hash_password", configured=False
    ),
    CommandEntry(_QUERY, "tasks", "List tasks."),
    CommandEntry(_QUERY, "task", "Show one task and its events.", "tasks:task"),
    CommandEntry(_QUERY, "open", "List what failed and is not over.", "open_failures:open_failures"),
    CommandEntry(_QUERY, "resolve", "Close open failures by hand.", "open_failures:resolve"),
    CommandEntry(_QUERY, "ack", "Acknowledge a task: you take care of it.", "acknowledge:ack"),
    CommandEntry(_QUERY, "unack", "Take back the acknowledgement of a task.", "acknowledge:unack"),
    CommandEntry(_QUERY, "events", "List recorded events.", "tasks:events"),
    CommandEntry(_QUERY, "stats", "Show how tasks ended and how long they took."),
    CommandEntry(_QUERY, "oncall", "Show who is on duty."),
    CommandEntry(_QUERY, "maintenance", "List what the cloud plans to do to instances."),
    CommandEntry(_QUERY, "report", "Print a report of a period, or send it."),
    CommandEntry(_QUERY, "explain", "Explain why each channel was notified or not."),
    CommandEntry(_OUTBOX, "deliveries", "List deliveries."),
    CommandEntry(_OUTBOX, "retry", "Send dead or parked deliveries again.", "outbox:retry"),
    CommandEntry(_OUTBOX, "dismiss", "Accept that deliveries will not arrive.", "outbox:dismiss"),
    CommandEntry(_OUTBOX, "move", "Move waiting deliveries to another channel.", "outbox:move"),
    CommandEntry(_OUTBOX, "audit", "Prove that every event is accounted for."),
    CommandEntry(_OUTBOX, "mute", "Suppress notifications for a while: now, planned or repeated."),
    CommandEntry(_OUTBOX, "unmute", "End a mute.", "mute:unmute"),
    CommandEntry(_OUTBOX, "extend", "Let a mute end later.", "mute:extend"),
    CommandEntry(_OUTBOX, "mutes", "List what is muted or will be.", "mutes:mutes"),
    CommandEntry(_OUTBOX, "subscriptions", "List who subscribed to which events."),
    CommandEntry(_OUTBOX, "unsubscribe", "End a subscription."),
    CommandEntry(_TRY, "route", "Show which routes an event would take."),
    CommandEntry(_TRY, "replay", "Show what a configuration would have sent in the past."),
    CommandEntry(_TRY, "preview", "Show a message without sending it."),
    CommandEntry(_TRY, "test-send", "Send one message that is marked as a test.", "send_test:send_test"),
    CommandEntry(_TRY, "simulate", "Serve a simulated task list.", configured=False),
)


def load(command: CommandEntry) -> TyperCommand | TyperGroup:
    """Import a command and add the options that are valid before and after its name."""
    target = command.imported()
    loaded = _build(target if isinstance(target, typer.Typer) else _app_of(target))
    loaded.name = command.name
    for leaf in _leaves(loaded):
        leaf.params.extend(_build(_app_of(_with_config if command.configured else _without_config)).params)
    return loaded


def _leaves(command: TyperCommand | TyperGroup) -> Sequence[Any]:
    """Return everything that can be invoked: a command, or a group's commands and the group if it runs by itself."""
    if not isinstance(command, TyperGroup):
        return [command]
    return [*command.commands.values(), *([command] if command.invoke_without_command else [])]


def _app_of(function: Callable[..., Any]) -> typer.Typer:
    app = typer.Typer(
        add_completion=False, rich_markup_mode=None, context_settings={"help_option_names": ["-h", "--help"]}
    )
    app.command(cls=ReadableCommand)(function)
    return app


def _build(app: typer.Typer) -> TyperCommand | TyperGroup:
    command = get_command(app)
    assert isinstance(command, TyperCommand | TyperGroup)  # noqa: S101 - typer builds nothing else
    return command


def _set_config(ctx: typer.Context, value: Path | None) -> None:
    if value is not None:
        ctx.obj = replace(ctx.obj, config=value)


def _set_debug(ctx: typer.Context, value: bool) -> None:  # noqa: FBT001 - the shape of an option's callback
    if value:
        ctx.find_root().obj = ctx.obj = replace(ctx.obj, debug=True)


_Config = Annotated[
    Path | None, typer.Option("-c", "--config", expose_value=False, callback=_set_config, help="Configuration file.")
]
_Debug = Annotated[bool, typer.Option("--debug", expose_value=False, callback=_set_debug, hidden=True)]


def _with_config(*, config: _Config = None, debug: _Debug = False) -> None:
    """Hold, in its signature, the options that every command has besides its own. Never called."""


def _without_config(*, debug: _Debug = False) -> None:
    """Hold the options of a command that reads no configuration. Never called."""
