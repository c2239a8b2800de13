"""The text of a configuration file, or of a file that it names."""

from pathlib import Path

from notifier.core.errors import ConfigurationError
from notifier.settings.secrets import read_problem

SIZE_LIMIT = 16_777_216
"""Maximum size of a configuration file, in bytes."""


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
