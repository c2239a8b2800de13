"""`notifier poll`: one poll of every source and one delivery of all that is due."""

import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext, redirect_stdout
from dataclasses import replace
from typing import Annotated

import typer

from notifier import logs
from notifier.cli import event_loop
from notifier.cli.common import JsonOption
from notifier.cli.configured import load_written_config
from notifier.cli.output import counted, print_json, print_text
from notifier.config.config import Config
from notifier.core.delivery import DeliveryState
from notifier.core.errors import NotifierError
from notifier.ports import DeliveryFilter
from notifier.service.discovering import Discovering
from notifier.service.service import poll_and_deliver
from notifier.service.stats import Summary
from notifier.wiring.app import open_app
from notifier.wiring.discovery import with_recorded_projects
from notifier.wiring.stores import Queries
from notifier.wiring.telemetry import open_telemetry

SUMMARY_FIELDS = ("polls", "events", "deliveries", "failures")

MAX_COUNTED = 1000
"""Maximum number of deliveries counted for each state, so that the report takes a bounded time."""

_QUIET_LEVEL = {"debug": "warning", "info": "warning"}
"""Log levels that --quiet replaces: cron would mail the records of a poll that succeeded."""


def poll(
    ctx: typer.Context,
    *,
    deliver: Annotated[bool, typer.Option("--deliver/--no-deliver", help="Deliver what is due after polling.")] = True,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Print problems only.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Poll every source once and deliver all that is due, then exit: for cron.

    Exits with 0 when every source was polled and all was delivered that no rule holds; with 1 when deliveries are
    pending, parked (their channel is misconfigured), or dead and not dismissed; with the code of the gravest error when
    a source could not be polled. A source that fails does not prevent the poll of others.
    --json: {"polls", "events", "deliveries", "failures", "errors": […], "waiting": {"pending", "parked", "dead"}}.
    """
    config = load_written_config(ctx)
    level = _QUIET_LEVEL.get(config.log.level, config.log.level) if quiet else config.log.level
    logs.configure(level, config.log.format)
    with redirect_stdout(sys.stderr) if as_json else nullcontext():  # a console channel prints too
        summary, waiting = event_loop.run(_poll(config, deliver=deliver))
    stuck = {state: count for state, count in waiting.items() if count and (deliver or state != "pending")}
    if as_json:
        figures = {name: getattr(summary, name) for name in SUMMARY_FIELDS}
        print_json(figures | {"errors": [str(error) for error in summary.errors], "waiting": dict(waiting)})
    elif stuck or not quiet:
        print_text("\n".join([summary_line(summary), *_waiting_lines(waiting)]))
    raise typer.Exit(max((error.exit_code for error in summary.errors), default=1 if stuck else 0))


async def _poll(config: Config, *, deliver: bool) -> tuple[Summary, Mapping[str, int]]:
    refused: Sequence[NotifierError] = ()
    if config.accounts:
        refused = await _discover(config)
        config = await with_recorded_projects(config)
    async with open_telemetry(config, ()) as telemetry, open_app(config, exclusive=True, telemetry=telemetry) as app:
        summary = await poll_and_deliver(app, deliver=deliver)
        summary = replace(summary, failures=summary.failures + len(refused), errors=(*summary.errors, *refused))
        return summary, await app.store.read(_count_waiting)


async def _discover(config: Config) -> Sequence[NotifierError]:
    """Find the projects of the accounts that are due, before their sources are opened; return why some were not."""
    async with open_app(await with_recorded_projects(config), exclusive=True) as app:
        return [one.error for one in await Discovering(app, asks=True).run() if one.error]


def _count_waiting(q: Queries) -> Mapping[str, int]:
    """Count the deliveries that have not arrived and that no rule holds, by state: at most `MAX_COUNTED` of each."""
    states = (DeliveryState.PENDING, DeliveryState.PARKED, DeliveryState.DEAD)
    return {
        str(state): len(q.deliveries(DeliveryFilter(state=state, dismissed=False, held=False, limit=MAX_COUNTED)))
        for state in states
    }


def summary_line(done: Summary) -> str:
    """Return what was done, in figures."""
    figures = ((done.polls, "poll"), (done.events, "event"), (done.deliveries, "delivery"), (done.failures, "failure"))
    return ", ".join(counted(count, noun) for count, noun in figures)


def _waiting_lines(waiting: Mapping[str, int]) -> list[str]:
    return [
        f"{count:,}{'+' if count == MAX_COUNTED else ''} {state}: notifier deliveries --state {state}"
        for state, count in waiting.items()
        if count
    ]
