"""Mutes: what is kept quiet and why, what that has held back, and a form for a new one."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from gettext import NullTranslations
from urllib.parse import quote, urlencode
from zoneinfo import ZoneInfo

from notifier import lookup
from notifier import mutes as acts
from notifier.core.durations import parse_duration
from notifier.core.listings import fits_no_source
from notifier.core.maintenance_mutes import MaintenanceMuteNow
from notifier.core.mute_words import parse_written_time, read_mute_words
from notifier.core.mutes import (
    MAX_MUTE_REASON,
    MAX_SCOPE,
    HeldBack,
    Mute,
    MuteScope,
    MuteSpan,
    MuteTimes,
    WrongMute,
    upcoming,
)
from notifier.core.row_counts import RowCount
from notifier.core.wall_time import wall_time
from notifier.mutes import PREVIEWED, MutePreview, MuteRequest, preview_of
from notifier.ports import EventFilter
from notifier.web.catalogues import translations
from notifier.web.cursors import WrongCursor, decode_cursor, encode_cursor
from notifier.web.ports import WebReads, WebTx
from notifier.web.requests import ActionRoute, Page, PageRequest, PageRoute, Redirect
from notifier.wording.events import EventFormatter
from notifier.wording.phrases import Language
from notifier.wording.sanitize import one_line

SHOWN_FOR = timedelta(days=31)
"""How long ago mutes ended that are listed as over."""
LISTED_MUTES = 50
_OVER = "mutes over"
"""Name of the list of mutes that are over, for its cursors."""
OFFERED_NAMES = 400
"""Number of the latest tasks whose instances the form offers."""
PREVIEWED_EVENTS = 1_000
"""Events that a preview compares with a mute at most, the latest ones."""
OFFERED_LENGTHS = ("30m", "1h", "2h", "4h")
EXTENSIONS = ("1h", "4h")
USUAL_LENGTH = "2h"
DAY_ENDS, DAY_BEGINS = 18, 9
"""Hours of the reader's clock until which the form offers to mute."""
MAX_WHEN = 80
"""Maximum length of when a mute is to be in force, as it is typed, in characters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ActiveMute:
    """A mute in force."""

    mute: Mute
    held: HeldBack
    messages: RowCount
    """What it has held back in all its windows."""
    care: int
    """Events that need somebody among what it has held back in this window."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedMute:
    """A mute whose window is to come."""

    mute: Mute
    windows: tuple[MuteSpan, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class OverMute:
    """A mute that is over."""

    mute: Mute
    messages: RowCount


@dataclass(frozen=True, slots=True, kw_only=True)
class MuteForm:
    """What is typed for a new mute, and what is wrong with it."""

    instance: str = ""
    """The name of an instance, or matchers."""
    length: str = USUAL_LENGTH
    """One of the offered lengths, or `other` for what `when` says."""
    when: str = ""
    reason: str = ""
    everything: bool = False
    """Whether failures are held back too."""
    wrong: Mapping[str, str] = field(default_factory=dict)
    """What is wrong, by the name of the field."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MutesView:
    """What the page shows."""

    active: tuple[ActiveMute, ...]
    planned: tuple[PlannedMute, ...]
    during: tuple[MaintenanceMuteNow, ...]
    """Those that are in force during maintenance."""
    over: tuple[OverMute, ...]
    after: str
    """Where the next page of those that are over begins; empty where there is none."""
    paged: bool
    form: MuteForm
    offered: tuple[str, ...]
    """What the form offers as an end: `30m`, `until 18:00`."""
    names: tuple[str, ...]
    preview: MutePreview | None
    held: str
    """What the preview would have held back, in the reader's language."""
    until: datetime | None
    """When the mute of the form would end."""
    wrong: tuple[str, str] = ("", "")
    """Id of a mute whose change was refused, and why."""


# ---- what the form says ----


def offered_ends(now: datetime, zone: ZoneInfo) -> tuple[str, ...]:
    """Return the ends that the form offers: lengths, and the end of the working day, or its next beginning."""
    hour = DAY_ENDS if wall_time(now, zone).hour < DAY_ENDS else DAY_BEGINS
    return (*OFFERED_LENGTHS, f"until {hour:02}:00")


def form_of(values: Mapping[str, str]) -> MuteForm:
    """Return what the fields of a form have."""
    return MuteForm(
        instance=one_line(values.get("instance", ""), MAX_SCOPE + 1),
        length=values.get("for", "") or USUAL_LENGTH,
        when=one_line(values.get("when", ""), MAX_WHEN),
        reason=one_line(values.get("reason", ""), MAX_MUTE_REASON),
        everything=values.get("hold") == "all",
    )


def read_scope(text: str) -> MuteScope:
    """Read what a mute is to cover: the whole name of an instance, or matchers. Raises WrongMute."""
    words = text.split()
    if not words:
        raise WrongMute("missing", "nothing was named")
    matchers = any(op in text for op in "=~<>*?") or " in " in text
    return MuteScope.parse(words if matchers or len(words) == 1 else [text])


def read_times(form: MuteForm, now: datetime, zone: ZoneInfo) -> MuteTimes:
    """Read when a mute is to be in force. Raises WrongMute."""
    text = form.when if form.length == "other" else form.length
    words = read_mute_words(["covers", *text.split()])
    if words.reason or len(words.covers) > 1 or words.except_failures:
        raise WrongMute("time", "it is no time", text)
    times = words.times(now, zone)
    times.first_window(now)
    return times


def request_of(form: MuteForm, now: datetime, zone: ZoneInfo) -> MuteRequest:
    """Return the mute that a form asks for. Raises WrongMute."""
    return MuteRequest(
        scope=read_scope(form.instance),
        times=read_times(form, now, zone),
        except_failures=not form.everything,
        reason=form.reason or None,
    )


_FIELDS: Mapping[str, str] = {"matcher": "instance", "long": "instance", "missing": "instance", "source": "instance"}
"""The field that a mistake is in, by its key; all others are about the time."""


def sentence_of(wrong: WrongMute, language: Language) -> str:
    """Return what is wrong with a mute and what would be right, for the reader."""
    sentences = _sentences(translations(language))
    return sentences.get(wrong.key, sentences["time"]) % {"given": one_line(wrong.given)}


def _sentences(words: NullTranslations) -> Mapping[str, str]:
    """Return what is said of each mistake, by its key."""
    return {
        "missing": words.gettext("Name an instance, or matchers such as source=staging."),
        "matcher": words.gettext("%(given)s. Name an instance, or write for example source=staging."),
        "source": words.gettext("No configured source fits %(given)s."),
        "long": words.gettext("That is too long; use a shorter pattern."),
        "both": words.gettext("Give a length or an end, not both."),
        "length": words.gettext("Say for how long, for example 2h, or until when, for example until 18:00."),
        "mute": words.gettext("A mute lasts from 1 minute to 30 days, not %(given)s."),
        "past": words.gettext("That would end before it begins, or has ended already."),
        "ahead": words.gettext("That would begin more than a year from now."),
        "overlap": words.gettext("Its windows would overlap, for each lasts %(given)s: it would never end."),
        "cron": words.gettext("%(given)s is no schedule such as 0 22 * * 6."),
        "every": words.gettext("%(given)s is no day; write for example every sat 22:00 4h."),
        "time": words.gettext("%(given)s is no time such as 2h, until 18:00 or sat 22:00 4h."),
    }


def refusal_of(form: MuteForm, wrong: WrongMute, language: Language) -> MuteForm:
    """Return a form with what is wrong with it."""
    return _with_wrong(form, _FIELDS.get(wrong.key, "when"), sentence_of(wrong, language))


def _with_wrong(form: MuteForm, name: str, sentence: str) -> MuteForm:
    return MuteForm(
        instance=form.instance,
        length=form.length,
        when=form.when,
        reason=form.reason,
        everything=form.everything,
        wrong={**form.wrong, name: sentence},
    )


# ---- the page ----


def read_mutes(request: PageRequest, q: WebReads) -> Page:
    """Return the page, with a preview of the mute that the address asks for."""
    form = form_of(request.query)
    if request.query.get("unknown") and form.instance:
        form = _with_wrong(form, "instance", _unknown_instance(request, q, form.instance))
    return Page(template="mutes.html", view=_view(request, q, form))


def _unknown_instance(request: PageRequest, q: WebReads, name: str) -> str:
    words, found = translations(request.language), lookup.find_instance(q, name)
    shown = {"name": one_line(name)}
    if found.namesakes:
        ids = ", ".join(found.namesakes)
        return words.gettext("%(name)s is the name of several instances; give one of the ids: %(ids)s") % {
            **shown,
            "ids": ids,
        }
    if found.similar_names:
        near = ", ".join(map(one_line, found.similar_names))
        return words.gettext("No task of an instance %(name)s is known. Did you mean %(near)s?") % {
            **shown,
            "near": near,
        }
    return words.gettext("No task of an instance %(name)s is known.") % shown


def _view(request: PageRequest, q: WebReads, form: MuteForm, wrong: tuple[str, str] = ("", "")) -> MutesView:
    now, zone = q.now(), request.localizer.timezone
    known = q.known_mutes()
    after, before = _cursor(request.query.get("over", ""), now)
    over = q.mute_list.over(now - SHOWN_FOR, before, after, LISTED_MUTES + 1)
    held = q.mute_list.held_messages([one.id for one in (*known, *over[:LISTED_MUTES])])
    preview, until, form = _preview(request, q, form, now, zone)
    return MutesView(
        active=tuple(_active(q, one, held) for one in known if one.is_open(now)),
        planned=tuple(PlannedMute(mute=one, windows=tuple(upcoming(one, 3))) for one in known if not one.is_open(now)),
        during=tuple(lookup.mutes_during_maintenance(q, request.rules.routing.during_maintenance)),
        over=tuple(OverMute(mute=one, messages=_messages(one, held)) for one in over[:LISTED_MUTES]),
        after=_cursor_of(over[LISTED_MUTES - 1]) if len(over) > LISTED_MUTES else "",
        paged=bool(after),
        form=form,
        offered=offered_ends(now, zone),
        names=tuple(sorted({one_line(name) for name in q.recent_instance_names(OFFERED_NAMES)})),
        preview=preview,
        held=EventFormatter(request.localizer).held(preview.counts) if preview else "",
        until=until,
        wrong=wrong,
    )


def _preview(
    request: PageRequest, q: WebReads, form: MuteForm, now: datetime, zone: ZoneInfo
) -> tuple[MutePreview | None, datetime | None, MuteForm]:
    """Return what the mute of a form would have held back, and when it would end; the form with what is wrong."""
    if not form.instance:
        return None, None, form
    since = now - PREVIEWED
    try:
        wanted = request_of(form, now, zone)
        _refuse_unknown_source(request, wanted.scope)
    except WrongMute as wrong:
        return None, None, form if form.wrong else refusal_of(form, wrong, request.language)
    name = wanted.scope.instance
    if name is not None:
        read = q.mute_list.events_of_instance(name, since, PREVIEWED_EVENTS + 1)
    else:
        read = q.events(EventFilter(since=since, limit=PREVIEWED_EVENTS + 1))
    whole = len(read) <= PREVIEWED_EVENTS
    found = preview_of(read[:PREVIEWED_EVENTS], wanted, now, since, whole=whole)
    return found, found.windows[0].until, form


def _refuse_unknown_source(request: PageRequest, scope: MuteScope) -> None:
    configured = request.rules.expected.sources
    if configured and (nobody := fits_no_source(scope.match, configured)):
        raise WrongMute("source", "no source fits", str(nobody))


def _active(q: WebReads, mute: Mute, held: Mapping[str, int]) -> ActiveMute:
    in_window = q.held_back(mute) if held.get(mute.id) else HeldBack()
    care = sum(count for kind, count in in_window.counts if kind.traits.needs_care)
    return ActiveMute(mute=mute, held=in_window, messages=_messages(mute, held), care=care)


def _messages(mute: Mute, held: Mapping[str, int]) -> RowCount:
    return RowCount.of(held.get(mute.id, 0))


def _cursor_of(mute: Mute) -> str:
    return encode_cursor(_OVER, (mute.until, mute.id))


def _cursor(text: str, now: datetime) -> tuple[str, datetime]:
    """Return the id of the last mute of the page before and when it ended; the present where there is none."""
    try:
        until, id_ = decode_cursor(_OVER, text, tuple[datetime, str])
    except WrongCursor:
        return "", now + timedelta(seconds=1)
    return id_, until


# ---- what people do ----


def create_mute(request: PageRequest, tx: WebTx) -> Redirect | Page:
    """Make a mute. Where the instance is not known, the form comes back with similar names."""
    form = form_of({name: request.field(name) for name in ("instance", "for", "when", "reason", "hold")})
    words, now = translations(request.language), tx.now()
    try:
        wanted = request_of(form, now, request.localizer.timezone)
        _refuse_unknown_source(request, wanted.scope)
    except WrongMute as wrong:
        return _again(request, tx, refusal_of(form, wrong, request.language))
    if not form.reason:
        return _again(request, tx, _with_wrong(form, "reason", words.gettext("Say why; others will read it.")))
    made = acts.create(tx, wanted, request.viewer.person)
    if not isinstance(made, Mute):  # similar names are looked for outside of this transaction
        kept = {"instance": form.instance, "for": form.length, "when": form.when, "reason": form.reason}
        return Redirect(to=f"/mutes?{urlencode({**kept, 'hold': _hold(form), 'unknown': '1'})}#new-mute")
    at, shown = request.localizer.when(made.until), one_line(made.shown)
    if made.since > now:
        text = words.gettext("%(name)s is muted from %(since)s until %(until)s.")
        notice = text % {"name": shown, "since": request.localizer.when(made.since), "until": at}
    else:
        notice = words.gettext("%(name)s is muted until %(until)s.") % {"name": shown, "until": at}
    return Redirect(to=f"/mutes#mute-{quote(made.id)}", notice=notice)


def _hold(form: MuteForm) -> str:
    return "all" if form.everything else "most"


def extend_mute(request: PageRequest, tx: WebTx) -> Redirect | Page:
    """Let a mute end later by a length, or at a time."""
    words, now, id_ = translations(request.language), tx.now(), request.field("id")
    try:
        if request.field("by") in EXTENSIONS:
            known = [one for one in tx.queries.known_mutes() if one.id == id_]
            changed = (
                [*acts.extend(tx, id_, parse_duration(request.field("by")), request.viewer.person)] if known else []
            )
        else:
            until = parse_written_time(request.field("until")).resolve(now, request.localizer.timezone)
            moved = acts.move_end(tx, id_, until, request.viewer.person)
            changed = [] if moved is None else [moved]
    except WrongMute as wrong:
        return _again(request, tx, MuteForm(), (id_, sentence_of(wrong, request.language)))
    except (OverflowError, ValueError):
        no_day = WrongMute("time", "there is no such day", request.field("until"))
        return _again(request, tx, MuteForm(), (id_, sentence_of(no_day, request.language)))
    if not changed:
        return Redirect(to="/mutes", notice=words.gettext("That mute is over."))
    shown = {"name": one_line(changed[0].shown), "until": request.localizer.when(changed[0].until)}
    return Redirect(to=f"/mutes#mute-{quote(id_)}", notice=words.gettext("%(name)s is muted until %(until)s.") % shown)


def end_mute(request: PageRequest, tx: WebTx) -> Redirect:
    """End a mute; of one that is configured the window in force."""
    words, id_ = translations(request.language), request.field("id")
    known = any(one.id == id_ for one in tx.queries.known_mutes())
    ended = acts.end(tx, id_, request.viewer.person).ended if known else ()
    if not ended:
        return Redirect(to="/mutes", notice=words.gettext("That mute is over, or is changed in the configuration."))
    number = sum(count for _, count in ended[0].held.counts)
    text = words.ngettext(
        "%(name)s is not muted any more. It held back %(n)s event.",
        "%(name)s is not muted any more. It held back %(n)s events.",
        number,
    )
    return Redirect(to="/mutes", notice=text % {"name": one_line(ended[0].mute.shown), "n": number})


def _again(request: PageRequest, tx: WebTx, form: MuteForm, wrong: tuple[str, str] = ("", "")) -> Page:
    return Page(template="mutes.html", view=_view(request, tx.queries, form, wrong), status=422, poll=0)


routes = (
    PageRoute(path="/mutes", read=read_mutes, tab="mutes"),
    ActionRoute(path="/mutes/create", act=create_mute, tab="mutes"),
    ActionRoute(path="/mutes/extend", act=extend_mute, tab="mutes"),
    ActionRoute(path="/mutes/end", act=end_mute, tab="mutes"),
)
