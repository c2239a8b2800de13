"""Lists that matchers narrow: the databases find what the matchers fit, and nothing else."""

from __future__ import annotations

from datetime import timedelta
from functools import partial

import pytest
from factories import PROJECT_ID, REGION, make_event, make_task
from fakes import START
from hypothesis import given
from hypothesis import strategies as st

from notifier import lookup
from notifier.core import listings
from notifier.core.diff import RecordedTask, TaskWrite
from notifier.core.fields import fields_of
from notifier.core.health_facts import ConfiguredSource
from notifier.core.matchers import first_misfit, parse_matchers
from notifier.core.model import Event, TaskStatus
from notifier.core.routing import RoutedEvent
from notifier.ports import EventFilter, TaskFilter
from notifier.store.engine import SqlStore
from notifier.store.lookups import MAX_NAMES
from notifier.store.queries import Queries
from notifier.store.transaction import Transaction

LEASE = timedelta(minutes=1)
HOSTILE = (
    "prod-1",
    "prod_1",
    "prod%1",
    "PROD-1",
    "prod/1",
    "prod\\1",
    "prod'1",
    "[prod]1",
    "prodX1",
    "产品-1",
    "",
    None,
)
NAMES = ("BackupSnapshotGaussDBV5InInstance", "CreateGaussDBV5Instance", "HOTFIX")
SOURCES = tuple(
    ConfiguredSource(
        name=name,
        region=REGION,
        project_id=PROJECT_ID,
        poll_every=timedelta(seconds=30),
        environment=environment,
        labels=(("team", team),),
    )
    for name, environment, team in (("prod", "production", "payments"), ("lab", "staging", "orders"))
)
EVENTS = tuple(
    make_event(
        make_task(
            f"job-{n}-{source.name}", source=source.name, name=NAMES[n % 3], instance_name=name, instance_id=f"in-{n}"
        ),
        environment=source.environment,
        labels=source.labels,
    )
    for source in SOURCES
    for n, name in enumerate(HOSTILE)
)

MATCHERS = (
    "prod-*",
    "prod_1",
    "prod%1",
    "prod?1",
    "prod/1",
    "prod\\1",
    "instance=[prod]1",
    "产品-*",
    "instance=",
    "instance!=prod*",
    "instance not in [prod-1, prod_*]",
    "instance in [prod-1, 产品-1]",
    "instance in [*%*, *_*]",
    "instance_id=in-3",
    "instance_id in [in-1, in-2]",
    "source=lab",
    "source=unknown",
    "source=l* prod*",
    "environment=production",
    "environment!=production prod-*",
    "label.team=payments operation=backup",
    "operation in [backup, create] instance=prod*",
    "operation!=backup",
    "name=~.*Snapshot.*",
    "HOTFIX",
)


async def record(store: SqlStore, *events: Event) -> None:
    def write(tx: Transaction) -> None:
        for source in sorted({event.source for event in events}):
            claim = tx.polls.claim(source, "me", START, LEASE, poll_every=LEASE, force=True)
            assert claim
            tasks = [event.task for event in events if event.task and event.source == source]
            updates = [TaskWrite(recorded=RecordedTask(task=task, occurrence="o"), fingerprint=b"1") for task in tasks]
            assert not tx.polls.record_tasks(claim, updates, START)
        tx.events.record([RoutedEvent(event=event, routes=(), channels=()) for event in events])

    await store.transact(write)


@pytest.mark.parametrize("text", MATCHERS)
async def test_the_database_finds_what_the_matchers_fit(store: SqlStore, text: str) -> None:
    await record(store, *EVENTS)
    match = parse_matchers(text)
    listings.check_listing(match)
    wanted = {event.job_id for event in EVENTS if first_misfit(match, folded(event)) is None}
    for every in (TaskFilter(limit=100), TaskFilter(status=TaskStatus.FAILED, limit=100)):
        assert await listed(store, every, text) == wanted
        assert await store.read(partial(counted, every=every, text=text)) == len(wanted)
    events = await store.read(lambda q: q.events(lookup.events_that_fit(q, EventFilter(limit=100), match, SOURCES)))
    assert {item.event.job_id for item in events} == wanted


async def listed(store: SqlStore, every: TaskFilter, text: str) -> set[str]:
    match = parse_matchers(text)
    found = await store.read(lambda q: q.tasks(lookup.tasks_that_fit(q, every, match, SOURCES)))
    return {stored.task.job_id for stored in found}


def counted(q: Queries, every: TaskFilter, text: str) -> int:
    wanted = lookup.tasks_that_fit(q, every, parse_matchers(text), SOURCES)
    by_source = q.count_by_source(wanted)
    assert sum(by_source.values()) == q.count_tasks(wanted)
    return q.count_tasks(wanted)


def folded(event: Event) -> dict[str, str]:
    """Return the fields of an event. Lists compare names of instances whatever their case."""
    fields = fields_of(event)
    return fields | {"instance": fields["instance"].lower()}


async def test_more_instances_than_are_searched_for_one_by_one_are_found_too(store: SqlStore) -> None:
    many = [make_event(make_task(f"job-{n}", instance_name=f"prod-{n}")) for n in range(2 * MAX_NAMES)]
    other = make_event(make_task("other", instance_name="lab-1"))
    await record(store, *many, other)
    for text in ("prod-*", "instance in [prod-1*, prod-2*, prod-3*, prod-4*, prod-5*, prod-6*, prod-7*]"):
        wanted = {event.job_id for event in many if first_misfit(parse_matchers(text), folded(event)) is None}
        assert len(wanted) > MAX_NAMES
        assert await listed(store, TaskFilter(limit=1_000), text) == wanted


@pytest.mark.parametrize(("text", "number"), [("task.failed", 2), ("type!=task.failed", 0), ("type=~task.*", 2)])
async def test_types_narrow_events(store: SqlStore, text: str, number: int) -> None:
    await record(store, *EVENTS[:2])
    match = parse_matchers(text)
    found = await store.read(lambda q: q.events(lookup.events_that_fit(q, EventFilter(), match, SOURCES)))
    assert len(found) == number


@given(st.text(max_size=60))
def test_any_matchers_narrow_a_list_or_are_explained(text: str) -> None:
    try:
        match = parse_matchers(text)
        listings.check_listing(match)
    except ValueError:
        return
    listings.sources_of(match, SOURCES)
    listings.names_of(match, NAMES)
    listings.instances_of(match)
