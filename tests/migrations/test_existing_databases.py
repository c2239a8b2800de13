"""Databases of earlier versions are taken over with all that they hold; those of other programs are left alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import aclosing
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
from alembic import command
from databases import at, plain
from factories import PROJECT_ID, REGION, T0, make_event, make_task, rows_of
from fakes import FakeClock
from sqlalchemy import Connection, MetaData, inspect, text

from notifier import mutes
from notifier.core.delivery import DeliveryState
from notifier.core.errors import SchemaMismatch
from notifier.core.people import Person
from notifier.core.routing import RoutedEvent
from notifier.ports import DeliveryFilter, EventFilter, TaskFilter
from notifier.store import migrate, rows
from notifier.store.engine import open_store
from notifier.store.revision import HEAD, KNOWN

HOUR = timedelta(hours=1)
EVENT = make_event(make_task("job-1"))


RENAMED = {"watches": "subscriptions"}


def count(connection: Connection, table: str) -> int:
    return int(connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one())  # noqa: S608 - one of our tables


def fill(connection: Connection) -> Mapping[str, int]:
    """Put rows into every table that a revision has; return how many each has."""
    found = MetaData()
    found.reflect(connection)
    delivery = {
        "channel": "dba",
        "lane": EVENT.subject,
        "subject": EVENT.subject,
        "digest": False,
        "available_at": T0,
        "created_at": T0,
        "attempt": 1,
    }
    dead = {"state": "dead", "settled_at": T0, "reason": "HTTP 400", "body": b"{}", "content_type": "application/json"}
    task = rows.task_values(make_task("job-1"))
    person = {"name": "Ada", "by": "U1"}
    about = {"channel": "dba", "subject": EVENT.subject}
    filled: Mapping[str, list[Mapping[str, object]]] = {
        "sources": [
            {"name": "prod", "region": REGION, "project_id": PROJECT_ID, "baseline_at": T0, "last_poll_at": T0}
        ],
        "tasks": [task | {"fingerprint": b"1", "occurrence": "o", "first_seen_at": T0, "changed_at": T0}],
        "events": rows_of(rows.event_columns([RoutedEvent(event=EVENT, routes=("all",), channels=("dba", "mail"))])),
        "deliveries": [
            {"id": "d-1", "state": "pending", **delivery},
            {"id": "d-2", **delivery, **dead, "channel": "mail"},
        ],
        "delivery_events": [
            {"delivery_id": "d-1", "event_id": EVENT.id, **about, "position": 0},
            {"delivery_id": "d-2", "event_id": EVENT.id, **about, "channel": "mail", "position": 0},
        ],
        "attempts": [{"delivery_id": "d-2", "number": 1, "started_at": T0, "finished_at": T0, "outcome": "gave_up"}],
        "channels": [{"name": "dba", "settings_digest": "1"}],
        "threads": [
            {**about, "ref": "C1/1", "event_id": EVENT.id, "event_seq": 1, "facts": b"{}", "shown_at": T0},
        ],
        "acknowledgements": [{"event_id": EVENT.id, "at": T0, **person}],
        "mutes": [{"instance": "gauss", "until": T0 + HOUR, "created_at": T0, **person}],
        "watches": [{"source": "prod", "job_id": "job-1", "person": "U1", "created_at": T0}],
        "requests": [{"key": "k", "seen_at": T0}],
    }
    for name, values in filled.items():
        if name in found.tables:
            columns = found.tables[name].columns.keys()
            for value in values:
                kept = {column: value[column] for column in columns if column in value}
                connection.execute(found.tables[name].insert().values(kept))
    return {name: len(values) for name, values in filled.items() if name in found.tables}


@pytest.mark.parametrize("revision", ["0001", "0002", "0003", "0004", "0005"])
async def test_an_earlier_versions_database_is_upgraded_with_all_its_data(
    empty_url: str, revision: str, clock: FakeClock
) -> None:
    with plain(empty_url) as engine, engine.begin() as connection:
        at(connection, revision)
        before = fill(connection)
    async with aclosing(open_store(empty_url, migrate=True, now=clock.now)) as store:
        with store.writer.connect() as connection:
            after = {name: count(connection, RENAMED.get(name, name)) for name in before}
        assert after == before
        (source,) = await store.read(lambda q: q.sources())
        assert source.baseline_at == source.introduced_at == T0, "people know a source that was polled before"
        assert [found.task for found in await store.read(lambda q: q.tasks(TaskFilter()))] == [make_task("job-1")]
        assert [found.event for found in await store.read(lambda q: q.events(EventFilter()))] == [EVENT]
        states = {d.id: d.state for d in await store.read(lambda q: q.deliveries(DeliveryFilter()))}
        assert states == {"d-1": DeliveryState.PENDING, "d-2": DeliveryState.DEAD}
        assert [found.reply for found in await store.read(lambda q: q.attempts("d-2"))] == [None]
        assert (await store.read(lambda q: q.ledger())).unaccounted == ()
        due = await store.transact(lambda tx: tx.deliveries.claim_due("dba", "me", tx.now(), HOUR, 10))
        assert [claimed.id for claimed in due] == ["d-1"]
    open_store(empty_url).close()


def test_an_upgraded_database_upgrades_again_and_older_code_refuses(empty_url: str) -> None:
    with plain(empty_url) as engine:
        with engine.begin() as connection:
            at(connection, "0003")
        assert migrate.upgrade(engine) is True
        assert migrate.upgrade(engine) is False
        with engine.connect() as connection:
            assert connection.scalar(text("SELECT version_num FROM alembic_version")) == HEAD


def test_the_known_revisions_are_those_of_the_migrations() -> None:
    from alembic.script import ScriptDirectory  # noqa: PLC0415 - the test's own

    script = ScriptDirectory.from_config(migrate.alembic_config())
    assert {revision.revision for revision in script.walk_revisions()} == KNOWN


# ---- other programs ----


def their_revision(revision: str) -> Callable[[Connection], None]:
    def make(connection: Connection) -> None:
        connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)"))
        connection.execute(text("INSERT INTO alembic_version VALUES (:revision)"), {"revision": revision})
        connection.execute(text("CREATE TABLE users (id INTEGER)"))

    return make


def their_tables(connection: Connection) -> None:
    connection.execute(text("CREATE TABLE tasks (id INTEGER, title TEXT)"))


def tables_of_our_names(connection: Connection) -> None:
    their_revision("0003")(connection)
    for name in ("sources", "tasks", "events", "deliveries", "delivery_events", "attempts"):
        connection.execute(text(f"CREATE TABLE {name} (id INTEGER)"))


def a_version_table_of_another_shape(connection: Connection) -> None:
    connection.execute(text("CREATE TABLE alembic_version (id INTEGER)"))


OTHERS: Mapping[str, Callable[[Connection], None]] = {
    "0003": their_revision("0003"),
    "0001": their_revision("0001"),
    HEAD: their_revision(HEAD),
    "9999": their_revision("9999"),
    "a hash": their_revision("1975ea83b712"),
    "a table": their_tables,
    "our names": tables_of_our_names,
    "another shape": a_version_table_of_another_shape,
}


@pytest.mark.parametrize("make", OTHERS.values(), ids=OTHERS)
def test_another_programs_database_is_refused_and_left_alone(
    empty_url: str, make: Callable[[Connection], None]
) -> None:
    with plain(empty_url) as engine:
        with engine.begin() as connection:
            make(connection)
            before = set(inspect(connection).get_table_names())
        for use in (migrate.current, migrate.upgrade, migrate.require_current):
            with pytest.raises(SchemaMismatch, match=r"belongs to another program: give the notifier one of its own"):
                use(engine)
        with engine.connect() as connection:
            assert set(inspect(connection).get_table_names()) == before


def test_a_schema_of_its_own_beside_another_program_is_used(postgres_url: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("DROP SCHEMA public CASCADE")
        connection.execute("CREATE SCHEMA public")
        connection.execute("CREATE TABLE public.alembic_version (version_num text)")
        connection.execute("INSERT INTO public.alembic_version VALUES ('0003')")
        connection.execute("CREATE SCHEMA notifier")
    url = f"{postgres_url}&options=-csearch_path%3Dnotifier,public"
    open_store(url, migrate=True).close()
    open_store(url).close()
    with psycopg.connect(postgres_url) as connection:
        assert connection.execute("SELECT version_num FROM public.alembic_version").fetchone() == ("0003",)
        assert connection.execute("SELECT version_num FROM notifier.notifier_schema").fetchone() == (HEAD,)


def test_a_database_whose_tables_are_gone_is_not_current(empty_url: str) -> None:
    open_store(empty_url, migrate=True).close()
    with plain(empty_url) as engine:
        with engine.begin() as connection:
            connection.execute(text("DROP TABLE attempts"))
        with pytest.raises(SchemaMismatch, match=r"says that it has schema .* and lacks the table attempts"):
            migrate.current(engine)


@pytest.mark.parametrize("folder", ["100%", "a%(here)s b", "%%"])
def test_the_program_may_lie_in_a_folder_with_a_percent_sign(
    tmp_path: Path, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / folder
    place.mkdir()
    (place / "migrations").symlink_to(migrate.migrations_path())
    monkeypatch.setattr(migrate, "migrations_path", lambda: place / "migrations")
    open_store(f"sqlite:///{place}/notifier.db").close()


async def test_mutes_of_an_earlier_version_get_ids_and_their_sums(empty_url: str, clock: FakeClock) -> None:
    """A window that was in force stays so, with what it has suppressed; another mute with a similar name counts not."""
    until = T0 + HOUR
    with plain(empty_url) as engine, engine.begin() as connection:
        at(connection, "0007")
        found = MetaData()
        found.reflect(connection)
        person = {"name": "Ada", "by": "U1", "created_at": T0, "reason": "resizing"}
        for instance in ("gauss", "gauss-2"):
            values = {"instance": instance, "label": f"the {instance}", "until": until, **person}
            connection.execute(found.tables["mutes"].insert().values(values))
        routed = RoutedEvent(event=EVENT, routes=("all",), channels=("dba",))
        for row in rows_of(rows.event_columns([routed])):
            connection.execute(found.tables["events"].insert().values(row))
        why = f"gauss is muted until {until.isoformat(timespec='minutes')} by Ada: resizing"
        suppressed = {"id": "d-1", "channel": "dba", "subject": EVENT.subject, "state": "suppressed", "digest": False}
        suppressed |= {"available_at": T0, "created_at": T0, "settled_at": T0, "reason": why}
        connection.execute(found.tables["deliveries"].insert().values(suppressed))
        carried = {"delivery_id": "d-1", "event_id": EVENT.id, "channel": "dba", "subject": EVENT.subject}
        connection.execute(found.tables["delivery_events"].insert().values(carried | {"position": 0}))
    async with aclosing(open_store(empty_url, migrate=True, now=clock.now)) as store:
        known = await store.read(lambda q: q.mutes(clock.now()))
        assert [(mute.instance, mute.shown, mute.until, mute.reason) for mute in known] == [
            ("gauss", "the gauss", until, "resizing"),
            ("gauss-2", "the gauss-2", until, "resizing"),
        ]
        assert {mute.due_at for mute in known} == {until}
        held = await store.read(lambda q: [q.held_back(mute) for mute in known])
        assert [dict(one.counts) for one in held] == [{EVENT.type: 1}, {}]
        made = await store.transact(lambda tx: mutes.mute_task(tx, make_task("j"), HOUR, Person(id="U1", name="Ada")))
        assert made is not None
        assert made[0].id not in {mute.id for mute in known}
    with plain(empty_url) as engine, engine.begin() as connection:
        config = migrate.alembic_config()
        config.attributes["connection"] = connection
        command.downgrade(config, "0007")
        kept = connection.execute(text("SELECT instance, label FROM mutes ORDER BY instance")).all()
        assert [tuple(row) for row in kept][:2] == [("gauss", "the gauss"), ("gauss-2", "the gauss-2")]
