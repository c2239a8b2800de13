"""`notifier simulate`: a task list to develop and demonstrate against."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Annotated

import typer

from notifier.cli.event_loop import run_until_signalled
from notifier.cli.output import print_json, print_note, print_text
from notifier.simulator.faults import FAULT_KINDS
from notifier.simulator.options import Offset, Options, Order, ReasonLanguage
from notifier.simulator.server import AuthKind, Simulator, source_yaml


def simulate(
    *,
    host: Annotated[str, typer.Option("--host", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", help="Port to listen on; 0 takes a free one.")] = 0,
    seed: Annotated[int, typer.Option("--seed", help="The same seed tells the same story.")] = 1,
    speed: Annotated[float, typer.Option("--speed", help="Simulated seconds in a real one.")] = 1.0,
    backlog: Annotated[int, typer.Option("--backlog", help="Tasks of the past month to begin with.")] = 60,
    static: Annotated[
        int | None, typer.Option("--static", metavar="N", help="N tasks that never change instead.")
    ] = None,
    offset: Annotated[Offset, typer.Option("--offset", help="How `offset` is read.")] = "record",
    order: Annotated[Order, typer.Option("--order", help="Order of the rows.")] = "newest",
    language: Annotated[ReasonLanguage, typer.Option("--language", help="Language of fail_reason.")] = "header",
    auth: Annotated[AuthKind, typer.Option("--auth", help="The credentials in the source to paste.")] = "aksk",
    calls_per_minute: Annotated[
        int | None, typer.Option("--calls-per-minute", metavar="N", help="Throttle calls above this.")
    ] = None,
    faults: Annotated[
        str,
        typer.Option(
            "--faults",
            metavar="SPEC",
            help=f"What goes wrong and how often, as 429:0.1,slow=2:0.05. {', '.join(FAULT_KINDS)}.",
        ),
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Write the address and the source as JSON.")] = False,
) -> None:
    """Serve a simulated task list until Ctrl-C, and print a source configuration to paste.

    It verifies signatures, issues IAM tokens, pages, filters, and evolves tasks by the seed.
    --json: {"url": "…", "source": {…}}, once it listens.
    """
    options = Options(
        host=host,
        port=port,
        seed=seed,
        speed=speed,
        backlog=backlog,
        static=static,
        offset=offset,
        order=order,
        language=language,
        calls_per_minute=calls_per_minute,
        faults=faults,
    )
    run_until_signalled(partial(_serve, options, auth, as_json=as_json))


async def _serve(options: Options, auth: AuthKind, stop: asyncio.Event, *, as_json: bool) -> None:
    async with Simulator(options) as simulator:
        if as_json:
            print_json({"url": simulator.url, "source": simulator.source_config(auth)})
        else:
            print_text(source_yaml(simulator, auth))
            print_note(f"Simulating a task list on {simulator.url}; Ctrl-C ends it.")
        await stop.wait()
        print_note(f"\nStopped after {len(simulator.request_log):,} calls.")
