"""The page of deliveries: its facts, what it does for people, and texts that try to break it."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from email.message import EmailMessage
from pathlib import Path

import pytest
from web_site import Site, open_site, viewer

from notifier.core.delivery import Body, Delivery, DeliveryState
from notifier.core.health_facts import Backlog, Expected
from notifier.core.model import ChannelState
from notifier.core.pacing import ChannelHealth
from notifier.core.people import Verb
from notifier.ports import DeliveryFilter
from notifier.web.access.viewer import AccessRole
from notifier.web.pages.deliveries import channel_state, troubles_of
from notifier.web.stored_bodies import SHOWN, shown_body
from pages.conftest import OpenPage, last_action, open_history
from pages.history import Histories, Variant
from pages.story import NOW, REFUSED_MAIL

EXPECTED = Expected(channels=("dba",))
HOUR = timedelta(hours=1)
DEAD = DeliveryFilter(state=DeliveryState.DEAD)


async def dead(site: Site) -> list[Delivery]:
    return [*await site.parts.store.read(lambda q: q.deliveries(DEAD))]


# ---- what it shows ----


async def test_the_page_shows_what_is_not_through(site: Site) -> None:
    text = (await site.get("/deliveries")).text
    rows = re.findall(r'id="d-([0-9a-f]{8})"', text)
    assert (len(rows), len(set(rows))) == (7, 7)
    assert "Last 7 days" in text
    assert "tickets is parked since" in text
    assert "check user and token" in text
    assert ">Retry all 3 dead<" in text


@pytest.mark.parametrize(
    ("query", "rows"),
    [
        ("state=parked", 4),
        ("state=dead&channel=mail", 1),
        ("q=prod-audit", 1),
        ("q=nowhere", 0),
        ("state=suppressed&channel=mail&days=7", 0),
        ("state=suppressed&channel=mail", 2),
        ("state=odd&after=x&channel=", 7),
        ("rule=mute:none", 0),
    ],
)
async def test_an_address_says_what_is_listed(query: str, rows: int, site: Site) -> None:
    text = (await site.get(f"/deliveries?{query}")).text
    assert len(re.findall(r'id="d-[0-9a-f]{8}"', text)) == rows


async def test_every_number_leads_to_its_rows(site: Site) -> None:
    text = (await site.get("/deliveries")).text
    links = re.findall(r'<a href="(/deliveries\?channel=[^"]*state=[^"]*)">(\d+)</a>', text)
    assert len(links) >= 6
    for link, number in links:
        page = (await site.get(link.replace("&amp;", "&"))).text
        assert len(re.findall(r'id="d-[0-9a-f]{8}"', page)) == min(int(number), 25)


async def test_further_pages_are_linked(site: Site) -> None:
    first = (await site.get("/deliveries?state=delivered")).text
    link = re.search(r'href="([^"]*after=delivered[^"]*)"', first)
    assert link is not None
    second = (await site.get(link[1].replace("&amp;", "&"))).text
    seen = [set(re.findall(r'id="d-([0-9a-f]{8})"', page)) for page in (first, second)]
    assert (len(seen[0]), len(seen[1]), seen[0] & seen[1]) == (25, 25, set())
    assert "First page" in second


async def test_a_delivery_shows_its_tries_and_its_message(site: Site) -> None:
    one = next(one for one in await dead(site) if one.id == REFUSED_MAIL)
    text = (await site.get(f"/deliveries/{one.id}")).text
    assert "550: recipient refused" in text
    assert "no such user: old-dba@example.com" in text
    assert "message/rfc822" in text
    assert "staging-stock" in text
    assert (await site.get(f"/deliveries/{one.id[:10]}")).status_code == 200


@pytest.mark.parametrize("id_", ["nope", "%3Cscript%3E", "0"])
async def test_an_unknown_delivery_is_not_found(id_: str, site: Site) -> None:
    found = await site.get(f"/deliveries/{id_}")
    assert (found.status_code, "<script>" in found.text.split("<main", 1)[1]) == (404, False)


async def test_a_ticket_is_linked(site: Site) -> None:
    wanted = DeliveryFilter(state=DeliveryState.DELIVERED, channel="tickets", limit=1)
    (one,) = await site.parts.store.read(lambda q: q.deliveries(wanted))
    assert f'href="https://jira.example.com/browse/{one.ref}"' in (await site.get(f"/deliveries/{one.id}")).text


async def test_an_empty_database_says_so(histories: Histories, tmp_path: Path) -> None:
    async with open_history(histories, tmp_path, Variant.EMPTY) as site:
        text = (await site.get("/deliveries")).text
    assert "Everything is through" in text
    assert "0 planned, 0 accounted for" in text


async def test_without_channels_the_page_says_where_to_add_one(histories: Histories, tmp_path: Path) -> None:
    async with histories.copy(Variant.EMPTY, tmp_path).open() as app, open_site(app.store) as site:  # type: ignore[arg-type]  # as above
        assert "No channel is configured" in (await site.get("/deliveries")).text


async def test_a_thousand_waiting_messages_are_a_page_as_any_other(histories: Histories, tmp_path: Path) -> None:
    async with open_history(histories, tmp_path, Variant.HUGE) as site:
        page = await site.get("/deliveries")
        searched = (await site.get("/deliveries?state=parked&q=staging-load-07")).text
    assert ">1,000+</a>" in page.text
    assert (len(re.findall(r'id="d-[0-9a-f]{8}"', page.text)), len(page.content) < 100_000) == (25, True)
    assert len(re.findall(r'id="d-[0-9a-f]{8}"', searched)) == 25


@pytest.mark.parametrize("language", ["en", "zh"])
async def test_hostile_text_stays_text(language: str, histories: Histories, tmp_path: Path) -> None:
    async with open_history(histories, tmp_path, Variant.HOSTILE) as site:
        headers = {"Accept-Language": language}
        listed = [(await site.get(f"/deliveries{query}", headers=headers)) for query in ("", "?state=delivered")]
        ids = set(re.findall(r'href="/deliveries/([0-9a-f-]{36})"', listed[0].text))
        pages = [*listed, *[await site.get(f"/deliveries/{id_}", headers=headers) for id_ in sorted(ids)]]
    for page in pages:
        assert page.status_code == 200
        assert not re.search(
            r"<(img|svg/|script>|b>)|onerror=alert\(1\)>|[\u202a-\u202e\u2066-\u2069\x00\x1b]", page.text
        )
        assert len(page.content) < 100_000


# ---- what people do ----


async def test_one_dead_message_is_sent_again(site: Site) -> None:
    one = (await dead(site))[0]
    answer = await site.post("/deliveries/retry", only=one.id, back="channel=mail&evil=//x")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/deliveries?channel=mail")
    assert (len(await dead(site)), len(site.woken)) == (2, 1)
    action = await last_action(site)
    assert (action.by, action.verb, action.target, action.detail) == (
        "web:Chen Jing",
        Verb.RETRY,
        one.id[:8],
        "1 delivery",
    )
    page = await site.get("/deliveries")
    assert "1 message is sent again." in page.text


async def test_ticked_messages_are_sent_again_once(site: Site) -> None:
    ids = [one.id for one in await dead(site)][:2]
    for _ in range(2):
        assert (await site.post("/deliveries/retry", id=ids)).status_code == 303
    actions = await site.parts.store.read(lambda q: q.actions(5))
    assert [action.detail for action in actions if action.by == "web:Chen Jing"] == ["2 deliveries"]
    assert "Nothing was sent again" in (await site.get("/deliveries")).text


async def test_all_dead_messages_of_a_channel_are_sent_again(site: Site) -> None:
    await site.post("/deliveries/retry", all="1", channel="tickets")
    assert [one.channel for one in await dead(site)] == ["mail"]


async def test_what_is_parked_is_not_sent_by_hand(site: Site) -> None:
    parked = DeliveryFilter(state=DeliveryState.PARKED)
    before = await site.parts.store.read(lambda q: q.deliveries(parked))
    await site.post("/deliveries/retry", id=[one.id for one in before], only=before[0].id)
    assert await site.parts.store.read(lambda q: q.deliveries(parked)) == before


async def test_a_parked_channel_is_tried_at_once(site: Site) -> None:
    for sentence in ("tickets is tried now; 4 messages wait for that.", "Nothing is parked on tickets."):
        assert (await site.post("/deliveries/try", channel="tickets")).status_code == 303
        assert sentence in (await site.get("/deliveries")).text


async def test_messages_are_dismissed_with_a_reason(site: Site) -> None:
    ids = [one.id for one in await dead(site) if one.channel == "tickets"]
    await site.post("/deliveries/dismiss", id=ids, reason="  the tickets exist  ")
    action = await last_action(site)
    assert (action.verb, action.detail) == (Verb.DISMISS, "2 deliveries: the tickets exist")
    page = (await site.get("/deliveries")).text
    assert "2 messages are dismissed." in page
    assert ">Dismissed 2<" in page


@pytest.mark.parametrize(("ticked", "sentence"), [(True, "Say why they need not"), (False, "Tick the dead messages")])
async def test_a_refused_dismissal_keeps_what_was_typed(*, ticked: bool, sentence: str, site: Site) -> None:
    one = (await dead(site))[0]
    answer = await site.post("/deliveries/dismiss", id=[one.id] if ticked else [], reason="" if ticked else "done <b>")
    assert answer.status_code == 422
    assert sentence in answer.text
    assert (f'value="{one.id}"' in answer.text, " checked>" in answer.text) == (True, ticked)
    assert ticked or "done &lt;b&gt;" in answer.text
    assert len(await dead(site)) == 3


@pytest.mark.parametrize("path", ["retry", "dismiss", "try"])
async def test_a_reader_changes_nothing(path: str, site: Site) -> None:
    site.access.who = viewer(AccessRole.READ)
    ids = [one.id for one in await dead(site)]
    assert (await site.post(f"/deliveries/{path}", id=ids, channel="tickets", reason="x", all="1")).status_code == 403
    assert len(await dead(site)) == 3
    page = (await site.get("/deliveries")).text
    assert not re.search(r'<form method="post"|type="checkbox"|Try it now', page)


# ---- decisions ----


def state(**changes: object) -> ChannelState:
    return ChannelState(name="dba", **changes)  # type: ignore[arg-type]  # of the test


def test_what_keeps_a_channel_from_delivering_is_told() -> None:
    parked = state(parked_since=NOW, reason="HTTP 401", probe_at=NOW + HOUR, announced_since=NOW - HOUR)
    (found,) = troubles_of((parked, Backlog(channel="dba", parked=1_001)), EXPECTED, NOW)
    assert (found.kind, found.since, found.next_try, found.waiting) == ("parked", NOW - HOUR, NOW + HOUR, (1_000, True))
    failing = state(health=ChannelHealth(failing_since=NOW - HOUR, open_until=NOW - HOUR))
    (found,) = troubles_of((failing, Backlog(channel="dba", pending=2)), EXPECTED, NOW)
    assert (found.kind, found.since, found.next_try, found.waiting) == ("failing", NOW - HOUR, None, (2, False))
    (found,) = troubles_of((state(), Backlog(channel="dba", pending=1, pending_since=NOW - HOUR)), EXPECTED, NOW)
    assert found.kind == "waiting"
    (found,) = troubles_of((state(), Backlog(channel="dba", parked=1)), Expected(), NOW)
    assert found.kind == "removed"
    assert not list(troubles_of((state(), Backlog(channel="dba", dead=3)), EXPECTED, NOW))


@pytest.mark.parametrize(
    ("known", "failing", "used", "expected"),
    [
        (state(parked_since=NOW), False, True, "parked"),
        (state(health=ChannelHealth(failing_since=NOW)), True, True, "failing"),
        (state(health=ChannelHealth(failing_since=NOW)), False, True, "retrying"),
        (state(health=ChannelHealth(good_at=NOW)), False, False, "delivers"),
        (state(), False, True, "delivers"),
        (state(), False, False, "idle"),
    ],
)
def test_a_channel_has_a_state(*, known: ChannelState, failing: bool, used: bool, expected: str) -> None:
    assert channel_state(known, EXPECTED, failing=failing, used=used) == expected
    assert channel_state(replace(known, name="old"), EXPECTED, failing=failing, used=used) == "disabled"


def test_a_stored_message_is_readable() -> None:
    mail = EmailMessage()
    mail["Subject"] = "Sicherung fehlgeschlagen"
    mail.set_content("Überlauf auf prod-ledger", cte="base64")
    shown = shown_body(Body(content=mail.as_bytes(), content_type="message/rfc822"))
    assert shown.text == "Sicherung fehlgeschlagen\n\nÜberlauf auf prod-ledger"
    shown = shown_body(Body(content=b'{"a":{"b":"\\u4e2d"}}', content_type="application/json; charset=utf-8"))
    assert (shown.text, shown.whole, shown.kind) == ('{\n  "a": {\n    "b": "中"\n  }\n}', True, "application/json")


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"\xff\xfe\x00broken", "application/json"),
        (b"[" * 100_000, "application/json"),
        (b"no mail at all", "message/rfc822"),
        (b"Content-Type: text/plain; charset=none\n\n\xff", "message/rfc822"),
        (b"", "text/plain"),
    ],
)
def test_a_broken_message_is_shown_as_far_as_it_goes(content: bytes, kind: str) -> None:
    shown = shown_body(Body(content=content, content_type=kind))
    assert len(shown.text) <= SHOWN
    assert "\x00" not in shown.text
    assert shown.size == len(content)


def test_secrets_in_a_stored_message_are_masked() -> None:
    text = "Authorization: Bearer abcdefghijklmnop1234567890 and xoxb-1234567890-obviously-fake"
    shown = shown_body(Body(content=text.encode(), content_type="text/plain"))
    assert not re.search("abcdefghijklmnop|xoxb-1234567890-o", shown.text)


# ---- in a browser ----


@pytest.mark.asyncio(loop_scope="session")
async def test_the_buttons_count_what_is_ticked(open_page: OpenPage) -> None:
    page = await open_page("/deliveries")
    assert await page.text_content("#retry-ticked") == "Retry the ticked"
    await page.check("#messages tbody input >> nth=1")
    assert await page.text_content("#retry-ticked") == "Retry 1"
    await page.check("#tick-all")
    assert [await page.text_content(f"#{one}-ticked") for one in ("retry", "dismiss")] == ["Retry 3", "Dismiss 3"]
    await page.uncheck("#tick-all")
    assert await page.text_content("#retry-ticked") == "Retry the ticked"
