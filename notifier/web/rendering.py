"""Turns the facts of a page into HTML, unless the reader has them already."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any
from urllib.parse import urlencode

from jinja2 import Environment, PackageLoader, StrictUndefined

from notifier.web.assets import asset_path
from notifier.web.catalogues import translations
from notifier.web.filters import PageFilters, tick_words
from notifier.web.frame import TABS, Frame
from notifier.web.requests import Page, PageRequest
from notifier.wording.localizer import Localizer

NAME = "GaussDB notifier"
HTMX = json.dumps(
    {
        "history": False,
        "includeIndicatorCSS": False,
        "extensions": "page",
        "morphIgnore": ["data-htmx-powered", "open", "checked", "selected"],
        "defaultTimeout": 10_000,
    }
)
"""Settings of htmx. What a reader opened, ticked or chose stays when a page is refreshed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """A page in HTML with the tag of its content."""

    tag: str
    html: str | None
    """None where the reader has this content."""


def render(
    page: Page,
    request: PageRequest,
    frame: Frame,
    *,
    tab: str,
    notice: str = "",
    known: str = "",
    seconds: Callable[[], float] | None = None,
) -> Rendered:
    """Return a page in HTML, or only its tag where that is `known` to the reader.

    `seconds` returns how long the page has been in the making.
    """
    tag = _tag(page, request, frame, notice)
    if tag == known:
        return Rendered(tag=tag, html=None)
    around = {
        "frame": frame,
        "now": frame.now,
        "tabs": TABS,
        "tab": tab,
        "notice": notice,
        "poll": page.poll,
        "tag": tag,
        "took": seconds() if seconds else 0.0,
    }
    return Rendered(tag=tag, html=_html(page, request, around))


def render_alone(page: Page, request: PageRequest) -> str:
    """Return a page without the frame, for somebody who may not see what the frame shows."""
    return _html(page, request, {})


def _html(page: Page, request: PageRequest, around: Mapping[str, object]) -> str:
    made = environment(request.localizer)
    context: dict[str, Any] = {
        "view": page.view,
        "request": request,
        "viewer": request.viewer,
        "rules": request.rules,
        "t": request.localizer,
        "here": _address(request),
        **around,
    }
    context["ui"] = made.get_template("macros.html").make_module(context)
    return made.get_template(page.template).render(context)


@lru_cache
def environment(localizer: Localizer) -> Environment:
    """Return the templates for readers of one language."""
    made = Environment(
        loader=PackageLoader("notifier.web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
        extensions=["jinja2.ext.i18n"],
    )
    made.policies["ext.i18n.trimmed"] = True
    made.filters.update(PageFilters(localizer).by_name())
    made.globals.update(
        static=asset_path,
        htmx=HTMX,
        words=json.dumps(tick_words(localizer), ensure_ascii=False),
        name=NAME,
        lang="zh-CN" if localizer.language == "zh" else "en",
    )
    found: Any = made
    found.install_gettext_translations(translations(localizer.language), newstyle=True)
    return made


def _address(request: PageRequest) -> Callable[..., str]:
    """Return a function that returns the address of the page with other parameters; None takes one away."""

    def address(**changes: object) -> str:
        kept = [(name, value) for name, value in request.query.multi_items() if name not in changes]
        query = urlencode(kept + [(name, str(value)) for name, value in changes.items() if value is not None])
        return f"{request.path}?{query}" if query else request.path

    return address


def _tag(page: Page, request: PageRequest, frame: Frame, notice: str) -> str:
    """Return the tag of what a page shows.

    Ages are shown in minutes and count on in the browser, so that a page is made again once a minute at most while
    nothing happens.
    """
    reader = (request.language, request.theme, request.keys, request.viewer, str(request.query), notice)
    frame_facts = (_counted(frame.counts), sorted(frame.urgent), _minute(frame.now), page.poll, frame.lost)
    facts = (page.template, page.view, frame_facts, reader, request.rules.version)
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:32]


def _counted(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items())


def _minute(moment: datetime) -> int:
    return int(moment.timestamp() // 60)
