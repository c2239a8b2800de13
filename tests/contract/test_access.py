"""Sessions and tokens: one suite for both databases."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from factories import T0

from notifier import access
from notifier.core.access import LONGEST_IDLE, ApiToken, SignedInBy, TokenScope, WebSession, digest_of
from notifier.core.errors import NotifierError
from notifier.core.people import Action, Person
from notifier.store.engine import SqlStore
from notifier.store.transaction import Transaction

CHEN = Person(id="web:Chen Jing", name="Chen Jing")
IDLE = timedelta(days=7)
SESSION = WebSession(
    id=digest_of("secret"),
    name="Chen Jing",
    how=SignedInBy.OIDC,
    groups=("dba", "值班"),
    proof="p",
    created_at=T0,
    seen_at=T0,
    ends_at=T0 + timedelta(days=30),
    address="10.0.0.7",
    browser="Firefox on Linux",
)
TOKEN = ApiToken(
    id="k7m2",
    digest=digest_of("token"),
    name="grafana",
    scopes=frozenset({TokenScope.READ, TokenScope.METRICS}),
    by="cli:chen",
    by_name="chen",
    created_at=T0,
    expires_at=T0 + timedelta(days=90),
)


async def begin(store: SqlStore, *sessions: WebSession) -> None:
    """Sign in, so that the sessions are fresh at the time of the database."""

    def sign_in(tx: Transaction) -> None:
        now = tx.now()
        for one in sessions:
            fresh = replace(one, created_at=now, seen_at=now, ends_at=now + timedelta(days=30))
            access.sign_in(tx, fresh, CHEN, IDLE)

    await store.transact(sign_in)


async def save(store: SqlStore, *sessions: WebSession) -> None:
    def save_all(tx: Transaction) -> None:
        for one in sessions:
            tx.access.save_session(one)

    await store.transact(save_all)


async def actions(store: SqlStore) -> list[Action]:
    return list(reversed(await store.read(lambda q: q.actions(100))))


async def test_a_session_is_read_as_it_was_recorded(store: SqlStore) -> None:
    await store.transact(lambda tx: tx.access.save_session(SESSION))
    assert await store.read(lambda q: q.access.session(SESSION.id)) == SESSION
    assert await store.read(lambda q: q.access.session("another")) is None


async def test_signing_in_and_out_is_recorded(store: SqlStore) -> None:
    await begin(store, SESSION)
    await store.transact(lambda tx: access.sign_out(tx, SESSION.id, CHEN))
    assert await store.read(lambda q: q.access.session(SESSION.id)) is None
    assert [(one.by, one.verb, one.target) for one in await actions(store)] == [
        ("web:Chen Jing", "sign_in", "10.0.0.7"),
        ("web:Chen Jing", "sign_out", "10.0.0.7"),
    ]


async def test_a_session_that_has_ended_is_not_ended_again(store: SqlStore) -> None:
    assert await store.transact(lambda tx: access.end_session(tx, SESSION.id, CHEN)) is None
    assert await actions(store) == []


async def test_all_sessions_of_a_name_are_ended_at_once(store: SqlStore) -> None:
    await begin(store, SESSION, replace(SESSION, id="2"), replace(SESSION, id="3", name="Li Na"))
    assert await store.transact(lambda tx: access.end_sessions_of(tx, "Chen Jing", CHEN)) == 2
    assert [one.name for one in await store.read(lambda q: q.access.sessions())] == ["Li Na"]
    assert (await actions(store))[-1].detail == "2 sessions"


async def test_the_use_of_a_session_is_recorded_once_a_minute(store: SqlStore) -> None:
    now = await store.transact(lambda tx: tx.now())
    old = replace(SESSION, seen_at=now - timedelta(seconds=61))
    await store.transact(lambda tx: tx.access.save_session(old))
    await store.transact(lambda tx: access.touch_session(tx, SESSION.id, "10.0.0.8"))
    first = await store.read(lambda q: q.access.session(SESSION.id))
    await store.transact(lambda tx: access.touch_session(tx, SESSION.id, "10.0.0.9"))
    again = await store.read(lambda q: q.access.session(SESSION.id))
    assert first == again
    assert first is not None
    assert (first.seen_at >= now, first.address) == (True, "10.0.0.8")


async def test_an_address_is_known_while_somebody_is_signed_in_from_it(store: SqlStore) -> None:
    await begin(store, SESSION)
    assert await store.read(lambda q: (q.access.is_known("10.0.0.7"), q.access.is_known("10.0.0.8"))) == (True, False)


async def test_a_name_has_a_limited_number_of_sessions(store: SqlStore) -> None:
    """Whoever knows the shared password could fill the table."""
    await begin(store, *(replace(SESSION, id=f"{number:03}") for number in range(access.MAX_SESSIONS + 3)))
    left = await store.read(lambda q: q.access.sessions())
    assert len(left) == access.MAX_SESSIONS
    assert "052" in {one.id for one in left}


async def test_signing_in_removes_sessions_that_are_over(store: SqlStore) -> None:
    now = await store.transact(lambda tx: tx.now())
    unused = replace(SESSION, id="unused", seen_at=now - IDLE, ends_at=now + IDLE)
    old = replace(SESSION, id="old", seen_at=now, ends_at=now)
    await save(store, unused, old)
    await begin(store, SESSION)
    assert [one.id for one in await store.read(lambda q: q.access.sessions())] == [SESSION.id]


async def test_retention_removes_what_has_ended(store: SqlStore) -> None:
    kept = replace(SESSION, id="kept", ends_at=T0 + timedelta(days=3650), seen_at=T0)
    await save(store, SESSION, kept)
    await store.transact(lambda tx: tx.access.save_token(TOKEN))
    assert await store.transact(lambda tx: tx.access.prune(T0 + timedelta(days=30))) == 0
    assert await store.transact(lambda tx: tx.access.prune(T0 + timedelta(days=91))) == 2
    assert [one.id for one in await store.read(lambda q: q.access.sessions())] == ["kept"]
    assert await store.transact(lambda tx: tx.access.prune(T0 + LONGEST_IDLE + timedelta(seconds=1))) == 1


# ---- tokens ----


async def test_a_token_is_found_by_its_digest(store: SqlStore) -> None:
    await store.transact(lambda tx: access.create_token(tx, TOKEN, CHEN))
    assert await store.read(lambda q: q.access.token(digest_of("token"))) == TOKEN
    assert await store.read(lambda q: q.access.token(digest_of("other"))) is None


async def test_the_use_of_a_token_is_recorded(store: SqlStore) -> None:
    await store.transact(lambda tx: access.create_token(tx, TOKEN, CHEN))
    await store.transact(lambda tx: access.touch_token(tx, TOKEN))
    used = await store.read(lambda q: q.access.token(TOKEN.digest))
    assert used is not None
    assert used.used_at is not None
    await store.transact(lambda tx: access.touch_token(tx, used))
    assert await store.read(lambda q: q.access.token(TOKEN.digest)) == used


@pytest.mark.parametrize("wanted", ["k7m2", "grafana"])
async def test_a_token_is_revoked_by_its_id_or_name(store: SqlStore, wanted: str) -> None:
    await store.transact(lambda tx: access.create_token(tx, TOKEN, CHEN))
    await store.transact(lambda tx: access.revoke_token(tx, wanted, CHEN))
    assert await store.read(lambda q: q.access.tokens()) == []
    assert [(one.verb, one.target, one.detail) for one in await actions(store)] == [
        ("create_token", "grafana", "metrics read"),
        ("revoke_token", "grafana", "k7m2"),
    ]


async def test_two_tokens_have_different_names(store: SqlStore) -> None:
    await store.transact(lambda tx: access.create_token(tx, TOKEN, CHEN))
    other = replace(TOKEN, id="other", digest=digest_of("other"))
    with pytest.raises(NotifierError, match="is called 'grafana' already"):
        await store.transact(lambda tx: access.create_token(tx, other, CHEN))
    assert len(await store.read(lambda q: q.access.tokens())) == 1


async def test_revoking_an_unknown_token_names_the_command(store: SqlStore) -> None:
    with pytest.raises(NotifierError, match="notifier token list"):
        await store.transact(lambda tx: access.revoke_token(tx, "none", CHEN))
