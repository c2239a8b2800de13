"""Webhook bodies made by a template of the configuration.

A rendered body is stored, because a repeat must have the same bytes. A value from the environment, such as the routing
key of an incident service, is stored as a placeholder and put in when the body is sent.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import PlainSerializer, PlainValidator, SecretStr, SerializationInfo, WithJsonSchema

from notifier.channels.placeholders import Placeholders, readable
from notifier.core.events import EventType
from notifier.core.model import TaskStatus
from notifier.settings.explain import FixedMessageError, setting_error
from notifier.settings.types import InterpolatedStr

if TYPE_CHECKING:
    from jinja2 import Template

MAX_OUTPUT = 32 * 1024
"""Maximum length of a rendered body, in characters."""

_SHORTEST_SECRET = 4
"""Minimum length of a value that gets a placeholder, in characters. A shorter one would match everywhere."""


class TemplateFailed(Exception):
    """The template fails on this event."""


@dataclass(frozen=True, slots=True)
class BodyTemplate:
    """A template of the configuration."""

    source: str = field(repr=False)
    """Jinja2, with the values of environment variables filled in."""
    written: str
    """The text in the file."""
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    """The filled-in values by the names of their variables."""

    @property
    def placeholders(self) -> Placeholders:
        """The placeholders for the secrets."""
        return Placeholders(self.secrets)


def _parse(value: object) -> BodyTemplate:
    if isinstance(value, BodyTemplate):
        return value
    if not isinstance(value, str):
        raise FixedMessageError("must be text.")
    if not isinstance(value, InterpolatedStr):
        return BodyTemplate(value, value)
    filled = value.borrowed.items()
    secrets = {name: text for name, text in filled if len(text) >= _SHORTEST_SECRET and "{{" not in text}
    return BodyTemplate(str(value), value.written, secrets)


def _serialize(template: BodyTemplate, info: SerializationInfo) -> object:
    """Return the text in the file for JSON; in Python the secrets too, for `secrets_in`."""
    secrets = {name: SecretStr(value) for name, value in template.secrets.items()}
    return template.written if info.mode_is_json() else {"written": template.written, "secrets": secrets}


TemplateSetting = Annotated[
    BodyTemplate, PlainValidator(_parse), PlainSerializer(_serialize), WithJsonSchema({"type": "string"})
]


@dataclass(frozen=True)
class Renderer:
    """A compiled template."""

    template: BodyTemplate
    content_type: str

    @cached_property
    def _compiled(self) -> Template:
        from jinja2 import StrictUndefined  # noqa: PLC0415 - settings without a template must not load Jinja
        from jinja2.sandbox import ImmutableSandboxedEnvironment  # noqa: PLC0415 - the same

        environment = ImmutableSandboxedEnvironment(
            undefined=StrictUndefined,
            autoescape="xml" in self.content_type or "html" in self.content_type,
            finalize=_escaped_for_json if "json" in self.content_type else None,
            keep_trailing_newline=True,
        )
        environment.policies["json.dumps_kwargs"] = _DUMPS
        return environment.from_string(self.template.source)

    def fill(self, context: Mapping[str, Any]) -> bytes:
        """Return the body, with placeholders for the secrets. Raises TemplateFailed."""
        try:
            text = _bounded(self._compiled.generate(context))
            if "json" in self.content_type:
                json.loads(text)
        except Exception as error:  # a template is a program: it can raise anything
            what = self.template.placeholders.hide(f"{type(error).__name__}: {error}")
            raise TemplateFailed(readable(what)) from error
        return self.template.placeholders.hide(text).encode("utf-8", "replace")

    def check(self) -> None:
        """Render a sample event. Raises a ValidationError with the reason where that fails."""
        from jinja2 import TemplateSyntaxError  # noqa: PLC0415 - settings without a template must not load Jinja

        try:
            _ = self._compiled
            self.fill(_SAMPLE)
        except TemplateSyntaxError as error:
            raise setting_error("body_template", f"line {error.lineno}: {error.message}") from error
        except TemplateFailed as error:
            raise setting_error("body_template", f"fails for a sample event: {error}") from error


def _escaped_for_json(value: object) -> object:
    """Escape a printed value, so that text from outside cannot end the quotes around it."""
    if hasattr(value, "__html__"):  # `tojson` brings its own quotes
        return value
    written = json.dumps(value, **_DUMPS)
    return written[1:-1] if isinstance(value, str) else written


_DUMPS: dict[str, Any] = {"ensure_ascii": False, "default": str}
"""`str` of an undefined value raises an error with its name."""


def _bounded(pieces: Iterable[str]) -> str:
    kept, size = [], 0
    for piece in pieces:
        kept.append(piece)
        size += len(piece)
        if size > MAX_OUTPUT:
            raise ValueError(f"it makes more than {MAX_OUTPUT} characters")
    return "".join(kept)


_SAMPLE: Mapping[str, Any] = {
    "type": EventType.TASK_FAILED.value,
    "timestamp": "2026-01-15T08:30:00Z",
    "headline": 'Task failed · Create "instance"',
    "data": {
        "event_id": "sample",
        "source": "prod",
        "region": "cn-north-4",
        "project_id": "sample",
        "late": False,
        "previous_status": TaskStatus.RUNNING.value,
        "task": {
            "job_id": "sample",
            "name": "CreateGaussDBV5Instance",
            "label": "Create instance",
            "status": TaskStatus.FAILED.value,
            "raw_status": "Failed",
            "progress": None,
            "instance": {"id": "sample", "name": "sample", "status": "creating"},
            "created_at": "2026-01-15T08:17:00Z",
            "ended_at": "2026-01-15T08:29:20Z",
            "fail_reason": 'A "quoted" reason\nof two lines',
        },
    },
}
