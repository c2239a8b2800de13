"""Markup and cards: what text from outside can do in them, and how a whole card fits into a small room."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from zoneinfo import ZoneInfo

import pytest
from factories import HOSTILE, T0, hostile_event, make_event, make_event_of, make_events, make_render_request, make_task
from hypothesis import given
from hypothesis import strategies as st

from notifier.channels.card import QUOTE_LINES, CardLayout, CardLimits
from notifier.channels.markup import (
    Html,
    Markdown,
    Markup,
    PlainMarkup,
    Size,
    characters,
    cut_to,
    fitting_lines,
    json_bytes,
    utf8_bytes,
    utf16_units,
)
from notifier.channels.templates import FilledTemplate
from notifier.core.delivery import Thread
from notifier.core.events import EventType
from notifier.core.mutes import Mute
from notifier.core.people import Acknowledgement
from notifier.core.tickets import TicketLink
from notifier.wording.events import EventFormatter
from notifier.wording.links import LinkTemplates
from notifier.wording.localizer import Localizer

LINKS = LinkTemplates(console_url="https://console.example.com/{region}", runbook_url="https://wiki.example.com/x")
FORMATTERS = {
    language: EventFormatter(Localizer(language=language, timezone=ZoneInfo("Asia/Shanghai")), links=LINKS)
    for language in ("en", "zh")
}
SIZES: dict[str, Size] = {"characters": characters, "bytes": utf8_bytes, "utf-16": utf16_units, "json": json_bytes}
ESCAPED = {char: f"\\{char}" for char in r"\`*_[]()#>!-"}
DIALECTS: dict[str, Markup] = {
    "markdown": Markdown(replaced=ESCAPED, strong=("**", "**"), active=re.compile("[@<]"), size=utf8_bytes),
    "html": Html(size=utf16_units),
    "plain": PlainMarkup(size=characters),
}
TEXTS = st.text(max_size=300) | st.text("a数😀&<>\"'`*_\\[]()@#\n ", max_size=300) | st.sampled_from(HOSTILE)


class Reader(HTMLParser):
    """Reads HTML as strictly as a chat does: every tag is one of ours and closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in {"b", "code", "pre", "blockquote", "a"}
        assert [name for name, _ in attrs] == (["href"] if tag == "a" else [])
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def read(html: str) -> str:
    reader = Reader()
    reader.feed(html)
    reader.close()
    assert reader.open == []
    return reader.text


# ---- units ----


@pytest.mark.parametrize(
    ("text", "sizes"), [("abc", (3, 3, 3, 3)), ("数据", (2, 6, 2, 6)), ("😀", (1, 4, 2, 4)), ('a"\n', (3, 3, 3, 5))]
)
def test_each_unit_counts_as_its_service_does(text: str, sizes: tuple[int, ...]) -> None:
    assert tuple(size(text) for size in SIZES.values()) == sizes


@given(TEXTS, TEXTS, st.sampled_from([*SIZES]))
def test_the_sizes_of_parts_add_up(one: str, two: str, name: str) -> None:
    assert SIZES[name](one) + SIZES[name](two) == SIZES[name](one + two)


@given(TEXTS, st.integers(3, 200), st.sampled_from([*SIZES]))
def test_a_cut_text_fits_and_divides_no_character(text: str, limit: int, name: str) -> None:
    shown = cut_to(text, limit, SIZES[name])
    assert SIZES[name](shown) <= limit
    assert shown == text or text.startswith(shown.removesuffix("…"))
    assert (shown == text) == (SIZES[name](text) <= limit)


@given(st.lists(TEXTS, max_size=8), st.integers(0, 500), st.sampled_from([*SIZES]))
def test_lines_that_fit_are_whole_and_in_order(lines: list[str], limit: int, name: str) -> None:
    kept = list(fitting_lines(lines, limit, SIZES[name], gap=SIZES[name]("\n")))
    assert not kept or SIZES[name]("\n".join(kept)) <= limit
    rest = iter(lines)
    assert all(line in rest for line in kept)


# ---- markup ----


@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=DIALECTS)
@given(text=TEXTS, limit=st.integers(40, 400))
def test_every_part_keeps_its_limit(dialect: Markup, text: str, limit: int) -> None:
    for write in (dialect.plain, dialect.code, dialect.fence, dialect.block_quote, dialect.unformatted):
        assert dialect.size(write(text, limit)) <= limit


@given(text=TEXTS, limit=st.integers(30, 400))
def test_nothing_is_markup_in_html(text: str, limit: int) -> None:
    html = DIALECTS["html"]
    for write in (html.plain, html.code, html.fence, html.block_quote, html.bold):
        shown = read(write(text, limit))
        assert shown.removesuffix("…").replace("\n", " ").split() == [] or "".join(text.split()).startswith(
            "".join(shown.split()).removesuffix("…")
        )


@given(text=TEXTS, limit=st.integers(20, 400))
def test_nothing_is_markup_in_markdown(text: str, limit: int) -> None:
    shown = DIALECTS["markdown"].plain(text, limit)
    bare = re.sub(r"\\.", "", shown)
    assert not set(bare) & set(ESCAPED)
    assert not re.search("[@<](?![\u200b…])", bare)


@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=DIALECTS)
def test_a_link_cannot_be_ended_by_its_address(dialect: Markup) -> None:
    shown = dialect.link("Open", "https://example.com/a\"b)c<d> e'f")
    assert not set(shown.partition("https")[2].rstrip(")").removesuffix('">Open</a>')) & set("\"')<> ")


# ---- cards ----


def layout(dialect: str = "markdown", language: str = "en", limits: CardLimits | None = None) -> CardLayout:
    return CardLayout(DIALECTS[dialect], FORMATTERS[language], limits or SMALL)


SMALL = CardLimits(quote=1_200, line=1_000, part=300)
ROOM = 4_000


def test_a_card_answers_the_six_questions_in_order() -> None:
    event = make_event(make_task("def160ec-c3ad", instance_name="orders", fail_reason="The quota is used up."))
    card = layout().card(make_render_request(event))
    assert card.state.name == "failed"
    assert card.headline.startswith("🔴 **Instance creation failed on** `orders`")
    assert card.title == "orders: instance creation failed"
    assert card.reason == "The quota is used up."
    assert [link.url for link in card.links] == ["https://console.example.com/cn-north-4", "https://wiki.example.com/x"]
    text = layout().text(card, ROOM, "@oncall")
    assert text.splitlines()[0].endswith(" @oncall")
    places = [text.index(part) for part in ("🔴", "> ", card.conditions, "[Open console]", card.about)]
    assert places == sorted(places)


def test_a_long_reason_keeps_its_first_lines_and_counts_the_others() -> None:
    event = make_event(make_task(fail_reason="\n".join(f"line {n}" for n in range(60))))
    for dialect in DIALECTS:
        card = layout(dialect).card(make_render_request(event))
        assert card.more == f"… {60 - QUOTE_LINES} more lines"
        assert card.reason.splitlines()[-1] == f"line {QUOTE_LINES - 1}"


def test_the_least_important_lines_go_first() -> None:
    event = make_event(make_task("the-job", fail_reason="The quota of vCPUs is not sufficient."))
    made = layout()
    card = made.card(make_render_request(event))
    whole = made.text(card, ROOM)
    assert "[Open console]" in whole
    less = made.text(card, utf8_bytes(whole) - 1)
    assert "[Open console]" not in less
    assert card.quote in less
    least = made.text(card, utf8_bytes(card.headline) + utf8_bytes(card.about) + 10)
    assert least == f"{card.headline}\n\n{card.about}"


def test_a_template_replaces_the_body_and_leaves_the_links_and_the_job() -> None:
    filled = FilledTemplate(title="own title", text="own *text*")
    card = layout().card(make_render_request(make_event(make_task("the-job"))), filled)
    text = layout().text(card, ROOM)
    assert text.startswith("🔴 own title\n\nown *text*\n\n[Open console]")
    assert "the\\-job" in text or "`the-job`" in text
    assert card.facts == () == card.lines


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("language", ["en", "zh"])
@given(
    text=TEXTS,
    type_=st.sampled_from([*EventType]),
    room=st.integers(1_600, 6_000),
    template=st.none() | st.text(max_size=9_000),
)
def test_a_whole_card_fits_whatever_is_in_it(
    dialect: str, *, language: str, text: str, type_: EventType, room: int, template: str | None
) -> None:
    event = replace(make_event_of(type_), detail=text)
    if event.task:
        event = replace(hostile_event(text), type=type_)
    made = layout(dialect, language)
    shown = made.text(made.card(make_render_request(event), FilledTemplate(text=template)), room, "@all")
    assert made.markup.size(shown) <= room
    if dialect == "html" and not template:
        read(shown)


@pytest.mark.parametrize("dialect", DIALECTS)
@given(count=st.integers(2, 60), text=TEXTS, room=st.integers(2_500, 8_000))
def test_a_digest_names_every_job_in_a_small_room(dialect: str, count: int, text: str, room: int) -> None:
    events = [replace(event, environment=text) for event in make_events(count)]
    tasks = [event.task and replace(event.task, instance_name=f"{text[:90]}{n}") for n, event in enumerate(events)]
    made = layout(dialect)
    request = make_render_request(*(replace(event, task=task) for event, task in zip(events, tasks, strict=True)))
    shown = made.text(made.card(request), room)
    assert made.markup.size(shown) <= room
    found = read(shown) if dialect == "html" else shown.replace("\\", "")
    assert [event.job_id for event in events if event.job_id not in found] == []


def test_a_list_for_which_there_is_no_room_says_how_many_lines_are_missing() -> None:
    made = layout("plain")
    shown = made.text(made.card(make_render_request(*make_events(100))), 700)
    assert len(shown) <= 700
    found = re.search(r"… (\d+) more lines$", shown)
    assert found
    assert int(found[1]) + shown.count("•") == 100


def test_a_card_is_the_same_each_time() -> None:
    request = make_render_request(*make_events(5))
    assert layout().card(request) == layout().card(request)
    assert json.dumps(layout().text(layout().card(request), ROOM))


# ---- cards that are edited ----

ALICE = Acknowledgement(event_id="e", by="1", name="alice <b> @all", at=T0)
MUTED = Mute(id="7k2m", since=T0, instance="orders", until=T0, by="2", name="bob", created_at=T0, reason="*resize*")


def test_an_edited_card_shows_who_took_charge_instead_of_the_state() -> None:
    event = make_event()
    thread = Thread(channel="dba", subject=event.subject, ref="1", event=event, revision=1)
    before = layout("html").live(thread)
    assert (before.settled, before.notes) == (False, ())
    assert before == layout("html").card(make_render_request(event))
    after = layout("html").live(replace(thread, acknowledged=ALICE, mute=MUTED))
    assert after.settled
    assert after.headline.startswith("✅ <b>Instance creation failed on</b>")
    assert read(after.notes[0]) == "✅ alice <b> @all, 16:30:00"
    assert read(after.notes[1]).startswith("🔕 Muted")
    assert layout("html").text(after, ROOM).count("alice") == 1


def test_an_address_that_no_browser_opens_is_left_out() -> None:
    formatter = replace(
        FORMATTERS["en"], links=LinkTemplates(console_url="javascript:x{region}", runbook_url="https://x/")
    )
    card = CardLayout(DIALECTS["plain"], formatter).card(make_render_request(make_event()))
    assert [link.url for link in card.links] == ["https://x/"]


TICKETS = (
    TicketLink(channel="ops", label="OPS-12", url="https://tickets.example.com/OPS-12"),
    TicketLink(channel="itsm", label="INC<7>"),
)


def test_tickets_are_links_and_those_without_an_address_stand_in_the_last_line() -> None:
    request = replace(make_render_request(make_event()), tickets=TICKETS)
    made = layout("html")
    card = made.card(request)
    assert card.links[-1].label == "Ticket OPS-12"
    assert card.about.endswith(" · Ticket INC&lt;7&gt;")
    assert '<a href="https://tickets.example.com/OPS-12">Ticket OPS-12</a>' in made.text(card, ROOM)
    event = request.events[0]
    thread = Thread(channel="dba", subject=event.subject, ref="1", event=event, revision=1, tickets=TICKETS)
    assert made.live(thread) == card


def test_a_title_of_a_template_loses_its_escapes_where_nothing_is_markup() -> None:
    card = layout("html").card(make_render_request(make_event()), FilledTemplate(title="a &amp; b &quot;c&quot;"))
    assert card.title == 'a & b "c"'
    assert card.headline.endswith("a &amp; b &quot;c&quot;")
