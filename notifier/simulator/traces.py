"""Cloud Trace Service: who began the tasks of a world. Derived from the tasks and the seed alone, hence pure."""

import json
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from notifier.simulator import catalogue
from notifier.simulator.options import Options
from notifier.simulator.parameters import QueryParameters
from notifier.simulator.replies import SimulatedError
from notifier.simulator.stories import TaskEnd, TaskStory
from notifier.simulator.world import EARLIEST, RowInstance

TRACES_KEPT_FOR = timedelta(days=7)
"""Time that traces can be queried."""
MAX_TRACES = 200
DEFAULT_TRACES = 10
DEFAULT_PERIOD = timedelta(hours=1)
EARLIEST_MS, LATEST_MS = 946_656_000_000, 4_102_416_000_000
"""Bounds of `from` and `to`, in milliseconds."""
TRACE_TYPES = ("system", "data")
RATINGS = ("normal", "warning", "incident")
_EXACT = ("resource_id", "resource_name", "resource_type", "service_type", "trace_name", "trace_rating")
_ACCOUNT = "05b2f1c0ab7d4e6f8a3c9d1e2f405162"
_ACCOUNT_NAME = "acme"

TASK_OPERATIONS: Mapping[str, tuple[tuple[str, str], ...]] = {
    catalogue.CREATE.name: (("createInstance", "instance"),),
    catalogue.CLONE.name: (("createInstance", "instance"),),
    catalogue.BACKUP_NOW.name: (("createManualSnapshot", "backup"),),
    catalogue.RESTORE_HERE.name: (("restoreInstance", "instance"), ("restoreInstance", "backup")),
    catalogue.RESTORE_THERE.name: (("restoreInstance", "instance"), ("restoreInstance", "backup")),
    catalogue.DELETE.name: (("deleteInstance", "instance"),),
    catalogue.ENLARGE.name: (("instanceAction", "instance"), ("resizeVolume", "instance")),
    catalogue.RESIZE.name: (("resizeFlavor", "instance"),),
    catalogue.ADD_NODES.name: (("instanceAction", "instance"),),
    catalogue.ADD_SHARDS.name: (("instanceAction", "instance"),),
    **{kind.name: (("upgradeVersion", "instance"),) for kind in catalogue.UNDOCUMENTED_KINDS},
}
"""The operations that can begin a task, by the task's name: name of the trace and type of the resource."""
OTHER_OPERATIONS = ("renameInstance", "resetPassword", "setBackupPolicy", "modifyPort", "createTag")
"""Operations on an instance that begin no task."""
_REQUESTS: Mapping[str, Mapping[str, Any]] = {
    "resizeFlavor": {"flavor_ref": "gaussdb.opengauss.ee.c6.4xlarge.x868.ha"},
    "resizeVolume": {"size": 440},
    "restoreInstance": {"source": {"type": "backup"}},
    "upgradeVersion": {"upgrade_type": "inplace", "upgrade_action": "upgradeAutoCommit"},
}
BUSY = ("DBS.200019", "Another operation is being performed on the DB instance or the DB instance is faulty.")


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedTrace:
    """One row: its fields as the service shows them, and the times by which rows are selected."""

    wire: Mapping[str, Any]
    time: datetime
    record_time: datetime

    @property
    def trace_id(self) -> str:
        """The id of the row, which is also the marker of a page."""
        return str(self.wire.get("trace_id"))


def raw_trace(wire: Mapping[str, Any]) -> SimulatedTrace:
    """Build a row in the form of the service."""
    time = _from_ms(wire.get("time"))
    return SimulatedTrace(wire=wire, time=time, record_time=_from_ms(wire.get("record_time"), time))


def _from_ms(value: object, default: datetime = EARLIEST) -> datetime:
    return datetime.fromtimestamp(value / 1000, UTC) if isinstance(value, int | float) else default


def to_ms(time: datetime) -> int:
    """Return a time as the services write it: milliseconds since 1970."""
    return round(time.timestamp() * 1000)


# ---- from a task to its traces ----


@dataclass(frozen=True, slots=True, kw_only=True)
class _Actor:
    """Who does something, and on which way."""

    user: Mapping[str, Any] | None
    way: str
    """`trace_type` of the row."""
    address: str


def _person(rng: Random, name: str, way: str) -> _Actor:
    user = _identity(name) | {
        "principal_urn": f"iam::{_ACCOUNT}:user:{name}",
        "principal_id": _hex(name),
        "principal_is_root_user": "false",
        "type": "User",
    }
    key = {"access_key_id": f"HST{_hex(name)[:17].upper()}"}
    by_console = {"invoked_by": ["service.console"]}
    more = by_console if way == "ConsoleAction" else key
    return _Actor(user=user | more, way=way, address=f"198.51.100.{rng.randrange(2, 250)}")


def _agency(agency: str, session: str, address: str) -> _Actor:
    user = _identity(f"{_ACCOUNT_NAME}/{agency}") | {
        "principal_urn": f"sts::{_ACCOUNT}:assumed-agency:{agency}/{session}",
        "principal_id": f"{_hex(agency)}:{session}",
        "principal_is_root_user": "false",
        "type": "AssumedAgency",
        "session_context": {"attributes": {"created_at": "1795860000000", "mfa_authenticated": "false"}},
    }
    return _Actor(user=user, way="ApiCall", address=address)


def _single_sign_on(rng: Random, name: str) -> _Actor:
    user = _identity(name) | {
        "principal_urn": f"sts::{_ACCOUNT}:external-user:acme-idp/{name}",
        "principal_id": f"acme-idp:{name}",
        "principal_is_root_user": "false",
        "type": "ExternalUser",
        "invoked_by": ["service.console"],
    }
    return _Actor(user=user, way="ConsoleAction", address=f"203.0.113.{rng.randrange(2, 250)}")


def _identity(name: str) -> dict[str, Any]:
    domain = {"id": _ACCOUNT, "name": _ACCOUNT_NAME}
    return {"id": _hex(name), "name": name, "user_name": name, "account_id": _ACCOUNT, "domain": domain}


def _hex(text: str) -> str:
    return uuid.uuid5(uuid.NAMESPACE_OID, text).hex


SYSTEM = _Actor(user=None, way="SystemAction", address="")
PEOPLE = ("li.wei", "zhang.san", "li.si", "wang.fang")


def _actor(rng: Random, task: str) -> _Actor | None:
    """Return who began a task; None for one that leaves no request in the list."""
    drawn = rng.random()
    if task == catalogue.BACKUP_NOW.name and drawn < 0.4:  # noqa: PLR2004 - a backup policy began it
        return SYSTEM if drawn < 0.2 else None  # noqa: PLR2004 - as above
    choices = (
        (_person(rng, rng.choice(PEOPLE), "ConsoleAction"), 10),
        (_person(rng, "deploy-bot", "ApiCall"), 4),
        (_agency("terraform", "pipeline-4711", "198.51.100.40"), 3),
        (_single_sign_on(rng, f"{rng.choice(PEOPLE)}@example.com"), 3),
    )
    return rng.choices([actor for actor, _ in choices], [weight for _, weight in choices])[0]


class TraceWriter:
    """Derives the traces of tasks. The same seed gives the same task the same traces."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._pace = options.speed if options.stamps == "real" else 1.0
        self._written: dict[str, tuple[TaskStory, tuple[SimulatedTrace, ...]]] = {}

    def traces(self, stories: Iterable[TaskStory], since: datetime) -> Iterator[SimulatedTrace]:
        """Return the traces of the tasks that were created after a time or ended after it."""
        for story in stories:
            last = max((story.created_at, *(end.at for end in story.ends), story.deleted_at or story.created_at))
            if last >= since:
                yield from self._of(story)

    def forget_before(self, since: datetime) -> None:
        """Drop the traces of old tasks from the cache."""
        self._written = {key: known for key, known in self._written.items() if known[0].created_at >= since}

    def _of(self, story: TaskStory) -> tuple[SimulatedTrace, ...]:
        known = self._written.get(story.job_id)
        if known is None or known[0] != story:
            known = (story, tuple(self._write(story)))
            self._written[story.job_id] = known
        return known[1]

    def _write(self, story: TaskStory) -> Iterator[SimulatedTrace]:
        rng = self._options.random(f"traces/{story.job_id}")
        operations = TASK_OPERATIONS.get(story.name, (("instanceAction", "instance"),))
        operation = rng.choice(operations)
        actor = _actor(rng, story.name)
        asked_at = story.created_at - self._seconds(rng, 0.3, 3)
        if actor and rng.random() < 0.1:  # noqa: PLR2004 - a share of requests is refused first
            yield self._refusal(rng, story, operation, actor, asked_at)
        if actor:
            yield self._request(rng, story, operation, actor, asked_at)
        for end in story.ends:
            yield self._result(rng, story, operation, end)
        if actor and actor is not SYSTEM and rng.random() < 0.25:  # noqa: PLR2004 - people do other things too
            yield self._other(rng, story, actor, asked_at)
        if story.deleted_at:
            yield self._deletion(rng, story)

    def _seconds(self, rng: Random, least: float, most: float) -> timedelta:
        return timedelta(seconds=rng.uniform(least, most)) / self._pace

    def _request(
        self, rng: Random, story: TaskStory, operation: tuple[str, str], actor: _Actor, at: datetime
    ) -> SimulatedTrace:
        name, kind = operation
        return self._trace(
            rng,
            actor,
            at,
            _resource(story, kind),
            trace_name=name,
            code="202",
            request=self._body({**_REQUESTS.get(name, {}), "instance_id": story.instance and story.instance.id}),
            response=self._body(self._job(story)),
        )

    def _refusal(
        self, rng: Random, story: TaskStory, operation: tuple[str, str], actor: _Actor, asked_at: datetime
    ) -> SimulatedTrace:
        code, text = BUSY
        return self._trace(
            rng,
            actor,
            asked_at - self._seconds(rng, 30, 90),
            _resource(story, operation[1]),
            trace_name=operation[0],
            trace_rating="warning",
            code="409",
            request=self._body(_REQUESTS.get(operation[0], {})),
            response=self._body({"error_code": code, "error_msg": text}),
        )

    def _result(self, rng: Random, story: TaskStory, operation: tuple[str, str], end: TaskEnd) -> SimulatedTrace:
        """Return the second row of an asynchronous operation, which names no user."""
        name, kind = operation
        resource = _resource(story, kind)
        if end.failed and story.name == catalogue.CREATE.name:
            resource = {**resource, "resource_id": ""}
        outcome = {"fail_reason": end.reason.en} if end.reason else {}
        return self._trace(
            rng,
            SYSTEM,
            end.at,
            resource,
            trace_name=name,
            trace_rating="warning" if end.failed else "normal",
            code="500" if end.failed else "200",
            request=self._body({}),
            response=self._body(self._job(story) | outcome),
        )

    def _other(self, rng: Random, story: TaskStory, actor: _Actor, asked_at: datetime) -> SimulatedTrace:
        at = asked_at - self._seconds(rng, 100, 500)
        name = rng.choice(OTHER_OPERATIONS)
        return self._trace(
            rng, actor, at, _resource(story, "instance"), trace_name=name, code="200", request=None, response=None
        )

    def _deletion(self, rng: Random, story: TaskStory) -> SimulatedTrace:
        person = _person(rng, rng.choice(PEOPLE), "ConsoleAction")
        resource = {"resource_type": "workflowTask", "resource_id": story.job_id, "resource_name": story.name}
        at = story.deleted_at or story.created_at
        return self._trace(
            rng, person, at, resource, trace_name="deleteTaskRecord", code="200", request=None, response=None
        )

    def _trace(
        self, rng: Random, actor: _Actor, at: datetime, resource: Mapping[str, Any], **fields: object
    ) -> SimulatedTrace:
        lag = self._options.trace_lag * rng.uniform(0.5, 1.5) / self._pace
        wire = {
            "trace_id": str(uuid.UUID(int=rng.getrandbits(128), version=4)),
            "trace_rating": "normal",
            "trace_type": actor.way,
            "time": to_ms(at),
            "record_time": to_ms(at + lag),
            "service_type": self._options.trace_service,
            "source_ip": actor.address,
            "request_id": f"{rng.getrandbits(128):032x}",
            "api_version": "v3",
            "read_only": False,
            **resource,
            **fields,
        }
        if actor.user is not None:
            wire["user"] = self._user(actor.user)
        return SimulatedTrace(wire=wire, time=at, record_time=at + lag)

    def _user(self, user: Mapping[str, Any]) -> Mapping[str, Any]:
        return {name: user[name] for name in ("id", "name", "domain")} if self._options.trace_user == "short" else user

    def _job(self, story: TaskStory) -> dict[str, Any]:
        plain = story.job_id.replace("-", "")
        forms = {"plain": plain, "dashed": story.job_id, "upper": plain.upper()}
        shown = forms.get(self._options.trace_job)
        return {} if shown is None else {"job_id": shown}

    def _body(self, value: Mapping[str, Any]) -> object:
        if self._options.trace_response == "object":
            return value
        return json.dumps(value) if self._options.trace_response == "text" else None


def _resource(story: TaskStory, kind: str) -> dict[str, Any]:
    instance = story.instance or RowInstance(id="", name="", status="")
    if kind == "backup":
        backup = f"{_hex(story.job_id)}br14"
        return {"resource_type": kind, "resource_id": backup, "resource_name": f"backup-{backup[:8]}"}
    return {"resource_type": kind, "resource_id": instance.id, "resource_name": instance.name}


# ---- the list ----


@dataclass(frozen=True, slots=True, kw_only=True)
class TracePageQuery:
    """A checked request for one page."""

    trace_type: str
    since: datetime
    until: datetime
    limit: int
    marker: str | None
    trace_id: str | None
    exact: Mapping[str, str]
    user: str | None


def trace_parameters(query: Mapping[str, str]) -> QueryParameters:
    """Return the parameters of a request to CTS, with its errors."""
    return QueryParameters(query, refuse=lambda name: SimulatedError(400, "CTS.0003", f"Invalid parameter: {name}."))


def parse_trace_query(query: Mapping[str, str], now: datetime) -> TracePageQuery:
    """Check the parameters of a request. Raises SimulatedError 400."""
    given = trace_parameters(query)
    kind = given.choice("trace_type", TRACE_TYPES)
    if kind is None:
        raise given.refused("trace_type")
    for name in ("from", "to"):
        given.integer(name, EARLIEST_MS, LATEST_MS, EARLIEST_MS)
    since, until = given.period("from", "to")
    if (since is None) != (until is None):
        raise given.refused("from" if since is None else "to")
    given.choice("trace_rating", RATINGS)
    return TracePageQuery(
        trace_type=kind,
        since=since or now - DEFAULT_PERIOD,
        until=until or now,
        limit=given.integer("limit", 1, MAX_TRACES, DEFAULT_TRACES),
        marker=given.value("next"),
        trace_id=given.value("trace_id"),
        exact={name: query[name] for name in _EXACT if query.get(name)},
        user=given.value("user") or None,
    )


def matches_trace(trace: SimulatedTrace, query: TracePageQuery) -> bool:
    """Return whether a row passes the filters; an id makes all others idle."""
    if query.trace_id:
        return trace.trace_id == query.trace_id
    if any(trace.wire.get(name) != value for name, value in query.exact.items()):
        return False
    user = trace.wire.get("user") or {}
    if query.user and query.user not in (user.get("name"), user.get("user_name")):
        return False
    return query.since <= trace.time <= query.until


def trace_page(found: Iterable[SimulatedTrace], query: TracePageQuery, now: datetime) -> dict[str, Any]:
    """Return one page of the traces that the list shows now, newest first. An unknown marker gives an empty page."""
    shown = [trace for trace in found if trace.record_time <= now and trace.time >= now - TRACES_KEPT_FOR]
    if query.trace_type != "system":
        shown = []
    rows = sorted((trace for trace in shown if matches_trace(trace, query)), key=_newest_first)
    if query.marker:
        marked = [trace for trace in shown if trace.trace_id == query.marker]
        rows = [trace for trace in rows if marked and _newest_first(trace) > _newest_first(marked[0])]
    page = rows[: query.limit]
    marker = page[-1].trace_id if len(rows) > len(page) else None
    return {"traces": [trace.wire for trace in page], "meta_data": {"count": len(page), "marker": marker}}


def _newest_first(trace: SimulatedTrace) -> tuple[float, str]:
    return -trace.time.timestamp(), trace.trace_id


def no_trace_found() -> SimulatedError:
    """Return the 404 with which the service may answer where there is no trace."""
    return SimulatedError(404, "CTS.0003", "No trace found.")


def operations(service: str, query: Mapping[str, str]) -> dict[str, Any]:
    """Return the names of all operations, by type of resource. Raises SimulatedError 400."""
    given = trace_parameters(query)
    wanted, kind = given.value("service_type"), given.value("resource_type")
    if kind and not wanted:
        raise given.refused("service_type")
    by_kind: dict[str, set[str]] = {"instance": set(OTHER_OPERATIONS), "workflowTask": {"deleteTaskRecord"}}
    for choices in TASK_OPERATIONS.values():
        for name, resource in choices:
            by_kind.setdefault(resource, set()).add(name)
    listed = [
        {"service_type": service, "resource_type": resource, "operation_list": sorted(names)}
        for resource, names in sorted(by_kind.items())
        if kind in (None, resource) and wanted in (None, service)
    ]
    return {"operations": listed}
