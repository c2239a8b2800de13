"""One project of the simulated account: its tasks, and every list that follows from them."""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from notifier.simulator import alarm_history, cloud_eye, maintenance, traces
from notifier.simulator.alarm_history import AlarmRecord
from notifier.simulator.cloud_eye import CloudEyeEvent, EventWriter, OtherEvents
from notifier.simulator.history import evolving_world, in_real_time, static_world
from notifier.simulator.incidents import Incident, Incidents
from notifier.simulator.listing import TaskListing
from notifier.simulator.maintenance import MaintenancePlan
from notifier.simulator.options import Options
from notifier.simulator.stories import StoryBook, residents
from notifier.simulator.traces import SimulatedTrace, TraceWriter
from notifier.simulator.world import LISTED_FOR, RowInstance


class SimulatedProject:
    """The state of a project. Every list tells of the same tasks, instances and faults.

    A static project stands still: its faults and maintenance stay as they were at the start, except for rows put by
    hand.
    """

    def __init__(self, options: Options, start: datetime) -> None:
        self.options = options
        self.start = start
        self.world = (
            evolving_world(options, start) if options.static is None else static_world(options, start, options.static)
        )
        self.listing = TaskListing(options, self.world)
        self.put_traces: dict[str, SimulatedTrace] = {}
        self.put_events: dict[str, CloudEyeEvent] = {}
        self.put_alarms: dict[tuple[str, str, datetime], AlarmRecord] = {}
        self.put_maintenance: dict[str, Mapping[str, Any]] = {}
        self._book = StoryBook(self.world)
        self._traces = TraceWriter(options)
        self._events = EventWriter(options)
        self._incidents = Incidents(options, start, self._residents)
        self._maintenance = MaintenancePlan(options, start, self._residents)
        self._others = OtherEvents(options, start)

    def _residents(self, at: datetime) -> list[RowInstance]:
        return residents(self.world, at)

    @property
    def _pace(self) -> float:
        return self.options.speed if self.options.stamps == "real" else 1.0

    def stamp(self, time: datetime) -> datetime:
        """Return the time that rows show for a virtual time."""
        return in_real_time(time, self.start, self._pace)

    def _story_time(self, now: datetime) -> datetime:
        return now if self.options.static is None else self.start

    # -- what the lists show --

    def incidents(self, now: datetime) -> list[Incident]:
        """Return the faults that have begun, also those that maintenance causes."""
        moment = self._story_time(now)
        outages = [event.outage for event in self._maintenance.until(moment) if event.outage]
        return [*self._incidents.until(moment), *(outage for outage in outages if outage.begins_at <= moment)]

    def trace_page(self, query: Mapping[str, str], now: datetime) -> dict[str, Any]:
        """Return one page of the traces. Raises SimulatedError 400."""
        shown_now = self.stamp(now)
        parsed = traces.parse_trace_query(query, shown_now)
        self.world.advance(now)
        oldest = shown_now - traces.TRACES_KEPT_FOR - timedelta(hours=1)
        self._traces.forget_before(oldest - LISTED_FOR)
        found = [*self._traces.traces(self._book.stories(), oldest), *self.put_traces.values()]
        return traces.trace_page(found, parsed, shown_now)

    def events(self, now: datetime) -> Iterator[CloudEyeEvent]:
        """Return the events that Cloud Eye lists now."""
        self.world.advance(now)
        shown_now = self.stamp(now)
        for event in self._all_events(now):
            if event.listed_at <= shown_now and event.time > shown_now - LISTED_FOR:
                yield event

    def _all_events(self, now: datetime) -> Iterator[CloudEyeEvent]:
        yield from self._events.of_tasks(self._book.stories(), self._pace)
        for incident in self.incidents(now):
            yield from (self._stamped(event) for event in self._events.of_incident(incident))
        yield from (self._stamped(event) for event in self._others.until(self._story_time(now)))
        yield from self.put_events.values()

    def _stamped(self, event: CloudEyeEvent) -> CloudEyeEvent:
        return event.at(self.stamp(event.time), self.stamp(event.listed_at))

    def alarms(self, now: datetime) -> list[AlarmRecord]:
        """Return the alarms as they are now."""
        self.world.advance(now)
        moment = self._story_time(now)
        found = (alarm_history.record_of(incident, moment) for incident in self.incidents(now))
        records = [alarm.at(self.stamp(alarm.begins_at), self.stamp(alarm.updated_at)) for alarm in found if alarm]
        return [*records, *self.put_alarms.values()]

    def maintenance(self, now: datetime) -> list[Mapping[str, Any]]:
        """Return the maintenance events as they are now."""
        self.world.advance(now)
        moment = self._story_time(now)
        rows = {
            event.id: maintenance.maintenance_row(event, moment, self.options, self.stamp)
            for event in self._maintenance.until(moment)
        }
        return list((rows | self.put_maintenance).values())

    # -- what people do --

    def decide_maintenance(self, event_id: str, now: datetime, *, agreed: bool) -> bool:
        """Let somebody agree to a maintenance event, or cancel it, and return whether it is listed."""
        moment = self._story_time(now)
        self._maintenance.until(moment)
        decide = maintenance.authorised if agreed else maintenance.cancelled
        return self._maintenance.change(event_id, lambda event: decide(event, moment))

    # -- rows put by hand --

    def put_trace(self, wire: Mapping[str, Any]) -> None:
        """Add or replace a trace, exactly as it is written."""
        trace = traces.raw_trace(wire)
        self.put_traces[trace.trace_id] = trace

    def put_event(self, wire: Mapping[str, Any], now: datetime) -> None:
        """Add or replace an event of Cloud Eye."""
        event = cloud_eye.raw_event(wire, self.stamp(now))
        self.put_events[event.event_id] = event

    def put_alarm(self, wire: Mapping[str, Any], now: datetime) -> None:
        """Add or replace an alarm: rule, instance and beginning identify it."""
        record = alarm_history.raw_record(wire, self.stamp(now))
        self.put_alarms[record.alarm_id, record.instance_id, record.begins_at] = record

    def put_maintenance_event(self, wire: Mapping[str, Any]) -> None:
        """Add or replace a maintenance event, exactly as it is written."""
        self.put_maintenance[str(wire.get("id"))] = wire
