"""Discovery on both databases: two replicas, a list that lacks projects now and then, kills, rights."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from fakes import FakeClock

from notifier import discovery
from notifier.call_budget import begin
from notifier.core.credentials import BURST, Credential, Urgency
from notifier.core.errors import CredentialsRejected, PermissionDenied, SourceError, SourceUnreachable
from notifier.core.projects import MISSING_FOR, FoundProjects, ProjectListing
from notifier.core.rights import RIGHT_PAUSES
from notifier.discovery import DISCOVERY_RETRY, DiscoveryReport, discover_projects
from notifier.store.engine import SqlStore, open_store

HOUR = timedelta(hours=1)
KEY = Credential(key="k", calls_per_minute=20, version=lambda: "one")
ORDERS = ProjectListing(id="1" * 32, name="cn-north-4_orders")
PLAIN = ProjectListing(id="2" * 32, name="cn-north-4")


@dataclass
class Reader:
    """IAM with these projects."""

    projects: Sequence[ProjectListing] = (PLAIN, ORDERS)
    error: SourceError | None = None
    name: str = "acme"
    origin: str = "one"
    discover_every: timedelta = HOUR
    action: str = "iam:projects:listProjects"
    calls: int = 0

    async def read(self) -> Sequence[ProjectListing]:
        self.calls += 1
        if self.error:
            raise self.error
        return self.projects


@dataclass
class Replica:
    store: SqlStore
    reader: Reader
    configured: frozenset[str] = frozenset()
    credentials: dict[str, Credential] = field(default_factory=lambda: {"acme": KEY})

    async def discover(self) -> Sequence[DiscoveryReport]:
        return await discover_projects(self.store, [self.reader], self.credentials, self.configured)

    async def found(self) -> FoundProjects:
        return await self.store.read(lambda q: q.found_projects())

    async def sources(self) -> list[str]:
        return [one.source for one in (await self.found()).projects]

    async def revision(self) -> int:
        return (await self.found()).revisions["acme"]


@pytest.fixture
async def replicas(store_url: str, clock: FakeClock) -> AsyncIterator[tuple[Replica, Replica]]:
    """Two processes with one database and one IAM."""
    stores, reader = [open_store(store_url, now=clock.now) for _ in range(2)], Reader()
    try:
        yield Replica(stores[0], reader), Replica(stores[1], reader)
    finally:
        for store in stores:
            await store.aclose()


Pair = tuple[Replica, Replica]


async def test_one_of_several_replicas_asks_when_it_is_due(replicas: Pair, clock: FakeClock) -> None:
    one, other = replicas
    for _ in range(3):
        await one.discover()
        await other.discover()
    assert one.reader.calls == 1
    assert await other.sources() == ["acme-cn-north-4", "acme-cn-north-4-orders"]
    clock.advance(HOUR)
    await other.discover()
    await one.discover()
    assert one.reader.calls == 2


async def test_only_a_change_of_the_set_is_a_new_revision(replicas: Pair, clock: FakeClock) -> None:
    one, other = replicas
    await one.discover()
    assert await other.revision() == 1
    clock.advance(HOUR)
    await one.discover()
    assert await other.revision() == 1
    one.reader.projects = [PLAIN, ORDERS, ProjectListing(id="3" * 32, name="cn-east-3")]
    clock.advance(HOUR)
    (report,) = await one.discover()
    assert [project.source for project in report.changes.found] == ["acme-cn-east-3"]
    assert await other.revision() == 2


async def test_a_list_that_lacks_a_project_now_and_then_retires_nothing(replicas: Pair, clock: FakeClock) -> None:
    one, other = replicas
    await one.discover()
    for read in range(12):
        one.reader.projects = [PLAIN] if read % 3 else [PLAIN, ORDERS]
        clock.advance(HOUR)
        await (one, other)[read % 2].discover()
    assert one.reader.calls == 13
    assert (await other.sources(), await other.revision()) == (["acme-cn-north-4", "acme-cn-north-4-orders"], 1)


async def test_a_vanished_project_is_retired_once_and_returns_under_its_name(replicas: Pair, clock: FakeClock) -> None:
    one, other = replicas
    await one.discover()
    one.reader.projects = [PLAIN]
    said = []
    for read in range(5):
        clock.advance(HOUR)
        (report,) = await (one, other)[read % 2].discover()
        said.append((len(report.changes.missing), len(report.changes.gone)))
    assert said == [(1, 0), (0, 0), (0, 1), (0, 0), (0, 0)]
    assert (await one.sources(), await one.revision()) == (["acme-cn-north-4"], 2)
    one.reader.projects = [ORDERS, PLAIN]
    clock.advance(HOUR)
    await other.discover()
    assert (await one.sources(), await one.revision()) == (["acme-cn-north-4", "acme-cn-north-4-orders"], 3)


async def test_an_empty_list_is_no_answer(replicas: Pair, clock: FakeClock) -> None:
    one, other = replicas
    await one.discover()
    one.reader.projects = []
    for _ in range(9):
        clock.advance(max(MISSING_FOR, HOUR))
        (report,) = await one.discover()
        assert str(report.error) == discovery.NO_PROJECTS
    assert len(await other.sources()) == 2
    accounts = await other.store.read(lambda q: q.accounts())
    assert accounts["acme"].error == discovery.NO_PROJECTS


async def test_without_iam_what_is_known_stays_and_it_is_tried_again(replicas: Pair, clock: FakeClock) -> None:
    one, other = replicas
    await one.discover()
    one.reader.error = SourceUnreachable("source acme: no connection")
    clock.advance(HOUR)
    (report,) = await one.discover()
    assert report.error is one.reader.error
    assert not await other.discover()
    clock.advance(DISCOVERY_RETRY)
    one.reader.error = None
    (report,) = await other.discover()
    assert (report.error, len(await one.sources())) == (None, 2)
    assert (await one.store.read(lambda q: q.accounts()))["acme"].error is None


async def test_a_missing_right_is_recorded_and_tried_again_slowly(replicas: Pair, clock: FakeClock) -> None:
    one, other = replicas
    one.reader.error = PermissionDenied("source acme: not allowed to list projects")
    await one.discover()
    (lacking,) = (await other.store.read(lambda q: q.health_facts())).missing_rights
    assert (lacking.source, lacking.part, lacking.action) == ("acme", "projects", "iam:projects:listProjects")
    clock.advance(RIGHT_PAUSES[0] - timedelta(seconds=1))
    assert not await other.discover()
    clock.advance(HOUR)
    one.reader.error = None
    await other.discover()
    assert not (await one.store.read(lambda q: q.health_facts())).missing_rights
    assert len(await one.sources()) == 2


async def test_a_refused_key_pauses_its_polls_too_and_costs_one_call(replicas: Pair, clock: FakeClock) -> None:
    one, other = replicas
    one.reader.error = CredentialsRejected("source acme: credentials rejected")
    await one.discover()
    clock.advance(DISCOVERY_RETRY)
    state = await other.store.transact(lambda tx: tx.credentials.state(KEY.key))
    assert state.refusal == "source acme: credentials rejected"


async def test_discovery_waits_for_the_budget_that_polls_need(replicas: Pair, clock: FakeClock) -> None:
    one, other = replicas

    def spend_all(tx: discovery.DiscoveryTx) -> None:
        begin(tx, KEY, tx.now(), BURST, urgency=Urgency.DUE)

    await one.store.transact(spend_all)
    await one.discover()
    assert one.reader.calls == 0
    assert not await other.discover()
    clock.advance(timedelta(minutes=5))
    await other.discover()
    assert (one.reader.calls, len(await one.sources())) == (1, 2)


async def test_an_account_that_is_asked_in_another_way_is_due_at_once(replicas: Pair) -> None:
    one, _ = replicas
    await one.discover()
    one.reader.origin = "two"
    await one.discover()
    assert one.reader.calls == 2


async def test_a_kill_before_the_record_changes_nothing(replicas: Pair, clock: FakeClock) -> None:
    """The claim ends, and another process asks again."""
    one, other = replicas

    class Killed(BaseException):
        pass

    async def killed() -> Sequence[ProjectListing]:
        raise Killed

    read, one.reader.read = one.reader.read, killed  # type: ignore[method-assign]  # the process ends while it reads
    with pytest.raises(Killed):
        await one.discover()
    one.reader.read = read  # type: ignore[method-assign]  # as it was
    assert (await other.found()).projects == []
    assert not await other.discover()
    clock.advance(discovery.DISCOVERY_LEASE)
    await other.discover()
    assert len(await one.sources()) == 2


async def test_names_that_are_configured_or_recorded_are_not_taken(replicas: Pair) -> None:
    one, other = replicas
    one.configured = frozenset({"acme-cn-north-4"})
    await one.discover()
    assert await one.sources() == ["acme-cn-north-4-22222222", "acme-cn-north-4-orders"]
    other.reader = Reader(name="acme-cn-north-4", projects=[ProjectListing(id="9" * 32, name="cn-north-4_x")])
    other.credentials = {}
    await other.discover()
    assert "acme-cn-north-4-cn-north-4-x" in await one.sources()
