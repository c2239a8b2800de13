"""`notifier test-send`: send one message that is marked as a test."""

import re
import sys
from contextlib import nullcontext, redirect_stdout
from datetime import datetime
from typing import Any

import typer
from rich.text import Text

from notifier.cli import event_loop
from notifier.cli.common import JsonOption, localizer, now
from notifier.cli.configured import load_config
from notifier.cli.output import cell, print_json, reply_line, show
from notifier.cli.preview import ChannelArgument
from notifier.cli.samples import render_request, sample_event
from notifier.cli.ticket_trial import TicketTrial, try_ticket
from notifier.config.config import Config
from notifier.core.delivery import Delivered, Delivery, DeliveryState, GaveUp, Outcome, Parked, Retry, Skipped, Unknown
from notifier.core.events import EventType
from notifier.core.model import Event
from notifier.core.tickets import Ticket
from notifier.ports import Channel
from notifier.wiring.channels import open_channel
from notifier.wording.localizer import Localizer

_OUTCOMES = {
    Delivered: "delivered",
    Retry: "retry",
    GaveUp: "gaveup",
    Parked: "parked",
    Unknown: "unknown",
    Skipped: "skipped",
}
"""The values of the key `outcome` in JSON."""

_IS_REPLY = re.compile(r"(?:HTTP|SMTP) \d|Slack: ")
"""How a reason begins where the receiver replied."""


def send_test(ctx: typer.Context, *, channel: ChannelArgument, as_json: JsonOption = False) -> None:
    """Send one made-up failure, marked as a test, and report the receiver's reply. A ticket is closed again.

    Exits with 0 when it was delivered, 1 when the receiver or a setting refused it, 3 when there was no reply.
    --json: {"channel", "delivery_id", "outcome", "reason", "ref", "reply", "ticket": {"label", "url", "closed"}}.
    """
    config = load_config(ctx)
    event = sample_event(EventType.TASK_FAILED, now(), marked=localizer(config).text("test"))
    request = render_request(channel, event)
    with redirect_stdout(sys.stderr) if as_json else nullcontext():  # a console channel prints too
        trial = event_loop.run(_send(config, channel, event))
    outcome = trial.outcome
    if as_json:
        document = {
            "channel": channel,
            "delivery_id": request.delivery_id,
            "outcome": _OUTCOMES[type(outcome)],
            "reason": getattr(outcome, "reason", None),
            "ref": getattr(outcome, "ref", None),
            "reply": outcome.reply,
            "ticket": _ticket_document(trial),
        }
        print_json(document)
    else:
        show(
            _report(channel, trial, localizer(config)),
            *reply_line(localizer(config).text("cli.replied"), outcome.reply),
        )
    raise typer.Exit(0 if trial.closed else _exit_code(outcome))


async def _send(config: Config, name: str, event: Event) -> TicketTrial:
    async with open_channel(config, name) as channel:
        failed = _delivery(channel, event, now())
        if not channel.tickets:
            return TicketTrial(outcome=await channel.send(failed))
        success = sample_event(EventType.TASK_COMPLETED, now(), marked=localizer(config).text("test"))
        return await try_ticket(channel, failed, _delivery(channel, success, now()))


def _ticket_document(trial: TicketTrial) -> dict[str, Any] | None:
    ticket = trial.ticket
    return {"label": ticket.label, "url": ticket.url, "closed": trial.closed} if ticket else None


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


def _report(channel: str, trial: TicketTrial, words: Localizer) -> Text:
    if trial.ticket:
        return _ticket_report(channel, trial, trial.ticket, words)
    outcome = trial.outcome
    if isinstance(outcome, Delivered):
        ref = f" ({outcome.ref})" if outcome.ref else ""
        return cell(words.text("cli.test.delivered", channel=channel, ref=ref), "green")
    values = {"channel": channel, "why": words.reason(outcome.reason)}
    return cell(words.text(f"cli.test.{_failure(outcome)}", **values), "bold red")


def _ticket_report(channel: str, trial: TicketTrial, ticket: Ticket, words: Localizer) -> Text:
    label = " ".join(filter(None, (ticket.label, ticket.url)))
    if trial.closed:
        return cell(words.text("cli.test.ticket_closed", channel=channel, ticket=label), "green")
    why = words.reason(trial.outcome.reason or "")
    return cell(words.text("cli.test.ticket_open", channel=channel, ticket=label, why=why), "yellow")


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
