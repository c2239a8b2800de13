"""RenderCache that a template makes of an event, and the secrets in them, which are put in when the body is sent.

What is rendered is stored, for a repeat has to be the same bytes. A value that the template has from the environment,
such as the routing key of an incident service, is stored as a placeholder and goes back in on the way out.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import PlainSerializer, PlainValidator, SecretStr, SerializationInfo, WithJsonSchema

from notifier.channels.sealing import Sealer, shown
from notifier.core.events import EventType
from notifier.core.model import TaskStatus
from notifier.settings.explain import FixedMessageError, setting_error
from notifier.settings.types import InterpolatedStr

if TYPE_CHECKING:
    from jinja2 import Template

MAX_OUTPUT = 32 * 1024
"""Characters that a template may produce."""

_SHORTEST = 4
"""Characters of a value that is held back. A shorter one is no secret, and would be found everywhere."""


class TemplateFailed(Exception):
    """The template cannot make a body of this event."""


@dataclass(frozen=True, slots=True)
class BodyTemplate:
    """A template of the configuration."""

    source: str = field(repr=False)
    """Jinja2, with the values of environment variables filled in."""
    written: str
    """As it is written in the file."""
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    """The values that were filled in, by the names of their variables."""

    @property
    def sealer(self) -> Sealer:
        """What keeps the secrets out of a body."""
        return Sealer(self.secrets)


def _of_setting(value: object) -> BodyTemplate:
    if isinstance(value, BodyTemplate):
        return value
    if not isinstance(value, str):
        raise FixedMessageError("must be text.")
    if not isinstance(value, InterpolatedStr):
        return BodyTemplate(value, value)
    secrets = {name: text for name, text in value.borrowed.items() if len(text) >= _SHORTEST and "{{" not in text}
    return BodyTemplate(str(value), value.written, secrets)


def _dumped(template: BodyTemplate, info: SerializationInfo) -> object:
    """Return what is shown of it as JSON; else the secrets too, each as one, for who has to know them all."""
    secrets = {name: SecretStr(value) for name, value in template.secrets.items()}
    return template.written if info.mode_is_json() else {"written": template.written, "secrets": secrets}


TemplateSetting = Annotated[
    BodyTemplate,
    PlainValidator(_of_setting),
    PlainSerializer(_dumped),
    WithJsonSchema({"type": "string"}),
]


@dataclass(frozen=True)
class Renderer:
    """A template ready to be used."""

    template: BodyTemplate
    content_type: str

    @cached_property
    def _compiled(self) -> Template:
        from jinja2 import StrictUndefined  # noqa: PLC0415 - only a template pays for jinja
        from jinja2.sandbox import ImmutableSandboxedEnvironment  # noqa: PLC0415 - the same

        environment = ImmutableSandboxedEnvironment(
            undefined=StrictUndefined,
            autoescape="xml" in self.content_type or "html" in self.content_type,
            finalize=_as_json_text if "json" in self.content_type else None,
            keep_trailing_newline=True,
        )
        environment.policies["json.dumps_kwargs"] = _DUMPS
        return environment.from_string(self.template.source)

    def fill(self, context: Mapping[str, Any]) -> bytes:
        """Return the body, sealed. Raises TemplateFailed."""
        try:
            text = _bounded(self._compiled.generate(context))
            if "json" in self.content_type:
                json.loads(text)
        except Exception as error:  # a template is a program: it can raise anything
            what = self.template.sealer.seal(f"{type(error).__name__}: {error}")
            raise TemplateFailed(shown(what)) from error
        return self.template.sealer.seal(text).encode("utf-8", "replace")

    def check(self) -> None:
        """Prove that it works for an event as there are many. Raises a ValidationError that says why not."""
        from jinja2 import TemplateSyntaxError  # noqa: PLC0415 - only a template pays for jinja

        try:
            _ = self._compiled
            self.fill(_SAMPLE)
        except TemplateSyntaxError as error:
            raise setting_error("body_template", f"line {error.lineno}: {error.message}") from error
        except TemplateFailed as error:
            raise setting_error("body_template", f"fails for a sample event: {error}") from error


def _as_json_text(value: object) -> object:
    """Escape what a template prints, so that text from outside cannot leave the quotes it was put into."""
    if hasattr(value, "__html__"):  # `tojson` brings its own quotes
        return value
    written = json.dumps(value, **_DUMPS)
    return written[1:-1] if isinstance(value, str) else written


_DUMPS: dict[str, Any] = {"ensure_ascii": False, "default": str}
"""`str` of an undefined value raises the error that names it."""


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
