"""The Kafka channel: an idempotent producer that waits for all replicas in sync."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from aiokafka import AIOKafkaProducer, errors
from aiokafka.conn import create_conn

from notifier.channels.cloudevents import STRUCTURED, CloudEvent
from notifier.channels.stream import Meaning, StreamChannel, text_headers
from notifier.core.delivery import Delivered
from notifier.integrations.kafka.settings import KafkaSettings
from notifier.ports import CheckResult

_SHARE = 0.4
"""Part of the deadline that the client has for one request: two of them and a reconnection fit into it."""

_TOO_LARGE = (errors.MessageSizeTooLargeError, errors.RecordListTooLargeError, errors.RecordTooLargeError)
_NOT_ALLOWED = (errors.TopicAuthorizationFailedError, errors.ClusterAuthorizationFailedError)
_LOGIN = (
    errors.SaslAuthenticationFailed,
    errors.AuthenticationFailedError,
    errors.UnsupportedSaslMechanismError,
    errors.AuthenticationMethodNotSupported,
    errors.IllegalSaslStateError,
)
_NO_TOPIC = (errors.UnknownTopicOrPartitionError, errors.InvalidTopicError)
_NOT_APPENDED = (errors.NotEnoughReplicasError, errors.NotLeaderForPartitionError, errors.LeaderNotAvailableError)


class KafkaChannel(StreamChannel[KafkaSettings, AIOKafkaProducer]):
    """Publishes to one topic."""

    kind = "kafka"

    @property
    def destination(self) -> str:
        """The topic."""
        return self.settings.topic

    async def connect(self, place: tuple[str, int]) -> AIOKafkaProducer:
        """Connect, log in, and get an id for this producer."""
        (host, port), options = place, self._options()
        # The producer tries several brokers, and hides why none of them lets it in.
        (await create_conn(host, port, **options)).close()
        producer = AIOKafkaProducer(
            bootstrap_servers=f"[{host}]:{port}" if ":" in host else f"{host}:{port}",
            acks="all",
            enable_idempotence=True,
            **options,
        )
        try:
            await producer.start()
        except BaseException:
            self.abandon(producer.stop())
            raise
        return producer

    def _options(self) -> dict[str, Any]:
        settings = self.settings
        return {
            "client_id": "gaussdb-notifier",
            "request_timeout_ms": max(1, int(self.deadline * _SHARE * 1000)),
            "security_protocol": ("SASL_" if settings.username else "") + ("SSL" if settings.tls else "PLAINTEXT"),
            "ssl_context": self.tls,
            "sasl_mechanism": settings.sasl_mechanism.upper(),
            "sasl_plain_username": settings.username,
            "sasl_plain_password": settings.password_text,
        }

    def is_open(self, connection: AIOKafkaProducer) -> bool:  # noqa: ARG002 - one that failed was dropped
        """Return True: the producer connects again by itself, and is dropped when it fails."""
        return True

    async def prepare(self, connection: AIOKafkaProducer) -> None:
        """Find the partitions of the topic. They are kept, so this costs nothing the next time."""
        await connection.partitions_for(self.settings.topic)

    async def publish(self, connection: AIOKafkaProducer, event: CloudEvent, destination: str) -> Delivered:
        """Append a record, and wait for its place."""
        whole = self.structured(event)
        attributes = {} if whole else text_headers(event, "ce_")
        fields = {"content-type": STRUCTURED if whole else event.content_type, **attributes}
        placed = await connection.send_and_wait(
            destination,
            whole or event.data,
            key=event.key.encode("utf-8", "replace"),
            headers=[(name, value.encode("utf-8", "replace")) for name, value in fields.items()],
        )
        return Delivered(ref=f"{placed.topic}-{placed.partition}@{placed.offset}")

    async def inspect(self, connection: AIOKafkaProducer, destination: str) -> CheckResult:
        """Count the partitions of the topic."""
        partitions = len(await connection.partitions_for(destination))
        return self._result(f"the topic {destination} has {partitions} partition{'s' if partitions > 1 else ''}")

    @cached_property
    def meanings(self) -> Sequence[Meaning]:
        """What errors of the client and of brokers mean."""
        topic = self.settings.topic
        return (
            Meaning(_TOO_LARGE, "content", "the record is larger than the client or the topic takes"),
            Meaning(_NOT_ALLOWED, "misconfigured", f"the user needs the operations Write and Describe on {topic}"),
            Meaning(_LOGIN, "misconfigured", "the broker refuses the login: check it and sasl_mechanism"),
            Meaning(_NO_TOPIC, "misconfigured", f"there is no topic {topic}: create it, or check its name"),
            Meaning(_NOT_APPENDED, "later", "the broker did not append the record"),
        )

    async def disconnect(self, connection: AIOKafkaProducer) -> None:
        """Stop the producer."""
        await connection.stop()
