"""`notifier test-send`: send one message that is marked as a test."""

import re
import sys
from contextlib import nullcontext, redirect_stdout
from datetime import datetime

import typer
from rich.text import Text

from notifier.cli import event_loop
from notifier.cli.common import JsonOption, localizer, now
from notifier.cli.configured import load_config
from notifier.cli.output import cell, print_json, reply_line, show
from notifier.cli.preview import ChannelArgument
from notifier.cli.samples import render_request, sample_event
from notifier.config.config import Config
from notifier.core.delivery import Delivered, Delivery, DeliveryState, GaveUp, Outcome, Parked, Retry, Skipped, Unknown
from notifier.core.events import EventType
from notifier.core.model import Event
from notifier.ports import Channel
from notifier.wiring.channels import open_channel
from notifier.wording.localizer import Localizer

_OUTCOMES = {Delivered: "delivered", Retry: "retry", GaveUp: "gaveup", Parked: "parked", Unknown: "unknown"}
"""The values of the key `outcome` in JSON."""

_IS_REPLY = re.compile(r"(?:HTTP|SMTP) \d|Slack: ")
"""How a reason begins where the receiver replied."""


def send_test(ctx: typer.Context, *, channel: ChannelArgument, as_json: JsonOption = False) -> None:
    """Send one made-up failure, marked as a test, and report the receiver's reply.

    Exits with 0 when it was delivered, 1 when the receiver or a setting refused it, 3 when there was no reply.
    --json: {"channel", "delivery_id", "outcome", "reason", "ref", "reply"}.
    """
    config = load_config(ctx)
    event = sample_event(EventType.TASK_FAILED, now(), marked=localizer(config).text("test"))
    request = render_request(channel, event)
    with redirect_stdout(sys.stderr) if as_json else nullcontext():  # a console channel prints too
        outcome = event_loop.run(_send(config, channel, event))
    if as_json:
        document = {
            "channel": channel,
            "delivery_id": request.delivery_id,
            "outcome": _OUTCOMES[type(outcome)],
            "reason": getattr(outcome, "reason", None),
            "ref": getattr(outcome, "ref", None),
            "reply": outcome.reply,
        }
        print_json(document)
    else:
        show(
            _report(channel, outcome, localizer(config)),
            *reply_line(localizer(config).text("cli.replied"), outcome.reply),
        )
    raise typer.Exit(_exit_code(outcome))


async def _send(config: Config, name: str, event: Event) -> Outcome:
    async with open_channel(config, name) as channel:
        return await channel.send(_delivery(channel, event, now()))


def _delivery(channel: Channel, event: Event, at: datetime) -> Delivery:
    request = render_request(channel.name, event)
    return Delivery(
        id=request.delivery_id,
        channel=channel.name,
        subject=event.subject,
        state=DeliveryState.PENDING,
        available_at=at,
        created_at=at,
        events=(event,),
        attempt=1,
        body=channel.render(request),
    )


def _report(channel: str, outcome: Outcome, words: Localizer) -> Text:
    if isinstance(outcome, Delivered):
        ref = f" ({outcome.ref})" if outcome.ref else ""
        return cell(words.text("cli.test.delivered", channel=channel, ref=ref), "green")
    values = {"channel": channel, "why": words.reason(outcome.reason)}
    return cell(words.text(f"cli.test.{_failure(outcome)}", **values), "bold red")


def _failure(outcome: Retry | GaveUp | Parked | Unknown | Skipped) -> str:
    """Return the end of the key of the sentence for a failure."""
    if isinstance(outcome, Unknown):
        return "unknown"
    if _IS_REPLY.match(outcome.reason):
        return "answered"
    return "unreachable" if isinstance(outcome, Retry) else "refused"


def _exit_code(outcome: Outcome) -> int:
    if isinstance(outcome, Delivered):
        return 0
    replied = isinstance(outcome, GaveUp | Parked) or _IS_REPLY.match(outcome.reason)
    return 1 if replied else 3
