"""The list of commands, the lazy loading of one, and the place where errors become exit codes.

Exit codes: 0 done; 1 the thing asked about is not so; 2 bad usage or configuration; 3 a service could not be reached;
130 interrupted; 141 the reader of our output went away.
"""

from __future__ import annotations

import errno
import re
import sys
import traceback
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.exceptions import TyperException
from typer.main import get_command

from notifier.cli import READER_GONE
from notifier.cli.invocation import Invocation
from notifier.cli.readable import ReadableCommand, ReadableGroup
from notifier.core.errors import NotifierError


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One command: where it lives and the line that the overview shows."""

    name: str
    target: str
    """`module:attribute`, a function or, for a command with commands of its own, a Typer."""
    panel: str
    summary: str
    configured: bool = True
    """False for a command that reads no configuration."""


_START, _SERVICE, _LOOK, _OUTBOX, _TRY = "Start", "Service", "Look up", "Outbox", "Try out"

COMMANDS: tuple[Entry, ...] = (
    Entry(name="init", target="init:init", panel=_START, summary="Write a commented configuration.", configured=False),
    Entry(name="check", target="check:check", panel=_START, summary="Validate the configuration; --online proves it."),
    Entry(name="demo", target="demo:demo", panel=_START, summary="Show it all on a simulated cloud.", configured=False),
    Entry(name="run", target="service:run", panel=_SERVICE, summary="Run the service: poll and deliver."),
    Entry(name="poll", target="service:poll", panel=_SERVICE, summary="Poll and deliver once, then exit (for cron)."),
    Entry(name="health", target="service:health", panel=_SERVICE, summary="Say what is wrong and which command helps."),
    Entry(name="db", target="db:db", panel=_SERVICE, summary="Migrate the database."),
    Entry(name="tasks", target="tasks:tasks", panel=_LOOK, summary="List tasks."),
    Entry(name="task", target="tasks:task", panel=_LOOK, summary="Show one task."),
    Entry(name="ack", target="tasks:ack", panel=_LOOK, summary="Say that you take care of a task."),
    Entry(name="events", target="outbox:events", panel=_LOOK, summary="List the changes that were seen."),
    Entry(name="explain", target="explain:explain", panel=_LOOK, summary="Why each channel was or was not told."),
    Entry(name="deliveries", target="outbox:deliveries", panel=_OUTBOX, summary="List deliveries."),
    Entry(name="retry", target="outbox:retry", panel=_OUTBOX, summary="Send dead or parked deliveries again."),
    Entry(name="dismiss", target="outbox:dismiss", panel=_OUTBOX, summary="Accept that deliveries will not arrive."),
    Entry(name="move", target="outbox:move", panel=_OUTBOX, summary="Let another channel deliver what waits."),
    Entry(name="audit", target="outbox:audit", panel=_OUTBOX, summary="Prove that every event is accounted for."),
    Entry(name="mute", target="mutes:mute", panel=_OUTBOX, summary="Tell nobody of an instance's tasks for a while."),
    Entry(name="unmute", target="mutes:unmute", panel=_OUTBOX, summary="Tell people of them again."),
    Entry(name="mutes", target="mutes:mutes", panel=_OUTBOX, summary="List the instances that are muted."),
    Entry(name="route", target="route:route", panel=_TRY, summary="Which routes an event would take."),
    Entry(name="preview", target="messages:preview", panel=_TRY, summary="Show a message without sending it."),
    Entry(name="test-send", target="messages:send_test", panel=_TRY, summary="Send one marked test message."),
    Entry(
        name="simulate",
        target="simulate:simulate",
        panel=_TRY,
        summary="Serve a simulated task list.",
        configured=False,
    ),
)


class CommandGroup(ReadableGroup):
    """Knows every command by name and summary; imports the one that runs."""

    def __init__(self, **attrs: Any) -> None:  # noqa: ANN401 - typer's own types are private
        super().__init__(**attrs)
        self._entries = {entry.name: entry for entry in COMMANDS}
        for entry in COMMANDS:
            self.add_command(TyperCommand(entry.name, help=entry.summary, rich_help_panel=entry.panel))

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 - typer's own types are private
        """Read the arguments; full-width letters, as a Chinese keyboard makes them, count as the plain ones."""
        remaining: list[str] = super().parse_args(ctx, [*_narrow(args)])
        return remaining

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:  # noqa: ANN401 - typer's own types are private
        """Read the options before the command; what is wrong with them is said as all errors are."""
        try:
            return super().make_context(info_name, args, parent, **extra)
        except TyperException as error:
            _say_usage(error, str(info_name))
            raise typer.Exit(error.exit_code) from error

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:  # noqa: ANN401 - typer's own types are private
        """Return the name, the command itself in place of its line in the overview, and the remaining arguments."""
        name, command, rest = super().resolve_command(ctx, args)
        return (name, load(self._entries[name]), rest) if name else (name, command, rest)

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - typer's own types are private
        """Run the command; what goes wrong becomes one message and an exit code."""
        with _reported(ctx):
            result = super().invoke(ctx)
            sys.stdout.flush()
            return result


_VERBATIM = frozenset({"-c", "--config", "-o", "--output", "--reason"})
"""Options whose values are paths, or words for people: they stay as they are."""
_FULL_WIDTH = re.compile("[\uff01-\uff5e\u3000]")


def _narrow(args: Iterable[str]) -> Iterator[str]:
    before = ""
    for arg in args:
        name = unicodedata.normalize("NFKC", arg.partition("=")[0])
        verbatim = before in _VERBATIM or name in _VERBATIM
        before = name
        yield unicodedata.normalize("NFKC", arg) if _FULL_WIDTH.search(arg) and not verbatim else arg


def load(entry: Entry) -> TyperCommand | TyperGroup:
    """Import a command and give it the options that are valid before and after its name."""
    module, _, attribute = entry.target.partition(":")
    target = getattr(import_module(f"notifier.cli.{module}"), attribute)
    command = _command(target if isinstance(target, typer.Typer) else _single(target))
    command.name = entry.name
    for leaf in _invocable(command):
        leaf.params.extend(_command(_single(_with_config if entry.configured else _without_config)).params)
    return command


def _invocable(command: TyperCommand | TyperGroup) -> Sequence[Any]:
    """Return what runs something by itself: a command; of a group its commands, and itself where it does."""
    if not isinstance(command, TyperGroup):
        return [command]
    return [*command.commands.values(), *([command] if command.invoke_without_command else [])]


def _single(function: Callable[..., Any]) -> typer.Typer:
    app = typer.Typer(add_completion=False, context_settings={"help_option_names": ["-h", "--help"]})
    app.command(cls=ReadableCommand)(function)
    return app


def _command(app: typer.Typer) -> TyperCommand | TyperGroup:
    command = get_command(app)
    assert isinstance(command, TyperCommand | TyperGroup)  # noqa: S101 - typer builds nothing else
    return command


def _remember_config(ctx: typer.Context, value: Path | None) -> None:
    if value is not None:
        ctx.obj = replace(ctx.obj, config=value)


def _remember_debug(ctx: typer.Context, value: bool) -> None:  # noqa: FBT001 - the shape of an option's callback
    if value:
        ctx.find_root().obj = ctx.obj = replace(ctx.obj, debug=True)


_Config = Annotated[
    Path | None,
    typer.Option("-c", "--config", expose_value=False, callback=_remember_config, help="Configuration file."),
]
_Debug = Annotated[bool, typer.Option("--debug", expose_value=False, callback=_remember_debug, hidden=True)]


def _with_config(*, config: _Config = None, debug: _Debug = False) -> None:
    """Carry, in its signature, the options that a command has besides its own; never called."""


def _without_config(*, debug: _Debug = False) -> None:
    """Carry the options of a command that reads no configuration."""


_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO})


@contextmanager
def _reported(ctx: typer.Context) -> Iterator[None]:
    try:
        yield
    except NotifierError as error:
        _say_error(str(error))
        raise typer.Exit(error.exit_code) from error
    except BrokenPipeError as error:
        _drop_output()
        raise typer.Exit(READER_GONE) from error
    except (typer.Exit, typer.Abort):
        raise
    except TyperException as error:
        _say_usage(error, _path(error, ctx))
        raise typer.Exit(error.exit_code) from error
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _FULL and error.filename is None:
            raise  # stdout is full: the outermost says so. What else is full names its file, or was translated.
        _say_unexpected(error, debug=isinstance(ctx.obj, Invocation) and ctx.obj.debug)
        raise typer.Exit(1) from error


def _path(error: TyperException, ctx: typer.Context) -> str:
    """Return the command that an error is about."""
    blamed = getattr(error, "ctx", None) or ctx
    return str(blamed.command_path)


def _say_usage(error: TyperException, path: str) -> None:
    # Where a command is missing, typer has shown the help and has no words.
    what = error.format_message().replace("Value error, ", "") or "Missing command."
    _say_error(f"{what}\nSee: {path} --help")


def _say_error(message: str) -> None:
    from notifier.cli.output import complain  # noqa: PLC0415 - `--help` does not pay for it

    complain(message)


def _say_unexpected(error: Exception, *, debug: bool) -> None:
    if debug:
        typer.echo("".join(traceback.format_exception(error)), err=True, nl=False)
    else:
        _say_error(f"unexpected {type(error).__name__}; this is a defect. Run again with --debug to see where.")


def _drop_output() -> None:
    from notifier.cli.output import drop_output  # noqa: PLC0415 - `--help` does not pay for it

    drop_output()
