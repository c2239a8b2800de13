"""PagerDuty's Events API v2: alerts by `dedup_key`, which a trigger opens and a resolve closes."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any

from servers.http import Request
from servers.tickets import ServedTicket, ServerReply, TicketServer

ROUTING_KEY = "obviouslyfakeroutingkey000000000"
SUMMARY_LIMIT, KEY_LIMIT, EVENT_LIMIT = 1_024, 255, 524_288
SEVERITIES = ("critical", "error", "warning", "info")


class PagerDutyServer(TicketServer):
    """Knows one integration key. An event for a key without an open alert opens one, or is dropped."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        super().__init__(now)
        self.dropped: list[dict[str, Any]] = []

    def plant(self, key: str) -> ServedTicket:
        return self.open(dedup_key=key, payload={})

    def alert(self, key: str) -> ServedTicket | None:
        """Return the open alert of a key."""
        return next((one for one in self.tickets if one.fields["dedup_key"] == key and not one.closed), None)

    def handle(self, request: Request) -> ServerReply:
        if (request.method, request.target) != ("POST", "/v2/enqueue"):
            return ServerReply(status=404)
        event = json.loads(request.body)
        if problems := self._problems(event, request):
            value = {"status": "invalid event", "message": "Event object is invalid", "errors": problems}
            return ServerReply(status=400, value=value)
        key = event["dedup_key"]
        found = self.alert(key)
        if event["event_action"] == "trigger":
            if found is None:
                self.open(**event)
            else:
                found.comments.append(event["payload"]["summary"])
        elif found is None:
            self.dropped.append(event)
        else:
            found.closed = event["event_action"] == "resolve"
        return ServerReply(status=202, value={"status": "success", "message": "Event processed", "dedup_key": key})

    def _problems(self, event: dict[str, Any], request: Request) -> list[str]:
        payload = event.get("payload", {})
        found = {
            "'routing_key' is invalid": event.get("routing_key") != ROUTING_KEY,
            "'event_action' is invalid": event.get("event_action") not in ("trigger", "acknowledge", "resolve"),
            "'dedup_key' is too long": not 0 < len(event.get("dedup_key", "")) <= KEY_LIMIT,
            "the event is too large": len(request.body) > EVENT_LIMIT,
        }
        if event.get("event_action") == "trigger":
            found |= {
                "'payload.summary' is missing or too long": not 0 < len(payload.get("summary", "")) <= SUMMARY_LIMIT,
                "'payload.source' is missing or blank": not payload.get("source"),
                "'payload.severity' is invalid": payload.get("severity") not in SEVERITIES,
            }
        return [problem for problem, wrong in found.items() if wrong]
