"""Settings of a Kafka channel."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from notifier.channels.stream_settings import StreamSettings
from notifier.settings.explain import setting_error

TOPIC_PATTERN = r"^[a-zA-Z0-9._-]+$"


class KafkaSettings(StreamSettings):
    """A topic of Kafka."""

    channel_class = "notifier.integrations.kafka.channel:KafkaChannel"
    mention_forms = "any text, as `mention` of the data"
    extra, library, default_port = "kafka", "aiokafka", 9092

    kind: Literal["kafka"]
    topic: Annotated[str, Field(pattern=TOPIC_PATTERN, max_length=249)]
    """Topic of each record. Its key is the task, so all records of a task are in one partition, in order."""
    sasl_mechanism: Literal["plain", "scram-sha-256", "scram-sha-512"] = "scram-sha-512"
    """How the user and the password are proven."""

    @model_validator(mode="after")
    def _check_mechanism(self) -> Self:
        if "sasl_mechanism" in self.model_fields_set and self.username is None:
            raise setting_error("sasl_mechanism", "has no effect without username and password.")
        return self
