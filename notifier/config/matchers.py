"""Matchers as settings: text such as `type=task.failed`."""

from typing import Annotated

from pydantic import PlainSerializer, PlainValidator, WithJsonSchema

from notifier.core.matchers import Matcher, parse_matcher
from notifier.settings.words import FixedMessageError


def _matcher(text: object) -> Matcher:
    if isinstance(text, Matcher):
        return text
    if not isinstance(text, str):
        raise FixedMessageError("must be text such as type=task.failed.")
    return parse_matcher(text)


MatcherText = Annotated[
    Matcher, PlainValidator(_matcher), PlainSerializer(str, when_used="json"), WithJsonSchema({"type": "string"})
]
"""One matcher, read by `core.matchers.parse_matcher`."""
