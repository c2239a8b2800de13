"""Templates of the configuration: what a channel prints instead of its own words. Pure.

A template is Jinja2 in a sandbox. Its literal text is the operator's and may be markup of the channel. What it prints
comes from outside: `finalize` escapes every printed value, and nothing that a template does can take that back.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property, partial
from typing import TYPE_CHECKING, Annotated, Any, Final

from pydantic import (
    AfterValidator,
    BeforeValidator,
    PlainSerializer,
    PlainValidator,
    SecretStr,
    SerializationInfo,
    WithJsonSchema,
    model_validator,
)

from notifier.channels.placeholders import Placeholders
from notifier.core.events import EventType
from notifier.settings.base import Settings
from notifier.settings.interpolated import InterpolatedStr
from notifier.settings.words import NAME_PATTERN, FixedMessageError, did_you_mean
from notifier.wording.localizer import Localizer
from notifier.wording.sanitize import one_line

if TYPE_CHECKING:
    from jinja2 import Environment, Template

MAX_OUTPUT = 32 * 1024
"""Maximum length of a rendered template, in characters."""
PRINTED_VALUE_LIMIT = 2_000
"""Maximum length of one printed value, in characters."""
FAILURE_LIMIT = 300
"""Maximum length of the reason for which a template fails, in characters. It may quote text from outside."""

DIGEST: Final = "digest"
"""The type of a message about several events."""
_ANY = "*"

_SHORTEST_SECRET = 4
"""Minimum length of a value that gets a placeholder, in characters. A shorter one would match everywhere."""


class TemplateFailed(Exception):
    """The template fails on this event."""


# ---- settings ----


@dataclass(frozen=True, slots=True)
class TemplateText:
    """A template of the configuration."""

    source: str = field(repr=False)
    """Jinja2, with the values of environment variables filled in."""
    written: str
    """The text in the file."""
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    """The filled-in values by the names of their variables."""
    variables: tuple[str, ...] = ()
    """The names of all environment variables whose values are filled in."""

    @property
    def placeholders(self) -> Placeholders:
        """The placeholders for the secrets."""
        return Placeholders(self.secrets)


def _parse(value: object) -> TemplateText:
    if isinstance(value, TemplateText):
        return value
    if not isinstance(value, str):
        raise FixedMessageError("must be text.")
    if not isinstance(value, InterpolatedStr):
        return TemplateText(value, value)
    filled = value.borrowed.items()
    secrets = {name: text for name, text in filled if len(text) >= _SHORTEST_SECRET and "{{" not in text}
    return TemplateText(str(value), value.written, secrets, tuple(value.borrowed))


def _serialize(template: TemplateText, info: SerializationInfo) -> object:
    """Return the text in the file for JSON; in Python the secrets too, for `secrets_in`."""
    secrets = {name: SecretStr(value) for name, value in template.secrets.items()}
    return template.written if info.mode_is_json() else {"written": template.written, "secrets": secrets}


TemplateSetting = Annotated[
    TemplateText, PlainValidator(_parse), PlainSerializer(_serialize), WithJsonSchema({"type": "string"})
]


class MessageTemplate(Settings):
    """The templates of one kind of message."""

    title: TemplateSetting | None = None
    """Replaces the headline: the first line, the subject of a mail, the text of a push notification."""
    text: TemplateSetting | None = None
    """Replaces the body: reason, facts and advice."""

    @model_validator(mode="after")
    def _check_given(self) -> MessageTemplate:
        if self.title is None and self.text is None:
            raise FixedMessageError("has no template. Give title, text or both.")
        return self

    @property
    def parts(self) -> Mapping[str, TemplateText]:
        """The templates that are given, by the names of their keys."""
        return {name: part for name, part in (("title", self.title), ("text", self.text)) if part is not None}


def _families() -> list[str]:
    return [f"{family}.*" for family in dict.fromkeys(kind.partition(".")[0] for kind in EventType)]


TEMPLATE_KEYS: tuple[str, ...] = (*(kind.value for kind in EventType), *_families(), DIGEST, _ANY)
"""Every key of `templates`: a type of event, a family of types, a digest, and any event."""


_NAMED: Final = "@"
_NAMED_PATTERN: Final = NAME_PATTERN.replace("^", f"^{_NAMED}")


def named_key(name: str) -> str:
    """Return the key of the templates that routes choose by this name."""
    return f"{_NAMED}{name}"


def _known_key(key: str) -> str:
    if key not in TEMPLATE_KEYS and not re.search(_NAMED_PATTERN, key):
        hint = did_you_mean(key, TEMPLATE_KEYS, otherwise="It is one of")
        raise ValueError(f"{key!r} is not a type of event. {hint}")
    return key


def _as_mapping(value: object) -> object:
    if isinstance(value, str):
        return {"text": value}
    if not isinstance(value, dict | MessageTemplate):
        raise FixedMessageError("must be the text of a template, or a mapping with title and text.")
    return value


_ONE = {
    "anyOf": [
        {"type": "string"},
        {
            "type": "object",
            "properties": {
                "title": {
                    "type": "string",
                    "description": "Replaces the headline: the first line, the subject of a mail, the text of a push"
                    " notification.",
                },
                "text": {"type": "string", "description": "Replaces the body: reason, facts and advice."},
            },
            "additionalProperties": False,
        },
    ]
}

MessageTemplates = Annotated[
    Mapping[
        Annotated[str, AfterValidator(_known_key)],
        Annotated[MessageTemplate, BeforeValidator(_as_mapping)],
    ],
    WithJsonSchema(
        {
            "type": "object",
            "propertyNames": {"anyOf": [{"enum": [*TEMPLATE_KEYS]}, {"pattern": _NAMED_PATTERN}]},
            "additionalProperties": _ONE,
        }
    ),
]
"""Templates by types of events. A text alone is the template of the body."""


def template_key(keys: Collection[str], kind: str, name: str | None = None) -> str | None:
    """Return the key that applies to a type of message: the most specific of those given; None where none does.

    `name` is that of the templates that a route chose, which come first. A digest has facts of another shape, so that
    only a template for digests applies to it.
    """
    by_type = (kind,) if kind == DIGEST else (kind, f"{kind.partition('.')[0]}.*", _ANY)
    wanted = by_type if name is None or kind == DIGEST else (named_key(name), *by_type)
    return next((key for key in wanted if key in keys), None)


# ---- rendering ----


def sandbox(finalize: Callable[[object], object] | None, *, autoescape: bool = False) -> Environment:
    """Return an environment in which a template reaches nothing but its facts."""
    from jinja2 import StrictUndefined  # noqa: PLC0415 - settings without a template must not load Jinja
    from jinja2.sandbox import ImmutableSandboxedEnvironment  # noqa: PLC0415 - the same

    return ImmutableSandboxedEnvironment(
        undefined=StrictUndefined, autoescape=autoescape, finalize=finalize, keep_trailing_newline=True
    )


def bounded(pieces: Iterable[str]) -> str:
    """Return the output of a template. Raises ValueError when it is longer than MAX_OUTPUT."""
    kept, size = [], 0
    for piece in pieces:
        kept.append(piece)
        size += len(piece)
        if size > MAX_OUTPUT:
            raise ValueError(f"it makes more than {MAX_OUTPUT} characters")
    return "".join(kept)


def _message_sandbox(escape: Callable[[str], str], filters: Mapping[str, Callable[[Any], str]]) -> Environment:
    """Return the environment of a template of a message, which prints every value as one escaped line."""
    environment = sandbox(lambda value: escape(one_line(_printable(value), PRINTED_VALUE_LIMIT)))
    environment.trim_blocks = environment.lstrip_blocks = True
    environment.filters |= filters
    # The same facts must give the same message.
    del environment.globals["lipsum"], environment.filters["random"]
    return environment


_FILTERS: Mapping[str, Callable[[Localizer, Any], str]] = {
    "local_time": lambda localizer, text: localizer.when(datetime.fromisoformat(text)) if text else "",
    "duration": lambda localizer, seconds: "" if seconds is None else localizer.duration(timedelta(seconds=seconds)),
}
"""What our filters make of a fact, for the readers of the channel: of a timestamp, and of a number of seconds."""


def _printable(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool | dict | list | tuple):
        return json.dumps(value, ensure_ascii=False, default=str)
    return str(value)


def message_template_problem(template: TemplateText) -> str | None:
    """Return why a text cannot be the template of a message, with the remedy; None where it can."""
    from jinja2 import TemplateSyntaxError  # noqa: PLC0415 - settings without a template must not load Jinja

    if template.variables:
        names = ", ".join(f"${{{name}}}" for name in template.variables)
        return f"takes no values from the environment, because messages are stored: remove {names}"
    try:
        _compiled(template, str, dict.fromkeys(_FILTERS, str))
    except TemplateSyntaxError as error:
        return f"line {error.lineno}: {error.message}"
    return None


def _compiled(
    template: TemplateText, escape: Callable[[str], str], filters: Mapping[str, Callable[[Any], str]]
) -> Template:
    """Compile a template of a message. Raises TemplateSyntaxError."""
    from jinja2 import TemplateSyntaxError, nodes  # noqa: PLC0415 - settings without a template must not load Jinja

    environment = _message_sandbox(escape, filters)
    # A filter or a call around a block would change its text after its values were escaped; others have no loader.
    refused = (nodes.FilterBlock, nodes.CallBlock, nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends)
    if found := next(environment.parse(template.source).find_all(refused), None):
        what = f"a template cannot use the statement {_STATEMENTS[type(found).__name__]}"
        raise TemplateSyntaxError(what, found.lineno)
    return environment.from_string(template.source)


_STATEMENTS = {
    "FilterBlock": "filter: apply the filter to each value",
    "CallBlock": "call",
    "Include": "include",
    "Import": "import",
    "FromImport": "from",
    "Extends": "extends",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class FilledTemplate:
    """What the templates of a channel make of one message, in the channel's markup."""

    title: str | None = None
    """One line that replaces the headline; None where the built-in one stays."""
    text: str | None = None
    """Lines that replace the body; None where the built-in one stays."""
    failure: str | None = None
    """Why the template fails; then the whole message is the built-in one."""


BUILT_IN = FilledTemplate()
"""No template applies."""


@dataclass(frozen=True)
class ChannelTemplates:
    """The templates of one channel."""

    templates: Mapping[str, MessageTemplate]
    escape: Callable[[str], str]
    """Returns one line of text in the channel's markup, in which nothing is markup, a mention or a link."""
    localizer: Localizer

    def fill(self, kind: str, facts: Mapping[str, Any], name: str | None = None) -> FilledTemplate:
        """Return what replaces the message of a type with these facts. A template that makes no text replaces nothing.

        `name` is that of the templates that a route chose. Never raises: a template that fails is reported in the
        result.
        """
        key = template_key(self.templates, kind, name)
        if key is None:
            return BUILT_IN
        made: dict[str, str] = {}
        for part, template in self._templates[key].items():
            try:
                made[part] = bounded(template.generate(facts))
            except Exception as error:  # noqa: BLE001 - a template is a program: it can raise anything
                what = f"template {key} ({part}) fails: {type(error).__name__}: {error}"
                return FilledTemplate(failure=one_line(what, FAILURE_LIMIT))
        title = " ".join(made.get("title", "").split())
        return FilledTemplate(title=title or None, text=made.get("text", "").strip("\n").rstrip() or None)

    @cached_property
    def _templates(self) -> Mapping[str, Mapping[str, Template]]:
        filters = {name: partial(make, self.localizer) for name, make in _FILTERS.items()}
        return {
            key: {name: _compiled(part, self.escape, filters) for name, part in template.parts.items()}
            for key, template in self.templates.items()
        }
