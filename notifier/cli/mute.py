"""`notifier mute`, `unmute` and `extend`: maintenance windows."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Annotated
from zoneinfo import ZoneInfo

import typer
from rich.text import Text

from notifier import lookup, mutes
from notifier.cli.common import JsonOption, current_user, duration, now, view_for
from notifier.cli.configured import load_config
from notifier.cli.output import cell, print_json, show
from notifier.cli.stores import read_whole_store, write_store
from notifier.cli.views import View
from notifier.config.advice import misnamed
from notifier.config.config import Config
from notifier.core.errors import ConfigurationError, NotifierError
from notifier.core.mute_words import MuteWords, parse_written_time, read_mute_words
from notifier.core.mutes import MAX_MUTE_REASON, Mute, MuteScope, WrongMute, unnamed
from notifier.core.wall_time import zone_of
from notifier.lookup import InstanceAnswer
from notifier.mutes import EndedMutes, MutePreview, MuteRequest
from notifier.wording import documents
from notifier.wording.events import EventFormatter
from notifier.wording.sanitize import one_line

_TIMES = "22:00, sat 22:00, 2026-12-05 22:00"

MuteArgument = Annotated[
    str,
    typer.Argument(metavar="MUTE", help="Id of a mute, or what it covers: an instance id, the whole instance name."),
]


def mute(
    ctx: typer.Context,
    *,
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="WHAT... [TIME]", help="Instance id, whole instance name, or matchers; then when and for how long."
        ),
    ],
    start: Annotated[
        str | None, typer.Option("--from", metavar="TIME", help=f"Beginning of the mute ({_TIMES}). Default: now.")
    ] = None,
    length: Annotated[
        timedelta | None,
        typer.Option("--for", parser=duration, metavar="TIME", help="Duration of the mute: 30m, 2h, 1d."),
    ] = None,
    until: Annotated[
        str | None,
        typer.Option("--until", metavar="TIME", help=f"End of the mute, or of its repetition ({_TIMES})."),
    ] = None,
    cron: Annotated[
        str | None, typer.Option("--cron", metavar="SCHEDULE", help='Repeat: each fires a window ("0 22 * * 6").')
    ] = None,
    timezone: Annotated[
        str | None,
        typer.Option("--timezone", metavar="ZONE", help="Time zone of these times. Default: the configured."),
    ] = None,
    reason: Annotated[str | None, typer.Option("--reason", help="Reason, shown to others.")] = None,
    except_failures: Annotated[
        bool, typer.Option("--except-failures", help="Go on sending failures and whatever else needs somebody.")
    ] = False,
    announce: Annotated[
        bool | None,
        typer.Option("--announce/--no-announce", help="Notify channels when it begins and ends, or never do."),
    ] = None,
    preview: Annotated[
        bool, typer.Option("--preview", help="Show what it would have held back in the last 7 days; mute nothing.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Suppress notifications for a while: now, later, or repeatedly.

    For example: notifier mute prod-orders-01 2h --reason resizing, notifier mute source=staging sat 22:00 4h, notifier
    mute 'prod-*' 2h but failures, notifier mute operation=backup every day 02:00 1h. The words are those of the chat.
    Live messages are still updated, and `notifier explain` names the mute. Exits with 1 when no task of such an
    instance is known.
    --json: {"mute": {id, covers, instance, label, match, except_failures, since, until, by, reason, cron, timezone,
    last, configured}}, with --preview {"preview": {since, counts, named, windows}}.
    """
    config = load_config(ctx)
    view = view_for(config)
    zone = _zone(config, timezone)
    try:
        found = read_mute_words(words)
        found = replace(
            found,
            start=found.start if start is None else parse_written_time(start),
            end=found.end if until is None else parse_written_time(until),
            length=found.length if length is None else length,
            cron=found.cron if cron is None else cron,
            reason=one_line(reason or found.reason or "", MAX_MUTE_REASON) or None,
            except_failures=except_failures or found.except_failures,
        )
        request = partial(_request, found, zone=zone, announce=announce)
        scope = MuteScope.parse(found.covers)
        _refuse_unknown_names(config, scope)
        if preview:
            shown = read_whole_store(config, lambda q: mutes.preview(q, request(scope=scope), now()))
            _show_preview(view, shown, as_json=as_json)
            return
        user = current_user()
        muted = write_store(config, lambda tx: mutes.create(tx, request(scope=scope), user))
    except WrongMute as error:
        raise ConfigurationError(str(error)) from error
    if not isinstance(muted, Mute):
        raise NotifierError(_unknown(scope, read_whole_store(config, partial(_find, scope))))
    if as_json:
        print_json({"mute": documents.mute(muted)})
    else:
        show(cell(_confirmation(view, muted), "green"))


def _refuse_unknown_names(config: Config, scope: MuteScope) -> None:
    """Raise ConfigurationError for a source, an environment or a label that is not configured."""
    for matcher in scope.match:
        if problem := misnamed(config, matcher):
            raise ConfigurationError(problem.removesuffix("."))


def _zone(config: Config, name: str | None) -> ZoneInfo:
    try:
        return zone_of(config.timezone if name is None else name)
    except ValueError as error:
        raise ConfigurationError(str(error)) from None


def _request(words: MuteWords, *, scope: MuteScope, zone: ZoneInfo, announce: bool | None) -> MuteRequest:
    return MuteRequest(
        scope=scope,
        times=words.times(now(), zone),
        except_failures=words.except_failures,
        reason=words.reason,
        announce=announce,
    )


def _find(scope: MuteScope, q: lookup.Lookup) -> InstanceAnswer:
    return lookup.find_instance(q, scope.instance or "")


def _unknown(scope: MuteScope, found: InstanceAnswer) -> str:
    wanted = scope.instance
    if found.namesakes:
        return f"{wanted} is the name of several instances; give one of the ids: {', '.join(found.namesakes)}"
    near = f". Did you mean one of these? {', '.join(found.similar_names)}" if found.similar_names else ""
    return f"no task of an instance {wanted} is known{near}"


def _confirmation(view: View, muted: Mute) -> str:
    began = muted.since <= now()
    recurring = "mute_recurring_open" if began else "mute_recurring"
    key = recurring if muted.recurs else "muted" if began else "mute_planned"
    return view.phrase(
        key,
        instance=muted.shown,
        since=view.when(muted.since),
        until=view.when(muted.until),
        cron=muted.cron or "",
        zone=muted.timezone or "",
        command=f"notifier unmute {muted.shown if muted.instance is not None else muted.id}",
    )


def _show_preview(view: View, found: MutePreview, *, as_json: bool) -> None:
    if as_json:
        print_json({"preview": documents.mute_preview(found)})
        return
    length = view.localizer.window(mutes.PREVIEWED)
    held = _held(view, found.counts)
    show(*_preview_lines(view, found, length, held))


def _preview_lines(view: View, found: MutePreview, length: str, held: str) -> Sequence[Text]:
    lines = [view.phrase("preview", length=length, held=held) if held else view.phrase("preview_none", length=length)]
    if found.named:
        names, more = ", ".join(_named(view, *task) for task in found.named), unnamed(found.counts, found.named)
        lines.append(view.phrase("preview_named_more" if more else "preview_named", names=names, n=more))
    lines += [
        view.phrase("preview_window", since=view.when(window.since), until=view.when(window.until))
        for window in found.windows
    ]
    if not found.whole:
        lines.append(view.phrase("preview_part", n=f"{mutes.MAX_PREVIEWED:,}"))
    return [cell(line) for line in lines]


def _held(view: View, counts: Iterable[tuple[str, int]]) -> str:
    return EventFormatter(view.localizer).held(counts)


def _named(view: View, operation: str, instance: str) -> str:
    return " · ".join(filter(None, (view.localizer.task_label(operation), one_line(instance))))


def unmute(ctx: typer.Context, *, name: MuteArgument, as_json: JsonOption = False) -> None:
    """End a mute, and show what it held back. Of a mute of the configuration only the window in force ends.

    Exits with 1 when nothing was ended.
    --json: {"mute": the one that was ended, or null, "ended": [{mute, held: {type: count}, next}]}; see `notifier mute`
    for the keys of a mute.
    """
    config = load_config(ctx)
    user = current_user()
    found = write_store(config, lambda tx: mutes.end(tx, name, user))
    if as_json:
        ended = [documents.ended_mute(one) for one in found.ended]
        print_json({"mute": ended[0]["mute"] if ended else None, "ended": ended})
    else:
        show(*_ended(view_for(config), found, name))
    raise typer.Exit(0 if found.ended else 1)


def _ended(view: View, found: EndedMutes, name: str) -> Sequence[Text]:
    lines = [cell(view.phrase("mute_configured", name=mute.id, at=view.when(mute.since))) for mute in found.kept]
    for one in found.ended:
        key = "unmute.planned" if one.planned else "unmute.done"
        done = view.localizer.text(key, instance=one.mute.shown, since=view.when(one.mute.since))
        lines.append(cell(f"✓ {done}", "green"))
        if held := _held(view, one.held.counts):
            lines.append(cell(view.phrase("mute_held", held=held, command=f"notifier events --muted-by {one.mute.id}")))
        if one.next_at:
            lines.append(cell(view.phrase("mute_next", at=view.when(one.next_at))))
    return lines or [cell(view.localizer.text("unmute.none", instance=name))]


def extend(
    ctx: typer.Context,
    *,
    name: MuteArgument,
    length: Annotated[
        timedelta, typer.Argument(parser=duration, metavar="TIME", help="How much later it is to end: 30m, 2h, 1d.")
    ],
    as_json: JsonOption = False,
) -> None:
    """Let a mute end later: the window in force, or the one that is planned. Exits with 1 when there is none.

    --json: {"extended": [mute]}; see `notifier mute` for the keys of a mute.
    """
    config = load_config(ctx)
    user = current_user()
    try:
        found = write_store(config, lambda tx: mutes.extend(tx, name, length, user))
    except WrongMute as error:
        raise ConfigurationError(str(error)) from error
    view = view_for(config)
    if as_json:
        print_json({"extended": [documents.mute(one) for one in found]})
    elif found:
        show(*(cell(_extended(view, one), "green") for one in found))
    else:
        show(cell(view.localizer.text("unmute.none", instance=name)))
    raise typer.Exit(0 if found else 1)


def _extended(view: View, mute: Mute) -> str:
    if mute.since <= now() or mute.configured:  # only the configuration takes back what it plans
        return view.phrase("extended", instance=mute.shown, until=view.when(mute.until))
    return _confirmation(view, mute)
