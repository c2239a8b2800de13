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

from notifier.cli import EXIT_BROKEN_PIPE
from notifier.cli.invocation import Invocation
from notifier.cli.readable import ReadableCommand, ReadableGroup
from notifier.core.errors import NotifierError


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One command: where it lives and the line that the overview shows."""

    name: str
    target: str
    """`module:attribute`, a function or, for a command with commands of its own, a Typer."""
    panel: str
    summary: str
    configured: bool = True
    """False for a command that reads no configuration."""


_START, _SERVICE, _QUERY, _OUTBOX, _TRY = "Start", "Service", "Look up", "Outbox", "Try out"

COMMANDS: tuple[Command, ...] = (
    Command(
        name="init", target="init:init", panel=_START, summary="Write a commented configuration file.", configured=False
    ),
    Command(name="check", target="check:check", panel=_START, summary="Check the configuration file."),
    Command(
        name="demo", target="demo:demo", panel=_START, summary="Run everything on a simulated cloud.", configured=False
    ),
    Command(name="run", target="service:run", panel=_SERVICE, summary="Run the service: poll and deliver."),
    Command(name="poll", target="service:poll", panel=_SERVICE, summary="Poll and deliver once, then exit (for cron)."),
    Command(name="health", target="service:health", panel=_SERVICE, summary="Report problems and their remedies."),
    Command(name="db", target="db:db", panel=_SERVICE, summary="Migrate the database."),
    Command(name="tasks", target="tasks:tasks", panel=_QUERY, summary="List tasks."),
    Command(name="task", target="tasks:task", panel=_QUERY, summary="Show one task."),
    Command(name="ack", target="tasks:ack", panel=_QUERY, summary="Say that you take care of a task."),
    Command(name="events", target="outbox:events", panel=_QUERY, summary="List the changes that were seen."),
    Command(name="explain", target="explain:explain", panel=_QUERY, summary="Why each channel was or was not told."),
    Command(name="deliveries", target="outbox:deliveries", panel=_OUTBOX, summary="List deliveries."),
    Command(name="retry", target="outbox:retry", panel=_OUTBOX, summary="Send dead or parked deliveries again."),
    Command(name="dismiss", target="outbox:dismiss", panel=_OUTBOX, summary="Accept that deliveries will not arrive."),
    Command(name="move", target="outbox:move", panel=_OUTBOX, summary="Let another channel deliver what waits."),
    Command(name="audit", target="outbox:audit", panel=_OUTBOX, summary="Prove that every event is accounted for."),
    Command(name="mute", target="mutes:mute", panel=_OUTBOX, summary="Tell nobody of an instance's tasks for a while."),
    Command(name="unmute", target="mutes:unmute", panel=_OUTBOX, summary="Tell people of them again."),
    Command(name="mutes", target="mutes:mutes", panel=_OUTBOX, summary="List the instances that are muted."),
    Command(name="route", target="route:route", panel=_TRY, summary="Which routes an event would take."),
    Command(name="preview", target="messages:preview", panel=_TRY, summary="Show a message without sending it."),
    Command(name="test-send", target="messages:send_test", panel=_TRY, summary="Send one marked test message."),
    Command(
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
        remaining: list[str] = super().parse_args(ctx, [*_ascii_arguments(args)])
        return remaining

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:  # noqa: ANN401 - typer's own types are private
        """Read the options before the command; what is wrong with them is said as all errors are."""
        try:
            return super().make_context(info_name, args, parent, **extra)
        except TyperException as error:
            _report_usage_error(error, str(info_name))
            raise typer.Exit(error.exit_code) from error

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:  # noqa: ANN401 - typer's own types are private
        """Return the name, the command itself in place of its line in the overview, and the remaining arguments."""
        name, command, rest = super().resolve_command(ctx, args)
        return (name, load(self._entries[name]), rest) if name else (name, command, rest)

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - typer's own types are private
        """Run the command; what goes wrong becomes one message and an exit code."""
        with _errors_as_exit_codes(ctx):
            result = super().invoke(ctx)
            sys.stdout.flush()
            return result


_VERBATIM = frozenset({"-c", "--config", "-o", "--output", "--reason"})
"""Options whose values are paths, or words for people: they stay as they are."""
_FULL_WIDTH = re.compile("[\uff01-\uff5e\u3000]")


def _ascii_arguments(args: Iterable[str]) -> Iterator[str]:
    before = ""
    for arg in args:
        name = unicodedata.normalize("NFKC", arg.partition("=")[0])
        verbatim = before in _VERBATIM or name in _VERBATIM
        before = name
        yield unicodedata.normalize("NFKC", arg) if _FULL_WIDTH.search(arg) and not verbatim else arg


def load(entry: Command) -> TyperCommand | TyperGroup:
    """Import a command and give it the options that are valid before and after its name."""
    module, _, attribute = entry.target.partition(":")
    target = getattr(import_module(f"notifier.cli.{module}"), attribute)
    command = _command(target if isinstance(target, typer.Typer) else _app_of(target))
    command.name = entry.name
    for leaf in _leaves(command):
        leaf.params.extend(_command(_app_of(_with_config if entry.configured else _without_config)).params)
    return command


def _leaves(command: TyperCommand | TyperGroup) -> Sequence[Any]:
    """Return what runs something by itself: a command; of a group its commands, and itself where it does."""
    if not isinstance(command, TyperGroup):
        return [command]
    return [*command.commands.values(), *([command] if command.invoke_without_command else [])]


def _app_of(function: Callable[..., Any]) -> typer.Typer:
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


_STORAGE_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO})


@contextmanager
def _errors_as_exit_codes(ctx: typer.Context) -> Iterator[None]:
    try:
        yield
    except NotifierError as error:
        _report_error(str(error))
        raise typer.Exit(error.exit_code) from error
    except BrokenPipeError as error:
        _discard_stdout()
        raise typer.Exit(EXIT_BROKEN_PIPE) from error
    except (typer.Exit, typer.Abort):
        raise
    except TyperException as error:
        _report_usage_error(error, _path(error, ctx))
        raise typer.Exit(error.exit_code) from error
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _STORAGE_FULL and error.filename is None:
            raise  # stdout is full: the outermost says so. What else is full names its file, or was translated.
        _report_defect(error, debug=isinstance(ctx.obj, Invocation) and ctx.obj.debug)
        raise typer.Exit(1) from error


def _path(error: TyperException, ctx: typer.Context) -> str:
    """Return the command that an error is about."""
    blamed = getattr(error, "ctx", None) or ctx
    return str(blamed.command_path)


def _report_usage_error(error: TyperException, path: str) -> None:
    # Where a command is missing, typer has shown the help and has no words.
    what = error.format_message().replace("Value error, ", "") or "Missing command."
    _report_error(f"{what}\nSee: {path} --help")


def _report_error(message: str) -> None:
    from notifier.cli.output import print_error  # noqa: PLC0415 - `--help` does not pay for it

    print_error(message)


def _report_defect(error: Exception, *, debug: bool) -> None:
    if debug:
        typer.echo("".join(traceback.format_exception(error)), err=True, nl=False)
    else:
        _report_error(f"unexpected {type(error).__name__}; this is a defect. Run again with --debug to see where.")


def _discard_stdout() -> None:
    from notifier.cli.output import discard_stdout  # noqa: PLC0415 - `--help` does not pay for it

    discard_stdout()
