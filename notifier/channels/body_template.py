"""Bodies that a template makes of an event, and the secrets in them, which are put in when the body is sent.

What is rendered is stored, for a repeat has to be the same bytes. A value that the template has from the environment,
such as the routing key of an incident service, is stored as a placeholder and goes back in on the way out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from html import escape
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

from pydantic import PlainSerializer, PlainValidator, SecretStr, SerializationInfo, WithJsonSchema

from notifier.core.model import EventType, TaskStatus
from notifier.settings import Filled
from notifier.validation import problem

if TYPE_CHECKING:
    from jinja2 import Template

MAX_OUTPUT = 32 * 1024
"""Characters that a template may produce."""

_SHORTEST = 4
"""Characters of a value that is held back. A shorter one is no secret, and would be found everywhere."""


class TemplateFailed(Exception):
    """The template cannot make a body of this event."""


# ---- secrets ----

_BEGIN, _END = "\ue000", "\ue001"
_SPELLINGS: Mapping[str, Callable[[str], str]] = {
    "": str,
    "json": lambda value: json.dumps(value, ensure_ascii=False)[1:-1],
    "ascii": lambda value: json.dumps(value)[1:-1],
    "tojson": lambda value: _html_safe(json.dumps(value, ensure_ascii=False)[1:-1]),
    "xml": lambda value: escape(value, quote=False).replace("'", "&#39;").replace('"', "&#34;"),
    "url": lambda value: quote(value, safe=""),
    "path": quote,
}
"""How a template may write a value, by the name that a placeholder has for it. The first that gives a text is taken."""


def _html_safe(text: str) -> str:
    """Escape as jinja's own filter does."""
    return re.sub("[<>&']", lambda found: f"\\u{ord(found[0]):04x}", text)


_PLACEHOLDER = re.compile(f"{_BEGIN}\\$\\{{(\\w+)\\}}(\\w*){_END}")


class MissingSecret(Exception):
    """A stored body wants a value that the template does not have any more. The message is its name."""


@dataclass(frozen=True, slots=True)
class Sealer:
    """Takes secrets out of a text and puts them in again."""

    secrets: Mapping[str, str] = field(repr=False)
    """By the name of the environment variable."""

    def seal(self, text: str) -> str:
        """Return the text with a placeholder for each secret, however it is spelled."""
        text = text.replace(_BEGIN, "\ufffd")  # nobody outside asks for a secret
        spelled: dict[str, str] = {}
        for name, value in self.secrets.items():
            for way, spell in _SPELLINGS.items():
                spelled.setdefault(spell(value), f"{_BEGIN}${{{name}}}{way}{_END}")
        if not spelled:
            return text
        longest_first = sorted(spelled, key=len, reverse=True)
        return re.sub("|".join(map(re.escape, longest_first)), lambda found: spelled[found[0]], text)

    def open(self, text: str) -> str:
        """Return the text as it was before it was sealed. Raises MissingSecret."""

        def put_in(found: re.Match[str]) -> str:
            name, way = found.groups()
            if name not in self.secrets or way not in _SPELLINGS:
                raise MissingSecret(name)
            return _SPELLINGS[way](self.secrets[name])

        return _PLACEHOLDER.sub(put_in, text)


def shown(text: str) -> str:
    """Return a sealed text for people: `${NAME}` in the place of each secret."""
    return _PLACEHOLDER.sub(r"${\1}", text)


# ---- templates ----


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
        raise ValueError("must be text.")  # noqa: TRY004 - pydantic's way to refuse a value
    if not isinstance(value, Filled):
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
            raise problem("body_template", f"line {error.lineno}: {error.message}") from error
        except TemplateFailed as error:
            raise problem("body_template", f"fails for a sample event: {error}") from error


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
