"""Deliveries: what was planned for each channel, what is not through and why, and what people do about that."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import parse_qsl, urlencode

from notifier import people
from notifier.core.delivery import with_reply
from notifier.core.delivery_lists import (
    COUNTED_ENDED,
    COUNTED_NOT_THROUGH,
    ENDED,
    NOT_THROUGH,
    ChannelCounts,
    DeliveryCursor,
    DeliveryListing,
    Latencies,
    ListedDelivery,
    ListedState,
    PlannedPairs,
)
from notifier.core.health import FindingKind, judge_channel
from notifier.core.health_facts import Backlog, Expected, HealthFacts, known_channels, serves
from notifier.core.ids import SHORT_ID
from notifier.core.model import ChannelState, Event
from notifier.core.row_counts import RowCount
from notifier.web.catalogues import translations
from notifier.web.ports import WebReads, WebTx
from notifier.web.requests import ActionRoute, Page, PageRequest, PageRoute, Redirect
from notifier.wording.links import task_path
from notifier.wording.marks import without_marks

COUNTED_WINDOW = timedelta(days=7)
"""How far back what is over is counted."""
LISTED_MESSAGES = 25
MAX_SEARCH = 200
"""Maximum length of a search, in characters."""
MAX_REASON = 200
"""Maximum length of why somebody dismissed messages, in characters."""
KEPT_PARAMETERS = ("state", "channel", "rule", "q", "days")
"""The parameters that a list keeps while it is paged, and after an action."""
ROWS = (
    *(ListedState.PARKED, ListedState.DEAD, ListedState.PENDING, ListedState.HELD, ListedState.DELIVERED),
    *(ListedState.SUPPRESSED, ListedState.SUPERSEDED, ListedState.DISMISSED),
)
"""The states in the order of columns: what needs somebody first."""
COLUMNS = (ListedState.PARKED, ListedState.DEAD, ListedState.PENDING, *ENDED)
"""States that have a column even where nothing is in them."""
CHIPS = (ListedState.PARKED, ListedState.DEAD, ListedState.DELIVERED)
"""States that have a chip even where nothing is in them."""


# ---- what the page shows ----


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelTrouble:
    """Why a channel does not deliver, and what to do."""

    channel: str
    kind: str
    """`parked`, `failing`, `waiting` or `removed`."""
    since: datetime | None
    reason: str
    next_try: datetime | None
    """When it is tried by itself; None where it is not, or at any time."""
    waiting: RowCount


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelDeliveries:
    """One channel of the matrix."""

    name: str
    state: str
    """As the components name it: `delivers`, `parked`, `failing`, `retrying`, `idle`, `disabled`."""
    bad: bool
    counts: tuple[tuple[ListedState, RowCount], ...]
    latencies: Latencies | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageRow:
    """One delivery of the list."""

    delivery: ListedDelivery
    title: str
    """What happened, in the reader's language."""
    about: str
    """Instance, source or channel that it happened to."""
    task: str | None
    """Path of its task."""
    why: str
    """The reason of its state, in the reader's language, with what the receiver replied while it is not through."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveriesView:
    """What the page shows."""

    pairs: PlannedPairs
    troubles: tuple[ChannelTrouble, ...]
    channels: tuple[ChannelDeliveries, ...]
    columns: tuple[ListedState, ...]
    chips: tuple[tuple[ListedState, RowCount], ...]
    waiting: RowCount
    """What is not through, on the channel that the list is of, or on all."""
    dead: RowCount
    states: tuple[ListedState, ...]
    channel: str
    """Name of the channel that the list is of; empty for all."""
    rule: str
    text: str
    recent: bool
    """Whether only what was planned in the window is listed."""
    rows: tuple[MessageRow, ...]
    after: str
    """Where the next page begins; empty where there is none."""
    paged: bool
    """Whether this is not the first page."""
    cut: bool
    wrong: str = ""
    """Why what was asked for was refused."""
    reason: str = ""
    """What was typed as the reason of a dismissal that was refused."""
    ticked: tuple[str, ...] = ()

    @property
    def is_default(self) -> bool:
        """Whether the list is of what is not through."""
        return self.states == NOT_THROUGH and not self.rule

    @property
    def can_tick(self) -> bool:
        """Whether the list has rows that somebody can send again or dismiss."""
        return any(row.delivery.state is ListedState.DEAD for row in self.rows)


def listing_of(request: PageRequest, now: datetime) -> DeliveryListing:
    """Return the list that an address asks for. What makes no sense in it counts as not given."""
    named = request.query.get("state", "").split(",")
    states = tuple(state for state in ROWS if state.value in named)
    if not states:
        states = (ListedState.HELD, ListedState.SUPPRESSED) if request.query.get("rule") else NOT_THROUGH
    return DeliveryListing(
        states=states,
        channel=request.query.get("channel") or None,
        rule=request.query.get("rule") or None,
        text=request.query.get("q", "").strip()[:MAX_SEARCH],
        since=now - COUNTED_WINDOW if request.query.get("days") == str(COUNTED_WINDOW.days) else None,
        after=DeliveryCursor.parse(request.query.get("after", "")),
        limit=LISTED_MESSAGES,
    )


def read_deliveries(request: PageRequest, q: WebReads) -> Page:
    """Return the page."""
    return Page(template="deliveries.html", view=_view(request, q, listing_of(request, q.now())))


def _view(
    request: PageRequest,
    q: WebReads,
    wanted: DeliveryListing,
    *,
    wrong: str = "",
    reason: str = "",
    ticked: tuple[str, ...] = (),
) -> DeliveriesView:
    expected, now = request.rules.expected, q.now()
    counted = {one.channel: one for one in q.delivery_list.counts(now - COUNTED_WINDOW, set(expected.channels))}
    states = {one.name: one for one in q.channels()}
    backlogs = [_backlog(q, one) for one in counted.values()]
    known = known_channels(expected, HealthFacts(at=now, channels=list(states.values()), backlogs=backlogs))
    listed = q.delivery_list.page(wanted)
    shown = [one for name, one in counted.items() if wanted.channel in (None, name)]
    total = {state: _total(shown, state) for state in ROWS}
    return DeliveriesView(
        pairs=q.delivery_list.planned_pairs(now - COUNTED_WINDOW),
        troubles=tuple(trouble for pair in known for trouble in troubles_of(pair, expected, now)),
        channels=tuple(_channel_row(*pair, counted, expected, now) for pair in known),
        columns=tuple(one for one in ROWS if one in COLUMNS or any(_total(counted.values(), one))),
        chips=tuple((one, total[one]) for one in ROWS if _has_chip(one, total[one], wanted)),
        waiting=_sum([total[state] for state in NOT_THROUGH]),
        dead=total[ListedState.DEAD],
        states=wanted.states,
        channel=wanted.channel or "",
        rule=wanted.rule or "",
        text=wanted.text,
        recent=wanted.since is not None,
        rows=tuple(_rows(request, listed.rows)),
        after=str(listed.after) if listed.after else "",
        paged=wanted.after is not None,
        cut=listed.cut,
        wrong=wrong,
        reason=reason,
        ticked=ticked,
    )


def _has_chip(state: ListedState, total: RowCount, wanted: DeliveryListing) -> bool:
    """Return whether a list leads to those in a state: to what waits and is somewhere, and to what it shows."""
    waits = state.waits or state is ListedState.DISMISSED
    return state in CHIPS or state in wanted.states or (waits and total.number > 0)


def _backlog(q: WebReads, one: ChannelCounts) -> Backlog:
    """Return what waits on a channel, as far as health asks for it."""
    pending = one.counts[ListedState.PENDING]
    oldest = DeliveryListing(states=(ListedState.PENDING,), channel=one.channel, limit=1)
    rows = q.delivery_list.page(oldest).rows if pending else ()
    return Backlog(
        channel=one.channel,
        pending=pending,
        pending_since=min((row.retried_at or row.created_at for row in rows), default=None),
        parked=one.counts[ListedState.PARKED],
        dead=one.counts[ListedState.DEAD],
        reason=next((row.reason for row in rows), None),
    )


_KINDS: Mapping[FindingKind, str] = {
    FindingKind.CHANNEL_PARKED: "parked",
    FindingKind.CHANNEL_FAILING: "failing",
    FindingKind.CHANNEL_WAITING: "waiting",
    FindingKind.CHANNEL_REMOVED: "removed",
}


def troubles_of(pair: tuple[ChannelState, Backlog], expected: Expected, now: datetime) -> Iterator[ChannelTrouble]:
    """Yield what keeps a channel from delivering; what health says of its dead deliveries is in the list."""
    state, backlog = pair
    for finding in judge_channel(pair, expected, now):
        if kind := _KINDS.get(finding.kind):
            next_try = state.probe_at if kind == "parked" else state.health.open_until
            yield ChannelTrouble(
                channel=state.name,
                kind=kind,
                since=finding.since,
                reason=finding.reason or "",
                next_try=next_try if kind in ("parked", "failing") and next_try and next_try > now else None,
                waiting=RowCount.of(backlog.waiting, COUNTED_NOT_THROUGH),
            )


def channel_state(state: ChannelState, expected: Expected, *, failing: bool, used: bool) -> str:
    """Return the state of a channel as the components name it."""
    if not serves(expected, state.name):
        return "disabled"
    if state.parked_since:
        return "parked"
    if failing:
        return "failing"
    if state.health.failing_since:
        return "retrying"
    return "delivers" if used or state.health.good_at else "idle"


def _channel_row(
    state: ChannelState, backlog: Backlog, counted: Mapping[str, ChannelCounts], expected: Expected, now: datetime
) -> ChannelDeliveries:
    found = counted.get(state.name) or ChannelCounts(channel=state.name)
    troubles = list(troubles_of((state, backlog), expected, now))
    return ChannelDeliveries(
        name=state.name,
        state=channel_state(
            state,
            expected,
            failing=any(one.kind in ("failing", "waiting") for one in troubles),
            used=bool(found.counts.get(ListedState.DELIVERED)),
        ),
        bad=bool(troubles),
        counts=tuple((one, _total([found], one)) for one in ROWS),
        latencies=found.latencies,
    )


def _total(found: Iterable[ChannelCounts], state: ListedState) -> RowCount:
    limit = COUNTED_ENDED if state in ENDED else COUNTED_NOT_THROUGH
    return _sum([RowCount.of(one.counts.get(state, 0), limit) for one in found])


def _sum(counts: Sequence[RowCount]) -> RowCount:
    return RowCount(sum(one.number for one in counts), any(one.more for one in counts))


def _rows(request: PageRequest, found: Iterable[ListedDelivery]) -> Iterator[MessageRow]:
    formatter = request.formatter
    for one in found:
        event, task = one.event, one.event.task
        # What was never tried waits for its channel alone, whose reason is above the list.
        untried = one.state is ListedState.PARKED and not one.attempt
        reason = "" if untried else with_reply(one.reason, one.reply if one.state.waits else None)
        yield MessageRow(
            delivery=one,
            title=without_marks(formatter.describe(event).clause),
            about=about(event),
            task=task_path(task.source, task.job_id) if task else None,
            why=request.localizer.reason(reason) if reason else "",
        )


def about(event: Event) -> str:
    """Return what an event happened to: an instance, a source or a channel."""
    task = event.task
    return (task and (task.instance_name or task.instance_id)) or event.source or event.channel


# ---- what people do ----


def retry_messages(request: PageRequest, tx: WebTx) -> Redirect:
    """Send dead messages again: one, the ticked ones, or all of the channel that the list is of."""
    words = translations(request.language)
    if request.field("all"):
        count = people.retry_dead(tx, request.field("channel") or None, request.viewer.person)
    else:
        ids = _dead_ones(tx, _chosen(request))
        count = people.retry(tx, ids, _named(ids), request.viewer.person) if ids else 0
    if not count:
        return Redirect(
            to=_back(request), notice=words.gettext("Nothing was sent again: choose messages that are dead.")
        )
    sent = words.ngettext("%(n)s message is sent again.", "%(n)s messages are sent again.", count)
    return Redirect(to=_back(request), notice=sent % {"n": count})


def dismiss_messages(request: PageRequest, tx: WebTx) -> Redirect | Page:
    """Accept that dead messages will not arrive. It takes a reason, which is recorded."""
    words = translations(request.language)
    reason, ids = request.field("reason")[:MAX_REASON], _dead_ones(tx, _chosen(request))
    if not reason or not ids:
        wrong = words.gettext("Say why they need not arrive; others will read it.")
        if not ids:
            wrong = words.gettext("Tick the dead messages that need not arrive.")
        again = DeliveryListing(states=NOT_THROUGH, channel=request.field("channel") or None, limit=LISTED_MESSAGES)
        view = _view(request, tx.queries, again, wrong=wrong, reason=reason, ticked=tuple(ids))
        return Page(template="deliveries.html", view=view, status=422, poll=0)
    count = people.dismiss(tx, ids, _named(ids), request.viewer.person, why=reason)
    done = words.ngettext("%(n)s message is dismissed.", "%(n)s messages are dismissed.", count)
    return Redirect(to=_back(request), notice=done % {"n": count})


def try_channel(request: PageRequest, tx: WebTx) -> Redirect:
    """Send what is parked on a channel now, in order: the first message shows whether it works again."""
    words, channel = translations(request.language), request.field("channel")
    count = people.release_parked(tx, channel, request.viewer.person)
    if not count:
        return Redirect(
            to=_back(request), notice=words.gettext("Nothing is parked on %(channel)s.") % {"channel": channel}
        )
    sent = words.ngettext(
        "%(channel)s is tried now; %(n)s message waits for that.",
        "%(channel)s is tried now; %(n)s messages wait for that.",
        count,
    )
    return Redirect(to=_back(request), notice=sent % {"channel": channel, "n": count})


def _chosen(request: PageRequest) -> Sequence[str]:
    """Return the ids that a form names: that of the button that was pressed, else the ticked ones."""
    return [request.field("only")] if request.field("only") else list(request.form.get("id", ()))


def _dead_ones(tx: WebTx, ids: Sequence[str]) -> list[str]:
    """Return those that are dead: what is parked is not sent by hand, and what is on its way stays so."""
    states = tx.queries.delivery_list.states(ids)
    return [id_ for id_ in dict.fromkeys(ids) if states.get(id_) is ListedState.DEAD]


NAMED_DELIVERIES = 10
"""Number of deliveries that the record of an action names."""


def _named(ids: Sequence[str]) -> str:
    named = ", ".join(id_[:SHORT_ID] for id_ in ids[:NAMED_DELIVERIES])
    return named if len(ids) <= NAMED_DELIVERIES else f"{named}, …"


def _back(request: PageRequest) -> str:
    """Return the address of the list from which a form was sent."""
    kept = [(name, value) for name, value in parse_qsl(request.field("back")) if name in KEPT_PARAMETERS]
    return f"/deliveries?{urlencode(kept)}" if kept else "/deliveries"


routes = (
    PageRoute(path="/deliveries", read=read_deliveries, tab="deliveries"),
    ActionRoute(path="/deliveries/retry", act=retry_messages, tab="deliveries"),
    ActionRoute(path="/deliveries/dismiss", act=dismiss_messages, tab="deliveries"),
    ActionRoute(path="/deliveries/try", act=try_channel, tab="deliveries"),
)
