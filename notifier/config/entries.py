"""Entries of `sources` and `channels`: their settings class is found by `kind`."""

from collections.abc import Callable, Mapping
from typing import Annotated

from pydantic import PlainValidator, SerializeAsAny, ValidationInfo, WithJsonSchema

from notifier.channels import kinds as channel_kinds
from notifier.channels.settings import ChannelSettings
from notifier.core.errors import ConfigurationError
from notifier.settings.base import Settings
from notifier.settings.explain import setting_error
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
