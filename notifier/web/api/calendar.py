"""Mutes and planned maintenance as a calendar (RFC 5545). Pure, and without a library."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from typing import Final

from notifier.core.maintenance_values import MaintenanceRecord
from notifier.core.mutes import Mute, MuteSpan, upcoming
from notifier.wording.localizer import Localizer
from notifier.wording.maintenance import impact_words, maintenance_label, maintenance_reason, maintenance_status
from notifier.wording.marks import without_marks
from notifier.wording.sanitize import one_line

SHOWN_AHEAD: Final = timedelta(weeks=6)
"""How far windows that recur are shown ahead. One that was planned for later is shown all the same."""
_WINDOWS: Final = 200
"""Maximum number of windows of one mute."""
_LINE: Final = 75
"""Maximum length of a line, in bytes."""


def mute_calendar(
    mutes: Sequence[Mute],
    localizer: Localizer,
    now: datetime,
    page: str,
    *,
    maintenance: Sequence[MaintenanceRecord] = (),
    maintenance_page: str = "",
) -> str:
    """Return the calendar of mutes and of maintenance. Each page is the address of what lists them."""
    lines = [
        "BEGIN:VCALENDAR",
        "VERSION:2.0",
        "PRODID:-//GaussDB notifier//mutes//EN",
        "CALSCALE:GREGORIAN",
        "METHOD:PUBLISH",
        f"NAME:{_text(localizer.text('feed.mutes'))}",
        f"X-WR-CALNAME:{_text(localizer.text('feed.mutes'))}",
        "REFRESH-INTERVAL;VALUE=DURATION:PT15M",
    ]
    for mute in mutes:
        for window in _windows(mute, now):
            lines += _event(mute, window, localizer, page)
    for one in maintenance:
        lines += _maintenance(one, localizer, maintenance_page)
    return "".join(_folded(line) for line in (*lines, "END:VCALENDAR"))


def _windows(mute: Mute, now: datetime) -> Iterator[MuteSpan]:
    found = upcoming(mute, _WINDOWS)
    first = next(found)
    yield first
    yield from takewhile(lambda window: window.since < now + SHOWN_AHEAD, found)


def _event(mute: Mute, window: MuteSpan, localizer: Localizer, page: str) -> Iterator[str]:
    text = localizer.text
    who = text("note.mute.configured") if mute.configured else one_line(mute.name)
    about = " ".join(filter(None, (one_line(mute.reason or ""), text("feed.who", who=who))))
    yield "BEGIN:VEVENT"
    # A window that recurs has no identity but its beginning; another one keeps its own when it is extended.
    yield f"UID:{_text(mute.id)}-{_utc(window.since)}@gaussdb-notifier"
    yield f"DTSTAMP:{_utc(mute.created_at)}"
    yield f"DTSTART:{_utc(window.since)}"
    yield f"DTEND:{_utc(window.until)}"
    yield f"SUMMARY:{_text(text('feed.muted', covers=one_line(mute.shown)))}"
    yield f"DESCRIPTION:{_text(about)}"
    yield f"URL:{page}"
    yield "TRANSP:TRANSPARENT"
    yield "END:VEVENT"


def _maintenance(one: MaintenanceRecord, localizer: Localizer, page: str) -> Iterator[str]:
    """Yield the lines of a maintenance with a window or a planned time; none where no time is set."""
    planned = one.planned
    begins = planned.begins_at
    if begins is None or one.over:
        return
    instance = one_line(planned.instance_name or planned.instance_id or "")
    what = maintenance_label(planned, localizer)
    about = (
        maintenance_status(one, localizer),
        maintenance_reason(planned, localizer),
        without_marks(impact_words(planned, localizer)),
        localizer.text("condition.latest", at=localizer.when(planned.latest_at)) if planned.latest_at else "",
    )
    yield "BEGIN:VEVENT"
    yield f"UID:{hashlib.sha256(f'{one.source} {planned.id}'.encode()).hexdigest()[:32]}@gaussdb-notifier"
    yield f"DTSTAMP:{_utc(one.changed_at)}"
    yield f"DTSTART:{_utc(begins)}"
    yield f"DTEND:{_utc(max(planned.ends_at or begins, begins))}"
    yield f"SUMMARY:{_text(localizer.text('feed.maintenance', what=what, instance=instance))}"
    yield f"DESCRIPTION:{_text(' · '.join(filter(None, about)))}"
    yield f"URL:{page}"
    yield "TRANSP:TRANSPARENT"
    yield "END:VEVENT"


def _utc(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y%m%dT%H%M%SZ}"


def _text(value: str) -> str:
    """Return a text as a value: `one_line` has removed what controls."""
    for special in ("\\", ";", ","):
        value = value.replace(special, f"\\{special}")
    return value


def _folded(line: str) -> str:
    """Return a line in pieces of at most 75 bytes, none of which cuts a character."""
    pieces, piece = list[str](), ""
    for character in line:
        if len((piece + character).encode()) > _LINE - (1 if pieces else 0):
            pieces.append(piece)
            piece = ""
        piece += character
    return "\r\n ".join((*pieces, piece)) + "\r\n"
