"""The configuration of a command: the whole of it, or the parts that a look-up needs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import typer

from notifier.cli import threads
from notifier.config import files
from notifier.config.outline import Outline, read_outline
from notifier.core.errors import ConfigurationError
from notifier.wiring import lookups

if TYPE_CHECKING:
    from notifier.config.config import Config
    from notifier.config.document import Path as Place

T = TypeVar("T")

CONFIG_READ_TIMEOUT = 30.0
"""Maximum time to read the configuration and the files that it names, in seconds."""


def load_config(ctx: typer.Context) -> Config:
    """Load the configuration that the command line names, with the sources that its accounts have become.

    Raises ConfigurationError also when it cannot be read in time: it may be a pipe, or lie on a mount that hangs.
    """
    return _with_known_projects(files.find(ctx.obj.config))


def load_written_config(ctx: typer.Context) -> Config:
    """Load the same configuration without these sources, for who reads or writes their records."""
    return _whole(files.find(ctx.obj.config))


def lines_of(ctx: typer.Context) -> Callable[[Place], int] | None:
    """Return what finds the line of a value in the same configuration; None for a pipe, which was read already."""
    path = files.find(ctx.obj.config)
    if not path.is_file():
        return None
    from notifier.config.document import parse  # noqa: PLC0415 - a look-up reads a plain configuration without it

    return lambda where: parse(files.read_text(path), files.environment()).place(where).line


def load_outline(ctx: typer.Context) -> Outline:
    """Read the same configuration as far as look-ups need it. Its parts may raise ConfigurationError too."""
    return load_outline_of(files.find(ctx.obj.config))


def load_outline_of(path: Path) -> Outline:
    """Do the same with the configuration in this file."""
    return _in_time(path, lambda: read_outline(path, _with_known_projects))


def _with_known_projects(path: Path) -> Config:
    config = _whole(path)
    return lookups.with_known_projects(config) if config.accounts else config


def _whole(path: Path) -> Config:
    from notifier.config.loading import load  # noqa: PLC0415 - a look-up reads a plain configuration without it

    return _in_time(path, lambda: load(path))


def _in_time(path: Path, read: Callable[[], T]) -> T:
    try:
        return threads.in_thread_within(CONFIG_READ_TIMEOUT, read)
    except TimeoutError:
        raise ConfigurationError(
            f"cannot read {path} within {CONFIG_READ_TIMEOUT:g} s: it, or a file that it names, is a pipe without a"
            " writer, or lies on a mount that does not answer"
        ) from None
