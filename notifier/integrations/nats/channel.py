"""The NATS channel: publishes to JetStream, which stores an event once however often it is sent."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
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

LONG_WINDOW = 24 * 3600
"""Window of a stream that outlasts the usual schedule of retries, but for its last waits, in seconds."""

_TOO_LARGE = 10054
_WRONG_STREAM = 10060
"""Error codes of JetStream."""

_NO_STREAM = "add it to the subjects of a stream, or correct subject"


class _Client(Client):
    """A client that sends nothing in the clear to a server that should speak TLS.

    The library encrypts where the server asks for it, and would log in at a server that does not. A test proves that
    this method is still called before anything is sent.
    """

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:  # noqa: FBT001, FBT002 - the library's
        if initial_connection and "tls" in self.options and not info.get("tls_required"):
            raise errors.SecureConnWantedError
        await super()._process_info(info, initial_connection)


@dataclass(slots=True)
class _Link:
    """A connection, and when it ended."""

    client: Client
    stream: JetStreamContext
    ended: asyncio.Future[None]
    denials: dict[str, asyncio.Future[None]]
    """By subjects that are being published to: done where the user may not do that, which the server says apart."""

    def denial(self, subject: str) -> asyncio.Future[None]:
        """Return the future of a subject."""
        if subject not in self.denials:
            self.denials[subject] = asyncio.get_running_loop().create_future()
        return self.denials[subject]


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
        denials: dict[str, asyncio.Future[None]] = {}
        found: list[Exception] = []

        async def on_error(error: Exception) -> None:
            found[:] = [error]
            _deny(denials, str(error).lower())

        async def on_end() -> None:
            if not ended.done():
                ended.set_result(None)

        client, (host, port) = _Client(), place
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
        return _Link(client, client.jetstream(timeout=self.deadline / 3), ended, denials)  # `inspect` asks twice

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
            denial = connection.denial(destination)
            await asyncio.wait((asking, connection.ended, denial), return_when=asyncio.FIRST_COMPLETED)
            if denial.done():
                connection.denials.pop(destination, None)
                raise StreamFailure(Parked(f"the user may not publish to {destination}: allow it", PROBE_AFTER))
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
        return await self._inspect_window(connection, stream, f"the stream {stream} takes {destination}")

    async def _inspect_window(self, connection: _Link, stream: str, takes: str) -> CheckResult:
        """Warn of a stream that soon does not recognise a repeat any more, where the user may see that."""
        try:
            window = (await connection.stream.stream_info(stream)).config.duplicate_window or 0
        except (TimeoutError, errors.Error):
            return self._result(takes)
        if window >= LONG_WINDOW:
            return self._result(takes)
        remedy = f"nats stream edit {stream} --dupe-window 24h"
        return self._result(f"{takes}, and recognises repeats for {window:g} s only", proven=False, remedy=remedy)

    @cached_property
    def meanings(self) -> Sequence[Meaning]:
        """What errors of the client mean."""
        return (
            Meaning((errors.MaxPayloadError,), "content", "the message is larger than max_payload of the server"),
            Meaning((errors.AuthorizationError,), "misconfigured", "the server refuses the login: check it"),
            Meaning((errors.SecureConnRequiredError,), "misconfigured", "the server wants TLS: set tls: true"),
            Meaning(
                (errors.SecureConnWantedError,),
                "misconfigured",
                "the server does not ask for TLS: let it, or set tls: false",
            ),
        )

    async def disconnect(self, connection: _Link) -> None:
        """Close the client."""
        await connection.client.close()


def _deny(denials: Mapping[str, asyncio.Future[None]], text: str) -> None:
    """Finish the futures of the subjects that an error of the server, in lower case, does not permit."""
    if "permissions violation for publish" in text:
        for subject, denial in denials.items():
            if f'"{subject.lower()}"' in text and not denial.done():
                denial.set_result(None)


def _hidden_cause(error: BaseException, found: Sequence[Exception]) -> Exception | None:
    """Return why there is no connection, where the error itself does not say it. `found` were passed to `error_cb`."""
    if isinstance(error, errors.NoServersError) and found:
        return found[-1]
    refused = isinstance(error, errors.Error) and "authorization violation" in str(error).lower()
    return errors.AuthorizationError() if refused else None
