"""The configuration of a command."""

import typer

from notifier.cli import threads
from notifier.config import files
from notifier.config.config import Config
from notifier.config.loading import load
from notifier.core.errors import ConfigurationError

CONFIG_READ_TIMEOUT = 30.0
"""Maximum time to read the configuration and the files that it names, in seconds."""


def load_config(ctx: typer.Context) -> Config:
    """Load the configuration that the command line names.

    Raises ConfigurationError also when it cannot be read in time: it may be a pipe, or lie on a mount that hangs.
    """
    path = files.find(ctx.obj.config)
    try:
        return threads.in_thread_within(CONFIG_READ_TIMEOUT, lambda: load(path))
    except TimeoutError:
        raise ConfigurationError(
            f"cannot read {path} within {CONFIG_READ_TIMEOUT:g} s: it, or a file that it names, is a pipe without a"
            " writer, or lies on a mount that does not answer"
        ) from None
