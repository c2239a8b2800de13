"""Secrets of a configuration. Every secret `x` has a twin `x_file`: the path of a file to read it from."""

import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr

from notifier.settings.unreadable import read_problem


def secrets_in(value: object) -> Iterator[str]:
    """Yield every secret in a value of a settings class."""
    if isinstance(value, SecretStr):
        yield value.get_secret_value()
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from secrets_in(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from secrets_in(inner)


def twin_of(key: str) -> str:
    """Return the key that names the file of a secret."""
    return f"{key}_file"


def _is_secret(annotation: object) -> bool:
    """Return whether a field holds at most one secret; a list or mapping of secrets has no twin."""
    if get_origin(annotation) is Annotated:
        return _is_secret(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return any(map(_is_secret, get_args(annotation)))
    return annotation is SecretStr


@cache
def secret_keys(cls: type[BaseModel]) -> Sequence[str]:
    """Return the keys of a settings class that hold one secret each."""
    return [field.alias or name for name, field in cls.model_fields.items() if _is_secret(field.annotation)]


def read_twins(keys: Sequence[str], data: Mapping[str, Any], directory: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the data with secret files read and blank secrets removed, and the errors of files by secret."""
    values, wrong = dict(data), dict[str, str]()
    for key in keys:
        twin = values.pop(twin_of(key), None)
        if is_blank(values.get(key)):
            values.pop(key, None)
        try:
            values |= {} if is_blank(twin) else {key: _from_twin(key, values, directory / str(twin))}
        except ValueError as error:
            wrong[key] = str(error)
    return values, wrong


def _from_twin(key: str, values: Mapping[str, Any], path: Path) -> str:
    if key in values:
        raise ValueError(f"give either {key} or {twin_of(key)}, not both.")
    return read_secret(path)


def is_blank(value: object) -> bool:
    """Return whether a value counts as not given: none, or text of nothing but white space."""
    return value is None or (isinstance(value, str) and not value.strip())


# ---- files ----

SECRET_FILE_LIMIT = 65536
"""Maximum size of a secret file, in bytes. A larger one is a mistake."""

_CONTAINER_SECRETS = frozenset({Path("/run/secrets"), Path("/var/run/secrets")})


def read_secret(path: Path) -> str:
    """Return the text of a secret file without its final line end. Raises ValueError with a remedy."""
    try:
        _check_access(path.stat(), path)
        with path.open("rb") as file:
            content = file.read(SECRET_FILE_LIMIT + 1)
    except OSError as error:
        raise ValueError(read_problem(path, error)) from error
    return _secret_text(content, path)


def check_key_file(path: Path) -> None:
    """Raise ValueError with a remedy for the file of a key that other users can read, or that cannot be read."""
    try:
        _check_access(path.stat(), path)
    except OSError as error:
        raise ValueError(read_problem(path, error)) from error


def _check_access(status: os.stat_result, path: Path) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise ValueError(f"{path} is not a file.")
    if is_exposed(status, path):
        raise ValueError(f"{path} can be read by other users. Run: chmod 600 {path}")


def is_exposed(status: os.stat_result, path: Path) -> bool:
    """Return whether other users can read a file of ours whose mode we can change.

    A file of another user is shared with us by intent. A file that a container engine mounts is readable only inside
    the container, and its mode cannot be changed from there.
    """
    if os.name != "posix" or status.st_uid != os.geteuid() or not status.st_mode & (stat.S_IRGRP | stat.S_IROTH):
        return False
    return not (_is_mounted_secret(path) or _on_read_only_mount(path))


def _is_mounted_secret(path: Path) -> bool:
    """Return whether a container engine mounted a file: under /run/secrets, or in a projected volume of Kubernetes.

    Such a volume has its files in a directory `..2026_01_15…`, the target of a link `..data`.
    """
    places = (Path(os.path.abspath(path)), path.resolve())  # noqa: PTH100 - the first one not through links
    if any(_CONTAINER_SECRETS & {*place.parents} for place in places):
        return True
    return any(part.startswith("..") and part != ".." for part in places[1].parts)


def _on_read_only_mount(path: Path) -> bool:
    try:
        return bool(os.statvfs(path).f_flag & os.ST_RDONLY)
    except OSError:
        return False


def _secret_text(content: bytes, path: Path) -> str:
    if len(content) > SECRET_FILE_LIMIT:
        raise ValueError(f"{path} is larger than {SECRET_FILE_LIMIT} bytes; that cannot be a secret.")
    try:
        text = content.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not UTF-8 text.") from None
    if not text.strip():
        raise ValueError(f"{path} is empty.")
    return text
