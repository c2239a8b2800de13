"""Turns the facts of a page into HTML, unless the reader has them already."""

import gettext
import hashlib
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from notifier.web.frame import TABS, Frame
from notifier.web.requests import Page, PageRequest
from notifier.wording.phrases import Language


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """A page in HTML with the tag of its content."""

    tag: str
    html: str | None
    """None where the reader has this content."""


def render(page: Page, request: PageRequest, frame: Frame, *, tab: str, notice: str = "", known: str = "") -> Rendered:
    """Return a page in HTML, or only its tag where that is `known` to the reader."""
    tag = _tag(page, request, frame, notice)
    if tag == known:
        return Rendered(tag=tag, html=None)
    template = environment(request.language).get_template(page.template)
    values = {"view": page.view, "request": request, "viewer": request.viewer, "rules": request.rules}
    context = values | {"frame": frame, "tabs": TABS, "tab": tab, "notice": notice, "poll": page.poll}
    return Rendered(tag=tag, html=template.render(context, t=request.localizer))


@lru_cache
def environment(language: Language) -> Environment:
    """Return the templates in a language."""
    made = Environment(
        loader=PackageLoader("notifier.web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.i18n"],
    )
    found: Any = made
    found.install_gettext_translations(translations(language), newstyle=True)
    return made


@lru_cache
def translations(language: Language) -> gettext.NullTranslations:  # noqa: ARG001 - there is one language so far
    """Return the page's own words in a language."""
    return gettext.NullTranslations()


def _tag(page: Page, request: PageRequest, frame: Frame, notice: str) -> str:
    """Return the tag of what a page shows.

    Ages are shown in minutes and count on in the browser, so that a page is made again once a minute at most while
    nothing happens.
    """
    reader = (request.language, request.theme, request.viewer, str(request.query), notice, request.rules.version)
    facts = (page.template, page.view, frame.counts, frame.urgent, _minute(frame.now), reader)
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:32]


def _minute(moment: datetime) -> int:
    return int(moment.timestamp() // 60)
