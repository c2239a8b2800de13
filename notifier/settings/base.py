"""The base class of all settings.

A settings class lives beside the code that it configures, in a light module, and derives from `Settings`;
`notifier.config` puts them together. A validator raises ValueError with a sentence for the operator, or
`explain.setting_error` to name a key. The sentence may quote a value, never a secret one. That of a FixedMessageError
quotes nothing.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import ClassVar, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    GetJsonSchemaHandler,
    ModelWrapValidatorHandler,
    ValidationError,
    ValidationInfo,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, InitErrorDetails, to_jsonable_python

from notifier.core.durations import format_duration
from notifier.settings.explain import error_detail, explain
from notifier.settings.secrets import is_blank, read_twins, secret_keys, secrets_in, twin_of
from notifier.settings.words import did_you_mean


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """The origin of settings, given to pydantic as validation context."""

    directory: Path = Path()
    """The folder at which relative paths start."""


class Settings(BaseModel):
    """Base of all settings: frozen, without unknown keys, with `_file` twins of secrets and errors in plain words."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, allow_inf_nan=False)

    unused_settings: ClassVar[frozenset[str]] = frozenset()
    """Settings of a base class that a configuration cannot give for this one. They have defaults."""

    @model_validator(mode="wrap")
    @classmethod
    def _validate(cls, data: object, handler: ModelWrapValidatorHandler[Self], info: ValidationInfo) -> Self:
        wrong: Mapping[str, str] = {}
        files: Mapping[str | int, str] = {}
        if isinstance(data, dict):
            files = {key: twin_of(key) for key in secret_keys(cls) if not is_blank(data.get(twin_of(key)))}
            data, wrong = read_twins(secret_keys(cls), data, (info.context or Origin()).directory)
        found = [error_detail((twin_of(key),), what) for key, what in wrong.items()]
        found += _given_in_vain(cls, data)
        try:
            settings = handler(data)
        except ValidationError as error:
            others = [other for other in _explained(cls, error) if not {*other["loc"][:1]} & wrong.keys()]
            found += [_at_the_file(other, files) for other in others]
        else:
            if not found:
                return settings
        raise ValidationError.from_exception_data(cls.__name__, found, hide_input=True)

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Add the twins, of which either meets a required secret, and format durations as people write them."""
        reference = handler(core_schema)
        schema = handler.resolve_ref_schema(reference)
        for key in secret_keys(cls):
            _add_twin(schema, key)
        for name in cls.unused_settings:
            del schema["properties"][name]
        for name, field in cls.model_fields.items():
            if isinstance(field.default, timedelta):
                schema["properties"][field.alias or name]["default"] = format_duration(field.default)
        return reference


def _at_the_file(found: InitErrorDetails, files: Mapping[str | int, str]) -> InitErrorDetails:
    """Return an error with the key of the file, where the secret was read from one."""
    first, *rest = found["loc"] or ("",)
    return InitErrorDetails(**(found | {"loc": (files.get(first, first), *rest)})) if first in files else found


def _given_in_vain(cls: type[Settings], data: object) -> list[InitErrorDetails]:
    keys = [key for key in cls.unused_settings if isinstance(data, dict) and key in data]
    hints = {key: did_you_mean(key, setting_keys(cls), otherwise="Known keys") for key in keys}
    return [error_detail((key,), f"unknown key. {hint}", on_key=True) for key, hint in hints.items()]


def _explained(cls: type[Settings], error: ValidationError) -> list[InitErrorDetails]:
    secrets = secret_keys(cls)
    return [explain(found, setting_keys(cls), secrets) for found in error.errors(include_url=False)]


def setting_keys(cls: type[Settings]) -> list[str]:
    """Return the keys that a configuration may have for a settings class, those of secret files included."""
    fields = ((name, field) for name, field in cls.model_fields.items() if name not in cls.unused_settings)
    return [*(field.alias or name for name, field in fields), *map(twin_of, secret_keys(cls))]


def _add_twin(schema: JsonSchemaValue, key: str) -> None:
    schema["properties"][key].pop("default", None)
    schema["properties"][twin_of(key)] = {"type": "string", "description": f"A file to read {key} from."}
    if key in schema.get("required", ()):
        schema["required"].remove(key)
        schema.setdefault("allOf", []).append({"anyOf": [{"required": [key]}, {"required": [twin_of(key)]}]})


def settings_digest(settings: BaseModel) -> str:
    """Return a digest that changes with every setting, secrets included, and is the same in every process.

    It is stored in the database, so the secrets in it are stretched against guessing.
    """
    shown = json.dumps(to_jsonable_python(settings, fallback=str), sort_keys=True).encode()
    secrets = json.dumps(list(secrets_in(settings.model_dump()))).encode()
    return _stretched(secrets, hashlib.sha256(shown).digest())


@lru_cache(maxsize=256)
def _stretched(secrets: bytes, salt: bytes) -> str:
    """Return the digest of secrets. A reload asks again for every channel, of which few have changed."""
    return hashlib.pbkdf2_hmac("sha256", secrets, salt, _STRETCHING).hex()


_STRETCHING = 20_000
"""PBKDF2 iterations: a few milliseconds at start-up, expensive for an offline guesser."""
