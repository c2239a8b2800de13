"""Links of messages to the page: where each leads, and that nothing from outside leaves its place in one."""

from dataclasses import replace
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from factories import make_event, make_task
from hypothesis import given
from hypothesis import strategies as st
from message_samples import LINKED, LOCALIZERS, PAGE_LINKS, T0, requests
from starlette.routing import Match, Route

from notifier.cli.samples import sample_event
from notifier.core.events import EventType
from notifier.core.model import Event, FollowUp
from notifier.wording.events import EventFormatter
from notifier.wording.links import NO_PAGE, URL_LIMIT, LinkTemplates, task_path
from notifier.wording.phrases import Language, phrases
from notifier.wording.summary import SummaryFormatter

PAGE = "https://notifier.example.com"


def test_a_task_has_the_place_of_the_event_on_its_page() -> None:
    event = make_event(make_task(source="prod", job_id="def160ec-c3ad"))
    link = PAGE_LINKS.page(event)
    assert (link.place, link.url) == ("task", f"{PAGE}/tasks/prod/def160ec-c3ad#e-{event.id[:8]}")


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        (EventType.CHANNEL_FAILING, "/deliveries?channel=sample"),
        (EventType.CHANNEL_GAVE_UP, "/deliveries?channel=sample"),
        (EventType.SOURCE_FAILING, "/"),
        (EventType.STORE_REPLACED, "/"),
        (EventType.MUTE_ENDED, "/mutes"),
        (EventType.ROTA_HANDED_OVER, "/reports"),
    ],
)
def test_an_event_without_a_task_leads_to_what_it_is_about(kind: EventType, path: str) -> None:
    assert PAGE_LINKS.page(sample_event(kind, T0)).url == PAGE + path


def test_a_report_leads_to_the_tasks_of_its_period() -> None:
    event = sample_event(EventType.REPORT_DUE, T0)
    assert event.report
    wanted = parse_qs(urlsplit(PAGE_LINKS.page(event).url).query)
    assert wanted == {
        "since": [f"{event.report.since:%Y-%m-%dT%H:%M:%SZ}"],
        "until": [f"{event.report.until:%Y-%m-%dT%H:%M:%SZ}"],
    }


def test_a_missing_run_is_named_by_the_event_that_opened_its_page() -> None:
    event = sample_event(EventType.TASK_MISSING, T0)
    follow_up = FollowUp(failure_id="f", type=event.type, event_id=event.id, failures=1, number=1)
    reminder = replace(event, id="another", type=EventType.TASK_REMINDED, follow_up=follow_up)
    assert PAGE_LINKS.page(event).url == PAGE_LINKS.page(reminder).url == f"{PAGE}/missing/{event.id}"


def test_without_an_address_there_are_no_links() -> None:
    for kind in EventType:
        assert LinkTemplates().page(sample_event(kind, T0)) == NO_PAGE
    assert LinkTemplates().storm_page("x") == LinkTemplates().digest_page([make_event(make_task())]) == NO_PAGE


def test_every_kind_of_event_has_a_page_with_a_label() -> None:
    for kind in EventType:
        for language in LOCALIZERS:
            message = LINKED[language].describe(sample_event(kind, T0))
            assert message.page.url.startswith(f"{PAGE}/")
            assert message.page_label == phrases(language)[f"page.{message.page.place}"]


# ---- digests and storms ----


def _query(events: list[Event]) -> dict[str, Any]:
    link = PAGE_LINKS.digest_page(events)
    assert link.url.startswith(f"{PAGE}/tasks?")
    return {name: value for name, (value,) in parse_qs(urlsplit(link.url).query).items()}


def test_a_digest_leads_to_the_tasks_since_its_first_event() -> None:
    failed = make_event(make_task(source="prod"), type=EventType.TASK_FAILED, observed_at=T0, occurred_at=None)
    later = replace(failed, id="later", observed_at=T0 + timedelta(minutes=2))
    completed = replace(later, type=EventType.TASK_COMPLETED, source="lab")
    assert _query([later, failed]) == {"status": "failed", "source": "prod", "since": "2026-01-15T08:30:00Z"}
    assert _query([later, completed]) == {"since": "2026-01-15T08:32:00Z"}


def test_reminders_lead_to_what_is_open() -> None:
    follow_up = FollowUp(failure_id="f", type=EventType.TASK_FAILED, event_id="e", failures=1, number=1)
    assert _query([make_event(make_task(), type=EventType.TASK_REMINDED, follow_up=follow_up)]) == {"open": "1"}


def test_a_digest_without_tasks_leads_to_the_page_that_all_share() -> None:
    channels = [replace(sample_event(EventType.CHANNEL_FAILING, T0), channel=name) for name in ("a", "b")]
    missing = sample_event(EventType.TASK_MISSING, T0)
    source = sample_event(EventType.SOURCE_FAILING, T0)
    assert PAGE_LINKS.digest_page(channels).url == f"{PAGE}/deliveries"
    assert PAGE_LINKS.digest_page([missing, replace(missing, id="other")]).url == f"{PAGE}/tasks?open=1"
    assert PAGE_LINKS.digest_page([*channels, source]).url == f"{PAGE}/"
    assert PAGE_LINKS.digest_page([source, source]).url == f"{PAGE}/"


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_storm_leads_to_its_tasks(language: Language) -> None:
    stormy = [request for _, request in requests(language) if request.storm]
    for request in stormy:
        assert request.storm
        summary = SummaryFormatter(LINKED[language]).describe(request)
        assert summary.page.url == f"{PAGE}/tasks?storm={request.storm.id}"
        assert summary.page_label
    assert stormy


def test_a_summary_without_an_address_has_no_page() -> None:
    summaries = SummaryFormatter(EventFormatter(LOCALIZERS["en"]))
    for _, request in requests("en"):
        if request.digest:
            assert summaries.describe(request).page == NO_PAGE


# ---- text from outside ----


@given(st.text(max_size=3_000))
def test_no_job_leaves_its_place_in_the_path(job_id: str) -> None:
    task = make_task(source="prod", job_id=job_id.encode("utf-8", "replace").decode())
    url = PAGE_LINKS.page(make_event(task)).url
    assert len(url) <= URL_LIMIT
    assert not set(url) & set("<>|\n {}\"'")
    assert url == "" or url.startswith(f"{PAGE}/tasks")


@given(st.text(min_size=1, max_size=60))
def test_a_path_leads_back_to_its_task(job_id: str) -> None:
    """A browser would resolve dots, and a server decodes the path before it looks for a route."""
    known = job_id.encode("utf-8", "replace").decode()
    path, _, query = task_path("prod", known).partition("?")
    if known in {".", ".."}:
        assert parse_qs(query) == {"source": ["prod"], "q": [known]}
        return
    match, found = Route("/tasks/{source}/{job_id:path}", lambda _: None).matches(
        {"type": "http", "method": "GET", "path": unquote(path), "headers": []}
    )
    assert match is Match.FULL
    assert found["path_params"] == {"source": "prod", "job_id": known}
