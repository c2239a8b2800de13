"""The root of the command line: its options, the commands by name, and the exit code of each error.

Exit codes: 0 done; 1 the thing asked about is not so; 2 bad usage or configuration; 3 a service could not be reached;
130 interrupted; 141 the reader of our output went away.
"""

import errno
import re
import sys
import traceback
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand
from typer.exceptions import TyperException

from notifier import __version__
from notifier.cli import EXIT_BROKEN_PIPE
from notifier.cli.commands import COMMANDS, Invocation, load
from notifier.cli.help_format import ReadableGroup
from notifier.cli.startup import collect_garbage_again, discard_stdout
from notifier.core.errors import NotifierError


class CommandGroup(ReadableGroup):
    """Lists every command by name and summary; imports the one that runs."""

    def __init__(self, **attrs: Any) -> None:  # noqa: ANN401 - typer's own types are private
        super().__init__(**attrs)
        self._commands_by_name = {command.name: command for command in COMMANDS}
        for command in COMMANDS:
            self.add_command(
                TyperCommand(command.name, help=command.summary, rich_help_panel=command.panel, rich_markup_mode=None)
            )

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 - typer's own types are private
        """Parse the arguments; full-width letters, as a Chinese input method types them, count as ASCII ones."""
        remaining: list[str] = super().parse_args(ctx, [*_ascii_arguments(args)])
        return remaining

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:  # noqa: ANN401 - typer's own types are private
        """Parse the options before the command, and report errors in them like all others."""
        try:
            return super().make_context(info_name, args, parent, **extra)
        except TyperException as error:
            _report_usage_error(error, str(info_name))
            raise typer.Exit(error.exit_code) from error

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:  # noqa: ANN401 - typer's own types are private
        """Return the name, the loaded command in place of its line in the overview, and the remaining arguments."""
        name, command, rest = super().resolve_command(ctx, args)
        loaded = load(self._commands_by_name[name]) if name else command
        collect_garbage_again()
        return name, loaded, rest

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - typer's own types are private
        """Run the command; an error becomes one message and an exit code."""
        with _errors_as_exit_codes(ctx):
            result = super().invoke(ctx)
            sys.stdout.flush()
            return result


app = typer.Typer(
    name="notifier",
    cls=CommandGroup,
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:  # noqa: FBT001 - the shape of an option's callback
    if wanted:
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
    version: Annotated[  # noqa: ARG001 - eager: its callback has run already
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Watches the GaussDB tasks of Huawei Cloud and notifies people when they start, complete or fail."""
    ctx.obj = Invocation(config=config, debug=debug)


_VERBATIM_OPTIONS = frozenset({"-c", "--config", "-o", "--output", "--history", "--reason"})
"""Options whose values are paths or text for people, which are not converted."""
_FULL_WIDTH = re.compile("[\uff01-\uff5e\u3000]")
_UNDECODED = re.compile("[\ud800-\udfff]")
"""How Python shows bytes of an argument that are not UTF-8: no database holds them."""


def _ascii_arguments(args: Iterable[str]) -> Iterator[str]:
    before = ""
    for arg in args:
        name = unicodedata.normalize("NFKC", arg.partition("=")[0])
        verbatim = before in _VERBATIM_OPTIONS or name in _VERBATIM_OPTIONS
        before = name
        if not verbatim and _UNDECODED.search(arg):
            raise typer.BadParameter(f"{arg!r} is not text in UTF-8")
        yield unicodedata.normalize("NFKC", arg) if _FULL_WIDTH.search(arg) and not verbatim else arg


_STORAGE_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO})


@contextmanager
def _errors_as_exit_codes(ctx: typer.Context) -> Iterator[None]:
    try:
        yield
    except NotifierError as error:
        _report_error(str(error))
        raise typer.Exit(error.exit_code) from error
    except BrokenPipeError as error:
        discard_stdout()
        raise typer.Exit(EXIT_BROKEN_PIPE) from error
    except (typer.Exit, typer.Abort):
        raise
    except TyperException as error:
        blamed = getattr(error, "ctx", None) or ctx
        _report_usage_error(error, str(blamed.command_path))
        raise typer.Exit(error.exit_code) from error
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _STORAGE_ERRORS and error.filename is None:
            raise  # stdout is full, which `main` reports. Errors of other files name the file or were translated.
        _report_defect(error, debug=isinstance(ctx.obj, Invocation) and ctx.obj.debug)
        raise typer.Exit(1) from error


def _report_usage_error(error: TyperException, command_path: str) -> None:
    message = error.format_message().replace("Value error, ", "")
    _report_error(f"{message}\nSee: {command_path} --help")


def _report_error(message: str) -> None:
    from notifier.cli.output import print_error  # noqa: PLC0415 - `--help` does not need rich's consoles

    print_error(message)


def _report_defect(error: Exception, *, debug: bool) -> None:
    if debug:
        typer.echo("".join(traceback.format_exception(error)), err=True, nl=False)
    else:
        _report_error(f"unexpected {type(error).__name__}; this is a defect. Run again with --debug to see where.")
