"""One delivery: what became of it and why, each try, and the message as it is stored."""

from dataclasses import dataclass
from datetime import datetime

from notifier.core.delivery import Attempt, Delivery, DeliveryState, Recipient, is_held
from notifier.core.delivery_lists import ListedState
from notifier.core.tickets import operation_of
from notifier.ports import DeliveryFilter
from notifier.web.catalogues import translations
from notifier.web.pages.deliveries import about
from notifier.web.ports import WebReads
from notifier.web.requests import Page, PageMissing, PageRequest, PageRoute
from notifier.web.stored_bodies import ShownBody, shown_body
from notifier.wording.links import task_path
from notifier.wording.marks import without_marks
from notifier.wording.sanitize import one_line

MAX_LISTED_EVENTS = 20
"""Number of the events of a digest that its page lists."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedEvent:
    """One event of a delivery."""

    title: str
    about: str
    task: str | None
    """Path of its task."""
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryView:
    """What the page of one delivery shows."""

    id: str
    state: ListedState
    channel: str
    title: str
    events: tuple[ListedEvent, ...]
    number_of_events: int
    routes: tuple[str, ...]
    rule: str
    reason: str
    created_at: datetime
    available_at: datetime
    settled_at: datetime | None
    dismissed_at: datetime | None
    ref: str
    url: str
    """Where the message, or its ticket, can be read; empty where nobody said."""
    attempts: tuple[Attempt, ...]
    recipients: tuple[Recipient, ...]
    may_have_arrived: bool
    body: ShownBody | None


def read_delivery(request: PageRequest, q: WebReads) -> Page:
    """Return the page of one delivery."""
    wanted = request.places["id"]
    found = q.deliveries(DeliveryFilter(id=wanted, limit=2)) if wanted else ()
    exact = [one for one in found if one.id == wanted] or found
    if len(exact) != 1:
        words = translations(request.language)
        raise PageMissing(words.gettext("No delivery has the id %(id)s.") % {"id": one_line(wanted)})
    return Page(template="delivery.html", view=_delivery_view(request, q, exact[0]))


def _delivery_view(request: PageRequest, q: WebReads, one: Delivery) -> DeliveryView:
    formatter = request.formatter
    listed = [
        ListedEvent(
            title=without_marks(formatter.describe(event).clause),
            about=about(event),
            task=task_path(event.task.source, event.task.job_id) if event.task else None,
            at=event.observed_at,
        )
        for event in one.events[:MAX_LISTED_EVENTS]
    ]
    return DeliveryView(
        id=one.id,
        state=listed_state(one),
        channel=one.channel,
        title=listed[0].title,
        events=tuple(listed),
        number_of_events=len(one.events),
        routes=one.routing.routes,
        rule=one.rule or "",
        reason=one.reason or "",
        created_at=one.created_at,
        available_at=one.available_at,
        settled_at=one.settled_at,
        dismissed_at=one.dismissed_at,
        ref=one.ref or "",
        url=_url_of(q, one),
        attempts=tuple(q.attempts(one.id)),
        recipients=one.recipients,
        may_have_arrived=one.outcome_unknown and one.state is not DeliveryState.DELIVERED,
        body=shown_body(one.body) if one.body else None,
    )


def listed_state(one: Delivery) -> ListedState:
    """Return the state by which lists have a delivery."""
    if one.state is DeliveryState.DEAD and one.dismissed_at is not None:
        return ListedState.DISMISSED
    return ListedState.HELD if is_held(one) else ListedState(one.state)


def _url_of(q: WebReads, one: Delivery) -> str:
    """Return where people can read what a receiver made of a delivery."""
    ref = one.ref or ""
    if ref.startswith(("https://", "http://")):
        return ref
    operation = operation_of(one.events[0])
    kept = q.tickets(operation) if ref and operation else ()
    urls = (ticket.url or "" for ticket in kept if ticket.channel == one.channel and ref in (ticket.ref, ticket.label))
    return next((url for url in urls if url.startswith(("https://", "http://"))), "")


routes = (PageRoute(path="/deliveries/{id}", read=read_delivery, tab="deliveries"),)
