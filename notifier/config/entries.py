"""Entries of `sources` and `channels`: their settings class is found by `kind`. And the defaults of sources."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Annotated

from pydantic import BeforeValidator, PlainValidator, SerializeAsAny, ValidationError, ValidationInfo, WithJsonSchema
from pydantic_core import InitErrorDetails

from notifier.channels import kinds as channel_kinds
from notifier.channels.settings import ChannelSettings
from notifier.config.source_defaults import OWN_SETTINGS
from notifier.core.errors import ConfigurationError
from notifier.settings.base import Settings, setting_keys
from notifier.settings.explain import error_detail, setting_error
from notifier.settings.words import FixedMessageError
from notifier.sources import kinds as source_kinds
from notifier.sources.cloud_settings import CloudSettings


def _by_kind(find: Callable[[str], type[Settings]]) -> PlainValidator:
    def validate(value: object, info: ValidationInfo) -> object:
        if isinstance(value, Settings):
            return value
        if not isinstance(value, Mapping):
            raise FixedMessageError("must be a mapping with a name and a kind.")
        return _settings_class(value, find).model_validate(value, context=info.context)

    return PlainValidator(validate)


def _settings_class(value: Mapping[str, object], find: Callable[[str], type[Settings]]) -> type[Settings]:
    kind = value.get("kind")
    if not isinstance(kind, str):
        raise setting_error("kind", "is missing." if kind is None else "must be text.")
    try:
        return find(kind)
    except ConfigurationError as error:
        raise setting_error("kind", str(error)) from error


Source = Annotated[SerializeAsAny[CloudSettings], _by_kind(source_kinds.settings_class), WithJsonSchema({})]


ChannelEntry = Annotated[SerializeAsAny[ChannelSettings], _by_kind(channel_kinds.settings_class), WithJsonSchema({})]


# ---- the defaults of sources ----


def keys_of_kind(kind: str) -> Collection[str]:
    """Return the keys of the settings that a kind of sources has."""
    return setting_keys(source_kinds.settings_class(kind))


def _checked_names(value: object, info: ValidationInfo) -> object:
    """Return the keys of the defaults. Each value must be one that some kind accepts, also where no source takes it."""
    if not isinstance(value, Mapping):
        raise FixedMessageError("must be a mapping: lines of key: value.")
    values = {key: one for key, one in value.items() if key not in OWN_SETTINGS}
    by_kind = [_errors_in(source_kinds.settings_class(kind), values, info) for kind in source_kinds.SOURCES]
    found = [
        error
        for key in values
        for judged in [[errors[key] for errors in by_kind if key in errors]]
        for error in (judged[0] if judged and all(judged) else ())
    ]
    if found:
        raise ValidationError.from_exception_data("settings", found, hide_input=True)
    return tuple(value)


def _errors_in(
    model: type[Settings], values: Mapping[str, object], info: ValidationInfo
) -> Mapping[str, Sequence[InitErrorDetails]]:
    """Return the errors of those of some values that a class has, by their keys. Other keys may be missing."""
    errors: dict[str, list[InitErrorDetails]] = {key: [] for key in setting_keys(model) if key in values}
    try:
        model.model_validate({key: values[key] for key in errors}, context=info.context)
    except ValidationError as error:
        for one in error.errors(include_url=False):
            about = one["ctx"]
            if one["loc"] and one["loc"][0] in errors:
                detail = error_detail(one["loc"], about["what"], on_key=about["on_key"], quotes=about["quotes"])
                errors[str(one["loc"][0])].append(detail)
    return errors


SourceDefaults = Annotated[tuple[str, ...], BeforeValidator(_checked_names), WithJsonSchema({})]
"""The names of the settings that `source_defaults` gives. Their values are those of the sources that take them."""
