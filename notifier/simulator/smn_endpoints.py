"""The endpoints of SMN: subscriptions, messages and certificates, and the control call that rings."""

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from notifier.simulator.gateway import SimulatedExchange
from notifier.simulator.lists import Enter
from notifier.simulator.pushing import Publisher
from notifier.simulator.replies import SimulatedError, SimulatedReply, json_reply
from notifier.simulator.smn import SmnSubscription, parameter_error, parse_text


class SmnEndpoints:
    """Answers for the topic of the simulated project."""

    def __init__(self, publisher: Publisher, enter: Enter, clock_now: Callable[[], datetime]) -> None:
        self.publisher = publisher
        self._enter = enter
        self._clock_now = clock_now

    def _topic(self, exchange: SimulatedExchange) -> None:
        self._enter(exchange, "smn", "")
        if exchange.request.path_params["topic_urn"] != self.publisher.topic.urn:
            raise SimulatedError(404, "SMN.0006", "The topic does not exist.")
        self.publisher.origin = exchange.origin

    async def subscribe(self, exchange: SimulatedExchange) -> SimulatedReply:
        """POST /v2/{project_id}/notifications/topics/{topic_urn}/subscriptions."""
        self._topic(exchange)
        endpoint = _fields(exchange.arrived.body).get("endpoint")
        if not isinstance(endpoint, str):
            raise parameter_error("endpoint")
        return _subscribed(exchange, self.publisher.subscribe(endpoint), status=201)

    async def list_subscriptions(self, exchange: SimulatedExchange) -> SimulatedReply:
        """GET /v2/{project_id}/notifications/topics/{topic_urn}/subscriptions."""
        self._topic(exchange)
        topic = self.publisher.topic
        owner = exchange.request.path_params["project_id"]
        rows = [one.wire(topic.urn, owner) for one in topic.subscriptions.values()]
        return json_reply({"request_id": exchange.request_id, "subscription_count": len(rows), "subscriptions": rows})

    async def publish(self, exchange: SimulatedExchange) -> SimulatedReply:
        """POST /v2/{project_id}/notifications/topics/{topic_urn}/publish."""
        self._topic(exchange)
        message_id = self.publisher.publish(parse_text(_fields(exchange.arrived.body)))
        return json_reply({"request_id": exchange.request_id, "message_id": message_id})

    async def confirm(self, exchange: SimulatedExchange) -> SimulatedReply:
        """GET /smn/subscription/confirm, also as an API: without a login, the token proves the subscriber."""
        confirmed = self.publisher.topic.confirm(exchange.query.get("token"), self._clock_now())
        return _subscribed(exchange, confirmed, status=200)

    async def show_certificate(self, exchange: SimulatedExchange) -> SimulatedReply:
        """GET /smn/{certificate_id}, also as an API: without a login."""
        if exchange.request.path_params["certificate_id"] != self.publisher.topic.certificate:
            raise SimulatedError(404, "SMN.0006", "The certificate does not exist.")
        return SimulatedReply(body=self.publisher.key.certificate, content_type="application/x-pem-file")

    def steer(self, command: Mapping[str, Any], origin: str, now: Callable[[], datetime]) -> None:
        """Subscribe addresses, publish messages, and ring from now on when tasks change. Raises SimulatedError 400."""
        self.publisher.origin = origin
        for endpoint in command.get("subscribe", ()):
            self.publisher.subscribe(str(endpoint))
        for fields in command.get("publish", ()):
            if not isinstance(fields, dict):
                raise parameter_error("publish")
            times = fields.get("times", 1)
            self.publisher.publish(parse_text(fields), times if isinstance(times, int) else 1)
        if command.get("ring"):
            self.publisher.ring(now)

    def state(self) -> dict[str, Any]:
        """Return the state for demonstrations."""
        topic, log = self.publisher.topic, self.publisher.log
        return {
            "topic_urn": topic.urn,
            "subscribers": {one.endpoint: one.confirmed for one in topic.subscriptions.values()},
            "attempts": [attempt.status for attempt in log][-20:],
        }


def _subscribed(exchange: SimulatedExchange, subscription: SmnSubscription, *, status: int) -> SimulatedReply:
    body = {"request_id": exchange.request_id, "subscription_urn": subscription.urn}
    return json_reply(body, status=status)


def _fields(body: bytes) -> dict[str, Any]:
    try:
        fields = json.loads(body)
    except ValueError:
        fields = None
    if not isinstance(fields, dict):
        raise parameter_error("body")
    return fields
