"""The vocabulary that every piece of configuration is written in.

A settings model lives beside the code it configures and derives from `Settings`; `notifier.config` puts them together.
"""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, model_validator

_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|[smhdw]))+")
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|[smhdw])")


def parse_duration(text: str) -> timedelta:
    """Read `30s`, `5m`, `2h`, `1h30m`, `7d`, `2w`. Raises ValueError with an example."""
    if not _DURATION.fullmatch(text.strip()):
        raise ValueError(f"{text!r} is not a duration; write a number and a unit, for example 30s, 5m, 2h or 7d")
    return timedelta(seconds=sum(float(n) * _UNITS[unit] for n, unit in _PART.findall(text)))


def _as_duration(value: object) -> object:
    if isinstance(value, str):
        return parse_duration(value)
    if isinstance(value, timedelta):
        return value
    raise ValueError("a duration needs a unit, for example 30s, 5m, 2h or 7d")


Duration = Annotated[
    timedelta,
    BeforeValidator(_as_duration),
    Field(json_schema_extra={"type": "string", "format": "", "examples": ["30s", "5m", "2h"]}),
]
"""A length of time, written `30s`, `5m`, `2h`, `1h30m`, `7d`."""

Secret = SecretStr
"""Text that is never shown. In a `Settings` model every secret `x` can also be given as `x_file`, a path to read it from."""


class Settings(BaseModel):
    """Base of all settings: frozen, unknown keys are errors, secrets have `_file` twins."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    @model_validator(mode="before")
    @classmethod
    def _read_secret_files(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        data = dict(data)
        for name, field in cls.model_fields.items():
            key = field.alias or name
            twin = f"{key}_file"
            if twin not in data or "SecretStr" not in str(field.annotation):
                continue
            if data.get(key) is not None:
                raise ValueError(f"give either {key} or {twin}, not both")
            path = data.pop(twin)
            try:
                data[key] = Path(str(path)).read_text(encoding="utf-8").strip()
            except OSError as error:
                raise ValueError(f"{twin}: cannot read {path}: {error.strerror}") from error
        return data
