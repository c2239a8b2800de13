"""The mail channel for the contract suite."""

from __future__ import annotations

import email.policy
from email.message import EmailMessage
from typing import Any

from channels_sample import Room, Sample, utf8_bytes

from notifier.core.delivery import Body

SECRETS = ("obviously-fake-password",)


def settings(_base: str, port: int) -> dict[str, Any]:
    return {
        "host": "127.0.0.1",
        "port": port,
        "security": "none",
        "username": "notifier",
        "password": SECRETS[0],
        "from": "GaussDB notifier <gaussdb@example.com>",
        "to": ["dba@example.com"],
        "timeout": "2s",
    }


def text(body: Body) -> str:
    mail = email.message_from_bytes(body.content, policy=email.policy.default)
    assert isinstance(mail, EmailMessage)
    plain = mail.get_body(("plain",))
    assert plain
    return f"{mail['Subject']}\n{plain.get_content()}".replace("\r\n", "\n")


def called(body: Body) -> list[str]:
    copies = email.message_from_bytes(body.content, policy=email.policy.default)["Cc"]
    return [address.addr_spec for address in copies.addresses] if copies else []


LINES = Room(limit=998, size=utf8_bytes, texts=lambda body: body.content.decode().split("\r\n"))

SAMPLE = Sample(
    rooms=(LINES,),
    settings=settings,
    text=text,
    secrets=SECRETS,
    mentions=("oncall@example.com", "Bereitschaft, Süd <sued@example.com>", "值班 <zhiban@example.com>"),
    calls=("oncall@example.com", "sued@example.com", "zhiban@example.com"),
    called=called,
)
