"""`notifier simulate`: a task list to develop and demonstrate against."""

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
    port: Annotated[int, typer.Option("--port", help="Port to listen on; 0 selects a free port.")] = 0,
    seed: Annotated[int, typer.Option("--seed", help="Seed; the same seed gives the same tasks.")] = 1,
    speed: Annotated[float, typer.Option("--speed", help="Simulated seconds per real second.")] = 1.0,
    backlog: Annotated[int, typer.Option("--backlog", help="Number of tasks of the past month at start.")] = 60,
    static: Annotated[
        int | None, typer.Option("--static", metavar="N", help="Serve N tasks that never change instead.")
    ] = None,
    offset: Annotated[Offset, typer.Option("--offset", help="Meaning of the API parameter `offset`.")] = "record",
    order: Annotated[Order, typer.Option("--order", help="Order of the list.")] = "newest",
    language: Annotated[
        ReasonLanguage, typer.Option("--language", help="Language of `fail_reason`; header follows the request.")
    ] = "header",
    auth: Annotated[AuthKind, typer.Option("--auth", help="Authentication method of the printed source.")] = "aksk",
    calls_per_minute: Annotated[
        int | None, typer.Option("--calls-per-minute", metavar="N", help="Number of calls allowed per minute.")
    ] = None,
    faults: Annotated[
        str,
        typer.Option(
            "--faults",
            metavar="SPEC",
            help=f"Faults and their probabilities, for example 429:0.1,slow=2:0.05. Kinds: {', '.join(FAULT_KINDS)}.",
        ),
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print the address and the source as JSON.")] = False,
) -> None:
    """Serve a simulated task list until Ctrl-C, and print a source to paste into a configuration.

    It verifies signatures, issues IAM tokens, pages and filters the list, and changes tasks as the seed determines.
    --json: {"url": "…", "source": {…}}, printed when it listens.
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
