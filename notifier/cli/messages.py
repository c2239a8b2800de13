"""`notifier preview` and `notifier test-send`: the message as it would be, without and with sending it."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import nullcontext, redirect_stdout
from datetime import datetime
from email import message_from_bytes, policy
from typing import Annotated, Any

import typer
from rich.console import RenderableType
from rich.text import Text

from notifier.channels.sealing import shown
from notifier.cli import loop
from notifier.cli.check import types_reaching
from notifier.cli.common import JsonOption, load_config, localizer, now
from notifier.cli.drawing import draw_message, is_block_kit
from notifier.cli.output import block, cell, print_json, reply_line, show
from notifier.cli.samples import sample_event
from notifier.config import Config
from notifier.core.delivery import (
    Body,
    Delivered,
    Delivery,
    DeliveryState,
    GaveUp,
    Outcome,
    Parked,
    Retry,
    Unknown,
    delivery_id,
)
from notifier.core.events import EventType
from notifier.core.model import Event
from notifier.ports import Channel, RenderRequest
from notifier.wiring.app import check_words, open_channel

ChannelArgument = Annotated[str, typer.Argument(metavar="CHANNEL", help="The channel's name in the configuration.")]


def preview(
    ctx: typer.Context,
    *,
    channel: ChannelArgument,
    event: Annotated[EventType, typer.Option("--event", help="The type of event.")] = EventType.TASK_FAILED,
    as_json: JsonOption = False,
) -> None:
    """Show the message that a made-up event would make, as near as a terminal can. Nothing is sent.

    Exits with 1 when the channel's template fails on it, or on another type that may reach the channel.
    --json: {"channel", "kind", "content_type", "body", "flaws": {type: why}}; body is an object where it is JSON, else
    a string. `${NAME}` stands for what is put in when it is sent.
    """
    config = load_config(ctx)
    kind, body, flaws = loop.run(_render(config, channel, event))
    if as_json:
        described = {"channel": channel, "kind": kind, "content_type": body.content_type}
        print_json(described | {"body": _decoded(body), "flaws": flaws})
    else:
        show(cell(f"{kind}, {body.content_type}", "dim"))
        show(*readable_body(body), fold=is_block_kit(_decoded(body)))
        show(*(cell(f"✗ {type_}: {flaw}", "bold red") for type_, flaw in flaws.items()))
    raise typer.Exit(1 if flaws else 0)


async def _render(config: Config, name: str, kind: EventType) -> tuple[str, Body, Mapping[str, str]]:
    """Return the kind of channel, the message, and why templates fail for the types that are asked about or routed."""
    types = dict.fromkeys([kind, *(known for known, routed in types_reaching(config, name).items() if routed)])
    events = [sample_event(known, now()) for known in types]
    async with open_channel(config, name) as channel:
        body = channel.render(_render_request(name, events[0]))
    found = (await check_words(config, {name: events})).get(name, ())
    return channel.kind, body, {event.type.value: flaw for event, flaw in zip(events, found, strict=False) if flaw}


def _render_request(channel: str, event: Event) -> RenderRequest:
    return RenderRequest(delivery_id=delivery_id(channel, event.id), events=(event,))


def send_test(ctx: typer.Context, *, channel: ChannelArgument, as_json: JsonOption = False) -> None:
    """Send one made-up failure, marked as a test, and report what the receiver said.

    Exits with 0 when it was delivered, 1 when the receiver, or a setting, refused it, 3 when no answer came.
    --json: {"channel", "delivery_id", "outcome", "reason", "ref", "reply"}.
    """
    config = load_config(ctx)
    event = sample_event(EventType.TASK_FAILED, now(), marked=localizer(config).text("test"))
    with redirect_stdout(sys.stderr) if as_json else nullcontext():  # a console channel prints too
        outcome = loop.run(_send(config, channel, event))
    if as_json:
        print_json(_document(channel, event, outcome))
    else:
        show(_report(channel, outcome), *reply_line(outcome.reply))
    raise typer.Exit(_exit_code(outcome))


async def _send(config: Config, name: str, event: Event) -> Outcome:
    async with open_channel(config, name) as channel:
        return await channel.send(_delivery(channel, event, now()))


def _delivery(channel: Channel, event: Event, at: datetime) -> Delivery:
    request = _render_request(channel.name, event)
    return Delivery(
        id=request.delivery_id,
        channel=channel.name,
        lane=event.subject,
        state=DeliveryState.PENDING,
        available_at=at,
        created_at=at,
        events=(event,),
        attempt=1,
        body=channel.render(request),
    )


def _document(channel: str, event: Event, outcome: Outcome) -> dict[str, Any]:
    return {
        "channel": channel,
        "delivery_id": delivery_id(channel, event.id),
        "outcome": type(outcome).__name__.lower(),
        "reason": getattr(outcome, "reason", None),
        "ref": getattr(outcome, "ref", None),
        "reply": outcome.reply,
    }


_IS_REPLY = re.compile(r"(?:HTTP|SMTP) \d|Slack: ")
"""How the reason begins where the receiver answered."""


def _report(channel: str, outcome: Outcome) -> Text:
    if isinstance(outcome, Delivered):
        return cell(f"✓ {channel}: delivered{f' ({outcome.ref})' if outcome.ref else ''}", "green")
    return cell(f"✗ {channel} {_failure_sentence(outcome)}", "bold red")


def _failure_sentence(outcome: Retry | GaveUp | Parked | Unknown) -> str:
    if isinstance(outcome, Unknown):
        return f"did not say whether it took the message, which may have arrived: {outcome.reason}"
    if _IS_REPLY.match(outcome.reason):
        return f"answered {outcome.reason}: not delivered"
    if isinstance(outcome, Retry):
        return f"could not be reached: {outcome.reason}"
    return f"refused to send: {outcome.reason}"


def _exit_code(outcome: Outcome) -> int:
    if isinstance(outcome, Delivered):
        return 0
    answered = isinstance(outcome, GaveUp | Parked) or _IS_REPLY.match(outcome.reason)
    return 1 if answered else 3


# ---- what is sent, made readable by its content type alone ----


def readable_body(body: Body) -> Iterator[RenderableType]:
    """Return a body as a person would read it: a mail's headers and text, a chat message's lines, JSON indented."""
    decoded = _decoded(body)
    if body.content_type.startswith("message/"):
        yield from _mail(body.content)
    elif is_block_kit(decoded):
        yield draw_message(decoded)
    elif isinstance(decoded, str):
        yield block(decoded)
    else:
        yield block(json.dumps(decoded, indent=2, ensure_ascii=False))


def _decoded(body: Body) -> Any:  # noqa: ANN401 - JSON
    text = shown(body.content.decode("utf-8", "replace"))
    if "json" not in body.content_type:
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text


def _mail(content: bytes) -> Iterator[RenderableType]:
    message = message_from_bytes(content, policy=policy.default)
    text = message.get_body(("plain",))
    yield from (cell(f"{name}: {value}") for name, value in message.items())
    yield Text("")
    yield block(text.get_content() if text else "")
