"""What `/metrics` shows, of the database and of the process."""

from __future__ import annotations

import asyncio
import gzip
import shutil
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from ipaddress import ip_network
from typing import Any, TypeVar

import httpx
import pytest
from factories import T0, make_delivery, make_event, make_task
from fakes import FakeClock
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route
from web_site import FixedAccess

from notifier.access import create_token
from notifier.chat.observed import ObservedResponder, command_name
from notifier.chat.requests import Button, ButtonAction, ChatReply, CommandRequest
from notifier.core.access import ApiToken, TokenScope, digest_of, format_token
from notifier.core.credentials import BURST, Credential, CredentialState, calls_left
from notifier.core.delivery import Attempt, Delivered, GaveUp, Outcome, Parked, Retry, Skipped, Unknown
from notifier.core.errors import (
    CredentialsRejected,
    CredentialsUnreachable,
    NotifierError,
    SourceError,
    SourceThrottled,
    StoreUnreachable,
)
from notifier.core.events import EventType
from notifier.core.health import FindingKind
from notifier.core.health_facts import Backlog, ConfiguredSource, Expected, HealthFacts, Replica, Role
from notifier.core.model import ChannelState, Scope, SourceState, TaskStatus
from notifier.core.outbox import settle
from notifier.core.pacing import ChannelHealth
from notifier.core.people import Person
from notifier.core.routing import DeliveryRouting, HeldEvents
from notifier.deliver import DeliveryReport
from notifier.poll import PollReport
from notifier.store.engine import SqlStore
from notifier.store.revision import HEAD
from notifier.telemetry.lag import LAG_INTERVAL, measure_lag
from notifier.telemetry.outcomes import POLL_OUTCOMES, poll_outcome
from notifier.telemetry.ports import SILENT, NoMeters, Telemetry
from notifier.telemetry.prometheus import DIRECT, METRIC_PREFIX, OTHER, PrometheusMeters
from notifier.web.access.gate import SiteAccess
from notifier.web.access.rules import AccessRules
from notifier.web.access.viewer import LOCAL_VIEWER, Access, AccessRole, Viewer
from notifier.web.metrics import (
    METRICS,
    TOKEN_LASTS,
    MetricFacts,
    MetricRules,
    MetricsEndpoint,
    MetricsGate,
    database_metrics,
    process_metrics,
)
from notifier.web.observed import UNMATCHED, Observed
from notifier.web.security import KnownNames

T = TypeVar("T")
MINUTE = timedelta(minutes=1)
PROD = ConfiguredSource(name="prod", region="cn-north-4", project_id="p", poll_every=MINUTE)
EXPECTED = Expected(sources=[PROD], channels=["dba", "mail"])
CREDENTIAL = Credential(key="k", calls_per_minute=20)
RULES = MetricRules(version="1.0.0", revision=HEAD, expected=EXPECTED, credentials={"prod": CREDENTIAL})
ANYBODY = FixedAccess(LOCAL_VIEWER)


def make_meters() -> PrometheusMeters:
    return PrometheusMeters(sources=["prod"], channels=["dba", "mail"])


Values = Mapping[tuple[str, frozenset[tuple[str, str]]], float]


def values_of(families: Iterable[Any]) -> Values:
    return {
        (sample.name.removeprefix(f"{METRIC_PREFIX}_"), frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


def value(values: Values, name: str, **labels: str) -> float:
    return values[name, frozenset(labels.items())]


def gauges(**facts: Any) -> Values:
    figures = {name: facts.pop(name) for name in list(facts) if name in MetricFacts.__dataclass_fields__}
    known = MetricFacts(health=HealthFacts(**{"at": T0} | facts), revision=HEAD, **figures)
    return values_of([*process_metrics(RULES, database_up=True), *database_metrics(known, RULES)])


def counted(meters: PrometheusMeters) -> Values:
    return values_of(meters.registry.collect())


# ---- gauges of what the database says ----


def test_a_source_that_was_never_polled_has_no_time_and_is_no_good() -> None:
    found = gauges()
    assert value(found, "source_healthy", source="prod") == 0
    assert ("source_last_poll_timestamp_seconds", frozenset({("source", "prod")})) not in found
    assert value(found, "findings", kind="source.not_polled") == 1
    assert value(found, "healthy") == 0


def test_a_source_shows_when_it_was_polled_and_what_is_wrong_with_it() -> None:
    state = SourceState(
        name="prod", last_poll_at=T0, last_full_at=T0 - timedelta(days=1), failures=3, refused_rows=2, clock_skew=-1.5
    )
    found = gauges(sources=[state])
    assert value(found, "source_last_poll_timestamp_seconds", source="prod") == T0.timestamp()
    assert value(found, "source_last_complete_poll_timestamp_seconds", source="prod") == T0.timestamp() - 86_400
    assert value(found, "source_consecutive_errors", source="prod") == 3
    assert value(found, "source_incomplete", source="prod") == 1
    assert value(found, "source_refused_rows", source="prod") == 2
    assert value(found, "source_clock_skew_seconds", source="prod") == -1.5


def test_the_calls_that_are_left_are_those_of_the_credential() -> None:
    def left(state: CredentialState | None) -> float | None:
        found = gauges(credentials={"k": state} if state else {})
        return found.get(("source_api_calls_left", frozenset({("source", "prod")})))

    assert left(None) is None
    assert left(CredentialState()) == BURST
    assert left(CredentialState(rate_at=T0 + MINUTE)) == BURST - 20
    assert left(CredentialState(rate_at=T0 + timedelta(minutes=5))) == 0
    assert left(CredentialState(paused_until=T0 + MINUTE)) == 0
    assert calls_left(CredentialState(paused_until=T0), CREDENTIAL, T0) == BURST


@pytest.mark.parametrize(
    ("state", "shown"),
    [
        (ChannelState(name="dba"), "working"),
        (ChannelState(name="dba", health=ChannelHealth(paused_until=T0 + MINUTE)), "paused"),
        (ChannelState(name="dba", health=ChannelHealth(failing_since=T0)), "failing"),
        (ChannelState(name="dba", health=ChannelHealth(failing_since=T0, open_until=T0 + MINUTE)), "breaker_open"),
        (ChannelState(name="dba", parked_since=T0, health=ChannelHealth(open_until=T0 + MINUTE)), "parked"),
    ],
)
def test_a_channel_is_in_exactly_one_state(state: ChannelState, shown: str) -> None:
    found = gauges(channels=[state])
    of_dba = {dict(labels)["state"]: number for (name, labels), number in found.items() if name == "channel_state"
              and ("channel", "dba") in labels}  # fmt: skip
    assert {one for one, number in of_dba.items() if number} == {shown}
    assert len(of_dba) == 5


def test_the_backlog_of_a_channel_is_shown_with_the_age_of_its_oldest() -> None:
    backlog = Backlog(channel="dba", pending=3, pending_since=T0 - 2 * MINUTE, parked=1, dead=2)
    found = gauges(backlogs=[backlog], held={"dba": 2})
    shown = [value(found, "channel_backlog", channel="dba", state=one) for one in ("pending", "parked", "dead")]
    assert shown == [3, 1, 2]
    assert value(found, "channel_oldest_pending_age_seconds", channel="dba") == 120
    assert value(found, "channel_held", channel="dba") == 2
    assert value(found, "channel_oldest_pending_age_seconds", channel="mail") == 0
    assert value(found, "channel_healthy", channel="dba") == 0
    assert value(found, "channel_healthy", channel="mail") == 1


def test_channels_that_are_not_configured_are_shown_together() -> None:
    backlogs = [Backlog(channel=name, pending=1, pending_since=T0) for name in ("dm:U1", "dm:U2", "old", "older")]
    found = gauges(backlogs=backlogs)
    assert value(found, "channel_backlog", channel=DIRECT, state="pending") == 2
    assert value(found, "channel_backlog", channel=OTHER, state="pending") == 2
    channels = {dict(labels)["channel"] for name, labels in found if name == "channel_backlog"}
    assert channels == {"dba", "mail", DIRECT, OTHER}


def test_tasks_of_sources_that_are_not_configured_are_shown_together() -> None:
    found = gauges(tasks={("prod", "failed"): 2, ("old", "failed"): 3, ("older", "failed"): 4})
    assert value(found, "tasks", source="prod", status="failed") == 2
    assert value(found, "tasks", source="prod", status="running") == 0
    assert value(found, "tasks", source=OTHER, status="failed") == 7
    statuses = {dict(labels)["status"] for name, labels in found if name == "tasks"}
    assert statuses == set(TaskStatus)


def test_open_failures_are_shown_by_severity() -> None:
    found = gauges(open_failures={("critical", False): 2, ("warning", True): 1, (None, False): 9})
    assert value(found, "open_failures", severity="critical", acknowledged="false") == 2
    assert value(found, "open_failures", severity="warning", acknowledged="true") == 1
    assert value(found, "open_failures", severity=OTHER, acknowledged="false") == 9
    assert value(found, "open_failures", severity="info", acknowledged="false") == 0


def test_processes_are_counted_by_role_while_they_run() -> None:
    def replica(owner: str, *roles: Role, ago: timedelta) -> Replica:
        return Replica(owner=owner, roles=roles, started_at=T0 - MINUTE, seen_at=T0 - ago)

    some = [
        replica("a", Role.POLL, Role.DELIVER, ago=timedelta()),
        replica("b", Role.POLL, ago=timedelta()),
        replica("c", Role.WEB, ago=timedelta(hours=1)),
        replace(replica("d", Role.WEB, ago=timedelta()), stopped_at=T0),
    ]
    found = gauges(replicas=some)
    assert [value(found, "replicas", role=role) for role in Role] == [2, 1, 0]


def test_every_kind_of_finding_is_shown_though_there_is_none() -> None:
    kinds = {dict(labels)["kind"] for name, labels in gauges() if name == "findings"}
    assert kinds == set(FindingKind) - {FindingKind.DATABASE}


# ---- counters of the process ----


class Unheard(SourceError):
    """An error of no known kind."""


@pytest.mark.parametrize(
    ("report", "outcome"),
    [
        (PollReport(source="prod", polled=True, complete=True), "complete"),
        (PollReport(source="prod", polled=True), "incomplete"),
        (PollReport(source="prod", polled=True, scope=Scope.ACTIVE), "active"),
        (PollReport(source="prod", polled=True, fenced=True), "fenced"),
        (PollReport(source="prod", polled=True, error=SourceThrottled()), "throttled"),
        (PollReport(source="prod", polled=True, error=CredentialsUnreachable()), "unreachable"),
        (PollReport(source="prod", polled=True, error=CredentialsRejected()), "credentials_rejected"),
        (PollReport(source="prod", polled=True, error=Unheard()), "failed"),
    ],
)
def test_polls_are_counted_by_how_they_ended(report: PollReport, outcome: str) -> None:
    meters = make_meters()
    meters.polled(report, 0.2)
    assert poll_outcome(report) == outcome
    assert outcome in POLL_OUTCOMES
    assert value(counted(meters), "polls_total", source="prod", outcome=outcome) == 1
    assert value(counted(meters), "poll_duration_seconds_count", scope=str(report.scope)) == 1


def test_a_poll_of_a_source_that_was_not_due_is_not_counted() -> None:
    meters = make_meters()
    meters.polled(PollReport(source="prod", polled=False), 0.2)
    assert value(counted(meters), "polls_total", source="prod", outcome="complete") == 0


def test_a_poll_that_was_not_recorded_is_counted() -> None:
    meters = make_meters()
    meters.poll_not_recorded("prod")
    assert value(counted(meters), "polls_total", source="prod", outcome="not_recorded") == 1


def test_events_are_counted_and_the_end_of_a_task_shows_how_late_it_was_seen() -> None:
    meters = make_meters()
    ended = make_event(make_task(), type=EventType.TASK_FAILED, occurred_at=T0, observed_at=T0 + timedelta(seconds=7))
    meters.detected([ended, make_event(make_task(), type=EventType.TASK_STARTED)])
    found = counted(meters)
    assert value(found, "events_total", type="task.failed") == 1
    assert value(found, "events_total", type="task.started") == 1
    assert value(found, "events_total", type="source.failing") == 0
    assert value(found, "detection_latency_seconds_count") == 1
    assert value(found, "detection_latency_seconds_sum") == 7


def report_of(outcome: Outcome, channel: str = "dba", **changes: Any) -> DeliveryReport:
    delivery = make_delivery(make_event(observed_at=T0), channel=channel, attempt=1, **changes)
    started, finished = T0 + timedelta(seconds=1), T0 + timedelta(seconds=3)
    ended = settle(delivery, outcome, started_at=started, finished_at=finished, schedule=(MINUTE, MINUTE), chance=0.5)
    return DeliveryReport(channel=channel, settled=((delivery, ended),))


@pytest.mark.parametrize(
    ("outcome", "attempt", "state"),
    [
        (Delivered(), "delivered", "delivered"),
        (Retry("503"), "retry", None),
        (GaveUp("400"), "gave-up", "dead"),
        (Parked("401"), "parked", "parked"),
        (Unknown("timeout"), "unknown", None),
        (Skipped("closed"), "skipped", "suppressed"),
    ],
)
def test_attempts_are_counted_by_channel_and_outcome(outcome: Outcome, attempt: str, state: str | None) -> None:
    meters = make_meters()
    meters.delivered(report_of(outcome))
    found = counted(meters)
    assert value(found, "delivery_attempts_total", channel="dba", outcome=attempt) == 1
    assert value(found, "delivery_attempt_duration_seconds_sum", channel="dba") == 2
    states = {dict(labels)["state"]: number for (name, labels), number in found.items() if name == "deliveries_total"}
    assert states == ({state: 1} if state else {})


def test_the_latency_of_a_notification_is_counted_from_its_event() -> None:
    meters = make_meters()
    meters.delivered(report_of(Delivered()))
    held = DeliveryRouting(held=HeldEvents(rule="budget", since=T0))
    meters.delivered(report_of(Delivered(), routing=held))  # it waited on purpose
    meters.delivered(report_of(Retry("503")))
    found = counted(meters)
    assert value(found, "notification_latency_seconds_count", channel="dba") == 1
    assert value(found, "notification_latency_seconds_sum", channel="dba") == 3


def test_people_are_no_labels() -> None:
    meters = make_meters()
    meters.delivered(report_of(Delivered(), channel="dm:U0123"))
    assert value(counted(meters), "delivery_attempts_total", channel=DIRECT, outcome="delivered") == 1
    assert "U0123" not in str(counted(meters))


def test_what_did_not_happen_yet_is_zero() -> None:
    found = counted(make_meters())
    assert value(found, "polls_total", source="prod", outcome="complete") == 0
    assert value(found, "delivery_attempts_total", channel="mail", outcome="unknown") == 0
    assert value(found, "store_errors_total", kind="write") == 0


async def test_transactions_are_counted_and_those_that_failed(store: SqlStore) -> None:
    meters = make_meters()
    store.meters = meters

    def fail(_: object) -> None:
        raise StoreUnreachable

    await store.read(lambda q: q.now())
    await store.transact(lambda tx: tx.now(), short=True)
    await store.transact(lambda tx: tx.now())
    for run in (store.read, store.transact):
        with pytest.raises(NotifierError):
            await run(fail)
    found = counted(meters)
    assert value(found, "store_transaction_duration_seconds_count", kind="read") == 2
    assert value(found, "store_transaction_duration_seconds_count", kind="write") == 3
    assert value(found, "store_errors_total", kind="read") == value(found, "store_errors_total", kind="write") == 1


async def test_the_lag_of_the_event_loop_is_what_a_sleep_lasts_too_long() -> None:
    meters = make_meters()
    late = iter([0.0, 0.3])

    class Slow(FakeClock):
        async def sleep(self, seconds: float) -> None:
            if (more := next(late, None)) is None:
                raise asyncio.CancelledError
            self.advance(timedelta(seconds=seconds + more))

    clock = Slow()
    with suppress(asyncio.CancelledError):
        await measure_lag(meters, clock)
    found = counted(meters)
    assert LAG_INTERVAL == 1.0
    assert value(found, "event_loop_lag_seconds_count") == 2
    assert value(found, "event_loop_lag_seconds_sum") == pytest.approx(0.3)


BOB = Person(id="U1", name="bob")


@pytest.mark.parametrize(
    ("text", "name"),
    [("failed", "failed"), ("open", "list_open"), ("rm -rf /", "mistake"), ("mute prod-orders 2h", "create_mute")],
)
def test_commands_are_counted_by_what_they_are_and_not_by_what_was_typed(text: str, name: str) -> None:
    assert command_name(CommandRequest(text=text, person=BOB)) == name


class Answering:
    async def answer(self, request: object, *_: object) -> ChatReply | None:
        if isinstance(request, CommandRequest) and request.text == "failed":
            raise RuntimeError
        return None


async def test_commands_of_chats_are_counted_with_those_that_failed() -> None:
    async def may() -> bool:
        return True

    meters = make_meters()
    responder = ObservedResponder(Answering(), Telemetry(meters=meters))
    assert await responder.answer(CommandRequest(text="open", person=BOB), "en", may) is None
    with pytest.raises(RuntimeError):
        await responder.answer(CommandRequest(text="failed", person=BOB), "en", may)
    found = counted(meters)
    assert value(found, "chat_command_duration_seconds_count", command="list_open") == 1
    assert value(found, "chat_errors_total", command="failed") == 1
    assert command_name.__doc__
    assert Button(ButtonAction.MUTE).action.name.lower() == "mute"


async def test_requests_are_counted_by_the_template_of_their_route() -> None:
    async def page(request: Request) -> Response:
        return Response(status_code=int(request.path_params["status"]))

    async def broken(_: Request) -> Response:
        raise RuntimeError

    meters = make_meters()
    routes = [
        Route("/tasks/{source}/{status}", page),
        Route("/broken", broken),
        Mount("/api/v1", Starlette(routes=[Route("/tasks/{status}", page)])),
        Mount("", Starlette(routes=[Route("/feeds/{status}", page)])),
    ]
    served = Observed(Starlette(routes=routes), Telemetry(meters=meters))
    transport = httpx.ASGITransport(served, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        for path in (
            "/tasks/prod/200",
            "/tasks/staging/200",
            "/api/v1/tasks/404",
            "/nonsense/1",
            "/feeds/304",
            "/broken",
        ):
            await client.get(path)
        await client.request("BREW", "/tasks/prod/200")
    found = counted(meters)
    asked = {
        (dict(labels)["method"], dict(labels)["route"], dict(labels)["status"]): number
        for (name, labels), number in found.items()
        if name == "http_requests_total"
    }
    assert asked == {
        ("GET", "/tasks/{source}/{status}", "200"): 2,
        ("GET", "/api/v1/tasks/{status}", "404"): 1,
        ("GET", UNMATCHED, "404"): 1,
        ("GET", "/feeds/{status}", "304"): 1,
        ("GET", "/broken", "500"): 1,
        ("other", UNMATCHED, "404"): 1,
    }


def test_requests_to_the_doorbell_are_counted_by_their_end() -> None:
    meters = make_meters()
    for outcome in ("rung", "rung", "unproven"):
        meters.rang("smn", outcome)
    name = f"{METRIC_PREFIX}_doorbell_requests_total"
    counted = {
        outcome: meters.registry.get_sample_value(name, {"caller": "smn", "outcome": outcome})
        for outcome in ("rung", "unproven", "expired")
    }
    assert counted == {"rung": 2.0, "unproven": 1.0, "expired": None}


def test_a_recipient_that_counts_nothing_takes_everything() -> None:
    attempt = Attempt("d", 1, T0, T0, "delivered")
    assert attempt.number == 1
    meters = NoMeters()
    meters.polled(PollReport(source="prod", polled=True), 1.0)
    meters.poll_not_recorded("prod")
    meters.api_called("prod", "accepted", 1.0)
    meters.detected([])
    meters.delivered(report_of(Delivered()))
    meters.transacted("read", 1.0, failed=False)
    meters.answered("open", "answered", 1.0)
    meters.served("GET", "/", 200, 1.0)
    meters.rang("token", "rung")
    meters.lagged(1.0)
    assert not SILENT.counts


# ---- the endpoint ----


class DeadStore:
    async def read(self, fn: Callable[[Any], T]) -> T:  # noqa: ARG002 - of the protocol
        raise StoreUnreachable("no answer from db.internal")

    async def transact(self, fn: Callable[[Any], T], *, short: bool = False) -> T:
        raise NotImplementedError


def client_of(
    store: SqlStore | DeadStore, access: Access = ANYBODY, open_to: Sequence[str] = (), clock: FakeClock | None = None
) -> httpx.AsyncClient:
    admit = MetricsGate(access, clock or FakeClock(), KnownNames(), [ip_network(one) for one in open_to])
    endpoint = MetricsEndpoint(store, FakeClock(), RULES, make_meters().registry, admit)
    transport = httpx.ASGITransport(Starlette(routes=endpoint.routes()), client=("10.1.2.3", 1234))
    return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1")


OPENMETRICS = {"Accept": "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"}


async def test_a_scrape_shows_the_database_and_the_process(store: SqlStore) -> None:
    async with client_of(store) as client:
        found = await client.get(METRICS)
        head = await client.head(METRICS)
    assert found.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    values = values_of(parse_text(found.text))
    assert value(values, "database_up") == 1
    assert value(values, "schema_info", revision=HEAD) == 1
    assert value(values, "polls_total", source="prod", outcome="complete") == 0
    assert (head.status_code, head.content) == (200, b"")


async def test_openmetrics_is_written_for_those_who_ask_for_it(store: SqlStore) -> None:
    async with client_of(store) as client:
        found = await client.get(METRICS, headers=OPENMETRICS)
    assert found.headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
    assert value(values_of(parse_openmetrics(found.text)), "database_up") == 1  # type: ignore[no-untyped-call]  # its library's


async def test_an_answer_is_compressed_for_those_who_read_that(store: SqlStore) -> None:
    async with client_of(store) as client, client.stream("GET", METRICS, headers={"Accept-Encoding": "gzip"}) as found:
        raw = b"".join([part async for part in found.aiter_raw()])
    assert found.headers["Content-Encoding"] == "gzip"
    assert len(raw) < len(gzip.decompress(raw)) / 4


async def test_without_a_database_the_counters_are_there_and_nothing_secret() -> None:
    async with client_of(DeadStore()) as client:
        found = await client.get(METRICS)
    values = values_of(parse_text(found.text))
    assert found.status_code == 200
    assert value(values, "database_up") == 0
    assert ("healthy", frozenset()) not in values
    assert value(values, "polls_total", source="prod", outcome="complete") == 0
    assert "db.internal" not in found.text


async def test_a_page_that_points_its_name_here_reads_nothing(store: SqlStore) -> None:
    async with client_of(store) as client:
        rebound = await client.get(METRICS, headers={"Host": "hostile.example"})
        own = await client.get(METRICS, headers={"Host": "localhost:8080"})
    assert (rebound.status_code, own.status_code) == (421, 200)
    assert METRIC_PREFIX not in rebound.text


class NobodyIsKnown:
    async def viewer(self, request: Request) -> Response:  # noqa: ARG002 - of the protocol
        return Response(status_code=303, headers={"Location": "/login"})


@pytest.mark.parametrize(
    ("access", "open_to", "status"),
    [
        (ANYBODY, (), 200),
        (NobodyIsKnown(), (), 401),
        (NobodyIsKnown(), ("10.0.0.0/8",), 200),
        (NobodyIsKnown(), ("192.168.0.0/16", "fd00::/8"), 401),
        (NobodyIsKnown(), ("10.1.2.3/32",), 200),
    ],
)
async def test_metrics_are_for_those_who_may_read_them(
    store: SqlStore, access: Access, open_to: Sequence[str], status: int
) -> None:
    async with client_of(store, access, open_to) as client:
        found = await client.get(METRICS)
    assert found.status_code == status
    if status == 401:
        assert found.headers["WWW-Authenticate"] == "Bearer"
        assert METRIC_PREFIX not in found.text


TOKEN = ApiToken(
    id="t1",
    digest="",
    name="prometheus",
    scopes=frozenset({TokenScope.METRICS}),
    by="cli:bob",
    by_name="bob",
    created_at=T0,
)


@pytest.mark.parametrize(
    ("scopes", "status"),
    [({TokenScope.METRICS}, 200), ({TokenScope.READ}, 200), ({TokenScope.METRICS, TokenScope.ACT}, 200)],
)
async def test_a_token_reads_metrics_where_people_sign_in(
    store: SqlStore, scopes: set[TokenScope], status: int
) -> None:
    secret, other = format_token(b"a" * 32), format_token(b"b" * 32)
    made = replace(TOKEN, digest=digest_of(secret), scopes=frozenset(scopes))
    await store.transact(lambda tx: create_token(tx, made, BOB))
    access = SiteAccess(AccessRules(password="obviously-fake"), store, lambda *_: Response(status_code=403))
    async with client_of(store, access) as client:
        nobody = await client.get(METRICS)
        wrong = await client.get(METRICS, headers={"Authorization": f"Bearer {other}"})
        known = await client.get(METRICS, headers={"Authorization": f"Bearer {secret}"})
    assert (nobody.status_code, wrong.status_code, known.status_code) == (401, 401, status)


class ForgetfulAccess:
    """Knows one token while its database answers."""

    def __init__(self) -> None:
        self.answers = True

    async def viewer(self, request: Request) -> Viewer | Response:
        if not self.answers:
            raise StoreUnreachable("no answer from db.internal")
        if request.headers.get("Authorization") != "Bearer known":
            return Response(status_code=401)
        return Viewer(person=BOB, role=AccessRole.NONE, how="token", scopes=TOKEN.scopes, token="t1")


async def test_without_a_database_a_token_counts_for_a_while_that_was_admitted_before() -> None:
    access, clock = ForgetfulAccess(), FakeClock()
    async with client_of(DeadStore(), access, clock=clock) as client:

        async def status(token: str) -> int:
            return (await client.get(METRICS, headers={"Authorization": f"Bearer {token}"})).status_code

        assert [await status("known"), await status("made up")] == [200, 401]
        access.answers = False
        assert [await status("known"), await status("made up"), await status("")] == [200, 503, 503]
        clock.advance(timedelta(seconds=TOKEN_LASTS))
        assert await status("known") == 503


async def test_labels_are_none_that_prometheus_sets_itself(store: SqlStore) -> None:
    async with client_of(store) as client:
        families = list(parse_text((await client.get(METRICS)).text))
    labels = {label for family in families for sample in family.samples for label in sample.labels}
    assert labels.isdisjoint({"job", "instance"})
    assert [family.name for family in families if not family.documentation] == []


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
async def test_promtool_finds_no_fault_with_the_metrics(store: SqlStore) -> None:
    async with client_of(store) as client:
        found = await client.get(METRICS)
    checked = subprocess.run(  # noqa: S603, ASYNC221 - its argument is ours, and the test has nothing else to do
        [str(shutil.which("promtool")), "check", "metrics"], input=found.content, capture_output=True, check=False
    )
    assert (checked.returncode, checked.stderr.decode()) == (0, "")
