"""The samples of `message_samples` as mails, on the console, in Mattermost and Rocket.Chat, and of a webhook."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import SMTP
from typing import Any

from factories import open_channel
from fakes import FakeClock
from message_samples import FORMATTERS, LINKED, LINKS, LOCALIZERS, PAGE_LINKS, requests

from notifier.channels.base import ChannelContext
from notifier.core.delivery import Body
from notifier.http import HttpClient
from notifier.integrations.console import drawn, lines_of
from notifier.integrations.email.message import message
from notifier.integrations.email.settings import EmailSettings
from notifier.integrations.mattermost.channel import MattermostChannel
from notifier.integrations.mattermost.messages import MessageLayout
from notifier.integrations.mattermost.rocketchat import RocketChatChannel
from notifier.integrations.webhook.channel import WebhookChannel
from notifier.integrations.webhook.settings import WebhookSettings
from notifier.ports import RenderRequest
from notifier.wording.events import EventFormatter
from notifier.wording.links import LinkTemplates
from notifier.wording.phrases import Language

SHOWN = ("a failure in production", "reported late", "task.stalled", "source.failing", "a storm", "a digest")
"""The samples on the page of messages; the contact sheet has all."""
LINKED_SHOWN = ("a failure in production", "a storm")
"""The samples that are shown with links to the page, too."""

_MAIL = {
    "kind": "email",
    "name": "mail",
    "host": "smtp.example.com",
    "from": "notifier@example.com",
    "to": ["dba@example.com"],
}

_WEBHOOK = {"kind": "webhook", "name": "tickets", "url": "https://tickets.example.com/hooks"}


def chapters() -> Iterator[tuple[str, Iterator[tuple[str, str]]]]:
    """Yield chapters with their texts."""
    additions: dict[Language, str] = {"en": "", "zh": ", in Chinese"}
    for language, addition in additions.items():
        yield f"Mail{addition}", _each(language, mail_text)
        yield f"The console at 80 columns{addition}", _each(language, console_text)
        yield f"Mattermost{addition}", _each(language, mattermost_text)
        yield f"With links to the page, elsewhere than in Slack{addition}", _linked(language)


def _linked(language: Language) -> Iterator[tuple[str, str]]:
    """Yield a failure of a notifier whose page has an address, and its storm."""
    for name, request in requests(language):
        if name in LINKED_SHOWN:
            yield f"{name}, by mail", mail_text(request, language, LINKED)
            yield f"{name}, on the console", console_text(request, language, formatters=LINKED)
            yield f"{name}, in Mattermost", mattermost_text(request, language, LINKED)


def _each(language: Language, shown: Callable[[RenderRequest, Language], str]) -> Iterator[tuple[str, str]]:
    for name, request in requests(language):
        if name in SHOWN:
            yield name, shown(request, language)


Formatters = Mapping[Language, EventFormatter]


def mail(request: RenderRequest, language: Language, formatters: Formatters = FORMATTERS) -> EmailMessage:
    """Return the mail of a request."""
    sent = message(request, EmailSettings.model_validate(_MAIL), formatters[language]).as_bytes()
    return message_from_bytes(sent, _class=EmailMessage, policy=SMTP)


def part(found: EmailMessage, subtype: str) -> str:
    """Return the text of a part of a mail: `plain` or `html`."""
    body = found.get_body([subtype])
    assert body is not None
    return str(body.get_content())


def mail_text(request: RenderRequest, language: Language, formatters: Formatters = FORMATTERS) -> str:
    """Return the subject and the text part of a mail."""
    found = mail(request, language, formatters)
    return f"Subject: {found['Subject']}\n\n{part(found, 'plain')}".replace("\r\n", "\n").rstrip()


def console_text(
    request: RenderRequest,
    language: Language,
    width: int = 80,
    *,
    brief: bool = False,
    formatters: Formatters = FORMATTERS,
) -> str:
    """Return what a terminal of this width shows."""
    return drawn(lines_of(request, formatters[language], brief=brief), width, colours=False).rstrip()


def mattermost_text(request: RenderRequest, language: Language, formatters: Formatters = FORMATTERS) -> str:
    """Return the text of a message in Mattermost, and what its attachments have."""
    layout = MessageLayout(MattermostChannel.markup, MattermostChannel.limits, formatters[language])
    return _chat_text(layout.payload(request))


def rocketchat_text(request: RenderRequest, language: Language) -> str:
    """Return the text of a message in Rocket.Chat, and what its attachments have."""
    layout = MessageLayout(RocketChatChannel.markup, RocketChatChannel.limits, FORMATTERS[language])
    return _chat_text(layout.payload(request))


_CHATS = {
    "wecom": {"webhook_url": "https://qyapi.weixin.qq.com/cgi-bin/webhook/send?key=x"},
    "dingtalk": {"webhook_url": "https://oapi.dingtalk.com/robot/send?access_token=x"},
    "feishu": {"webhook_url": "https://open.feishu.cn/open-apis/bot/v2/hook/x"},
}


def chat_body(kind: str, request: RenderRequest, language: Language) -> Body:
    """Return the body of a message for a robot of a chat."""
    channel = open_channel(kind, {"name": "dba", "kind": kind} | _CHATS[kind], _context(language))
    return channel.render(request)


def _context(language: Language, links: LinkTemplates = LINKS) -> ChannelContext:
    return ChannelContext(
        http=HttpClient(),
        clock=FakeClock(),
        localizer=LOCALIZERS[language],
        console_url=links.console_url,
        runbook_url=links.runbook_url,
        page_url=links.page_url,
    )


def webhook_bodies() -> Iterator[tuple[str, bytes]]:
    """Yield the standard bodies, those of several events with their first three."""
    languages: tuple[Language, ...] = ("en", "zh")
    for language in languages:
        channel = WebhookChannel(WebhookSettings.model_validate(_WEBHOOK), _context(language))
        for name, request in requests(language):
            if language == "en" or name in SHOWN:
                short = replace(request, events=request.events[:3])
                yield f"{name} ({language})", channel.render(short).content
    linked = WebhookChannel(WebhookSettings.model_validate(_WEBHOOK), _context("en", PAGE_LINKS))
    for name, request in requests("en"):
        if name in LINKED_SHOWN:
            short = replace(request, events=request.events[:1])
            yield f"{name}, with links to the page (en)", linked.render(short).content


def _chat_text(sent: dict[str, Any]) -> str:
    attached = (f"▌ {line}" for one in sent.get("attachments", ()) for line in _attached(one))
    return "\n".join([str(sent["text"]), *attached])


def _attached(one: dict[str, Any]) -> list[str]:
    return [*one["text"].splitlines(), *map(_field, one.get("fields", ()))]


def _field(field: dict[str, Any]) -> str:
    return f"{field['title']}: {field['value']}"
