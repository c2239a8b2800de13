"""Messages as CloudEvents 1.0: one body for webhooks and streams, and its attributes as headers. Pure.

The stored body is the event in JSON, with all its attributes. Where the attributes go into headers (binary mode), the
stored event is taken apart when it is sent, so a repeat has the same headers and the same bytes, also after an upgrade.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from notifier.channels.base import encode_json, stored_body
from notifier.channels.envelope import envelope
from notifier.core.delivery import Body
from notifier.core.model import id_of
from notifier.ports import RenderRequest

if TYPE_CHECKING:
    from notifier.channels.base import ChannelContext
    from notifier.core.delivery import Delivery
    from notifier.core.model import Event

STRUCTURED = "application/cloudevents+json"
"""Content type of an event in JSON."""
_DATA = "application/json"
_TYPE_PREFIX = "gaussdb.notifier."
_SOURCE = "/gaussdb-notifier"


def cloud_event(request: RenderRequest, context: ChannelContext) -> Body:
    """Return a message as an event in JSON. Its shape is a contract with receivers.

    `data` is that of the standard body of a webhook. `source` and `id` together are unique: the id is that of the event
    or, for a digest, a function of the ids of its events, so all channels and attempts send the same one.
    """
    standard = envelope(request, context)
    event = {
        "specversion": "1.0",
        "id": id_of("\x1f".join(event.id for event in request.events)) if request.digest else request.events[0].id,
        "source": _source(request),
        "type": f"{_TYPE_PREFIX}{standard['type']}",
        **_subject(request),
        "time": standard["timestamp"],
        "severity": request.severity,
        "datacontenttype": _DATA,
        "data": standard["data"],
    }
    return Body(content=encode_json(event), content_type=STRUCTURED)


def _source(request: RenderRequest) -> str:
    places = {_place(event) for event in request.events}
    return f"{_SOURCE}/{places.pop()}" if len(places) == 1 else _SOURCE


def _place(event: Event) -> str:
    if event.mute:
        return f"mutes/{event.mute.id}"
    return f"channels/{event.channel}" if event.channel else f"sources/{event.source}"


def _subject(request: RenderRequest) -> dict[str, str]:
    return {} if request.digest else {"subject": request.events[0].subject}


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudEvent:
    """A stored event taken apart for binary mode."""

    attributes: Mapping[str, str]
    """All but `datacontenttype`, by their names: `id`, `source`, `type` and so on."""
    data: bytes
    content_type: str
    """That of `data`."""
    whole: bytes
    """The event in JSON, as it is stored."""

    @classmethod
    def read(cls, body: Body) -> CloudEvent:
        """Read a body that `cloud_event` made. `data` is exactly the part of its bytes."""
        import msgspec  # noqa: PLC0415 - reading settings must not load it

        parts = msgspec.json.decode(body.content, type=dict[str, msgspec.Raw])
        data = bytes(parts.pop("data"))
        attributes: dict[str, Any] = {name: msgspec.json.decode(value) for name, value in parts.items()}
        return cls(attributes=attributes, data=data, content_type=attributes.pop("datacontenttype"), whole=body.content)

    @property
    def id(self) -> str:
        """The id of the event, by which a receiver recognises a repeat."""
        return self.attributes["id"]

    @property
    def kind(self) -> str:
        """The type of the message, such as `task.failed`."""
        return self.attributes["type"].removeprefix(_TYPE_PREFIX)

    @property
    def origin(self) -> str:
        """The name of the source or the channel that it is about; `gaussdb-notifier` for a digest of several."""
        return self.attributes["source"].rpartition("/")[2]

    @property
    def key(self) -> str:
        """What orders the event among others: events of one task have one key."""
        return self.attributes.get("subject", self.attributes["source"])


def stored_event(delivery: Delivery, context: ChannelContext) -> CloudEvent:
    """Return the event to send for a rendered delivery.

    It is rendered again where the stored body is not an event: the channel had another kind or format at the time.
    """
    body = stored_body(delivery)
    if body.content_type != STRUCTURED:
        body = cloud_event(RenderRequest.of(delivery), context)
    return CloudEvent.read(body)


_PLAIN = "!#$&'()*+,/:;<=>?@[\\]^`{|}~"
"""What a header may have as it is, besides letters, digits and `_.-~`: not the space, `"` and `%`."""


@lru_cache(maxsize=1024)
def header_value(text: str) -> str:
    """Return an attribute as the value of a header (HTTP binding, 3.1.3.2): printable ASCII, others percent-encoded."""
    return quote(text, safe=_PLAIN, errors="replace")


def headers(event: CloudEvent) -> dict[str, str]:
    """Return the headers of binary mode over HTTP, which NATS uses too. The content type is not among them."""
    return {f"ce-{name}": header_value(value) for name, value in event.attributes.items()}
