"""What Prometheus reads at `/metrics`: gauges of what the database says, and the counters of this process.

The gauges come from one consistent view of the database, and from the one judgement of health, so that alerts of
Prometheus and of the notifier agree. They are the same in every process on the database. Where it does not answer, the
counters are there all the same, and `gaussdb_notifier_database_up` is 0.
"""

import asyncio
import gzip
import hashlib
import platform
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Protocol

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from notifier.core.credentials import Credential, CredentialState, calls_left
from notifier.core.errors import StoreError
from notifier.core.health import ChannelStatus, FindingKind, HealthReport, judge
from notifier.core.health_facts import Expected, HealthFacts, Role
from notifier.core.model import SourceState, TaskStatus
from notifier.core.mutes import Mute
from notifier.core.severity import Severity
from notifier.ports import Clock, Store
from notifier.telemetry.prometheus import METRIC_PREFIX, OTHER, channel_label
from notifier.web.access.viewer import Access, Viewer
from notifier.web.security import KnownNames, is_known_host
from notifier.web.shared_read import SharedRead

METRICS = "/metrics"

SCRAPE_TIMEOUT = 5.0
"""Time that a scrape waits for the database, in seconds: half of what Prometheus waits for a scrape by default."""

RECKONED = timedelta(hours=1)
"""Age up to which events are counted whose deliveries are not what routing asked for."""

MIN_COMPRESSED = 1_000
"""Minimum size of an answer that is compressed, in bytes."""

CHANNEL_STATES = ("working", "paused", "failing", "breaker_open", "parked")


class FigureReads(Protocol):
    """Counts, each bounded or read from an index alone."""

    def revision(self) -> str | None:
        """Return the revision of the schema."""

    def tasks(self) -> Mapping[tuple[str, str], int]:
        """Return the number of recorded tasks by source and status."""

    def open_failures(self) -> Mapping[tuple[str | None, bool], int]:
        """Return the number of open failures by severity and whether somebody has acknowledged them."""

    def held(self) -> Mapping[str, int]:
        """Return the number of deliveries that rules hold now, by channel."""

    def credentials(self) -> Mapping[str, CredentialState]:
        """Return what is recorded of credentials, by their digests."""

    def unaccounted(self, since: datetime) -> int:
        """Count the latest events since a time whose number of deliveries is not what routing asked for."""


class MetricReads(Protocol):
    """The reads that metrics are made of."""

    def health_facts(self) -> HealthFacts:
        """Return everything that health is judged by, and when that was asked."""

    def known_mutes(self) -> Sequence[Mute]:
        """Return the mutes that are in force or planned."""

    @property
    def figures(self) -> FigureReads:
        """Counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricFacts:
    """One consistent view of the database, as far as metrics show it."""

    health: HealthFacts
    revision: str | None
    tasks: Mapping[tuple[str, str], int] = field(default_factory=dict)
    open_failures: Mapping[tuple[str | None, bool], int] = field(default_factory=dict)
    held: Mapping[str, int] = field(default_factory=dict)
    mutes: Sequence[Mute] = ()
    credentials: Mapping[str, CredentialState] = field(default_factory=dict)
    unaccounted: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricRules:
    """What the metrics show of the configuration and of the program."""

    version: str
    revision: str
    """The schema that this program needs."""
    expected: Expected
    credentials: Mapping[str, Credential] = field(default_factory=dict)
    """The credential of each source, by the source's name."""


def read_metric_facts(q: MetricReads) -> MetricFacts:
    """Read what metrics show."""
    facts, figures = q.health_facts(), q.figures
    return MetricFacts(
        health=facts,
        revision=figures.revision(),
        tasks=figures.tasks(),
        open_failures=figures.open_failures(),
        held=figures.held(),
        mutes=q.known_mutes(),
        credentials=figures.credentials(),
        unaccounted=figures.unaccounted(facts.at - RECKONED),
    )


# ---- from facts to metrics ----


def process_metrics(rules: MetricRules, *, database_up: bool) -> Iterator[Metric]:
    """Yield what is known without the database."""
    build = {"version": rules.version, "python": platform.python_version(), "schema": rules.revision}
    yield InfoMetricFamily(f"{METRIC_PREFIX}_build", "Version of the program, and the schema that it needs.", build)
    yield _single("database_up", "1 where the database answered this scrape.", float(database_up))


def database_metrics(known: MetricFacts, rules: MetricRules) -> Iterator[Metric]:
    """Yield the gauges of what the database says."""
    facts = known.health
    report = judge(rules.expected, facts)
    schema = {"revision": known.revision or ""}
    yield InfoMetricFamily(f"{METRIC_PREFIX}_schema", "Schema of the database.", schema)
    yield from _health(report)
    yield from _tasks(known, rules.expected)
    yield from _sources(known, rules, report)
    yield from _channels(known, rules.expected, report)
    yield from _mutes(known.mutes, facts.at)
    replicas = _gauge("replicas", "Processes that run, by role.", "role")
    for role in Role:
        replicas.add_metric([str(role)], sum(role in one.roles and one.runs(facts.at) for one in facts.replicas))
    yield replicas
    what = "Events of the last hour with more or fewer deliveries than routing asked for: there must be none."
    yield _single("unaccounted_events", what, known.unaccounted)


def _gauge(name: str, what: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"{METRIC_PREFIX}_{name}", what, labels=labels)


def _single(name: str, what: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"{METRIC_PREFIX}_{name}", what, value=value)


def _health(report: HealthReport) -> Iterator[Metric]:
    yield _single("healthy", "1 where `notifier health` finds no fault.", float(report.ok))
    findings = _gauge("findings", "Faults that `notifier health` finds, by kind.", "kind")
    found = Counter(finding.kind for finding in report.findings)
    for kind in FindingKind:
        if kind is not FindingKind.DATABASE:  # without a database there are no findings: see database_up
            findings.add_metric([str(kind)], found[kind])
    yield findings


def _tasks(facts: MetricFacts, expected: Expected) -> Iterator[Metric]:
    configured = {source.name for source in expected.sources}
    numbers = Counter[tuple[str, str]]()
    for (source, status), number in facts.tasks.items():
        numbers[source if source in configured else OTHER, status] += number
    shown = [*(source.name for source in expected.sources), *([OTHER] if any(of == OTHER for of, _ in numbers) else [])]
    tasks = _gauge("tasks", "Recorded tasks, by status.", "source", "status")
    for source in shown:
        for status in TaskStatus:
            tasks.add_metric([source, str(status)], numbers[source, str(status)])
    yield tasks
    failures = _gauge("open_failures", "Failures that are not over.", "severity", "acknowledged")
    known = {severity: str(severity) for severity in Severity} | (
        {None: OTHER} if any(severity is None for severity, _ in facts.open_failures) else {}
    )
    for severity, word in known.items():
        for acknowledged in (False, True):
            number = facts.open_failures.get((severity, acknowledged), 0)
            failures.add_metric([word, "true" if acknowledged else "false"], number)
    yield failures


def _sources(facts: MetricFacts, rules: MetricRules, report: HealthReport) -> Iterator[Metric]:
    states = {state.name: state for state in facts.health.sources}
    rows = [
        (source.name, states.get(source.name) or SourceState(name=source.name)) for source in rules.expected.sources
    ]
    incomplete = {one.about for one in report.findings if one.kind is FindingKind.SOURCE_NOT_WHOLE}
    healthy = {status.name: status.ok for status in report.sources}

    def gauge(name: str, what: str, value: Callable[[SourceState], float | None]) -> GaugeMetricFamily:
        family = _gauge(name, what, "source")
        for source, state in rows:
            if (found := value(state)) is not None:
                family.add_metric([source], found)
        return family

    yield gauge("source_healthy", "1 where no fault of the source is found.", lambda one: healthy.get(one.name, False))
    yield gauge(
        "source_last_poll_timestamp_seconds", "Time of the last good poll.", lambda one: _timestamp(one.last_poll_at)
    )
    yield gauge(
        "source_last_complete_poll_timestamp_seconds",
        "Time of the last poll that saw the whole list.",
        lambda one: _timestamp(one.last_full_at),
    )
    yield gauge("source_consecutive_errors", "Polls in a row that failed.", lambda one: one.failures)
    yield gauge(
        "source_incomplete", "1 where the list was not seen whole for too long.", lambda one: one.name in incomplete
    )
    yield gauge("source_refused_rows", "Rows of the last poll that the database refused.", lambda one: one.refused_rows)
    yield gauge("source_clock_skew_seconds", "How far our clock was ahead of the cloud's.", lambda one: one.clock_skew)

    def left(one: SourceState) -> float | None:
        credential = rules.credentials.get(one.name)
        state = credential and facts.credentials.get(credential.key)
        return calls_left(state, credential, facts.health.at) if credential and state else None

    yield gauge("source_api_calls_left", "Calls that the credential of the source may make at once now.", left)


def _timestamp(moment: datetime | None) -> float | None:
    return None if moment is None else moment.timestamp()


def channel_state(status: ChannelStatus) -> str:
    """Return the gravest of `CHANNEL_STATES` that a channel is in."""
    if status.parked_since:
        return "parked"
    if status.open_until:
        return "breaker_open"
    if status.failing_since:
        return "failing"
    return "paused" if status.paused_until else "working"


def _channels(facts: MetricFacts, expected: Expected, report: HealthReport) -> Iterator[Metric]:
    """Yield the gauges of channels. Those that are not configured are shown together: see `channel_label`."""
    configured, now = frozenset(expected.channels), report.at
    by_label: dict[str, list[ChannelStatus]] = {}
    for status in report.channels:
        by_label.setdefault(channel_label(status.name, configured), []).append(status)
    held = Counter[str]()
    for channel, number in facts.held.items():
        held[channel_label(channel, configured)] += number

    def gauge(name: str, what: str, value: Callable[[Sequence[ChannelStatus]], float]) -> GaugeMetricFamily:
        family = _gauge(name, what, "channel")
        for label, statuses in by_label.items():
            family.add_metric([label], value(statuses))
        return family

    yield gauge(
        "channel_healthy", "1 where no fault of the channel is found.", lambda some: all(one.ok for one in some)
    )
    states = _gauge("channel_state", "1 for the state that the channel is in.", "channel", "state")
    backlog = _gauge("channel_backlog", "Deliveries that have not arrived, by state.", "channel", "state")
    for label, statuses in by_label.items():
        worst = max((channel_state(one) for one in statuses), key=CHANNEL_STATES.index)
        for state in CHANNEL_STATES:
            states.add_metric([label, state], state == worst)
        for state, number in _backlog_of(statuses).items():
            backlog.add_metric([label, state], number)
    yield states
    yield backlog
    yield gauge(
        "channel_oldest_pending_age_seconds",
        "Time for which the oldest delivery has waited to be sent; 0 where none waits.",
        lambda some: max(_age(one.backlog.pending_since, now) for one in some),
    )
    family = _gauge(
        "channel_held",
        "Deliveries that a rule holds now. They wait on purpose, and are not among those that are pending.",
        "channel",
    )
    for label in by_label:
        family.add_metric([label], held[label])
    yield family


def _backlog_of(statuses: Iterable[ChannelStatus]) -> Mapping[str, int]:
    total = Counter(pending=0, parked=0, dead=0)
    for one in statuses:
        total.update(pending=one.backlog.pending, parked=one.backlog.parked, dead=one.backlog.dead)
    return total


def _age(since: datetime | None, now: datetime) -> float:
    return 0.0 if since is None else max(0.0, (now - since).total_seconds())


def _mutes(known: Collection[Mute], now: datetime) -> Iterator[Metric]:
    in_force = sum(mute.since <= now < mute.until for mute in known)
    mutes = _gauge("mutes", "Mutes that are in force, and those that begin later.", "state")
    mutes.add_metric(["in_force"], in_force)
    mutes.add_metric(["planned"], len(known) - in_force)
    yield mutes


# ---- the endpoint ----


class _Families(Collector):
    """Everything that one scrape shows."""

    def __init__(self, families: Iterable[Metric], registry: CollectorRegistry) -> None:
        self._families = families
        self._registry = registry

    def collect(self) -> Iterator[Metric]:
        yield from self._families
        yield from self._registry.collect()


TOKEN_LASTS = 3600.0
"""Time for which a token that was admitted counts while the database does not answer, in seconds."""

MAX_TOKENS = 100
"""Maximum number of tokens that are remembered for that."""

Admit = Callable[[Request], Awaitable[Response | None]]
"""Returns the response to a request that may not see the metrics; None for one that may."""


class MetricsGate:
    """Admits who may read metrics: those who may read the page, tokens of that scope, and peers at some addresses.

    The address is that of the connection. A proxy in front is one address, whoever is behind it.
    """

    def __init__(
        self, access: Access, clock: Clock, names: KnownNames, open_to: Sequence[IPv4Network | IPv6Network]
    ) -> None:
        """Admit peers at the addresses `open_to` without asking who they are. `names` are those of this server."""
        self._access = access
        self._names = names
        self._clock = clock
        self._open_to = open_to
        self._known: dict[bytes, float] = {}
        """When tokens were admitted last, by their digests."""

    async def __call__(self, request: Request) -> Response | None:
        """Return the response to a request that may not see the metrics; None for one that may."""
        if request.client and _is_within(request.client.host, self._open_to):
            return None
        token = hashlib.sha256(request.headers.get("Authorization", "").encode()).digest()
        try:
            viewer = await self._access.viewer(request)
        except StoreError:
            # What proves that the database is away must be seen then, by those who saw it before.
            if self._clock.monotonic() - self._known.get(token, float("-inf")) < TOKEN_LASTS:
                return None
            return PlainTextResponse("The database that knows the tokens does not answer.\n", status_code=503)
        if isinstance(viewer, Viewer) and viewer.may_read_metrics:
            if viewer.token is not None:
                self._remember(token)
            # Where nobody signs in, a hostile page could let its own name point to this address, and read.
            rebound = viewer.how == "open" and not is_known_host(request.headers.get("Host", ""), self._names)
            return PlainTextResponse("This server has another name.\n", status_code=421) if rebound else None
        what = "A token with the scope metrics is needed, or an address in web.metrics_open_to.\n"
        return PlainTextResponse(what, status_code=401, headers={"WWW-Authenticate": "Bearer"})

    def _remember(self, token: bytes) -> None:
        self._known[token] = self._clock.monotonic()
        if len(self._known) > MAX_TOKENS:
            del self._known[min(self._known, key=self._known.__getitem__)]


def _is_within(host: str, networks: Sequence[IPv4Network | IPv6Network]) -> bool:
    if not networks:
        return False
    try:
        address = ip_address(host)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return any((mapped or address) in network for network in networks)


class MetricsEndpoint:
    """The endpoint that Prometheus scrapes."""

    def __init__(
        self,
        store: Store[object, MetricReads],
        clock: Clock,
        rules: MetricRules,
        registry: CollectorRegistry,
        admit: Admit,
    ) -> None:
        self._rules = rules
        self._registry = registry
        self._admit = admit
        self._facts = SharedRead(lambda: store.read(read_metric_facts), clock, timeout=SCRAPE_TIMEOUT)

    def routes(self) -> Sequence[Route]:
        """Return the route."""
        return [Route(METRICS, self._scrape)]

    async def _scrape(self, request: Request) -> Response:
        if (refused := await self._admit(request)) is not None:
            return refused
        facts = await self._facts.get()
        accept = request.headers.get("Accept", "")
        zipped = "gzip" in request.headers.get("Accept-Encoding", "")
        # In a thread: thousands of sources make megabytes, and deliveries wait for the event loop.
        return await asyncio.to_thread(self._respond, facts, accept, zipped=zipped)

    def _respond(self, facts: MetricFacts | None, accept: str, *, zipped: bool) -> Response:
        families = [*process_metrics(self._rules, database_up=facts is not None)]
        if facts is not None:
            families += database_metrics(facts, self._rules)
        encode, media_type = choose_encoder(accept)
        body = encode(_Families(families, self._registry))
        headers = {"Content-Type": media_type, "Cache-Control": "no-store", "Vary": "Accept, Accept-Encoding"}
        if zipped and len(body) >= MIN_COMPRESSED:
            body = gzip.compress(body, compresslevel=1)
            headers["Content-Encoding"] = "gzip"
        return Response(body, headers=headers)
