"""Webhook bodies made by a template of the configuration.

A rendered body is stored, because a repeat must have the same bytes. A value from the environment, such as the routing
key of an incident service, is stored as a placeholder and put in when the body is sent.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from notifier.channels.placeholders import readable
from notifier.channels.templates import TemplateFailed, TemplateText, bounded, sandbox
from notifier.core.events import EventType
from notifier.core.model import TaskStatus
from notifier.settings.explain import setting_error

if TYPE_CHECKING:
    from jinja2 import Template


@dataclass(frozen=True)
class Renderer:
    """A compiled template."""

    template: TemplateText
    content_type: str
    name: str = "body_template"
    """What the template is called in the configuration."""

    @cached_property
    def _compiled(self) -> Template:
        environment = sandbox(
            _escaped_for_json if "json" in self.content_type else None,
            autoescape="xml" in self.content_type or "html" in self.content_type,
        )
        environment.policies["json.dumps_kwargs"] = _DUMPS
        return environment.from_string(self.template.source)

    def fill(self, context: Mapping[str, Any]) -> bytes:
        """Return the body, with placeholders for the secrets. Raises TemplateFailed."""
        try:
            text = bounded(self._compiled.generate(context))
            if "json" in self.content_type:
                json.loads(text)
        except Exception as error:  # a template is a program: it can raise anything
            what = self.template.placeholders.hide(f"{type(error).__name__}: {error}")
            raise TemplateFailed(readable(what)) from error
        return self.template.placeholders.hide(text).encode("utf-8", "replace")

    def syntax_problem(self) -> str | None:
        """Return why the text is no template; None where it is one."""
        from jinja2 import TemplateSyntaxError  # noqa: PLC0415 - settings without a template must not load Jinja

        try:
            _ = self._compiled
        except TemplateSyntaxError as error:
            return f"line {error.lineno}: {error.message}"
        return None

    def check(self) -> None:
        """Render a sample event. Raises a ValidationError with the reason where that fails."""
        if problem := self.syntax_problem():
            raise setting_error("body_template", problem)
        try:
            self.fill(_SAMPLE)
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
