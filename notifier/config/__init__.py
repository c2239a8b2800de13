"""The configuration: one YAML file and the environment, read once, strictly.

`load` returns a valid `Config`, or raises one `InvalidConfiguration` with all problems. No other part of the program
reads the environment.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import ValidationError

from notifier.config.config import Config
from notifier.config.document import Problem, parse
from notifier.config.files import read_text
from notifier.config.problems import collect_problems
from notifier.core.errors import ConfigurationError
from notifier.settings.base import Origin

__all__ = ["Config", "InvalidConfiguration", "Problem", "environment", "find", "load", "loads"]

DEFAULT_PATH = Path("notifier.yaml")


class InvalidConfiguration(ConfigurationError):
    """The configuration is not valid."""

    def __init__(self, origin: str, problems: Sequence[Problem]) -> None:
        """`problems` in the order of the file. The message has one line for each, `FILE:LINE:COLUMN: PATH: WHAT`."""
        super().__init__("\n".join(f"{origin}:{problem}" for problem in problems))
        self.origin = origin
        self.problems = tuple(problems)


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


def load(path: Path, environ: Mapping[str, str] | None = None) -> Config:
    """Read a file. Raises ConfigurationError when it cannot be read and InvalidConfiguration when it is not valid.

    `environ` replaces `${NAME}`; None is the environment of this process. Relative paths start at the file's folder.
    """
    known = environment() if environ is None else environ
    return loads(read_text(path), known, origin=str(path), directory=path.parent)


def loads(text: str, environ: Mapping[str, str], *, origin: str = "configuration", directory: Path = Path()) -> Config:
    """Read a text, as `load` does. `origin` is its name in errors."""
    document = parse(text, environ)
    if not document.values:
        raise InvalidConfiguration(origin, document.problems)
    config, error = _validated(document.data, Origin(directory=directory))
    problems = collect_problems(document, error)
    if config is None or problems:
        raise InvalidConfiguration(origin, problems)
    return config


def _validated(data: object, origin: Origin) -> tuple[Config | None, ValidationError | None]:
    try:
        return Config.model_validate(data, context=origin), None
    except ValidationError as error:
        return None, error
