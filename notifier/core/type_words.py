"""Words that people type for a type of event: `failed` for `task.failed`, `stuck` for `task.stalled`. Pure."""

import re
from collections.abc import Mapping

_TYPES: Mapping[str, str] = {
    "failed": "task.failed",
    "completed": "task.completed",
    "started": "task.started",
    "running": "task.started",
    "stuck": "task.stalled",
    "stalled": "task.stalled",
    "vanished": "task.unlisted",
    "overdue": "task.overdue",
    "missing": "task.missing",
    "alarm": "alarm.raised",
    "raised": "alarm.raised",
    "cleared": "alarm.cleared",
}
_TYPED = re.compile(r"""("[^"]*"|'[^']*'|\[[^\]]*\]|[=<>~]\s*\S+)|(?<!\S)\w+(?!\S)""")
"""A value, which stays as it is, or a word that stands alone."""


def with_types(text: str) -> str:
    """Return what somebody typed with the types of events in place of words for them, for `parse_matchers`."""
    return _TYPED.sub(lambda typed: typed[0] if typed[1] else _TYPES.get(typed[0], typed[0]), text)
