"""The paths that read and change."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Annotated, Any, Final

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import StreamingResponse

from notifier import mutes, people
from notifier.core.cron import Cron
from notifier.core.delivery import DeliveryState
from notifier.core.failures import OpenFailure
from notifier.core.model import TaskStatus
from notifier.core.mutes import Mute, MuteScope, MuteTimes, WrongMute
from notifier.core.people import Person
from notifier.core.wall_time import zone_of
from notifier.mutes import MuteRequest
from notifier.ports import DeliveryFilter, EventFilter, TaskFilter
from notifier.web.access.viewer import Viewer
from notifier.web.api import models, reads
from notifier.web.api.context import ApiContext, answer
from notifier.web.api.entrance import is_admitted, viewer_of
from notifier.web.api.parameters import (
    Cursor,
    EventNumber,
    Flag,
    IdempotencyKey,
    IdPath,
    IfNoneMatch,
    JobPath,
    Limit,
    Match,
    Since,
    SourceParam,
    SourcePath,
    TextParam,
)
from notifier.web.api.ports import ApiReads, ApiTx
from notifier.web.api.problems import ApiProblem, not_found, refused
from notifier.web.api.reads import ReadRules
from notifier.web.api.stream import EventStreamResponse, WantedEvents, stream_events
from notifier.web.cursors import PageSlice
from notifier.wording import documents
from notifier.wording.documents import JsonDocument
from notifier.wording.sanitize import one_line

Answers = dict[int | str, dict[str, Any]]
_STREAM_EXAMPLE: Final = (
    'id: 4711\ndata: {"event_id": "041f1eee-3774-56b4-945e-f02411bf537b", "type": "task.failed"}\n\n'
)
_STREAM_SCHEMA: Final = {
    "type": "object",
    "description": "One event of the stream.",
    "properties": {
        "id": {"type": "string", "description": "Number of the event."},
        "event": {"type": "string", "description": "`reset`, or nothing."},
        "data": {"type": "string", "description": "The event as JSON: a RoutedEventDocument."},
        "retry": {"type": "integer", "description": "Milliseconds after which to come back."},
    },
}
_UNCHANGED: Final[Answers] = {304: {"description": "Nothing has changed since the answer with this ETag."}}


def _matchers(read: Callable[[str | None], Any], text: str | None) -> Any:  # noqa: ANN401 - what `read` returns
    try:
        return read(text)
    except ValueError as error:
        raise refused("query", "match", str(error)) from None


def task_paths(api: ApiContext) -> APIRouter:
    """Return the paths of tasks and events."""
    router = APIRouter(responses=_UNCHANGED)

    @router.get(
        "/tasks", operation_id="listTasks", tags=["tasks"], response_model=models.PageOf[models.StoredTaskDocument]
    )
    async def list_tasks(
        *,
        request: Request,
        status: Annotated[TaskStatus | None, Query(description="Only tasks in this status.")] = None,
        source: SourceParam = None,
        instance: Annotated[TextParam | None, Query(description="Id of an instance, or a part of its name.")] = None,
        since: Since = None,
        job_id: Annotated[TextParam | None, Query(description="Id of a task, or its beginning.")] = None,
        storm: Annotated[
            TextParam | None, Query(description="Id of a storm whose failures are of these tasks.")
        ] = None,
        unacknowledged: Annotated[
            Flag, Query(description="Only tasks that failed, stalled or vanished and that nobody acknowledged.")
        ] = False,
        match: Match = None,
        limit: Limit = 50,
        cursor: Cursor = None,
        _known: IfNoneMatch = None,
    ) -> Response:
        """List tasks, the most recently changed first.

        A task that changes while you read moves to the front: read the first page again to see it.
        """
        wanted = TaskFilter(
            status=status,
            source=source,
            instance=instance or None,
            since=since,
            job_id=job_id or None,
            storm=storm,
            unacknowledged=unacknowledged,
        )
        fitting, rules = _matchers(reads.parse_task_match, match), api.rules(request)
        page = PageSlice.of_list("tasks", wanted, match, cursor=cursor, limit=limit)
        read = partial(reads.page_of_tasks, rules=rules, wanted=wanted, match=fitting, page=page)
        return await api.read(request, models.PageOf[models.StoredTaskDocument], read)

    @router.get(
        "/tasks/{source}/{job_id}", operation_id="getTask", tags=["tasks"], response_model=models.StoredTaskDocument
    )
    async def get_task(
        *, request: Request, source: SourcePath, job_id: JobPath, _known: IfNoneMatch = None
    ) -> Response:
        """Return one task, with what its reason means and how long such tasks usually take."""
        rules = api.rules(request)
        return await api.read(request, models.StoredTaskDocument, partial(_task, rules=rules, key=(source, job_id)))

    @router.get(
        "/tasks/{source}/{job_id}/explanation",
        operation_id="explainTask",
        tags=["tasks"],
        response_model=models.TaskExplanationDocument,
    )
    async def explain_task(
        *, request: Request, source: SourcePath, job_id: JobPath, _known: IfNoneMatch = None
    ) -> Response:
        """Return why each channel was or was not notified of each change of a task, with every attempt."""
        read = partial(_explanation, rules=api.rules(request), key=(source, job_id))
        return await api.read(request, models.TaskExplanationDocument, read)

    @router.get(
        "/events", operation_id="listEvents", tags=["events"], response_model=models.PageOf[models.RoutedEventDocument]
    )
    async def list_events(
        *,
        request: Request,
        source: SourceParam = None,
        job_id: Annotated[TextParam | None, Query(description="Id of a task, or its beginning.")] = None,
        since: Since = None,
        rule: Annotated[
            TextParam | None, Query(description="Only what this rule suppressed.", examples=["mute:7k2m"])
        ] = None,
        match: Match = None,
        limit: Limit = 50,
        cursor: Cursor = None,
        _known: IfNoneMatch = None,
    ) -> Response:
        """List events, the newest first. `match` may name a type: `failed`, `type=task.stalled`."""
        wanted = EventFilter(source=source, job_id=job_id or None, since=since, rule=rule)
        fitting = _matchers(reads.parse_event_match, match)
        page = PageSlice.of_list("events", wanted, match, cursor=cursor, limit=limit)
        read = partial(reads.page_of_events, rules=api.rules(request), wanted=wanted, match=fitting, page=page)
        return await api.read(request, models.PageOf[models.RoutedEventDocument], read)

    @router.get(
        "/events/{event_id}", operation_id="getEvent", tags=["events"], response_model=models.RoutedEventDocument
    )
    async def get_event(*, request: Request, event_id: IdPath, _known: IfNoneMatch = None) -> Response:
        """Return one event, with the task as it was then."""
        return await api.read(request, models.RoutedEventDocument, partial(_event, event_id=event_id))

    return router


def _task(q: ApiReads, *, rules: ReadRules, key: tuple[str, str]) -> JsonDocument:
    stored = reads.find_task(q, *key)
    if stored is None:
        raise not_found("this task")
    return reads.task_with_usual(q, rules, stored)


def _explanation(q: ApiReads, *, rules: ReadRules, key: tuple[str, str]) -> JsonDocument:
    stored = reads.find_task(q, *key)
    if stored is None:
        raise not_found("this task")
    return reads.explanation_of_task(q, rules, stored)


def _event(q: ApiReads, *, event_id: str) -> JsonDocument:
    found = q.event(event_id)
    if found is None:
        raise not_found("this event")
    return documents.routed_event(found)


# ---- the stream ----

_EVENTS_TEXT: Final[Answers] = {
    200: {
        "description": "Events, as `text/event-stream` has them: the number as `id`, the event as JSON in `data`.",
        "content": {"text/event-stream": {"schema": dict(_STREAM_SCHEMA), "example": _STREAM_EXAMPLE}},
    }
}


def stream_paths(api: ApiContext) -> APIRouter:
    """Return the path of the stream of events."""
    router = APIRouter()

    @router.get(
        "/stream",
        operation_id="streamEvents",
        tags=["events"],
        response_class=StreamingResponse,
        responses=_EVENTS_TEXT,
    )
    async def stream(
        *,
        request: Request,
        match: Match = None,
        after: Annotated[EventNumber | None, Query(description="As Last-Event-ID, for who sets no header.")] = None,
        last_event_id: Annotated[
            EventNumber | None,
            Header(alias="Last-Event-ID", description="Number of the last event that you have; 0 for all of them."),
        ] = None,
    ) -> Response:
        """Send events as they are recorded, each once and in order (Server-Sent Events).

        The stream begins with what is recorded from now on, or after the number that you give. It ends by itself
        within half a minute: ask again with the last `id`, as browsers do by themselves. An event called `reset` says
        that the numbers have begun again, because the database was replaced: read the lists again then. A comment
        comes every few seconds, so that you notice a connection that is dead.
        """
        wanted = WantedEvents(matchers=_matchers(reads.parse_stream_match, match), causes=api.parts.rules.causes)
        reader, place = viewer_of(request).person.id, after if last_event_id is None else last_event_id
        text = stream_events(api.broadcast, reader, place, wanted, partial(is_admitted, api.parts.access, request))
        return EventStreamResponse(await anext(text), text)

    return router


# ---- deliveries and channels ----


def delivery_paths(api: ApiContext) -> APIRouter:
    """Return the paths of deliveries and channels."""
    router = APIRouter(responses=_UNCHANGED)

    @router.get(
        "/deliveries",
        operation_id="listDeliveries",
        tags=["deliveries"],
        response_model=models.PageOf[models.DeliveryDocument],
    )
    async def list_deliveries(
        *,
        request: Request,
        state: Annotated[DeliveryState | None, Query(description="Only deliveries in this state.")] = None,
        channel: Annotated[TextParam | None, Query(description="Name of a channel.")] = None,
        event_id: Annotated[
            TextParam | None, Query(description="Only deliveries of this event, by its whole id.")
        ] = None,
        dismissed: Annotated[
            Flag | None, Query(description="Only those that a person dismissed, or only all others.")
        ] = None,
        held: Annotated[Flag | None, Query(description="Only those that a rule holds now, or only all others.")] = None,
        limit: Limit = 50,
        cursor: Cursor = None,
        _known: IfNoneMatch = None,
    ) -> Response:
        """List deliveries, the newest first."""
        events = None if event_id is None else (event_id,)
        wanted = DeliveryFilter(state=state, channel=channel, event_ids=events, dismissed=dismissed, held=held)
        page = PageSlice.of_list("deliveries", wanted, cursor=cursor, limit=limit)
        read = partial(reads.page_of_deliveries, wanted=wanted, page=page)
        return await api.read(request, models.PageOf[models.DeliveryDocument], read)

    @router.get(
        "/deliveries/{delivery_id}",
        operation_id="getDelivery",
        tags=["deliveries"],
        response_model=models.DeliveryDetail,
    )
    async def get_delivery(*, request: Request, delivery_id: IdPath, _known: IfNoneMatch = None) -> Response:
        """Return one delivery with all its attempts."""
        return await api.read(request, models.DeliveryDetail, partial(_delivery, delivery_id=delivery_id))

    @router.post(
        "/deliveries/{delivery_id}/retry",
        operation_id="retryDelivery",
        tags=["deliveries"],
        response_model=models.ReleasedDocument,
    )
    async def retry_delivery(*, request: Request, delivery_id: IdPath, _key: IdempotencyKey = None) -> Response:
        """Send a dead or parked delivery again, with the same id and body. `released` is 0 for any other."""
        return await api.change(request, models.ReleasedDocument, partial(_retry, delivery_id=delivery_id))

    @router.post(
        "/deliveries/{delivery_id}/dismiss",
        operation_id="dismissDelivery",
        tags=["deliveries"],
        response_model=models.DismissedDocument,
    )
    async def dismiss_delivery(*, request: Request, delivery_id: IdPath, _key: IdempotencyKey = None) -> Response:
        """Accept that a delivery will not arrive: it is dead then, and no longer counts against health.

        Dead, parked and pending ones can be dismissed, each once; `dismissed` is 0 for any other.
        """
        return await api.change(request, models.DismissedDocument, partial(_dismiss, delivery_id=delivery_id))

    @router.get(
        "/channels",
        operation_id="listChannels",
        tags=["channels"],
        response_model=models.PageOf[models.ChannelDocument],
    )
    async def list_channels(
        *, request: Request, limit: Limit = 50, cursor: Cursor = None, _known: IfNoneMatch = None
    ) -> Response:
        """List the configured channels, and others with deliveries that have not arrived, by name."""
        page = PageSlice.of_list("channels", cursor=cursor, limit=limit)
        read = partial(reads.page_of_channels, rules=api.rules(request), page=page)
        return await api.read(request, models.PageOf[models.ChannelDocument], read)

    @router.get("/channels/{name}", operation_id="getChannel", tags=["channels"], response_model=models.ChannelDocument)
    async def get_channel(*, request: Request, name: IdPath, _known: IfNoneMatch = None) -> Response:
        """Return one channel with its health and its backlog."""
        return await api.read(request, models.ChannelDocument, partial(_channel, rules=api.rules(request), name=name))

    @router.post(
        "/channels/{name}/release",
        operation_id="releaseChannel",
        tags=["channels"],
        response_model=models.ReleasedDocument,
    )
    async def release_channel(*, request: Request, name: IdPath, _key: IdempotencyKey = None) -> Response:
        """Send the parked deliveries of a channel, in order. `released` is 0 where it is not parked."""
        rules = api.rules(request)
        return await api.change(request, models.ReleasedDocument, partial(_release, rules=rules, name=name))

    return router


def _delivery(q: ApiReads, *, delivery_id: str) -> JsonDocument:
    found = reads.delivery_with_attempts(q, delivery_id)
    if found is None:
        raise not_found("this delivery")
    return found


def _retry(tx: ApiTx, by: Person, *, delivery_id: str) -> JsonDocument:
    _delivery(tx.queries, delivery_id=delivery_id)
    return {"released": people.retry(tx, [delivery_id], delivery_id, by)}


def _dismiss(tx: ApiTx, by: Person, *, delivery_id: str) -> JsonDocument:
    _delivery(tx.queries, delivery_id=delivery_id)
    return {"dismissed": people.dismiss(tx, [delivery_id], delivery_id, by)}


def _channel(q: ApiReads, *, rules: ReadRules, name: str) -> JsonDocument:
    found = reads.find_channel(q, rules, name)
    if found is None:
        raise not_found("this channel")
    return found


def _release(tx: ApiTx, by: Person, *, rules: ReadRules, name: str) -> JsonDocument:
    _channel(tx.queries, rules=rules, name=name)
    return {"released": people.release_parked(tx, name, by)}


# ---- failures ----


def failure_paths(api: ApiContext) -> APIRouter:
    """Return the paths of failures."""
    router = APIRouter(tags=["failures"])

    @router.get(
        "/failures",
        operation_id="listFailures",
        response_model=models.PageOf[models.FailureDocument],
        responses=_UNCHANGED,
    )
    async def list_failures(
        *,
        request: Request,
        source: SourceParam = None,
        match: Match = None,
        limit: Limit = 50,
        cursor: Cursor = None,
        _known: IfNoneMatch = None,
    ) -> Response:
        """List the failures that are not over, the worst first, then the oldest."""
        fitting, rules = _matchers(reads.parse_task_match, match), api.rules(request)
        page = PageSlice.of_list("failures", source, match, cursor=cursor, limit=limit)
        read = partial(reads.page_of_failures, rules=rules, source=source, match=fitting, page=page)
        return await api.read(request, models.PageOf[models.FailureDocument], read)

    @router.get(
        "/failures/{failure_id}",
        operation_id="getFailure",
        response_model=models.FailureDocument,
        responses=_UNCHANGED,
    )
    async def get_failure(*, request: Request, failure_id: IdPath, _known: IfNoneMatch = None) -> Response:
        """Return one failure that is not over."""
        read = partial(_failure_document, rules=api.rules(request), failure_id=failure_id)
        return await api.read(request, models.FailureDocument, read)

    @router.post(
        "/failures/{failure_id}/acknowledge", operation_id="acknowledgeFailure", response_model=models.FailureDocument
    )
    async def acknowledge_failure(*, request: Request, failure_id: IdPath, _key: IdempotencyKey = None) -> Response:
        """Take charge of a failure: nothing reminds of it any more. The first acknowledgement counts."""
        act = partial(_acknowledge, rules=api.rules(request), failure_id=failure_id)
        return await api.change(request, models.FailureDocument, act)

    @router.post(
        "/failures/{failure_id}/unacknowledge",
        operation_id="unacknowledgeFailure",
        response_model=models.FailureDocument,
    )
    async def unacknowledge_failure(*, request: Request, failure_id: IdPath, _key: IdempotencyKey = None) -> Response:
        """Take back the acknowledgement of a failure, whoever made it: its reminders begin again."""
        act = partial(_unacknowledge, rules=api.rules(request), failure_id=failure_id)
        return await api.change(request, models.FailureDocument, act)

    @router.post("/failures/{failure_id}/resolve", operation_id="resolveFailure", response_model=models.FailureDocument)
    async def resolve_failure(
        *, request: Request, failure_id: IdPath, body: models.ResolveBody | None = None, _key: IdempotencyKey = None
    ) -> Response:
        """Close a failure by hand, acknowledged or not."""
        reason = one_line(body.reason) if body and body.reason else None
        act = partial(_resolve, rules=api.rules(request), failure_id=failure_id, reason=reason)
        return await api.change(request, models.FailureDocument, act)

    return router


def _failure(q: ApiReads, failure_id: str) -> OpenFailure:
    found = reads.find_failure(q, failure_id)
    if found is None:
        raise ApiProblem(404, "not-found", "this failure is not recorded, or is over")
    return found


def _failure_document(q: ApiReads, *, rules: ReadRules, failure_id: str) -> JsonDocument:
    return reads.failure_document(rules, _failure(q, failure_id))


def _acknowledge(tx: ApiTx, by: Person, *, rules: ReadRules, failure_id: str) -> JsonDocument:
    people.acknowledge(tx, _failure(tx.queries, failure_id).latest, by)
    return _failure_document(tx.queries, rules=rules, failure_id=failure_id)


def _unacknowledge(tx: ApiTx, by: Person, *, rules: ReadRules, failure_id: str) -> JsonDocument:
    people.unacknowledge(tx, _failure(tx.queries, failure_id).latest, by)
    return _failure_document(tx.queries, rules=rules, failure_id=failure_id)


def _resolve(tx: ApiTx, by: Person, *, rules: ReadRules, failure_id: str, reason: str | None) -> JsonDocument:
    over = people.resolve_failure(tx, _failure(tx.queries, failure_id), by, reason)
    if over is None:
        raise ApiProblem(404, "not-found", "this failure is over")
    return reads.failure_document(rules, over)


# ---- maintenance ----


def maintenance_paths(api: ApiContext) -> APIRouter:
    """Return the path of planned maintenance."""
    router = APIRouter(tags=["maintenance"])

    @router.get(
        "/maintenances",
        operation_id="listMaintenances",
        response_model=models.PageOf[models.MaintenanceDocument],
        responses=_UNCHANGED,
    )
    async def list_maintenances(
        *,
        request: Request,
        source: Annotated[str | None, Query(description="Only that of this source.")] = None,
        instance: Annotated[
            str, Query(max_length=200, description="Only that of an instance: its id, or a part of its name.")
        ] = "",
        over: Annotated[bool, Query(description="Also that which is over, for 30 days.")] = False,
        limit: Limit = 50,
        cursor: Cursor = None,
        _known: IfNoneMatch = None,
    ) -> Response:
        """List the maintenance that the cloud plans, what begins first first."""
        page = PageSlice.of_list("maintenances", source, instance, over, cursor=cursor, limit=limit)
        read = partial(reads.page_of_maintenances, source=source, instance=instance, page=page, over=over)
        return await api.read(request, models.PageOf[models.MaintenanceDocument], read)

    return router


# ---- mutes ----


def mute_paths(api: ApiContext) -> APIRouter:
    """Return the paths of mutes."""
    router = APIRouter(tags=["mutes"])

    @router.get("/mutes", operation_id="listMutes", response_model=models.MutePageDocument, responses=_UNCHANGED)
    async def list_mutes(
        *, request: Request, limit: Limit = 50, cursor: Cursor = None, _known: IfNoneMatch = None
    ) -> Response:
        """List the mutes that are in force or planned, those that begin first first."""
        page = PageSlice.of_list("mutes", cursor=cursor, limit=limit)
        during = api.parts.rules.routing.during_maintenance
        return await api.read(request, models.MutePageDocument, partial(reads.page_of_mutes, during=during, page=page))

    @router.post("/mutes", operation_id="createMute", response_model=models.MuteDocument, status_code=201)
    async def create_mute(*, request: Request, body: models.MuteBody, _key: IdempotencyKey = None) -> Response:
        """Make a mute. One of a single window changes the mute in force that covers the same, where there is one."""
        act = partial(_create_mute, body=body, zone=api.rules(request).localizer.timezone.key)
        return await api.change(request, models.MuteDocument, act, status=201)

    @router.post("/mutes/preview", operation_id="previewMute", response_model=models.MutePreviewDocument)
    async def preview_mute(*, request: Request, body: models.MuteBody) -> Response:
        """Return what a mute would have held back in the last seven days. It changes nothing."""
        read = partial(_preview_mute, body=body, zone=api.rules(request).localizer.timezone.key)
        return await api.read(request, models.MutePreviewDocument, read, dear=True)

    @router.get("/mutes/{mute_id}", operation_id="getMute", response_model=models.MuteDocument, responses=_UNCHANGED)
    async def get_mute(*, request: Request, mute_id: IdPath, _known: IfNoneMatch = None) -> Response:
        """Return a mute that is in force or planned."""
        return await api.read(request, models.MuteDocument, partial(_mute_document, mute_id=mute_id))

    @router.post("/mutes/{mute_id}/extend", operation_id="extendMute", response_model=models.MuteDocument)
    async def extend_mute(
        *, request: Request, mute_id: IdPath, body: models.ExtendBody, _key: IdempotencyKey = None
    ) -> Response:
        """Let the window of a mute end later."""
        act = partial(_extend_mute, mute_id=mute_id, length=timedelta(seconds=body.length_seconds))
        return await api.change(request, models.MuteDocument, act)

    @router.post("/mutes/{mute_id}/end", operation_id="endMute", response_model=models.EndedMuteDocument)
    async def end_mute(*, request: Request, mute_id: IdPath, _key: IdempotencyKey = None) -> Response:
        """End a mute with all its windows; of one that the configuration defines the window in force alone."""
        return await api.change(request, models.EndedMuteDocument, partial(_end_mute, mute_id=mute_id))

    return router


def _mute(q: ApiReads, mute_id: str) -> Mute:
    found = reads.find_mute(q, mute_id)
    if found is None:
        raise ApiProblem(404, "not-found", "this mute is not recorded, or is over")
    return found


def _mute_document(q: ApiReads, *, mute_id: str) -> JsonDocument:
    return documents.mute(_mute(q, mute_id))


def _request_of(body: models.MuteBody, now: datetime, zone: str) -> MuteRequest:
    """Return what a body asks for. Raises ApiProblem."""
    try:
        return MuteRequest(
            scope=MuteScope.parse(body.covers.split()),
            times=_times_of(body, now, zone),
            except_failures=body.except_failures,
            reason=one_line(body.reason or "") or None,
            announce=body.announce,
        )
    except WrongMute as error:
        raise refused("body", _KEYS.get(error.key, ""), str(error)) from None


_KEYS: Final[Mapping[str, str]] = {"matcher": "covers", "long": "covers", "cron": "cron", "mute": "length_seconds"}
"""The key of a body that each mistake in a mute is about."""


def _times_of(body: models.MuteBody, now: datetime, zone: str) -> MuteTimes:
    """Return when a mute is to be in force. Raises WrongMute."""
    if (body.length_seconds is None) == (body.until is None):
        raise WrongMute("both", "give length_seconds or until, and not both")
    if body.cron is None:
        if body.timezone is not None or body.last is not None:
            raise WrongMute("both", "timezone and last are for a mute with cron")
        since = body.since or now
        length = timedelta(seconds=body.length_seconds) if body.length_seconds else (body.until or since) - since
        return MuteTimes(length=length, since=body.since, until=body.until)
    if body.since is not None or body.length_seconds is None:
        raise WrongMute("both", "a mute with cron takes length_seconds, and neither since nor until")
    try:
        cron = Cron.parse(body.cron, zone_of(body.timezone or zone))
    except ValueError as error:
        raise WrongMute("cron", str(error), body.cron) from None
    return MuteTimes(length=timedelta(seconds=body.length_seconds), cron=cron, last=body.last)


def _create_mute(tx: ApiTx, by: Person, *, body: models.MuteBody, zone: str) -> JsonDocument:
    request = _request_of(body, tx.now(), zone)
    try:
        made = mutes.create(tx, request, by)
    except WrongMute as error:
        raise refused("body", "", str(error)) from None
    if isinstance(made, Mute):
        return documents.mute(made)
    if made.namesakes:
        ids = ", ".join(made.namesakes)
        raise refused("body", "covers", f"is the name of several instances; give one of the ids: {ids}")
    raise refused("body", "covers", "is no instance of a recorded task; give its id or its whole name, or a pattern")


def _preview_mute(q: ApiReads, *, body: models.MuteBody, zone: str) -> JsonDocument:
    now = q.now()
    try:
        return documents.mute_preview(mutes.preview(q, _request_of(body, now, zone), now))
    except WrongMute as error:
        raise refused("body", "", str(error)) from None


def _extend_mute(tx: ApiTx, by: Person, *, mute_id: str, length: timedelta) -> JsonDocument:
    _mute(tx.queries, mute_id)
    try:
        extended = mutes.extend(tx, mute_id, length, by)
    except WrongMute as error:
        raise refused("body", "length_seconds", str(error)) from None
    if not extended:
        raise ApiProblem(404, "not-found", "the window of this mute is over")
    return documents.mute(extended[0])


def _end_mute(tx: ApiTx, by: Person, *, mute_id: str) -> JsonDocument:
    _mute(tx.queries, mute_id)
    found = mutes.end(tx, mute_id, by)
    if found.kept:
        why = "the configuration defines this mute, and it is not in force; change the configuration to end its windows"
        raise ApiProblem(409, "configured", why)
    if not found.ended:
        raise ApiProblem(404, "not-found", "the window of this mute is over")
    return documents.ended_mute(found.ended[0])


# ---- the notifier itself ----


def _caller(viewer: Viewer) -> JsonDocument:
    return {
        "id": viewer.person.id,
        "name": viewer.person.name,
        "role": viewer.role.name.lower(),
        "scopes": sorted(viewer.scopes),
        "way": viewer.how,
    }


def own_paths(api: ApiContext) -> APIRouter:
    """Return the paths about the notifier itself."""
    router = APIRouter(responses=_UNCHANGED)

    @router.get(
        "/sources", operation_id="listSources", tags=["notifier"], response_model=models.PageOf[models.SourceDocument]
    )
    async def list_sources(
        *, request: Request, limit: Limit = 50, cursor: Cursor = None, _known: IfNoneMatch = None
    ) -> Response:
        """List the sources that were ever polled, by name."""
        page = PageSlice.of_list("sources", cursor=cursor, limit=limit)
        return await api.read(request, models.PageOf[models.SourceDocument], partial(reads.page_of_sources, page=page))

    @router.get("/me", operation_id="getCaller", tags=["notifier"], response_model=models.CallerDocument)
    async def get_caller(*, request: Request, _known: IfNoneMatch = None) -> Response:
        """Return who asks, and what they may do: shows that a token works."""
        return answer(request, models.CallerDocument, _caller(viewer_of(request)))

    @router.get("/health", operation_id="getHealth", tags=["notifier"], response_model=models.HealthDocument)
    async def get_health(*, request: Request, _known: IfNoneMatch = None) -> Response:
        """Return the verdict on the notifier itself, as `notifier health` has it. The status is 200 whatever it is."""
        return await api.read(request, models.HealthDocument, partial(reads.health, rules=api.rules(request)))

    @router.get("/audit", operation_id="getAudit", tags=["notifier"], response_model=models.AuditDocument)
    async def get_audit(*, request: Request, _known: IfNoneMatch = None) -> Response:
        """Prove that every event has exactly one delivery record on each channel. It reads the whole history."""
        return await api.read(request, models.AuditDocument, lambda q: reads.ledger(q, q.now()), dear=True)

    @router.get(
        "/actions", operation_id="listActions", tags=["notifier"], response_model=models.PageOf[models.ActionDocument]
    )
    async def list_actions(
        *, request: Request, limit: Limit = 50, cursor: Cursor = None, _known: IfNoneMatch = None
    ) -> Response:
        """List what people did, the newest first."""
        page = PageSlice.of_list("actions", cursor=cursor, limit=limit)
        return await api.read(request, models.PageOf[models.ActionDocument], partial(reads.page_of_actions, page=page))

    @router.get("/stats", operation_id="getStatistics", tags=["tasks"], response_model=models.StatisticsDocument)
    async def get_statistics(
        *,
        request: Request,
        since: Since = None,
        operation: Annotated[
            TextParam | None,
            Query(description="The cloud's name of one operation.", examples=["CreateGaussDBV5Instance"]),
        ] = None,
        instance: Annotated[TextParam | None, Query(description="Id of an instance, or a part of its name.")] = None,
        _known: IfNoneMatch = None,
    ) -> Response:
        """Return how tasks ended and how long they took, by operation, the most frequent first."""
        read = partial(
            reads.statistics,
            rules=api.rules(request),
            since=since,
            operation=operation or None,
            instance=instance or None,
        )
        return await api.read(request, models.StatisticsDocument, read, dear=True)

    return router
