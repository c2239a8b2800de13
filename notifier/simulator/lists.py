"""The endpoints of the lists beside the tasks: traces, Cloud Eye, the alarm history and maintenance."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from notifier.simulator.alarm_history import alarm_counts, alarm_page, parse_alarm_query
from notifier.simulator.cloud_eye import event_detail, event_list, parse_event_detail, parse_event_list
from notifier.simulator.faults import Fault, apply_fault
from notifier.simulator.gateway import SimulatedExchange
from notifier.simulator.maintenance import maintenance_page, parse_maintenance_query
from notifier.simulator.project import SimulatedProject
from notifier.simulator.replies import SimulatedReply, json_reply
from notifier.simulator.rights import (
    LIST_ALARMS,
    LIST_EVENTS,
    LIST_MAINTENANCE,
    LIST_TRACES,
    SHOW_EVENT,
    CloudService,
)
from notifier.simulator.traces import no_trace_found, operations

Enter = Callable[[SimulatedExchange, CloudService, str], SimulatedProject]
"""Returns the project that an admitted request is about. Raises SimulatedError."""


class ListEndpoints:
    """Answers the lists of the projects of an account."""

    def __init__(self, enter: Enter, now: Callable[[], datetime]) -> None:
        self._enter = enter
        self._now = now

    async def list_traces(self, exchange: SimulatedExchange) -> SimulatedReply:
        """GET /v3/{project_id}/traces."""
        project = self._enter(exchange, "cts", LIST_TRACES)
        page = shrunk(exchange.fault, project.trace_page(exchange.query, self._now()), "traces")
        if not page["traces"] and project.options.no_trace == "404":
            raise no_trace_found()
        return apply_fault(exchange.fault, json_reply(page))

    async def list_operations(self, exchange: SimulatedExchange) -> SimulatedReply:
        """GET /v3/{project_id}/operations."""
        project = self._enter(exchange, "cts", LIST_TRACES)
        return apply_fault(exchange.fault, json_reply(operations(project.options.trace_service, exchange.query)))

    async def list_events(self, exchange: SimulatedExchange) -> SimulatedReply:
        """GET /V1.0/{project_id}/events."""
        project = self._enter(exchange, "ces", LIST_EVENTS)
        query = parse_event_list(exchange.query)
        page = event_list(project.events(self._now()), query)
        return apply_fault(exchange.fault, json_reply(shrunk(exchange.fault, page, "events")))

    async def show_event(self, exchange: SimulatedExchange) -> SimulatedReply:
        """GET /V1.0/{project_id}/event/{event_name}."""
        project = self._enter(exchange, "ces", SHOW_EVENT)
        query = parse_event_detail(exchange.query, exchange.request.path_params["event_name"])
        page = event_detail(project.events(self._now()), query)
        return apply_fault(exchange.fault, json_reply(shrunk(exchange.fault, page, "event_info")))

    async def list_alarms(self, exchange: SimulatedExchange) -> SimulatedReply:
        """GET /v3/{project_id}/alarm-history-record."""
        project = self._enter(exchange, "gaussdb", LIST_ALARMS)
        now = self._now()
        query = parse_alarm_query(exchange.query, project.stamp(now))
        page = alarm_page(project.alarms(now), query, project.options.alarm_start)
        return apply_fault(exchange.fault, json_reply(shrunk(exchange.fault, page, "history_records")))

    async def count_alarms(self, exchange: SimulatedExchange) -> SimulatedReply:
        """GET /v3/{project_id}/instances/alarm-statistics."""
        project = self._enter(exchange, "gaussdb", LIST_ALARMS)
        now = self._now()
        counts = alarm_counts(project.alarms(now), exchange.query, project.stamp(now), project.options.alarm_start)
        return apply_fault(exchange.fault, json_reply(counts))

    async def list_maintenance(self, exchange: SimulatedExchange) -> SimulatedReply:
        """GET /v3/{project_id}/schedule-events."""
        project = self._enter(exchange, "gaussdb", LIST_MAINTENANCE)
        query = parse_maintenance_query(exchange.query)
        page = maintenance_page(project.maintenance(self._now()), query)
        return apply_fault(exchange.fault, json_reply(shrunk(exchange.fault, page, "events")))


def shrunk(fault: Fault, page: dict[str, Any], rows: str) -> dict[str, Any]:
    """Return a page with the rows that a fault leaves in it. Its counts stay, except after `blank`."""
    if fault.kind == "blank":
        return {name: _nothing(value) for name, value in page.items()}
    left = {"empty": 0, "short": len(page[rows]) // 2}.get(fault.kind)
    return page if left is None else {**page, rows: page[rows][:left]}


def _nothing(value: object) -> object:
    """Return a list without rows, a count of 0, or counts of 0."""
    if isinstance(value, dict):
        return {name: _nothing(count) for name, count in value.items()}
    return [] if isinstance(value, list) else 0 if isinstance(value, int) else value
