"""The base of channels to message brokers: one connection that is kept, and CloudEvents published over it.

The libraries of brokers repeat and reconnect by themselves in ways of their own. Here a connection that is lost is made
again by the next message, and what is sent again is decided where it is for all channels.
"""

from __future__ import annotations

import asyncio
import ssl
from abc import abstractmethod
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

from notifier.channels.base import PROBE_AFTER, BaseChannel, ChannelContext
from notifier.channels.cloudevents import CloudEvent, cloud_event, stored_event
from notifier.channels.mutual_tls import with_own_certificate
from notifier.channels.reply_text import Secrets, reply_line
from notifier.channels.stream_settings import StreamSettings
from notifier.core.delivery import Body, Delivered, Delivery, GaveUp, Outcome, Parked, Retry, Unknown
from notifier.http import AddressRefused, NotSent
from notifier.http.errors import describe_connect_error
from notifier.ports import CheckResult, RenderRequest
from notifier.settings.secrets import secrets_in

CLOSING_LIMIT = 1.0
"""Maximum time to close a connection, in seconds."""

S = TypeVar("S", bound=StreamSettings)
ConnectionT = TypeVar("ConnectionT")


class StreamFailure(Exception):
    """A message was not published. `outcome` is that of the message."""

    def __init__(self, outcome: Retry | GaveUp | Parked | Unknown) -> None:
        super().__init__(outcome.reason)
        self.outcome = outcome


@dataclass(frozen=True, slots=True)
class Meaning:
    """What some errors of a library mean."""

    errors: tuple[type[BaseException], ...]
    means: Literal["misconfigured", "later", "content"]
    """The channel is parked, the message is retried, or it is given up."""
    reason: str
    """What it says, with the remedy."""

    def outcome(self, words: str) -> Retry | GaveUp | Parked:
        """Return the outcome of the message. `words` are those of the error."""
        reason = f"{self.reason} ({words})" if words else self.reason
        match self.means:
            case "misconfigured":
                return Parked(reason, PROBE_AFTER)
            case "later":
                return Retry(reason)
        return GaveUp(reason)


class StreamChannel(BaseChannel[S], Generic[S, ConnectionT]):
    """Publishes to a broker. A kind has `connect`, `is_open`, `publish`, `inspect`, `disconnect` and more."""

    keeps_deadline = True

    def __init__(self, settings: S, context: ChannelContext) -> None:
        super().__init__(settings, with_own_certificate(context, settings))
        self.body_key = (CloudEvent, context.formatter)
        self._secrets = Secrets(secrets_in(settings.model_dump()))
        self._connecting = asyncio.Lock()
        self._connection: ConnectionT | None = None
        self._closing: set[asyncio.Task[None]] = set()

    # ---- what a kind has ----

    @abstractmethod
    async def connect(self, place: tuple[str, int]) -> ConnectionT:
        """Return a connection to a broker that answers. Raises StreamFailure, or an error of the library."""

    @abstractmethod
    def is_open(self, connection: ConnectionT) -> bool:
        """Return whether a connection can be used, as far as is known."""

    @abstractmethod
    async def prepare(self, connection: ConnectionT) -> None:
        """Find out what a message needs, such as the partitions of a topic. Raises as `connect`: nothing is sent."""

    @abstractmethod
    async def publish(self, connection: ConnectionT, event: CloudEvent, destination: str) -> Delivered:
        """Publish one event and wait until the broker confirms it. Raises StreamFailure, or an error of the library."""

    @abstractmethod
    async def inspect(self, connection: ConnectionT, destination: str) -> CheckResult:
        """Find out, without a message, whether something takes messages there. Raises as `connect`."""

    @property
    @abstractmethod
    def meanings(self) -> Sequence[Meaning]:
        """What errors of the library mean. The first that fits decides; another one leaves the outcome unknown."""

    @abstractmethod
    async def disconnect(self, connection: ConnectionT) -> None:
        """Close a connection, which may be lost."""

    @property
    @abstractmethod
    def destination(self) -> str:
        """Where messages go, with fields to fill in: see `stream_settings.Destination`."""

    # ---- what all have ----

    def render(self, request: RenderRequest) -> Body:
        """Return the event; see `cloudevents.cloud_event`."""
        return cloud_event(request, self.context)

    async def send(self, delivery: Delivery) -> Outcome:
        """Publish the stored event; see `ports.Channel.send`."""
        event = stored_event(delivery, self.context)
        connection: ConnectionT | None = None
        sent = False
        try:
            async with asyncio.timeout(self.deadline):
                connection = await self._connected()
                await self.prepare(connection)
                sent = True
                return await self.publish(connection, event, fill(self.destination, event))
        except TimeoutError:
            what = f"no {'confirmation' if sent else 'answer'} from {self._where} within {self.deadline:g} s"
            return Unknown(what) if sent else Retry(what)
        except StreamFailure as failure:
            return failure.outcome
        except Exception as error:  # noqa: BLE001 - the libraries document few of their errors
            return self._outcome(error, connection, sent=sent)

    async def check(self) -> Sequence[CheckResult]:
        """Connect, and ask whether something takes messages. Publishes nothing."""
        connection: ConnectionT | None = None
        try:
            async with asyncio.timeout(self.deadline):
                connection = await self._connected()
                return [self._result(f"connected to {self._where}"), await self._inspect(connection), *self._warning()]
        except TimeoutError:
            return [self._failed(f"no answer from {self._where} within {self.deadline:g} s")]
        except StreamFailure as failure:
            return [self._failed(failure.outcome.reason)]
        except Exception as error:  # noqa: BLE001 - as above
            return [self._failed(self._outcome(error, connection, sent=False).reason)]

    async def aclose(self) -> None:
        """Close the connection."""
        self._drop(self._connection)
        if self._closing:
            await asyncio.wait(self._closing)

    def structured(self, event: CloudEvent) -> bytes | None:
        """Return the whole event, where the settings want it in the message; None for binary mode."""
        return event.whole if self.settings.format == "structured" else None

    def quoted(self, text: object) -> str:
        """Return words of the broker or its library as one line that may be stored and shown, without secrets."""
        return reply_line("", str(text), secrets=self._secrets).removeprefix(": ")

    @property
    def tls(self) -> ssl.SSLContext | None:
        """The TLS context for the broker; None for a connection in the clear."""
        return self.context.http.tls if self.settings.tls else None

    # ---- the connection ----

    async def _connected(self) -> ConnectionT:
        async with self._connecting:
            if self._connection is not None and self.is_open(self._connection):
                return self._connection
            self._drop(self._connection)
            self._connection = await self._connect()
            return self._connection

    async def _connect(self) -> ConnectionT:
        """Return a connection to the first server that lets us in. Raises StreamFailure with what the last one said."""
        failure = StreamFailure(Retry("there is no server"))
        places = self.settings.places
        # One that is silent must leave time for the others, and for the message.
        limit = self.deadline if len(places) == 1 else self.deadline / (len(places) + 1)
        for host, port in places:
            try:
                async with asyncio.timeout(limit):
                    await self._reach(host, port)
                    return await self.connect((host, port))
            except StreamFailure as error:
                failure = error
            except TimeoutError:
                failure = StreamFailure(Retry(f"no answer from {self.kind} at {host}:{port} within {limit:g} s"))
            except Exception as error:  # noqa: BLE001 - as above
                failure = StreamFailure(self._outcome(error, None, sent=False, host=host))
        raise failure

    async def _reach(self, host: str, port: int) -> None:
        """Make sure that a server answers and that the address rule permits it. Raises StreamFailure.

        The libraries apply no rule and hide why they cannot connect, so a connection is made and closed first.
        """
        try:
            (await self.context.http.connect(host, port)).close()
        except AddressRefused as error:
            raise StreamFailure(Parked(str(error), PROBE_AFTER)) from None
        except NotSent as error:
            raise StreamFailure(Retry(str(error))) from None

    def _drop(self, connection: ConnectionT | None) -> None:
        """Close a connection without waiting for that, unless another message has dropped it already."""
        if connection is not None and connection is self._connection:
            self._connection = None
            self.abandon(self.disconnect(connection))

    def abandon(self, closing: Coroutine[Any, Any, None]) -> None:
        """Run what closes a connection, or a part of one, in the background for a while. Its errors do not matter."""
        task = asyncio.get_running_loop().create_task(_limited(closing))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
        task.add_done_callback(lambda _: closing.close())  # it has not begun where the task is cancelled before that

    # ---- words ----

    @property
    def _where(self) -> str:
        return f"{self.kind} at {', '.join(self.settings.servers)}"

    def _outcome(
        self, error: Exception, connection: ConnectionT | None, *, sent: bool, host: str | None = None
    ) -> Retry | GaveUp | Parked | Unknown:
        """Return what an error means, and drop a connection that is not trusted any more.

        `sent`: whether the message may have been sent. `host`: to which we were connecting.
        """
        for cause in causes(error):
            for meaning in self.meanings:
                if isinstance(cause, meaning.errors):
                    return meaning.outcome(self.quoted(cause))
        self._drop(connection)
        what = f"{type(error).__name__}: {self.quoted(error)}"
        if sent:
            return Unknown(f"no confirmation from {self._where}: {what}")
        of_network = [cause for cause in causes(error) if isinstance(cause, OSError)]
        if of_network:  # the last one is the first cause, of which the libraries make errors of their own
            return Retry(describe_connect_error(of_network[-1], host or self._where))
        return Retry(f"{self._where}: {what}")

    async def _inspect(self, connection: ConnectionT) -> CheckResult:
        return await self.inspect(connection, fill(self.destination, _SAMPLE))

    def _result(self, detail: str, *, ok: bool = True, remedy: str = "", proven: bool = True) -> CheckResult:
        return CheckResult(ok=ok, what=self.kind, detail=detail, remedy=remedy, proven=proven)

    def _failed(self, detail: str) -> CheckResult:
        return self._result(detail, ok=False, remedy="check servers, tls and the user, and what the reason above says")

    def _warning(self) -> Sequence[CheckResult]:
        if not self.settings.exposes_secrets:
            return ()
        return [self._result("others can read the password on its way", ok=False, remedy="set tls: true", proven=False)]


async def _limited(closing: Coroutine[Any, Any, None]) -> None:
    with suppress(Exception):  # what it closes is of no more use, in whatever state it is
        async with asyncio.timeout(CLOSING_LIMIT):
            await closing


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error, and those that it was raised from or while handling."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


_SAMPLE = CloudEvent(
    attributes={"id": "sample", "source": "sample", "type": "gaussdb.notifier.task.failed", "severity": "error"},
    data=b"",
    content_type="",
    whole=b"",
)


def fill(destination: str, event: CloudEvent) -> str:
    """Return a destination with the type, the source and the severity of an event."""
    values = {"type": event.kind, "source": event.origin, "severity": event.attributes.get("severity", "info")}
    for name, value in values.items():
        destination = destination.replace(f"{{{name}}}", value)
    return destination


def text_headers(event: CloudEvent, prefix: str) -> Mapping[str, str]:
    """Return the attributes of binary mode as headers that may have any text: as they are, after a prefix."""
    return {f"{prefix}{name}": value for name, value in event.attributes.items()}
