"""`notifier mute` and `unmute`: maintenance windows."""

from datetime import timedelta
from typing import Annotated

import typer

from notifier import lookup, people
from notifier.cli import documents
from notifier.cli.common import JsonOption, current_user, duration, localizer
from notifier.cli.configured import load_config
from notifier.cli.output import cell, print_json, show
from notifier.cli.stores import read_whole_store, write_store
from notifier.core.commands import MAX_MUTE, MAX_MUTE_REASON, MIN_MUTE
from notifier.core.durations import format_duration
from notifier.core.errors import ConfigurationError, NotifierError
from notifier.core.people import Mute
from notifier.lookup import InstanceAnswer
from notifier.wording.sanitize import one_line

InstanceArgument = Annotated[str, typer.Argument(metavar="INSTANCE", help="Instance id, or the whole instance name.")]


def mute(
    ctx: typer.Context,
    *,
    instance: InstanceArgument,
    length: Annotated[
        timedelta, typer.Argument(parser=duration, metavar="TIME", help="Duration of the mute: 30m, 2h, 1d.")
    ],
    reason: Annotated[str | None, typer.Option("--reason", help="Reason, shown to others.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Suppress notifications for an instance until a given time.

    Live messages are still updated, and `notifier explain` names the mute.
    Exits with 1 when no task of such an instance is known.
    --json: {"mute": {instance, label, until, by, reason}}.
    """
    config = load_config(ctx)
    if not MIN_MUTE <= length <= MAX_MUTE:
        shortest, longest = format_duration(MIN_MUTE), format_duration(MAX_MUTE)
        raise ConfigurationError(f"a mute lasts from {shortest} to {longest}, not {format_duration(length)}")
    why = one_line(reason or "", MAX_MUTE_REASON) or None
    user = current_user()
    muted = write_store(config, lambda tx: people.mute_instance(tx, instance, length, user, reason=why))
    if not isinstance(muted, Mute):
        raise NotifierError(_unknown(instance, read_whole_store(config, lambda q: lookup.find_instance(q, instance))))
    if as_json:
        print_json({"mute": documents.mute(muted)})
    else:
        words = localizer(config)
        values = {"instance": instance, "until": words.when(muted.until), "command": f"notifier unmute {instance}"}
        show(cell(words.text("cli.muted", **values), "green"))


def _unknown(wanted: str, found: InstanceAnswer) -> str:
    if found.namesakes:
        return f"{wanted} is the name of several instances; give one of the ids: {', '.join(found.namesakes)}"
    near = f". Did you mean one of these? {', '.join(found.similar_names)}" if found.similar_names else ""
    return f"no task of an instance {wanted} is known{near}"


def unmute(ctx: typer.Context, *, instance: InstanceArgument, as_json: JsonOption = False) -> None:
    """End the mute of an instance. Exits with 1 when it was not muted.

    --json: {"mute": the one that was ended, or null}.
    """
    config = load_config(ctx)
    user = current_user()
    ended = next(iter(write_store(config, lambda tx: people.unmute_instance(tx, instance, user))), None)
    if as_json:
        print_json({"mute": documents.mute(ended) if ended else None})
    elif ended:
        show(cell(f"✓ {localizer(config).text('unmute.done', instance=instance)}", "green"))
    else:
        show(cell(localizer(config).text("unmute.none", instance=instance)))
    raise typer.Exit(0 if ended else 1)
