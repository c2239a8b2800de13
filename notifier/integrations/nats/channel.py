"""The NATS channel: publishes to JetStream, which stores an event once however often it is sent."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from nats import errors
from nats.aio.client import Client
from nats.js import errors as js_errors
from nats.js.client import JetStreamContext

from notifier.channels.base import PROBE_AFTER
from notifier.channels.cloudevents import STRUCTURED, CloudEvent, headers
from notifier.channels.stream import Meaning, StreamChannel, StreamFailure
from notifier.core.delivery import Delivered, GaveUp, Parked, ResendPolicy, Retry, Unknown
from notifier.integrations.nats.settings import NatsSettings
from notifier.ports import CheckResult

MESSAGE_ID = "Nats-Msg-Id"
"""Header by which a stream recognises a repeat, within its `duplicate_window`."""

_TOO_LARGE = 10054
_WRONG_STREAM = 10060
"""Error codes of JetStream."""

_NO_STREAM = "add it to the subjects of a stream, or correct subject"


@dataclass(slots=True)
class _Link:
    """A connection, and when it ended."""

    client: Client
    stream: JetStreamContext
    ended: asyncio.Future[None]


class NatsChannel(StreamChannel[NatsSettings, _Link]):
    """Publishes to one subject."""

    kind = "nats"
    resend_policy = ResendPolicy.IDEMPOTENT

    @property
    def destination(self) -> str:
        """The subject."""
        return self.settings.subject

    async def connect(self, place: tuple[str, int]) -> _Link:
        """Connect and log in."""
        ended = asyncio.get_running_loop().create_future()
        found: list[Exception] = []

        async def on_error(error: Exception) -> None:
            found.append(error)

        async def on_end() -> None:
            if not ended.done():
                ended.set_result(None)

        client, (host, port) = Client(), place
        try:
            await client.connect(
                f"nats://[{host}]:{port}" if ":" in host else f"nats://{host}:{port}",
                name="gaussdb-notifier",
                error_cb=on_error,
                closed_cb=on_end,
                allow_reconnect=False,
                max_reconnect_attempts=1,
                connect_timeout=max(1, int(self.deadline)),
                **self._options(host),
            )
        except BaseException as error:
            self.abandon(client.close())
            if cause := _hidden_cause(error, found):
                raise cause from error
            raise
        return _Link(client, client.jetstream(timeout=self.deadline), ended)

    def _options(self, host: str) -> dict[str, Any]:
        settings, options = self.settings, dict[str, Any]()
        if self.tls is not None:
            options |= {"tls": self.tls, "tls_hostname": host}
        if settings.token:
            options["token"] = settings.token.get_secret_value()
        if settings.username:
            options |= {"user": settings.username, "password": settings.password_text}
        return options

    def is_open(self, connection: _Link) -> bool:
        """Return whether the client is connected."""
        return connection.client.is_connected and not connection.ended.done()

    async def prepare(self, connection: _Link) -> None:
        """Do nothing: the server knows what a subject leads to."""

    async def publish(self, connection: _Link, event: CloudEvent, destination: str) -> Delivered:
        """Publish, and wait for the acknowledgement of a stream. One for a repeat counts as well."""
        whole = self.structured(event)
        fields = {MESSAGE_ID: event.id, "content-type": STRUCTURED if whole else event.content_type}
        fields |= {} if whole else headers(event)
        request = connection.stream.publish(
            destination, whole or event.data, timeout=self.deadline, stream=self.settings.stream, headers=fields
        )
        asking = asyncio.ensure_future(request)
        try:
            # The client does not wake those who wait for an answer when its connection ends.
            await asyncio.wait((asking, connection.ended), return_when=asyncio.FIRST_COMPLETED)
            if not asking.done():
                raise StreamFailure(Unknown("the connection ended before the message was acknowledged"))
            ack = asking.result()
        except js_errors.NoStreamResponseError:
            raise StreamFailure(Parked(f"no stream takes {destination}: {_NO_STREAM}", PROBE_AFTER)) from None
        except js_errors.APIError as error:
            raise StreamFailure(self._refusal(error)) from None
        finally:
            asking.cancel()
        repeated = "the stream had it already" if ack.duplicate else None
        return Delivered(ref=f"{ack.stream}:{ack.seq}", reason=repeated)

    def _refusal(self, error: js_errors.APIError) -> Retry | GaveUp | Parked:
        reason = f"JetStream {error.code}/{error.err_code}: {self.quoted(error.description)}"
        if error.err_code == _TOO_LARGE:
            return GaveUp(reason)
        if error.err_code == _WRONG_STREAM:
            return Parked(f"{reason}; check stream and subject", PROBE_AFTER)
        return Retry(reason)

    async def inspect(self, connection: _Link, destination: str) -> CheckResult:
        """Ask which stream takes the subject."""
        try:
            stream = await connection.stream.find_stream_name_by_subject(destination)
        except js_errors.NotFoundError:
            return self._result(f"no stream takes {destination}", ok=False, remedy=_NO_STREAM)
        except (TimeoutError, errors.Error) as error:
            what = f"not known whether a stream takes {destination}: {self.quoted(error)}"
            return self._result(what, proven=False, remedy=f"notifier test-send {self.name}")
        return self._result(f"the stream {stream} takes {destination}")

    @cached_property
    def meanings(self) -> Sequence[Meaning]:
        """What errors of the client mean."""
        return (
            Meaning((errors.MaxPayloadError,), "content", "the message is larger than max_payload of the server"),
            Meaning((errors.AuthorizationError,), "misconfigured", "the server refuses the login: check it"),
            Meaning((errors.SecureConnRequiredError,), "misconfigured", "the server wants TLS: set tls: true"),
            Meaning((errors.SecureConnWantedError,), "misconfigured", "the server has no TLS: set tls: false"),
        )

    async def disconnect(self, connection: _Link) -> None:
        """Close the client."""
        await connection.client.close()


def _hidden_cause(error: BaseException, found: Sequence[Exception]) -> Exception | None:
    """Return why there is no connection, where the error itself does not say it. `found` were passed to `error_cb`."""
    if isinstance(error, errors.NoServersError) and found:
        return found[-1]
    refused = isinstance(error, errors.Error) and "authorization violation" in str(error).lower()
    return errors.AuthorizationError() if refused else None
