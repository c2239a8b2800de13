"""The whole configuration, read once, strictly.

`load` returns a valid `Config`, or raises one `InvalidConfiguration` with all problems.
"""

import gc
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from pydantic import ValidationError

from notifier.config.config import Config
from notifier.config.document import Problem, parse
from notifier.config.effective import written_places
from notifier.config.entries import keys_of_kind
from notifier.config.files import environment, read_text
from notifier.config.problems import collect_problems
from notifier.config.source_defaults import with_defaults
from notifier.core.errors import ConfigurationError
from notifier.settings.base import Origin
from notifier.sources.kinds import SOURCES


class InvalidConfiguration(ConfigurationError):
    """The configuration is not valid."""

    def __init__(self, origin: str, problems: Sequence[Problem]) -> None:
        """`problems` in the order of the file. The message has one line for each, `FILE:LINE:COLUMN: PATH: WHAT`."""
        super().__init__("\n".join(f"{origin}:{problem}" for problem in problems))
        self.origin = origin
        self.problems = tuple(problems)


def load(path: Path, environ: Mapping[str, str] | None = None) -> Config:
    """Read a file. Raises ConfigurationError when it cannot be read and InvalidConfiguration when it is not valid.

    `environ` replaces `${NAME}`; None is the environment of this process. Relative paths start at the file's folder.
    """
    known = environment() if environ is None else environ
    with _garbage_uncollected():
        return loads(read_text(path), known, origin=str(path), directory=path.parent)


@contextmanager
def _garbage_uncollected() -> Iterator[None]:
    """Search for no garbage: reading makes none that only a search would find, and searches take most of its time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def loads(text: str, environ: Mapping[str, str], *, origin: str = "configuration", directory: Path = Path()) -> Config:
    """Read a text, as `load` does. `origin` is its name in errors."""
    document = with_defaults(parse(text, environ), keys_of_kind, SOURCES)
    if not document.values:
        raise InvalidConfiguration(origin, document.problems)
    config, error = _validated(document.data, Origin(directory=directory))
    problems = collect_problems(document, error)
    if config is None or problems:
        raise InvalidConfiguration(origin, problems)
    config.remember_places(written_places(document))
    return config.with_found((), {})


def _validated(data: object, origin: Origin) -> tuple[Config | None, ValidationError | None]:
    try:
        return Config.model_validate(data, context=origin), None
    except ValidationError as error:
        return None, error
