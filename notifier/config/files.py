"""Which file the configuration is in, the environment, and the text of a file."""

import os
from collections.abc import Mapping
from pathlib import Path

from notifier.core.errors import ConfigurationError
from notifier.settings.unreadable import read_problem

SIZE_LIMIT = 16_777_216
"""Maximum size of a configuration file, in bytes."""


DEFAULT_PATH = Path("notifier.yaml")


def environment() -> Mapping[str, str]:
    """Return a copy of the environment of this process."""
    return dict(os.environ)


def find(path: Path | None = None, environ: Mapping[str, str] | None = None) -> Path:
    """Return the configuration file to use: `path`, else $NOTIFIER_CONFIG, else ./notifier.yaml.

    Raises ConfigurationError when none is named and ./notifier.yaml does not exist. A named file need not exist.
    """
    named = (environment() if environ is None else environ).get("NOTIFIER_CONFIG", "")
    if path is not None or named:
        return path or Path(named)
    if not DEFAULT_PATH.exists():
        raise ConfigurationError(
            "no configuration: ./notifier.yaml does not exist. "
            "Write one with `notifier init`, or name one with -c FILE or $NOTIFIER_CONFIG."
        )
    return DEFAULT_PATH


def read_text(path: Path, *, remedy: str = "Split the sources over several services") -> str:
    """Return the text of a file. Raises ConfigurationError where it cannot be read, is no UTF-8 text, or is too large.

    `remedy` is what to do where a larger file is meant.
    """
    try:
        if path.is_dir():
            raise ConfigurationError(f"{path} is a directory. Name the file in it.")
        with path.open("rb") as file:
            content = file.read(SIZE_LIMIT + 1)
    except OSError as error:
        raise ConfigurationError(read_problem(path, error)) from error
    if len(content) > SIZE_LIMIT:
        raise ConfigurationError(
            f"{path} is larger than {SIZE_LIMIT:,} bytes; that cannot be a configuration. {remedy} where it is one."
        )
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigurationError(f"{path}:{line}: is not UTF-8 text. Save the file as UTF-8.") from None
