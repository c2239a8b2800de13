"""All that a notifier tells, listening on loopback: a Slack, a mail server and a webhook receiver."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from typing import Any

from servers.http import HttpServer, reply
from servers.slack import CHANNEL, TOKEN, SlackServer, slack_server
from servers.smtp import SmtpServer
from standardwebhooks import Webhook

SECRET = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX"
"""Obviously fake: the bytes 0 to 23."""

CHANNELS = f"""
channels:
  - {{name: terminal, kind: console}}
  - {{name: chat, kind: slack, bot_token: {TOKEN}, channel: {CHANNEL}, api_url: "${{SLACK}}/api/"}}
  - {{name: hook, kind: slack, webhook_url: "${{HOOK}}"}}
  - {{name: mail, kind: email, host: 127.0.0.1, port: "${{SMTP}}", security: none,
     from: GaussDB notifier <gaussdb@example.com>, to: [dba@example.com]}}
  - {{name: tickets, kind: webhook, url: "${{TICKETS}}", secret: "{SECRET}"}}
routes:
  - {{name: everything, channels: [terminal, chat, hook, mail, tickets]}}
"""
"""One channel of every kind, in both modes of Slack's; `Listeners.environ` says where they are."""
NAMES = ("terminal", "chat", "hook", "mail", "tickets")


@dataclass(frozen=True, slots=True, kw_only=True)
class Listeners:
    """What was heard, in the order that it came."""

    slack: SlackServer
    smtp: SmtpServer
    receiver: HttpServer

    @property
    def environ(self) -> dict[str, str]:
        """Where each listens, for the references in CHANNELS."""
        return {
            "SLACK": self.slack.url,
            "HOOK": self.slack.hook_url,
            "SMTP": str(self.smtp.port),
            "TICKETS": self.receiver.url("/hooks/gaussdb"),
        }

    def slack_messages(self, *, bot: bool) -> Sequence[dict[str, Any]]:
        """Return what the bot posted, or what came by the incoming webhook; nothing of it was refused."""
        assert len(self.slack.requests) == len(self.slack.messages)
        return [body for path, body in self.slack.requests if path.startswith("/api/") == bot]

    @property
    def mails(self) -> Sequence[EmailMessage]:
        """The mails, parsed; none of them has a defect."""
        parser = BytesParser(EmailMessage, policy=policy.default)
        mails = [parser.parsebytes(mail.content) for mail in self.smtp.mails]
        assert not any(part.defects for mail in mails for part in mail.walk())
        return mails

    @property
    def webhooks(self) -> Sequence[dict[str, Any]]:
        """The bodies that were posted, each verified as any receiver would."""
        for request in self.receiver.requests:
            Webhook(SECRET).verify(request.body, dict(request.headers))
        return [json.loads(request.body) for request in self.receiver.requests]


@asynccontextmanager
async def listening() -> AsyncIterator[Listeners]:
    """Run all of them, each on a free port."""
    async with slack_server() as slack, SmtpServer() as smtp, HttpServer(reply(204, b"")) as receiver:
        yield Listeners(slack=slack, smtp=smtp, receiver=receiver)
