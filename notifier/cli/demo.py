"""`notifier demo`: the service on a simulated cloud, without a configuration."""

import asyncio
import random
import tempfile
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from notifier import logs
from notifier.cli.demo_run import DemoResult, Receipt, run_demo, webhook_secret
from notifier.cli.event_loop import run_until_signalled
from notifier.cli.output import cell, counted, print_text, show
from notifier.simulator.options import Options

_WELCOME = """\
A simulated Huawei Cloud lists its tasks at {cloud}.
The service polls it every second and reports every change, here and to a webhook
receiver at {receiver}. To see it in a browser, open

  {page}

  ▶ started   ▷ progressed   ✓ completed   ✗ failed   ⇒ a webhook that arrived and was verified

Tasks that were listed before the first poll are recorded quietly. {pace}
{end}
"""
_NEXT = """
For real:
  notifier init             writes notifier.yaml for your project
  notifier check --online   proves the credentials and the channels
  notifier run              polls and notifies
"""


def demo(
    *,
    seconds: Annotated[
        float | None, typer.Option("--seconds", metavar="N", min=1, help="Stop after N seconds.")
    ] = None,
    speed: Annotated[float, typer.Option("--speed", help="Simulated seconds per real second.")] = 60.0,
    seed: Annotated[int, typer.Option("--seed", help="Seed; the same seed gives the same tasks.")] = 1,
) -> None:
    """Run the service on a simulated cloud, where tasks start, progress, fail and complete, until Ctrl-C.

    It needs no configuration, serves its page, and leaves no files behind. Exits with 1 when an event is unaccounted
    or a webhook had a wrong signature.
    """
    logs.configure("warning")
    options = Options(seed=seed, speed=speed, stamps="real")
    with tempfile.TemporaryDirectory(prefix="notifier-demo-") as folder:
        result = run_until_signalled(partial(_demonstrate, Path(folder), options, seconds))
    print_text(_closing(result))
    raise typer.Exit(0 if result.audit.ok and not result.rejected else 1)


async def _demonstrate(folder: Path, options: Options, seconds: float | None, stop: asyncio.Event) -> DemoResult:
    if seconds is not None:
        asyncio.get_running_loop().call_later(seconds, stop.set)
    return await run_demo(
        folder,
        options,
        webhook_secret(random.SystemRandom()),
        stop=stop,
        on_ready=partial(_welcome, speed=options.speed, seconds=seconds),
        on_receipt=partial(_show_receipt, stop),
    )


def _welcome(cloud: str, receiver: str, page: str, speed: float, seconds: float | None) -> None:
    end = "Ctrl-C ends it." if seconds is None else f"It ends after {seconds:g} seconds; Ctrl-C ends it at once."
    pace = "" if speed == 1 else f"A minute of a real cloud takes {60 / speed:.3g} s here."
    print_text(_WELCOME.format(cloud=cloud, receiver=receiver, page=page, pace=pace, end=end))


def _show_receipt(stop: asyncio.Event, receipt: Receipt) -> None:
    task = receipt.body["data"].get("task") or {}
    about = " · ".join(filter(None, (task.get("label"), (task.get("instance") or {}).get("name"))))
    try:
        show(cell(f"⇒ webhook verified: {receipt.type} {about} (id {receipt.delivery_id[:8]})", "dim"))
    except BrokenPipeError:
        stop.set()


def _closing(result: DemoResult) -> str:
    summary, ledger = result.summary, result.audit.ledger
    return (
        f"\n{counted(summary.polls, 'poll')}, {counted(ledger.events, 'event')}, "
        f"{counted(summary.deliveries, 'delivery')}, {counted(result.receipts, 'webhook')} verified, "
        f"unaccounted: {len(ledger.unaccounted)}\n{_NEXT}"
    )
