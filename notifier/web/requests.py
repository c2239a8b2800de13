"""A request for a page, and what a page answers.

A page is a pure function of a request and of one consistent view of the database: `read(request, q)`. An action is a
function of a request and a transaction. Neither is async, and neither knows HTTP; `application` does that once.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from starlette.datastructures import QueryParams
from starlette.requests import Request

from notifier.core.errors import NotifierError
from notifier.web.access.viewer import AccessRole, Viewer
from notifier.web.parts import WebRules
from notifier.web.ports import WebReads, WebTx
from notifier.web.preferences import Theme, read_preferences
from notifier.wording.events import EventFormatter
from notifier.wording.localizer import Localizer
from notifier.wording.phrases import Language


@dataclass(frozen=True, slots=True, kw_only=True)
class PageRequest:
    """What a page may depend on."""

    path: str
    """Without the query."""
    places: Mapping[str, str]
    """The parts of the path that the route names."""
    query: QueryParams
    form: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """The fields of a submitted form."""
    viewer: Viewer
    language: Language
    theme: Theme
    rules: WebRules
    keys: bool = True
    """Whether single keys do something on the page."""

    @property
    def localizer(self) -> Localizer:
        """Text, times and durations for the reader."""
        return self.rules.localizers[self.language]

    @property
    def formatter(self) -> EventFormatter:
        """Describes events for the reader."""
        return EventFormatter(self.localizer, self.rules.causes, self.rules.links)

    def field(self, name: str) -> str:
        """Return the last value of a field of the form, without spaces around it; empty where there is none."""
        return (self.form.get(name) or ("",))[-1].strip()


def page_request(
    request: Request, rules: WebRules, viewer: Viewer, form: Mapping[str, Sequence[str]] | None = None
) -> PageRequest:
    """Return what a page may depend on of a request."""
    preferences = read_preferences(request.cookies, request.headers.get("Accept-Language", ""), rules.language)
    return PageRequest(
        path=request.url.path,
        places=request.path_params,
        query=request.query_params,
        form=form or {},
        viewer=viewer,
        language=preferences.language,
        theme=preferences.theme,
        keys=preferences.keys,
        rules=rules,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A page: the facts it shows and the template that shows them."""

    template: str
    """File name in `templates`."""
    view: object
    """A frozen dataclass whose `repr` names every fact that it shows: the page's ETag follows from it. A text that
    grows older, such as "2 min ago", is made of a time by the template."""
    status: int = 200
    poll: int = 15
    """Seconds after which an open page asks again; 0 for never."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Redirect:
    """What follows a successful action: the page to show."""

    to: str
    """A path of ours, with its query."""
    notice: str = ""
    """A sentence about what was done, in the reader's language, shown once."""


class PageMissing(NotifierError):
    """There is nothing at this address; the message says what was looked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PageRoute:
    """A page at an address."""

    path: str
    read: Callable[[PageRequest, WebReads], Page | Redirect]
    tab: str = ""
    """Name of the tab that it belongs to."""
    role: AccessRole = AccessRole.READ


@dataclass(frozen=True, slots=True, kw_only=True)
class DownloadPart:
    """Some of a file."""

    text: str
    following: str = ""
    """Where the next part begins; empty at the end of the file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DownloadRoute:
    """A file at an address, which is sent while it is read: each part from a view of the database of its own."""

    path: str
    read: Callable[[PageRequest, WebReads, str], DownloadPart]
    """Takes the place where the part begins: empty for the first, else what the part before has as `following`."""
    name: str
    """Under which browsers save it."""
    media_type: str
    tab: str = ""
    role: AccessRole = AccessRole.READ


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionRoute:
    """What a form does. It is refused unless the request comes from a page of ours."""

    path: str
    act: Callable[[PageRequest, WebTx], Redirect | Page]
    """Returns a page again, with status 422, where it refuses what was typed; it has changed nothing then."""
    tab: str = ""
    role: AccessRole = AccessRole.ACT


SiteRoute: TypeAlias = PageRoute | ActionRoute | DownloadRoute
"""Whatever is at an address of the page."""
