"""Links to the cloud's console and to runbooks: templates of the configuration, filled with what an event says."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import quote

from notifier.core.causes import Explanation
from notifier.core.model import Event

URL_LIMIT = 2_700
"""Maximum length of a link, in characters; Slack's is 3,000. A longer one is left out."""

RUNBOOK_PLACEHOLDERS = (
    "error_code",
    "cause",
    "operation",
    "source",
    "environment",
    "region",
    "project_id",
    "instance_id",
)
"""What the template of a runbook may name."""

_PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkTemplates:
    """The configured templates."""

    console_url: str | None = None
    """With {region}, {project_id} and {instance_id}; what is not known is left empty."""
    runbook_url: str | None = None
    """With names of RUNBOOK_PLACEHOLDERS. There is no link where one of those that it names is not known."""

    def console(self, event: Event) -> str:
        """Return the link to an event's instance; the empty string for none."""
        if not (event.task or event.expectation) or self.console_url is None:
            return ""
        return _bounded(_filled(self.console_url, _values(event)))

    def region_console(self, region: str) -> str:
        """Return the link to the console for a region as a whole; the empty string where the template needs more."""
        if self.console_url is None or "{instance_id}" in self.console_url or "{project_id}" in self.console_url:
            return ""
        return _bounded(_filled(self.console_url, {"region": region}))

    def runbook(self, event: Event, explanation: Explanation) -> str:
        """Return the link to what to do about an event; the empty string for none.

        A cause that has a runbook of its own leads there.
        """
        if explanation.runbook_url:
            return _bounded(explanation.runbook_url)
        if not (event.task or event.expectation) or self.runbook_url is None:
            return ""
        if not event.type.traits.acknowledgeable:
            return ""
        cause = explanation.cause.id if explanation.cause else ""
        values = _values(event) | {"error_code": explanation.code or "", "cause": cause}
        if not all(values.get(name) for name, _ in _parsed(self.runbook_url)[1]):
            return ""
        return _bounded(_filled(self.runbook_url, values))


def _values(event: Event) -> dict[str, str]:
    about = event.task or event.expectation
    return {
        "region": event.region,
        "project_id": event.project_id,
        "source": event.source,
        "environment": event.environment,
        "instance_id": (about and about.instance_id) or "",
        "operation": about.name if about else "",
    }


def _filled(template: str, values: Mapping[str, str]) -> str:
    """Fill a template; each value is escaped for URLs. Names in braces that are not ours stay."""
    url, placeholders = _parsed(template)
    for name, literal in placeholders:
        url += (_escaped(values[name]) if name in values else f"{{{name}}}") + literal
    return url


@lru_cache(maxsize=64)
def _parsed(template: str) -> tuple[str, Sequence[tuple[str, str]]]:
    """Return what stands before the first placeholder, and the name of each with what stands behind it."""
    first, *others = _PLACEHOLDER.split(template)
    return first, tuple(zip(others[::2], others[1::2], strict=True))


def _escaped(value: str) -> str:
    # Ids and names of regions are not changed by `quote`, which takes longer than the rest of a link.
    return value if value.isascii() and value.replace("-", "").isalnum() else quote(value, safe="")


def _bounded(url: str) -> str:
    return url if len(url) <= URL_LIMIT else ""
