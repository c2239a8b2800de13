"""Which transition closes an issue, and which opens it again. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from notifier.channels.reply_conditions import value_at

DONE = "done"
"""The category of states in which an issue counts as closed, in every language."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JiraTransition:
    """A transition that an issue offers now."""

    id: str
    name: str
    closes: bool
    """Whether it leads to a state of the category Done."""
    screen: Mapping[str, bool]
    """The fields that its screen has, and whether each must be given."""

    def missing(self, given: Mapping[str, Any]) -> Sequence[str]:
        """Return the fields that it wants and that are not given."""
        return [name for name, required in self.screen.items() if required and name not in given]


def read_transitions(data: object) -> Sequence[JiraTransition] | None:
    """Return the transitions of a reply; None for a reply of another shape."""
    listed = value_at(data, "transitions")
    if not isinstance(listed, list):
        return None
    return [_read(one) for one in listed if value_at(one, "id") is not None]


def _read(one: Any) -> JiraTransition:  # noqa: ANN401 - JSON
    fields = one.get("fields")
    screen = {
        name: field.get("required") is True and field.get("hasDefaultValue") is not True
        for name, field in (fields.items() if isinstance(fields, dict) else ())
        if isinstance(field, dict)
    }
    category = value_at(one, "to.statusCategory.key")
    return JiraTransition(id=str(one["id"]), name=str(one.get("name", "")), closes=category == DONE, screen=screen)


def choose(
    transitions: Sequence[JiraTransition], wanted: str | None, given: Mapping[str, Any], *, closes: bool
) -> JiraTransition | None:
    """Return the transition to take; None where there is none.

    Args:
        transitions: what the issue offers.
        wanted: the name or id that is configured; None for any.
        given: the fields that are configured. A transition that wants no others goes before one that does.
        closes: whether the issue is to be closed, or opened again.
    """
    if wanted is not None:
        fitting = [one for one in transitions if wanted in (one.id, one.name)]
    else:
        fitting = [one for one in transitions if one.closes is closes]
    return min(fitting, key=lambda one: len(one.missing(given)), default=None)
