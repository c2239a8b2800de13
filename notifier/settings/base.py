"""The vocabulary that every piece of configuration is written in.

A settings model lives beside the code it configures and derives from `Settings`; `notifier.config` puts them together.
A validator of a settings model raises ValueError with a sentence for the operator, or `validation.problem` to name a
key. The sentence may quote a value, never a secret one; with FixedMessageError it says that it quotes nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
import ssl
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Self, Union, get_args, get_origin

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    ModelWrapValidatorHandler,
    PlainSerializer,
    SecretStr,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, InitErrorDetails, to_jsonable_python

from notifier.core.durations import DURATION_PATTERN, format_duration, parse_duration
from notifier.settings.explain import NAME_PATTERN as NAME_PATTERN  # noqa: PLC0414 - a word of this vocabulary, defined there
from notifier.settings.explain import (
    FixedMessageError,
    error_detail,
    explain,
    find_hidden,
    find_invisible,
    find_non_ascii,
)


def _as_duration(value: object) -> object:
    if isinstance(value, str):
        return parse_duration(value)
    if isinstance(value, timedelta):
        return value
    raise FixedMessageError("a duration needs a unit, for example 30s, 5m, 2h or 7d")


Duration = Annotated[
    timedelta,
    BeforeValidator(_as_duration),
    PlainSerializer(format_duration, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": DURATION_PATTERN, "examples": ["30s", "5m", "2h"]}),
]
"""A length of time, written `30s`, `5m`, `2h`, `1h30m`, `7d`."""


def _ca_file(path: Path | None, info: ValidationInfo) -> Path | None:
    if path is None:
        return None
    found = (info.context or Origin()).directory / path
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=found)
    except (OSError, ssl.SSLError) as error:
        why = "it holds no certificates in PEM" if isinstance(error, ssl.SSLError) else error.strerror
        raise ValueError(f"no certificates can be read from {found}: {why}.") from None
    return found


CaFile = Annotated[
    Path | None, BeforeValidator(lambda value: None if _blank(value) else value), AfterValidator(_ca_file)
]
"""A PEM file of authorities to trust besides those of the operating system. Relative paths start at the configuration
file."""


def strip_line_end(value: object) -> object:
    """Return text without the line ends after it: shells and editors add one, and no key or password has one."""
    return value.rstrip("\r\n") if isinstance(value, str) else value


def _require(unfit: Callable[[str], str | None]) -> AfterValidator:
    def check(value: SecretStr | str) -> SecretStr | str:
        text = value.get_secret_value() if isinstance(value, SecretStr) else value
        if wrong := unfit(text):
            raise ValueError(wrong)
        return value

    return AfterValidator(check)


Secret = Annotated[SecretStr, BeforeValidator(strip_line_end), _require(find_invisible)]
"""Text that is never shown. In a `Settings` model every secret `x` has a twin `x_file`: a path to read it from.

A blank secret counts as not given. Line ends after it are dropped; invisible characters are refused.
"""

AsciiSecret = Annotated[Secret, _require(find_non_ascii)]
"""A key or token as services issue them: visible ASCII without quotes."""

AccountPassword = Annotated[Secret, _require(partial(find_non_ascii, inner_spaces=True))]
"""A password of a service that takes ASCII alone and locks the account after wrong ones."""

PlainText = Annotated[str, BeforeValidator(strip_line_end), Field(min_length=1), _require(find_hidden)]
"""A name that people gave: any script, no invisible character, no space at an end."""

KeyId = Annotated[str, BeforeValidator(strip_line_end), Field(min_length=1), _require(find_non_ascii)]
"""The public part of a key: visible ASCII, as in `AsciiSecret`, and not a secret."""


class InterpolatedStr(str):
    """A text of the configuration with the values of environment variables in it.

    Most settings take it for the text that it is. One that has to keep those values apart can.
    """

    __slots__ = ("borrowed", "written")
    written: str
    """As it is in the file."""
    borrowed: Mapping[str, str]
    """The values by the names of their variables."""

    def __new__(cls, text: str, written: str, borrowed: Mapping[str, str]) -> Self:
        """Return the text with where it is from."""
        filled = super().__new__(cls, text)
        filled.written, filled.borrowed = written, borrowed
        return filled


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where settings come from; given to pydantic as its validation context."""

    directory: Path = Path()
    """Relative paths of secret files start here."""


class Settings(BaseModel):
    """Base of all settings: frozen, unknown keys are errors, secrets have `_file` twins, errors speak plainly."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, allow_inf_nan=False)

    @model_validator(mode="wrap")
    @classmethod
    def _validate(cls, data: object, handler: ModelWrapValidatorHandler[Self], info: ValidationInfo) -> Self:
        wrong: Mapping[str, str] = {}
        files: Mapping[str | int, str] = {}
        if isinstance(data, dict):
            files = {key: _twin(key) for key in _secret_keys(cls) if not _blank(data.get(_twin(key)))}
            data, wrong = _read_twins(_secret_keys(cls), data, info.context or Origin())
        found = [error_detail((_twin(key),), what) for key, what in wrong.items()]
        try:
            settings = handler(data)
        except ValidationError as error:
            others = [other for other in _explained(cls, error) if not {*other["loc"][:1]} & wrong.keys()]
            found += [_blaming_the_file(other, files) for other in others]
        else:
            if not found:
                return settings
        raise ValidationError.from_exception_data(cls.__name__, found, hide_input=True)

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Describe the twins too: of a required secret either will do. Durations are written as people write them."""
        reference = handler(core_schema)
        schema = handler.resolve_ref_schema(reference)
        for key in _secret_keys(cls):
            _add_twin(schema, key)
        for name, field in cls.model_fields.items():
            if isinstance(field.default, timedelta):
                schema["properties"][field.alias or name]["default"] = format_duration(field.default)
        return reference


def _blaming_the_file(found: InitErrorDetails, files: Mapping[str | int, str]) -> InitErrorDetails:
    """Place an error about a secret that was read from a file where the file is named."""
    first, *rest = found["loc"] or ("",)
    return InitErrorDetails(**(found | {"loc": (files.get(first, first), *rest)})) if first in files else found


def _explained(cls: type[BaseModel], error: ValidationError) -> list[InitErrorDetails]:
    secrets = _secret_keys(cls)
    keys = [*(field.alias or name for name, field in cls.model_fields.items()), *map(_twin, secrets)]
    return [explain(found, keys, secrets) for found in error.errors(include_url=False)]


def _add_twin(schema: JsonSchemaValue, key: str) -> None:
    schema["properties"][key].pop("default", None)
    schema["properties"][_twin(key)] = {"type": "string", "description": f"A file to read {key} from."}
    if key in schema.get("required", ()):
        schema["required"].remove(key)
        schema.setdefault("allOf", []).append({"anyOf": [{"required": [key]}, {"required": [_twin(key)]}]})


def digest(settings: BaseModel) -> str:
    """Return a value that changes whenever a setting does, secrets included; the same in every process.

    It is stored in the database, so the secrets in it are stretched: who can read it can hardly guess a password.
    """
    shown = json.dumps(to_jsonable_python(settings, fallback=str), sort_keys=True).encode()
    secrets = json.dumps(list(secrets_in(settings.model_dump()))).encode()
    return hashlib.pbkdf2_hmac("sha256", secrets, hashlib.sha256(shown).digest(), _STRETCHING).hex()


_STRETCHING = 20_000
"""Rounds: milliseconds for us at a start, years for who tries passwords by the million."""


def secrets_in(value: object) -> Iterator[str]:
    """Yield every secret in what a settings model holds."""
    if isinstance(value, SecretStr):
        yield value.get_secret_value()
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from secrets_in(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from secrets_in(inner)


# ---- secrets in files ----

SECRET_FILE_LIMIT = 65536
"""Bytes. A larger file is not a secret but a mistake."""

_CONTAINER_SECRETS = frozenset({Path("/run/secrets"), Path("/var/run/secrets")})


def read_secret(path: Path) -> str:
    """Return the text of a secret file without its final line end. Raises ValueError that says how to mend it."""
    try:
        _check_access(path.stat(), path)
        with path.open("rb") as file:
            content = file.read(SECRET_FILE_LIMIT + 1)
    except OSError as error:
        raise ValueError(read_problem(path, error)) from error
    return _secret_text(content, path)


def read_problem(path: Path, error: OSError) -> str:
    """Say why a file cannot be read; where another user owns it, how containers hand one over."""
    if not isinstance(error, PermissionError):
        return f"cannot read {path}: {error.strerror}."
    try:
        status = path.stat()
    except OSError:
        return f"cannot read {path}: a directory on the way is closed to uid {os.geteuid()}, which this runs as."
    return permission_problem(path, status, os.geteuid())


def permission_problem(path: Path, status: os.stat_result, user: int) -> str:
    """Say why a user may not read a file that is there, and what to do."""
    mode = f"{stat.S_IMODE(status.st_mode):04o}"
    facts = f"cannot read {path}: it belongs to uid {status.st_uid} and has mode {mode}; this runs as uid {user}."
    if status.st_uid == user:
        return f"{facts} Run: chmod u+r {path}"
    return (
        f"{facts} Start this as uid {status.st_uid}, or let uid {user} read the file: on a host with chown {user},"
        " in Kubernetes with securityContext.fsGroup and the volume's defaultMode: 0440, in Compose with user: or with"
        " the secret's uid and mode."
    )


def _check_access(status: os.stat_result, path: Path) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise ValueError(f"{path} is not a file.")
    if _exposed(status, path):
        raise ValueError(f"{path} can be read by other users. Run: chmod 600 {path}")


def _exposed(status: os.stat_result, path: Path) -> bool:
    """Tell whether more users than need be can read a file, and we could change that.

    Who owns a file decides who reads it: one of another user is shared with us by intent. What a container engine
    mounts is readable by all inside the container and by nobody outside, and cannot be changed from here.
    """
    if os.name != "posix" or status.st_uid != os.geteuid() or not status.st_mode & (stat.S_IRGRP | stat.S_IROTH):
        return False
    return not (_handed_over(path) or _on_read_only_mount(path))


def _handed_over(path: Path) -> bool:
    """Tell whether a container engine put a file there: under /run/secrets, or as Kubernetes projects a volume.

    Such a volume has the files in a directory `..2026_01_15…`, to which a link `..data` leads.
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


def _twin(key: str) -> str:
    return f"{key}_file"


def _is_secret(annotation: object) -> bool:
    """Tell whether a field holds one secret or none; a list or mapping of secrets has no twin."""
    if get_origin(annotation) is Annotated:
        return _is_secret(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return any(map(_is_secret, get_args(annotation)))
    return annotation is SecretStr


def _secret_keys(cls: type[BaseModel]) -> list[str]:
    return [field.alias or name for name, field in cls.model_fields.items() if _is_secret(field.annotation)]


def _read_twins(keys: list[str], data: Mapping[str, Any], origin: Origin) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the data with secret files read and blank secrets gone, and by secret what is wrong with its file."""
    values, wrong = dict(data), dict[str, str]()
    for key in keys:
        twin = values.pop(_twin(key), None)
        if _blank(values.get(key)):
            values.pop(key, None)
        try:
            values |= {} if _blank(twin) else {key: _from_twin(key, values, origin.directory / str(twin))}
        except ValueError as error:
            wrong[key] = str(error)
    return values, wrong


def _from_twin(key: str, values: Mapping[str, Any], path: Path) -> str:
    if key in values:
        raise ValueError(f"give either {key} or {_twin(key)}, not both.")
    return read_secret(path)


def _blank(value: object) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def is_loopback(host: str) -> bool:
    """Tell whether a host is this machine: what is sent to it cannot be read on the way."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
