"""`notifier preview`: show a message without sending it."""

import json
from collections.abc import Iterator, Mapping
from email import message_from_bytes, policy
from typing import Annotated, Any

import typer
from rich.console import RenderableType
from rich.text import Text

from notifier.channels.placeholders import readable
from notifier.channels.templated import unmarked
from notifier.channels.templates import named_key
from notifier.cli import event_loop
from notifier.cli.common import JsonOption, now
from notifier.cli.configured import load_config
from notifier.cli.output import block, cell, print_json, show, stdout
from notifier.cli.samples import render_request, sample_event, sample_requests
from notifier.cli.slack_preview import draw_message, is_block_kit
from notifier.config.config import Config
from notifier.config.reach import types_reaching
from notifier.core.delivery import Body
from notifier.core.errors import ConfigurationError
from notifier.core.events import EventType
from notifier.settings.words import did_you_mean
from notifier.wiring.channels import open_channel
from notifier.wiring.checks import check_rendering
from notifier.wording.lines import CONTENT_TYPE as LINES
from notifier.wording.lines import decode, printed

ChannelArgument = Annotated[str, typer.Argument(metavar="CHANNEL", help="Name of a configured channel.")]


def preview(
    ctx: typer.Context,
    *,
    channel: ChannelArgument,
    event: Annotated[EventType, typer.Option("--event", help="Type of the made-up event.")] = EventType.TASK_FAILED,
    digest: Annotated[bool, typer.Option("--digest", help="Show a digest of the types that reach it.")] = False,
    template: Annotated[
        str | None, typer.Option("--template", metavar="NAME", help="Name of templates that a route chooses.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show the message of a made-up event, as closely as a terminal can. Nothing is sent.

    Exits with 1 when a template of the channel fails for it, or for another type of event that may reach the channel.
    --json: {"channel", "kind", "content_type", "body", "flaws": {type: why}}; body is an object where it is JSON, else
    a string. `${NAME}` stands for a secret that is inserted when the message is sent.
    """
    config = load_config(ctx)
    kind, body, problems = event_loop.run(_render(config, channel, event, digest=digest, template=template))
    if as_json:
        described = {"channel": channel, "kind": kind, "content_type": body.content_type}
        print_json(described | {"body": _decoded(body), "flaws": problems})
    else:
        show(cell(f"{kind}, {body.content_type}", "dim"))
        show(*readable_body(body), fold=is_block_kit(_decoded(body)))
        show(*(cell(f"✗ {type_}: {problem}", "bold red") for type_, problem in problems.items()))
    raise typer.Exit(1 if problems else 0)


async def _render(
    config: Config, name: str, kind: EventType, *, digest: bool, template: str | None
) -> tuple[str, Body, Mapping[str, str]]:
    """Return the kind of channel, the message, and the template errors of its type and of each routed type."""
    types = dict.fromkeys([kind, *(known for known, routed in types_reaching(config, name).items() if routed)])
    async with open_channel(config, name) as channel:
        settings = next(one for one in config.channels if one.name == name)
        if template is not None and named_key(template) not in settings.templates:
            known = [key.removeprefix("@") for key in settings.templates if key.startswith("@")]
            hint = did_you_mean(template, known, otherwise="Its templates for routes")
            raise ConfigurationError(f"the channel {name} has no template {template!r}. {hint}")
        requests = sample_requests(settings, types, now(), template=template)
        shown = render_request(name, *(sample_event(one, now()) for one in types), digest=True)
        body = channel.render(shown if digest else requests[kind])
    return channel.kind, unmarked(body), (await check_rendering(config, {name: requests})).get(name, {})


def readable_body(body: Body) -> Iterator[RenderableType]:
    """Return a body in readable form, by its content type: mail text, a drawn message, lines of a terminal, JSON."""
    decoded = _decoded(body)
    if body.content_type.startswith("message/"):
        yield from _mail(body.content)
    elif body.content_type == LINES:
        yield from _terminal_lines(body.content)
    elif is_block_kit(decoded):
        yield draw_message(decoded)
    elif isinstance(decoded, str):
        yield block(decoded)
    else:
        yield block(json.dumps(decoded, indent=2, ensure_ascii=False))


def _decoded(body: Body) -> Any:  # noqa: ANN401 - JSON
    text = readable(body.content.decode("utf-8", "replace"))
    if "json" not in body.content_type:
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text


def _terminal_lines(content: bytes) -> Iterator[RenderableType]:
    console = stdout()
    for line in decode(content):
        for spans in printed(line, console.width if console.is_terminal else None):
            yield Text.assemble(*((span.text, span.style) for span in spans))


def _mail(content: bytes) -> Iterator[RenderableType]:
    message = message_from_bytes(content, policy=policy.default)
    text = message.get_body(("plain",))
    yield from (cell(f"{name}: {value}") for name, value in message.items())
    yield Text("")
    yield block(text.get_content() if text else "")
