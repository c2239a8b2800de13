"""A canary in every place of a configuration that takes a secret, and none of them in the database afterwards."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any, get_args

import pytest
from factories import make_delivery, make_event, make_task
from pydantic import BaseModel, SecretStr
from servers.http import HttpServer
from servers.tls import Certificate
from sqlalchemy import select
from web_site import open_site

from notifier.channels.kinds import installed_kinds, settings_class
from notifier.channels.mutual_tls import MutualTlsSettings
from notifier.config.config import Config
from notifier.config.loading import loads
from notifier.core.routing import RoutedEvent
from notifier.integrations.webhook.settings import WebhookSettings
from notifier.service.service import poll_and_deliver
from notifier.settings.base import Settings
from notifier.store.engine import SqlStore, admin_engine
from notifier.store.schema import metadata
from notifier.store.transaction import Transaction
from notifier.wiring.app import open_app
from notifier.wiring.web import shown_configuration

CANARY = "obviously-fake-canary"
SIGNING = "whsec_b2J2aW91c2x5LWZha2UtY2FuYXJ5LTAx"
OLD_SIGNING = "whsec_b2J2aW91c2x5LWZha2UtY2FuYXJ5LTAy"

HASH = "$scrypt$ln=4,r=8,p=1$b2J2aW91c2x5LWZha2U$b2J2aW91c2x5LWZha2UtY2FuYXJ5LTAxLWZha2UtY2E"
"""Of no password: what it holds is checked like a secret."""

SOURCE = """
  - {name: NAME, kind: gaussdb, region: cn-north-4, project_id: 0611f1bd8b00d5d32f17c017f15b599f, endpoint: BASE,
     auth: AUTH}
"""
AUTHS = {
    "aksk": "{kind: aksk, access_key: CANARY-ak, secret_key: CANARY-sk, security_token: CANARY-sts}",
    "token": "{kind: token, iam_endpoint: BASE, domain: d, username: u, password: CANARY-iam}",
}
CHAT = {
    "socket": "{mode: socket, app_token: xapp-CANARY, bot_token: xoxb-CANARY, api_url: BASE/api/}",
    "http": "{mode: http, signing_secret: CANARY-signing, bot_token: xoxb-CANARY, api_url: BASE/api/}",
}
CONFIGURATION = """
store: {url: "STORE"}
sources: SOURCES
channels:
SAMPLES
  - {name: plain, kind: webhook, url: "BASE/CANARY-path?key=CANARY-query", secret: SIGNING, secrets: [OLD_SIGNING],
     headers: {Authorization: Bearer CANARY-bearer, X-Key: CANARY-header}}
  - {name: pager, kind: webhook, url: "BASE/v2/enqueue", content_type: CONTENT_TYPE,
     body_template: '{"routing_key": "${PD_KEY}", "again": {{ "${PD_KEY}" | tojson }}, "text": "{{ headline }}"}',
     templates: {task.failed: '{"routing_key": "${PD_KEY}"}'}}
  - {name: failing, kind: webhook, url: "BASE/x", content_type: text/plain,
     body_template: '${PD_KEY} {{ [1][(data.task.instance.name != "sample") | int] }}'}
calendars:
  - {name: days, url: "BASE/CANARY-calendar.ics?key=CANARY-query"}
chat:
  slack: CHAT
  mattermost: {token: CANARY-mm, tokens: [CANARY-mm-old]}
web: {listen: "127.0.0.1:0", url: "http://127.0.0.1:8080", password: CANARY-web,
  users: [{name: Chen Jing, password_hash: "HASH"}], kiosk_token: CANARY-kiosk-token,
  oidc: {issuer: "BASE/CANARY-issuer", client_id: notifier, client_secret: CANARY-oidc, roles: {act: ["*"]}}}
doorbell: {token: CANARY-doorbell-token-of-some-length, tokens: [CANARY-doorbell-old-of-some-length],
  secret: SIGNING, secrets: [OLD_SIGNING], smn: {topics: ["urn:smn:cn-north-4:p:t"]}}
telemetry: {traces: {url: "BASE/CANARY-traces", headers: {Authorization: Bearer CANARY-otel}}}
heartbeat_url: "BASE/ping/CANARY-beat"
heartbeat_fail_url: "BASE/ping/CANARY-beat/fail"
network: {proxy: PROXY}
log: {level: debug}
"""


SAMPLES = {kind: import_module(f"channels_{kind}").SAMPLE for kind in installed_kinds()}
"""What each kind of channel brings along for the contract suite."""


def sampled_channels(base: str, port: int) -> Iterator[dict[str, Any]]:
    """Yield settings of every kind, in every mode that its sample has."""
    for kind, sample in SAMPLES.items():
        for number, settings in enumerate((sample.settings, *sample.more_modes)):
            yield {"name": f"{kind}-{number}", "kind": kind} | settings(base, port)


def certified_channels(base: str, port: int, key: Certificate) -> Iterator[dict[str, Any]]:
    """Yield settings of every kind that can show a certificate, with one whose key has a password."""
    shown = {"cert_file": str(key.chain), "key_password": f"{CANARY}-key"}
    for kind, sample in SAMPLES.items():
        if issubclass(settings_class(kind), MutualTlsSettings):
            tls = {"tls": True} if "tls" in settings_class(kind).model_fields else {}
            yield {"name": f"{kind}-tls", "kind": kind} | sample.settings(base, port) | tls | shown


@pytest.fixture
def key(certificate: Certificate, tmp_path: Path) -> Certificate:
    """Return a certificate whose key nobody else can read."""
    chain = tmp_path / "chain.pem"
    chain.write_bytes(certificate.chain.read_bytes())
    chain.chmod(0o600)
    return replace(certificate, chain=chain)


def configuration(base: str, store: str, auth: str, chat: str, key: Certificate, *, proxy: str = "") -> Config:
    host, _, port = base.removeprefix("http://").partition(":")
    values = {
        "SOURCES": SOURCE.replace("NAME", "prod").replace("AUTH", AUTHS[auth]),
        "CHAT": CHAT[chat],
        "CONTENT_TYPE": "application/json",
        "OLD_SIGNING": OLD_SIGNING,
        "SIGNING": SIGNING,
        "HASH": HASH,
        "STORE": store,
        "SAMPLES": "\n".join(
            f"  - {json.dumps(settings)}"
            for settings in (
                *sampled_channels(f"http://{host}:{port}", int(port)),
                *certified_channels(f"http://{host}:{port}", int(port), key),
            )
        ),
        "PROXY": f'"http://u:CANARY-proxy@{proxy}"' if proxy else "null",
        "BASE": f"http://{host}:{port}",
        "CANARY": CANARY,
    }
    text = CONFIGURATION
    for name, value in values.items():
        text = text.replace(name, value)
    return loads(text, {"PD_KEY": f"{CANARY}-pagerduty"})


# ---- every place is tried ----


def secret_places(model: type[BaseModel]) -> Iterator[tuple[str, str]]:
    """Yield the fields of a settings class that are secrets, or hold some."""
    for name, field in model.model_fields.items():
        if (
            SecretStr in _parts(field.annotation)
            or name == "body_template"
            or (name, model) == ("templates", WebhookSettings)
        ):
            yield model.__name__, name


def _parts(annotation: object) -> Iterator[object]:
    yield annotation
    for inner in get_args(annotation):
        yield from _parts(inner)


def every_settings_class(model: type[Settings] = Settings) -> Iterator[type[Settings]]:
    for found in model.__subclasses__():
        if found.__module__.startswith("notifier."):
            yield found
            yield from every_settings_class(found)


def filled_places(value: object) -> Iterator[tuple[str, str]]:
    """Yield the fields that are secrets and are given, in a model and all within it."""
    if isinstance(value, BaseModel):
        for name in type(value).model_fields:
            if (type(value).__name__, name) in {*secret_places(type(value))} and getattr(value, name):
                yield type(value).__name__, name
            yield from filled_places(getattr(value, name))
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from filled_places(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from filled_places(inner)


EVERYWHERE = [*zip(AUTHS, CHAT, strict=True)]


def test_every_place_for_a_secret_has_a_canary(key: Certificate) -> None:
    for kind in installed_kinds():
        settings_class(kind)
    wanted = {place for model in every_settings_class() for place in secret_places(model)}
    # A class that others derive from is never used by itself.
    abstract = {model.__name__ for model in every_settings_class() if model.__subclasses__()}
    base = "http://127.0.0.1:9"
    tried = {
        place
        for auth, chat in EVERYWHERE
        for place in filled_places(configuration(base, "sqlite:///x", auth, chat, key, proxy="127.0.0.1:9"))
    }
    assert {place for place in wanted if place[0] not in abstract} - tried == set()
    assert len(wanted) >= 15


# ---- none is shown ----


@pytest.mark.parametrize("kinds_of", EVERYWHERE)
async def test_no_secret_is_on_the_page_of_the_configuration(
    store: SqlStore, kinds_of: tuple[str, str], key: Certificate, capsys: pytest.CaptureFixture[str]
) -> None:
    config = configuration("http://127.0.0.1:9", "sqlite:///x", *kinds_of, key, proxy="127.0.0.1:9")
    shown = shown_configuration(config)
    async with open_site(store, configuration=shown, expected=config.expected) as site:
        sections = ["", *{str(one.path[0]) for one in shown.values}]
        pages = [await site.get("/configuration", params={"section": one, "try": ""}) for one in sections]
    text = "\n".join(f"{page.text} {page.headers} {page.url}" for page in pages) + repr(shown.values)
    assert "channels[0].name" in text
    of_samples = [secret for sample in SAMPLES.values() for secret in sample.secrets]
    for secret in (CANARY, SIGNING, OLD_SIGNING, HASH, *of_samples):
        assert secret not in text
    assert CANARY not in capsys.readouterr().err


# ---- none is kept ----


class Echo(HttpServer):
    """Answers every request by repeating all of it, as some services do when they complain."""

    def __init__(self, status: int) -> None:
        super().__init__(self._repeat)
        self._status = status

    async def _repeat(self, writer: asyncio.StreamWriter) -> None:
        request = self.requests[-1]
        content = request.body.decode("utf-8", "replace")
        said = {"error": request.target, "headers": dict(request.headers), "body": content}
        body = json.dumps(said).encode()
        head = f"HTTP/1.1 {self._status} Echo\r\nContent-Length: {len(body)}\r\nContent-Type: application/json\r\n\r\n"
        writer.write(head.encode() + body)
        await writer.drain()


def dump(url: str, folder: Path) -> str:
    """Return all that a database holds, as text; of SQLite the bytes of its files too."""
    with admin_engine(url) as engine, engine.connect() as connection:
        rows = [_shown(tuple(row)) for table in metadata.sorted_tables for row in connection.execute(select(table))]
    return "\n".join([*rows, *(file.read_bytes().decode("latin-1") for file in folder.glob("*.db*"))])


def _shown(row: tuple[Any, ...]) -> str:
    return " ".join(value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value) for value in row)


@pytest.mark.parametrize(("kinds_of", "status"), [*zip(EVERYWHERE, (200, 400), strict=True)])
async def test_no_secret_is_in_the_database(
    store_url: str,
    kinds_of: tuple[str, str],
    status: int,
    key: Certificate,
    capsys: pytest.CaptureFixture[str],
) -> None:
    async with Echo(status) as server:
        config = configuration(server.url("").rstrip("/"), store_url, *kinds_of, key)
        async with open_app(config, exclusive=True) as app:
            names = [channel.name for channel in config.channels]
            event = make_event(make_task(fail_reason="it failed"))

            def record(tx: Transaction) -> None:
                tx.events.record([RoutedEvent(event=event, routes=("all",), channels=tuple(names))])
                now = tx.now()
                tx.deliveries.record(
                    [make_delivery(event, channel=name, attempt=0, available_at=now, created_at=now) for name in names]
                )

            await app.store.transact(record)
            await poll_and_deliver(app)
            await app.send_heartbeat()
        assert any("/v2/enqueue" in request.target for request in server.requests)
        assert any(f"{CANARY}-pagerduty".encode() in request.body for request in server.requests)
    kept = dump(store_url, key.chain.parent)
    assert "31b8ae23-c687-4d80-b7b4-42a66c9bb886" in kept, "the dump has something in it"
    assert "${PD_KEY}" in kept
    of_samples = [secret for sample in SAMPLES.values() for secret in sample.secrets]
    for secret in (CANARY, SIGNING, OLD_SIGNING, HASH, *of_samples):
        assert secret not in kept
    assert CANARY not in capsys.readouterr().err
