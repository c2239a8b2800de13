"""Failures as an Atom feed (RFC 4287). Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final
from xml.etree.ElementTree import Element, SubElement, tostring

from notifier.core.failures import OpenFailure
from notifier.web.api.problems import TYPE_PREFIX
from notifier.wording.documents import time
from notifier.wording.events import EventFormatter
from notifier.wording.marks import without_marks
from notifier.wording.open_failures import FailureFormatter

_NAMESPACE: Final = "http://www.w3.org/2005/Atom"
_FORBIDDEN: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that no XML document can hold."""
_NEVER: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LANGUAGES: Final = {"en": "en", "zh": "zh-CN"}


def atom_feed(found: Sequence[OpenFailure], formatter: EventFormatter, own: str, page: str) -> str:
    """Return the feed of failures, the latest change first.

    `own` is its address, without a token, and `page` that of the page for people.
    """
    localizer = formatter.localizer
    feed = Element("feed", {"xmlns": _NAMESPACE, "xml:lang": _LANGUAGES[localizer.language]})
    _add(feed, "id", f"{TYPE_PREFIX}failures")
    _add(feed, "title", localizer.text("feed.failures"))
    _add(feed, "updated", time(max((one.changed_at for one in found), default=_NEVER)) or "")
    SubElement(feed, "link", {"rel": "self", "type": "application/atom+xml", "href": _clean(own)})
    SubElement(feed, "link", {"rel": "alternate", "type": "text/html", "href": _clean(page)})
    _add(SubElement(feed, "author"), "name", localizer.text("feed.author"))
    for one in found:
        _add_entry(feed, one, formatter, page)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + tostring(feed, encoding="unicode")


def _add_entry(feed: Element, one: OpenFailure, formatter: EventFormatter, page: str) -> None:
    words = FailureFormatter(formatter, one.changed_at)
    message = words.message(one)
    entry = SubElement(feed, "entry")
    _add(entry, "id", f"{TYPE_PREFIX}failure:{one.id}")
    _add(entry, "title", without_marks(message.sentence))
    _add(entry, "updated", time(one.changed_at) or "")
    _add(entry, "published", time(one.opened_at) or "")
    SubElement(entry, "link", {"rel": "alternate", "type": "text/html", "href": _clean(message.page.url or page)})
    for term in (one.latest.type.value, one.severity.value, one.state.value):
        SubElement(entry, "category", {"term": term})
    # Plain text, so that no reader takes what the cloud wrote for markup.
    lines = (words.cause(one), message.meaning, message.advice, *words.history(one))
    _add(entry, "content", "\n".join(without_marks(line) for line in lines if line)).set("type", "text")


def _add(parent: Element, name: str, text: str) -> Element:
    element = SubElement(parent, name)
    element.text = _clean(text)
    return element


def _clean(text: str) -> str:
    return _FORBIDDEN.sub("\ufffd", text)
