"""Each type of event has its traits, its look and its phrases, and nothing else keeps a table of types."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from factories import T0

from notifier.cli.samples import sample_event
from notifier.core.diff import TYPES_BY_STATUS
from notifier.core.events import EditUrgency, EventType
from notifier.core.model import TaskStatus
from notifier.wording.events import EventFormatter
from notifier.wording.localizer import Localizer
from notifier.wording.phrases import Language
from notifier.wording.states import EVENT_ROWS, STATES, state_of_status

PACKAGE = Path(__file__).parent.parent.parent / "notifier"
TABLES = {PACKAGE / "core" / "events.py", PACKAGE / "wording" / "states.py"}
FEW = 2
"""Types that code may name together: a decision about three or more is a trait or a column of the table."""


def members(node: ast.AST) -> Sequence[str]:
    """Return the types of events that a literal, a comparison or a match names as keys or elements."""
    found: Sequence[ast.AST | None] = ()
    match node:
        case ast.Dict(keys=found) | ast.Set(elts=found) | ast.Tuple(elts=found) | ast.List(elts=found):
            pass
        case ast.MatchOr(patterns=patterns):
            found = [pattern.value for pattern in patterns if isinstance(pattern, ast.MatchValue)]
        case ast.Match(cases=cases):
            found = [case.pattern.value for case in cases if isinstance(case.pattern, ast.MatchValue)]
    return [kind for kind in map(type_named, found) if kind]


def type_named(node: ast.AST | None) -> str | None:
    match node:
        case ast.Attribute(value=ast.Name(id="EventType"), attr=name):
            return name
        case ast.Constant(value=str(text)) if text in [*EventType]:
            return text
    return None


def other_tables(source: str) -> Iterator[int]:
    for node in ast.walk(ast.parse(source)):
        if len(members(node)) > FEW:
            yield node.lineno  # type: ignore[attr-defined]  # every literal and every match has one


def test_nothing_else_keeps_a_table_of_types() -> None:
    places = [
        f"{path.relative_to(PACKAGE)}:{line}"
        for path in PACKAGE.rglob("*.py")
        if path not in TABLES
        for line in other_tables(path.read_text(encoding="utf-8"))
    ]
    assert places == []


@pytest.mark.parametrize(
    "source",
    [
        "x = {EventType.TASK_FAILED: 1, EventType.TASK_STALLED: 2, EventType.TASK_UNLISTED: 3}",
        "x = frozenset({EventType.TASK_FAILED, EventType.TASK_STALLED, EventType.TASK_UNLISTED})",
        "x = kind in ('task.failed', 'task.stalled', 'task.unlisted')",
        "match kind:\n case EventType.TASK_FAILED | EventType.TASK_STALLED | EventType.SOURCE_GAP: ...",
        "match kind:\n case 'task.failed': ...\n case 'task.stalled': ...\n case 'source.gap': ...",
    ],
)
def test_a_table_elsewhere_is_found(source: str) -> None:
    assert list(other_tables(source))


def test_every_type_has_traits() -> None:
    assert all(kind.traits for kind in EventType)


def test_every_type_has_a_row() -> None:
    assert set(EVENT_ROWS) == set(EventType)


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("kind", EventType)
def test_every_type_has_its_phrases(kind: EventType, language: Language) -> None:
    formatter = EventFormatter(Localizer(language=language, timezone=ZoneInfo("UTC")))
    event = sample_event(kind, T0)
    assert formatter.describe(event).sentence
    assert formatter.counts([event])
    assert formatter.localizer.text(f"verb.{EVENT_ROWS[kind].state.name}")


@pytest.mark.parametrize("kind", EventType)
def test_an_event_has_a_status_if_it_has_a_task(kind: EventType) -> None:
    assert kind.about_task == (EVENT_ROWS[kind].state.status is not None)
    assert kind.about_task == (sample_event(kind, T0).task is not None)


def test_what_needs_care_is_shown_first() -> None:
    care = {kind for kind in EventType if kind.traits.needs_care}
    assert care == {kind for kind in EventType if kind.traits.urgency is EditUrgency.FAILURE}


def test_bad_news_is_an_alert() -> None:
    assert all(kind.traits.alert for kind in EventType if kind.traits.bad_news)


def test_every_state_has_a_name_and_a_glyph_of_its_own() -> None:
    assert len({state.name for state in STATES}) == len({state.glyph for state in STATES}) == len(STATES)


@pytest.mark.parametrize("status", TaskStatus)
def test_a_status_of_a_task_has_a_state(status: TaskStatus) -> None:
    assert state_of_status(status).status is status
    assert TYPES_BY_STATUS[status].about_task
