"""The page of mutes: what it shows, its form, and what people do with it."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from web_site import Site, viewer

from notifier.core.mutes import Mute, WrongMute
from notifier.core.people import Verb
from notifier.web.access.viewer import AccessRole
from notifier.web.pages.mutes import MuteForm, offered_ends, read_scope, read_times, sentence_of
from pages.conftest import OpenPage, last_action, open_history
from pages.history import Histories, Variant
from pages.story import NOW, ZONE

HOUR = timedelta(hours=1)
FORM = {"instance": "prod-catalog", "for": "2h", "reason": "resize", "hold": "most"}


async def known(site: Site) -> dict[str, Mute]:
    """Return the mutes in force and planned by what they cover."""
    return {one.shown: one for one in await site.parts.store.read(lambda q: q.known_mutes())}


# ---- what it shows ----


async def test_the_page_shows_what_is_muted_and_what_was(site: Site) -> None:
    text = (await site.get("/mutes")).text
    assert "1 active." in text
    assert "“load test, instance is recreated”" in text
    assert "Anna Keller, in the chat" in text
    assert re.search(
        r'held back <a href="/deliveries\?state=suppressed&amp;rule=mute%3A\w+">\d+ messages</a>, 0 failures', text
    )
    assert "change it there, under mutes: patch-night" in text
    over = text.split('id="over"')[1].split("</section>")[0]
    assert [name in over for name in ("prod-payments", "source=staging", "prod-users", "operation=backup")] == [
        True
    ] * 4
    assert "by Chen Jing" in over
    assert over.count("by itself") == 3


async def test_the_number_of_held_messages_leads_to_them(site: Site) -> None:
    text = (await site.get("/mutes")).text
    links = re.findall(r'<a href="(/deliveries\?[^"]*rule[^"]*)">(\d+)(?: messages?)?</a>', text)
    assert len(links) == 5
    for link, number in links:
        page = (await site.get(link.replace("&amp;", "&"))).text
        assert len(re.findall(r'id="d-[0-9a-f]{8}"', page)) == int(number)


async def test_a_preview_says_what_would_have_been_held_back(site: Site) -> None:
    text = (await site.get("/mutes?instance=prod-catalog&for=1h")).text
    preview = text.split('id="preview"')[1].split("</div>")[0]
    assert "Until 10:42." in preview
    assert re.search(r"it would have held back: \d+ tasks completed", preview)
    assert re.search(r"\d+ to dba", preview)
    assert 'value="prod-catalog"' in text


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("instance=source%3Dnowhere", "No configured source fits source=nowhere."),
        ("instance=prod-catalog&for=other&when=soon", "soon is no time"),
        ("instance=prod-catalog&for=other&when=60d", "A mute lasts from 1 minute to 30 days, not 60d."),
        ("instance=prod-catalog&for=other&when=until+2020-01-01", "That would end before it begins"),
        ("instance=prod-catalog&for=other", "Say for how long"),
        ("instance=colour%3Dred", "colour"),
        ("instance=prod-catlog&unknown=1", "Did you mean prod-catalog"),
        ("instance=" + "x*" * 300, "That is too long"),
    ],
)
async def test_the_form_says_what_is_wrong(query: str, sentence: str, site: Site) -> None:
    text = (await site.get(f"/mutes?{query}")).text
    (wrong,) = re.findall(r'<span class="wrong"[^>]*>(.*?)</span>', text)
    assert sentence in wrong


async def test_an_empty_database_says_so(histories: Histories, tmp_path: Path) -> None:
    async with open_history(histories, tmp_path, Variant.EMPTY) as site:
        text = (await site.get("/mutes?instance=prod-x")).text
    assert "Nothing is muted." in text
    assert "No mute has ended" in text
    assert "it would have held back nothing" in text


@pytest.mark.parametrize("language", ["en", "zh"])
async def test_hostile_text_stays_text(language: str, histories: Histories, tmp_path: Path) -> None:
    async with open_history(histories, tmp_path, Variant.HOSTILE) as site:
        hostile = "<script>alert(1)</script>\u202e\x1b[31m" + "long " * 200
        refused = await site.post("/mutes/create", instance=f"=~{hostile}", reason=hostile, when=hostile)
        await site.post("/mutes/create", instance="prod-*", reason=hostile, hold="all", **{"for": "1h"})
        page = await site.get("/mutes", headers={"Accept-Language": language})
    assert (refused.status_code, page.status_code) == (422, 200)
    for text in (refused.text, page.text):
        assert not re.search(r"<(img|svg/|script>)|[\u202a-\u202e\u2066-\u2069\x00\x1b]", text)
        assert len(text.encode()) < 100_000


# ---- what people do ----


async def test_a_mute_is_made(site: Site) -> None:
    answer = await site.post("/mutes/create", **FORM)
    made = (await known(site))["prod-catalog"]
    assert (answer.status_code, answer.headers["Location"]) == (303, f"/mutes#mute-{made.id}")
    assert (made.by, made.name, made.reason, made.except_failures) == ("web:Chen Jing", "Chen Jing", "resize", True)
    assert made.until == NOW + 2 * HOUR
    action = await last_action(site)
    assert (action.by, action.verb, action.target) == ("web:Chen Jing", Verb.MUTE, "prod-catalog")
    text = (await site.get("/mutes")).text
    assert "prod-catalog is muted until" in text
    assert "Chen Jing, on this page" in text
    assert len(site.woken) == 1


async def test_a_mute_that_is_sent_twice_is_one(site: Site) -> None:
    for _ in range(2):
        await site.post("/mutes/create", **FORM)
    assert len(await known(site)) == 3


async def test_matchers_and_recurring_times_are_muted(site: Site) -> None:
    form = FORM | {"instance": "operation=backup prod-*", "for": "other", "when": "every sat 22:00 4h", "hold": "all"}
    await site.post("/mutes/create", **form)
    (made,) = [one for one in (await known(site)).values() if one.recurs and not one.configured]
    assert set(map(str, made.match)) == {"operation=backup", "instance=prod-*"}
    assert (made.recurs, made.except_failures, made.timezone) == (True, False, "Asia/Shanghai")
    assert "is muted from 28 Nov 22:00" in (await site.get("/mutes")).text


async def test_an_unknown_instance_keeps_the_form(site: Site) -> None:
    answer = await site.post("/mutes/create", **(FORM | {"instance": "prod-catlog"}))
    page = (await site.get(answer.headers["Location"])).text
    assert "Did you mean prod-catalog" in page
    assert 'value="resize"' in page
    assert len(await known(site)) == 2


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"reason": " "}, "Say why"),
        ({"instance": ""}, "Name an instance"),
        ({"instance": "source=nowhere"}, "No configured source fits"),
        ({"for": "other", "when": "2h 3h"}, "no time such as"),
    ],
)
async def test_a_refused_mute_keeps_the_form(change: dict[str, str], sentence: str, site: Site) -> None:
    answer = await site.post("/mutes/create", **(FORM | {"hold": "all"} | change))
    assert answer.status_code == 422
    (wrong,) = re.findall(r'<span class="wrong"[^>]*>(.*?)</span>', answer.text)
    assert sentence in wrong
    assert re.search(r'name="hold" value="all" checked', answer.text)
    assert len(await known(site)) == 2


async def test_a_mute_is_extended_moved_and_ended(site: Site) -> None:
    before = (await known(site))["staging-reports"]
    await site.post("/mutes/extend", id=before.id, by="1h")
    assert (await known(site))["staging-reports"].until == before.until + HOUR
    await site.post("/mutes/extend", id=before.id, until="10:15")
    assert (await known(site))["staging-reports"].until == datetime(2026, 11, 28, 10, 15, tzinfo=ZONE)
    assert (await last_action(site)).verb is Verb.EXTEND
    answer = await site.post("/mutes/end", id=before.id)
    assert (answer.status_code, (await last_action(site)).verb) == (303, Verb.UNMUTE)
    page = (await site.get("/mutes")).text
    assert "staging-reports is not muted any more." in page
    assert "by Chen Jing" in page
    for path, form in (("end", {}), ("extend", {"by": "1h"}), ("extend", {"until": "23:00"})):
        await site.post(f"/mutes/{path}", id=before.id, **form)
        assert "That mute is over" in (await site.get("/mutes")).text


@pytest.mark.parametrize(
    ("until", "sentence"), [("yesterday", "no time such as"), ("2026-11-27", "That would end before"), ("", "no time")]
)
async def test_a_wrong_end_is_refused(until: str, sentence: str, site: Site) -> None:
    mute = (await known(site))["staging-reports"]
    answer = await site.post("/mutes/extend", id=mute.id, until=until)
    assert (answer.status_code, sentence in answer.text) == (422, True)
    assert (await known(site))["staging-reports"].until == mute.until


async def test_a_planned_mute_of_the_configuration_is_not_ended_here(site: Site) -> None:
    page = (await site.get("/mutes")).text.split('id="planned"')[1].split("</section>")[0]
    assert "<form" not in page
    await site.post("/mutes/end", id="patch-night")
    assert "is changed in the configuration" in (await site.get("/mutes")).text
    assert len(await known(site)) == 2


@pytest.mark.parametrize("path", ["create", "extend", "end"])
async def test_a_reader_changes_nothing(path: str, site: Site) -> None:
    site.access.who = viewer(AccessRole.READ)
    before = await known(site)
    answer = await site.post(f"/mutes/{path}", id=before["staging-reports"].id, by="1h", **FORM)
    assert (answer.status_code, await known(site)) == (403, before)
    assert '<form method="post"' not in (await site.get("/mutes")).text


# ---- decisions ----


@pytest.mark.parametrize(
    ("hour", "last"), [(8, "until 18:00"), (17, "until 18:00"), (18, "until 09:00"), (23, "until 09:00")]
)
def test_the_form_offers_the_end_of_the_working_day(hour: int, last: str) -> None:
    assert offered_ends(datetime(2026, 11, 28, hour, 30, tzinfo=ZONE), ZONE)[-1] == last


@pytest.mark.parametrize(
    ("text", "instance", "match"),
    [
        ("prod-orders", "prod-orders", ()),
        ("my old instance", "my old instance", ()),
        ("prod-*", None, ("instance=prod-*",)),
        ("source=staging type=task.completed", None, ("source=staging", "type=task.completed")),
        ("source in [prod, staging]", None, ("source in [prod, staging]",)),
    ],
)
def test_one_field_takes_names_and_matchers(text: str, instance: str | None, match: tuple[str, ...]) -> None:
    scope = read_scope(text)
    assert (scope.instance, tuple(map(str, scope.match))) == (instance, match)


@pytest.mark.parametrize("when", ["2h resizing", "but failures 2h", "prod-* 2h", ""])
def test_what_is_more_than_a_time_is_refused(when: str) -> None:
    with pytest.raises(WrongMute):
        read_times(MuteForm(length="other", when=when), NOW, ZoneInfo("Asia/Shanghai"))


def test_every_mistake_has_a_sentence_in_both_languages() -> None:
    keys = (
        "missing",
        "matcher",
        "source",
        "long",
        "both",
        "length",
        "mute",
        "past",
        "ahead",
        "overlap",
        "cron",
        "every",
    )
    for key in (*keys, "time", "anything"):
        english, chinese = (sentence_of(WrongMute(key, "", "100%"), one) for one in ("en", "zh"))
        assert english != chinese


# ---- in a browser ----


@pytest.mark.asyncio(loop_scope="session")
async def test_the_preview_follows_what_is_typed(open_page: OpenPage) -> None:
    page = await open_page("/mutes")
    await page.fill("#instance", "prod-catalog")
    await page.locator("#preview", has_text="Until 11:42.").wait_for()
    await page.click("text=4 h >> nth=1")
    await page.locator("#preview", has_text="Until 13:42.").wait_for()
    assert await page.input_value("#instance") == "prod-catalog"
    assert page.url.endswith("/mutes")


@pytest.mark.asyncio(loop_scope="session")
async def test_the_form_works_without_scripts(open_page: OpenPage) -> None:
    page = await open_page("/mutes", scripts=False)
    await page.fill("#instance", "source=staging")
    await page.click("#preview-button")
    assert "it would have held back" in (await page.text_content("#preview") or "")
    assert await page.input_value("#instance") == "source=staging"
