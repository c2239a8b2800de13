"""The samples of `message_samples` as mails, on the console, in Mattermost and Rocket.Chat, and of a webhook."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import SMTP
from typing import Any

from factories import open_channel
from fakes import FakeClock
from message_samples import FORMATTERS, LINKS, LOCALIZERS, requests

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
from notifier.wording.phrases import Language

SHOWN = ("a failure in production", "reported late", "task.stalled", "source.failing", "a storm", "a digest")
"""The samples on the page of messages; the contact sheet has all."""

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


def _each(language: Language, shown: Callable[[RenderRequest, Language], str]) -> Iterator[tuple[str, str]]:
    for name, request in requests(language):
        if name in SHOWN:
            yield name, shown(request, language)


def mail(request: RenderRequest, language: Language) -> EmailMessage:
    """Return the mail of a request."""
    sent = message(request, EmailSettings.model_validate(_MAIL), FORMATTERS[language]).as_bytes()
    return message_from_bytes(sent, _class=EmailMessage, policy=SMTP)


def part(found: EmailMessage, subtype: str) -> str:
    """Return the text of a part of a mail: `plain` or `html`."""
    body = found.get_body([subtype])
    assert body is not None
    return str(body.get_content())


def mail_text(request: RenderRequest, language: Language) -> str:
    """Return the subject and the text part of a mail."""
    found = mail(request, language)
    return f"Subject: {found['Subject']}\n\n{part(found, 'plain')}".replace("\r\n", "\n").rstrip()


def console_text(request: RenderRequest, language: Language, width: int = 80, *, brief: bool = False) -> str:
    """Return what a terminal of this width shows."""
    return drawn(lines_of(request, FORMATTERS[language], brief=brief), width, colours=False).rstrip()


def mattermost_text(request: RenderRequest, language: Language) -> str:
    """Return the text of a message in Mattermost, and what its attachments have."""
    layout = MessageLayout(MattermostChannel.markup, MattermostChannel.limits, FORMATTERS[language])
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


def _context(language: Language) -> ChannelContext:
    return ChannelContext(
        http=HttpClient(),
        clock=FakeClock(),
        localizer=LOCALIZERS[language],
        console_url=LINKS.console_url,
        runbook_url=LINKS.runbook_url,
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


def _chat_text(sent: dict[str, Any]) -> str:
    attached = (f"▌ {line}" for one in sent.get("attachments", ()) for line in _attached(one))
    return "\n".join([str(sent["text"]), *attached])


def _attached(one: dict[str, Any]) -> list[str]:
    return [*one["text"].splitlines(), *map(_field, one.get("fields", ()))]


def _field(field: dict[str, Any]) -> str:
    return f"{field['title']}: {field['value']}"
