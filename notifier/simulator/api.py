"""The endpoints: task list and job detail, IAM, the metadata service, and `/_sim` for control."""

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from email.utils import format_datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import Receive, Scope, Send

from notifier.core.errors import ConfigurationError
from notifier.ports import Clock
from notifier.simulator import catalogue, iam
from notifier.simulator.faults import NO_FAULT, Fault, apply_fault, parse_faults
from notifier.simulator.gateway import Call, Gateway, SimulatedExchange, receive_exchange
from notifier.simulator.listing import ListPage, localised, parse_query, write_row, write_time
from notifier.simulator.lists import ListEndpoints
from notifier.simulator.options import Options
from notifier.simulator.project import SimulatedProject
from notifier.simulator.projects import (
    Account,
    auth_domain_list,
    auth_project_list,
    parse_project_query,
    project_page,
)
from notifier.simulator.pushing import Publisher
from notifier.simulator.replies import SimulatedError, SimulatedReply, json_reply, stale_token, unpublished
from notifier.simulator.rights import LIST_PROJECTS, LIST_TASKS, RIGHTS, CloudService, foreign_project
from notifier.simulator.smn import CONFIRM_PATH
from notifier.simulator.smn_endpoints import SmnEndpoints
from notifier.simulator.world import TaskRow, World

METADATA_TOKEN = "simulated-metadata-token"  # noqa: S105 - guards nothing
DRIP_PIECES = 10
"""Number of pieces of a body that drips."""
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


class SimulatedCloud(Gateway):
    """The state of a simulator, and the answers that follow from it."""

    def __init__(self, options: Options, clock: Clock) -> None:
        super().__init__(options, clock)
        self.account = Account(options, self.start)
        self.project = self.account.first
        """The project of the credentials."""
        self.world = self.project.world
        self.listing = self.project.listing
        self.shifts = options.random("shifts")
        self.lists = ListEndpoints(self.enter, self.now)
        self.publisher = Publisher(options, clock, self.world)
        self.smn = SmnEndpoints(self.publisher, self.enter, clock.now)

    def enter(self, exchange: SimulatedExchange, service: CloudService, action: str) -> SimulatedProject:
        """Return the project that a request is about, once it is admitted. Raises SimulatedError."""
        self.admit(exchange, service, action)
        project = self.account.find(exchange.request.path_params["project_id"])
        if project is None:
            raise foreign_project(service)
        if exchange.by == "token" and exchange.scope != project.options.project_id:
            raise stale_token()
        return project

    def _reason_language(self, exchange: SimulatedExchange) -> str:
        forced = self.options.language
        return exchange.language if forced == "header" else forced

    # -- GaussDB --

    async def list_tasks(self, exchange: SimulatedExchange) -> SimulatedReply:
        """GET /v3/{project_id}/tasks."""
        project = self.enter(exchange, "gaussdb", LIST_TASKS)
        query = parse_query(exchange.query, self._reason_language(exchange))
        project.world.advance(self.now())
        self._shift(exchange.fault, project.world)
        page = shrink(exchange.fault, project.listing.page(query))
        return apply_fault(exchange.fault, SimulatedReply(body=page.body()))

    def _shift(self, fault: Fault, world: World) -> None:
        kind = self.shifts.choice(("insert", "delete")) if fault.kind == "shift" else fault.kind
        if kind == "insert":
            world.insert(self.now())
        elif kind == "delete":
            world.drop(self.shifts)

    async def show_job(self, exchange: SimulatedExchange) -> SimulatedReply:
        """GET /v3/{project_id}/jobs?id=: no detail for manual backups, as documented, nor for rows put by hand."""
        project = self.enter(exchange, "gaussdb", LIST_TASKS)
        project.world.advance(self.now())
        row = project.world.rows.get(exchange.query.get("id", ""))
        if not isinstance(row, TaskRow) or row.name == catalogue.BACKUP_NOW.name:
            raise SimulatedError(400, "DBS.200543", "The job does not exist.")
        return apply_fault(exchange.fault, json_reply({"job": job_detail(row, self._reason_language(exchange))}))

    # -- IAM --

    async def create_token(self, exchange: SimulatedExchange) -> SimulatedReply:
        """POST /v3/auth/tokens."""
        login = iam.parse_login(exchange.arrived.body)
        names = {one.id: one.name for one in self.account.projects if one.enabled}
        project_id = iam.check_login(login, self.options, {name: one for one, name in names.items()})
        now = self.clock.now()
        expires_at = now + self.options.token_life
        token = self.tokens.issue(expires_at, project_id)
        project = (project_id, names[project_id]) if project_id else None
        body = iam.token_body(self.options, project, now, expires_at)
        return json_reply(body, status=201, headers={"X-Subject-Token": token})

    async def list_projects(self, exchange: SimulatedExchange) -> SimulatedReply:
        """GET /v3/projects."""
        self.admit(exchange, "iam", LIST_PROJECTS)
        page = project_page(self.account.projects, parse_project_query(exchange.query), exchange.origin)
        return apply_fault(exchange.fault, json_reply(page))

    async def list_own_projects(self, exchange: SimulatedExchange) -> SimulatedReply:
        """GET /v3/auth/projects: it needs no right."""
        self.admit(exchange, "iam", "")
        return apply_fault(exchange.fault, json_reply(auth_project_list(self.account.projects, exchange.origin)))

    async def list_own_domains(self, exchange: SimulatedExchange) -> SimulatedReply:
        """GET /v3/auth/domains: it needs no right."""
        self.admit(exchange, "iam", "")
        return apply_fault(exchange.fault, json_reply(auth_domain_list(self.options, exchange.origin)))

    # -- the metadata service of a cloud server --

    async def create_metadata_token(self, exchange: SimulatedExchange) -> SimulatedReply:
        """PUT /meta-data/latest/api/token."""
        if self.options.metadata == "v1":
            return SimulatedReply(status=404, content_type="text/plain")
        if not exchange.arrived.headers.get("x-metadata-token-ttl-seconds", "").isdigit():
            return SimulatedReply(status=400, content_type="text/plain")
        return SimulatedReply(body=METADATA_TOKEN.encode(), content_type="text/plain")

    async def show_security_key(self, exchange: SimulatedExchange) -> SimulatedReply:
        """GET /openstack/latest/securitykey."""
        token = exchange.arrived.headers.get("x-metadata-token")
        if self.options.metadata == "no_agency":
            text = b"Please configure Cloud Service Agency first"
            return SimulatedReply(status=401, body=text, content_type="text/plain")
        if self.options.metadata == "v2" and token != METADATA_TOKEN:
            return SimulatedReply(status=401, body=b"401 Unauthorized", content_type="text/plain")
        key, expires_at = self.agency.key(self.clock.now())
        issued = {"access": key.access, "secret": key.secret, "securitytoken": key.token}
        return json_reply({"credential": issued | {"expires_at": iam.timestamp(expires_at)}})

    # -- steering --

    async def steer_faults(self, exchange: SimulatedExchange) -> SimulatedReply:
        """POST /_sim/faults with any of `clear` (true), `script` (a list for the next calls) and `spec` (random)."""
        command = steering(exchange.arrived.body, {"clear": bool, "script": list, "spec": str})
        try:
            chances = parse_faults(command["spec"]) if "spec" in command else None
            if command.get("clear"):
                self.faults.clear()
            self.faults.script(*map(str, command.get("script", ())))
        except ConfigurationError as error:
            raise SimulatedError(400, "SIM.0001", str(error)) from error
        if chances is not None:
            self.faults.chances = chances
        return json_reply(self.state())

    async def steer_tasks(self, exchange: SimulatedExchange) -> SimulatedReply:
        """POST /_sim/tasks with any of `put` (rows), `remove` (ids) and `touch` (a number of rows to change)."""
        command = steering(exchange.arrived.body, {"put": list, "remove": list, "touch": int})
        if not all(isinstance(row, dict) for row in command.get("put", ())):
            raise SimulatedError(400, "SIM.0001", "put must be a list of rows, each an object")
        self.world.advance(self.now())
        for row in command.get("put", ()):
            self.world.put(row)
        for job_id in command.get("remove", ()):
            self.world.remove(str(job_id))
        self.world.touch(command.get("touch", 0), self.now())
        return json_reply(self.state())

    async def steer_rights(self, exchange: SimulatedExchange) -> SimulatedReply:
        """POST /_sim/rights with any of `deny` and `allow`, each a list of actions."""
        command = steering(exchange.arrived.body, {"deny": list, "allow": list})
        unknown = sorted({str(action) for actions in command.values() for action in actions} - set(RIGHTS))
        if unknown:
            raise SimulatedError(400, "SIM.0001", f"there is no action {unknown[0]!r}; there are {', '.join(RIGHTS)}")
        self.denied -= set(command.get("allow", ()))
        self.denied |= set(command.get("deny", ()))
        return json_reply(self.state())

    async def steer_projects(self, exchange: SimulatedExchange) -> SimulatedReply:
        """POST /_sim/projects with any of `enable`, `disable` and `remove`, each a list of names."""
        command = steering(exchange.arrived.body, dict.fromkeys(("enable", "disable", "remove"), list))
        for name in command.get("enable", ()):
            self.account.add(str(name), enabled=True)
        for name in command.get("disable", ()):
            self.account.add(str(name), enabled=False)
        for name in command.get("remove", ()):
            self.account.remove(str(name))
        return json_reply(self.state())

    async def steer_maintenance(self, exchange: SimulatedExchange) -> SimulatedReply:
        """POST /_sim/maintenance with any of `authorise` and `cancel`, each a list of ids of events."""
        command = steering(exchange.arrived.body, {"authorise": list, "cancel": list})
        for name, event_ids in command.items():
            for event_id in event_ids:
                if not self.project.decide_maintenance(str(event_id), self.now(), agreed=name == "authorise"):
                    raise SimulatedError(400, "SIM.0001", f"there is no maintenance event {event_id!r}")
        return json_reply(self.state())

    async def steer_smn(self, exchange: SimulatedExchange) -> SimulatedReply:
        """POST /_sim/smn with any of `subscribe` (addresses), `publish` (messages) and `ring` (true)."""
        command = steering(exchange.arrived.body, {"subscribe": list, "publish": list, "ring": bool})
        try:
            self.smn.steer(command, exchange.origin, self.now)
        except ConfigurationError as error:
            raise SimulatedError(400, "SIM.0001", str(error)) from error
        return json_reply(self.state())

    async def steer_rows(self, exchange: SimulatedExchange) -> SimulatedReply:
        """POST /_sim/rows with any of `traces`, `events`, `alarms` and `maintenance`, each a list of rows to put."""
        command = steering(exchange.arrived.body, dict.fromkeys(("traces", "events", "alarms", "maintenance"), list))
        if not all(isinstance(row, dict) for rows in command.values() for row in rows):
            raise SimulatedError(400, "SIM.0001", "each list must hold rows, each an object")
        for name, rows in command.items():
            for row in rows:
                self.put_row(name, row)
        return json_reply(self.state())

    def put_row(self, name: str, wire: Mapping[str, Any]) -> None:
        """Add or replace a row of `traces`, `events`, `alarms` or `maintenance`."""
        now = self.now()
        putters: dict[str, Callable[[Mapping[str, Any]], None]] = {
            "traces": self.project.put_trace,
            "events": lambda row: self.project.put_event(row, now),
            "alarms": lambda row: self.project.put_alarm(row, now),
            "maintenance": self.project.put_maintenance_event,
        }
        try:
            putters[name](wire)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise SimulatedError(400, "SIM.0001", f"{name}: a row lacks a field or has a wrong one: {error}") from error

    async def show_state(self, exchange: SimulatedExchange) -> SimulatedReply:  # noqa: ARG002 - every endpoint has this signature
        """GET /_sim/state."""
        return json_reply(self.state())

    def state(self) -> dict[str, Any]:
        """Return the state for demonstrations, without credentials."""
        self.world.advance(self.now())
        return {
            "now": self.now().isoformat(),
            "tasks": len(self.world.rows),
            "by_status": dict(Counter(row.status for row in self.world.rows.values())),
            "calls": len(self.log),
            "faults_scripted": list(self.faults.pending),
            "denied": sorted(self.denied),
            "projects": {one.name: one.id for one in self.account.projects if one.enabled},
            "smn": self.smn.state(),
            "faults_by_chance": {chance.fault.kind: chance.share for chance in self.faults.chances},
        }

    def rows(self) -> list[dict[str, Any]]:
        """Return every present row as the API shows it, to compare a listing with."""
        self.world.advance(self.now())
        rows = (write_row(row, "en-us", self.options) for row in self.world.rows.values())
        return [json.loads(row) for row in rows]

    async def not_found(self, exchange: SimulatedExchange) -> SimulatedReply:  # noqa: ARG002 - every endpoint has this signature
        """Answer for an unknown path or method."""
        raise unpublished()


def shrink(fault: Fault, page: ListPage) -> ListPage:
    """Return a page with the rows that a fault leaves in it."""
    if fault.kind == "empty":
        return ListPage(rows=(), total=page.total)
    if fault.kind == "blank":
        return ListPage(rows=(), total=0)
    if fault.kind == "short":
        return ListPage(rows=page.rows[: len(page.rows) // 2], total=page.total)
    return page


def job_detail(row: TaskRow, language: str) -> dict[str, Any]:
    """Return the detail of a job; its field names differ from those of the list."""
    return {
        "id": row.job_id,
        "name": row.name,
        "status": row.status,
        "created": write_time(row.created_at),
        "ended": write_time(row.ended_at) if row.ended_at else "",
        "progress": "" if row.progress is None else f"{row.progress}%",
        "instance": row.instance and {"id": row.instance.id, "name": row.instance.name},
        "fail_reason": localised(row, language),
    }


def steering(body: bytes, fields: Mapping[str, type]) -> dict[str, Any]:
    """Read the body of a control request. Raises SimulatedError 400 that names the allowed fields."""
    try:
        command = json.loads(body)
    except ValueError:
        command = None
    if not isinstance(command, dict) or any(not isinstance(command[name], fields.get(name, ())) for name in command):
        known = ", ".join(f"{name} ({kind.__name__})" for name, kind in fields.items())
        raise SimulatedError(400, "SIM.0001", f"the body must be a JSON object with any of {known}")
    return command


_TOPIC = "/v2/{project_id}/notifications/topics/{topic_urn}"
_CONFIRM_API = "/notifications/subscription/confirm"
_CERTIFICATE_API = "/v2/notifications/certifications/download/{certificate_id}"

Abort = Callable[[Scope], None]
"""Resets the connection of a request."""
EndpointHandler = Callable[[SimulatedExchange], Awaitable[SimulatedReply]]


class FaultyResponse(Response):
    """A response sent as its fault demands: late, in pieces, or not at all."""

    def __init__(self, reply: SimulatedReply, headers: Mapping[str, str], fault: Fault, abort: Abort) -> None:
        super().__init__(reply.body, reply.status, headers, media_type=reply.content_type)
        self._fault = fault
        self._abort = abort

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        if self._fault.kind == "reset":
            self._abort(scope)
            await disconnected(receive)
        elif self._fault.kind == "drip":
            await self._drip(receive, send)
        else:
            if self._fault.kind == "slow":
                await pause(self._fault.amount, receive)
            await super().__call__(scope, receive, send)

    async def _drip(self, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        size = len(self.body) // DRIP_PIECES + 1
        for number in range(DRIP_PIECES):
            await pause(self._fault.amount / DRIP_PIECES, receive)
            piece = bytes(self.body[number * size : (number + 1) * size])
            await send({"type": "http.response.body", "body": piece, "more_body": number < DRIP_PIECES - 1})


async def disconnected(receive: Receive) -> None:
    """Wait until the connection is closed. The request must have been read completely."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def pause(seconds: float, receive: Receive) -> None:
    """Wait in real time, because clients' timeouts run in it, but not beyond the end of the connection."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await disconnected(receive)


def build_app(cloud: SimulatedCloud, abort: Abort) -> Router:
    """Return the ASGI application."""

    def endpoint(handler: EndpointHandler) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            exchange = await receive_exchange(request, cloud.new_request_id())
            try:
                reply = await handler(exchange)
            except SimulatedError as refusal:
                reply = refusal.reply(exchange.request_id)
            cloud.log.append(_logged(cloud, exchange, reply))
            date = format_datetime(cloud.clock.now(), usegmt=True)
            headers = {"X-Request-Id": exchange.request_id, "Date": date, **reply.headers}
            return FaultyResponse(reply, headers, exchange.fault, abort)

        return answer

    def route(method: str, path: str, handler: EndpointHandler) -> Route:
        return Route(path, endpoint(handler), methods=[method])

    return Router(
        [
            route("GET", "/v3/{project_id}/tasks", cloud.list_tasks),
            route("GET", "/v3/{project_id}/jobs", cloud.show_job),
            route("GET", "/v3/{project_id}/traces", cloud.lists.list_traces),
            route("GET", "/v3/{project_id}/operations", cloud.lists.list_operations),
            route("GET", "/V1.0/{project_id}/events", cloud.lists.list_events),
            route("GET", "/V1.0/{project_id}/event/{event_name}", cloud.lists.show_event),
            route("GET", "/v3/{project_id}/alarm-history-record", cloud.lists.list_alarms),
            route("GET", "/v3/{project_id}/instances/alarm-statistics", cloud.lists.count_alarms),
            route("GET", "/v3/{project_id}/schedule-events", cloud.lists.list_maintenance),
            route("POST", "/v3/auth/tokens", cloud.create_token),
            route("GET", "/v3/projects", cloud.list_projects),
            route("GET", "/v3/auth/projects", cloud.list_own_projects),
            route("GET", "/v3/auth/domains", cloud.list_own_domains),
            *(route("GET", path, cloud.smn.confirm) for path in (CONFIRM_PATH, f"/rest/v2{_CONFIRM_API}")),
            *(route("GET", path, cloud.smn.show_certificate) for path in ("/smn/{certificate_id}", _CERTIFICATE_API)),
            route("POST", f"{_TOPIC}/subscriptions", cloud.smn.subscribe),
            route("GET", f"{_TOPIC}/subscriptions", cloud.smn.list_subscriptions),
            route("POST", f"{_TOPIC}/publish", cloud.smn.publish),
            route("PUT", "/meta-data/latest/api/token", cloud.create_metadata_token),
            route("GET", "/openstack/latest/securitykey", cloud.show_security_key),
            route("POST", "/_sim/faults", cloud.steer_faults),
            route("POST", "/_sim/tasks", cloud.steer_tasks),
            route("POST", "/_sim/rights", cloud.steer_rights),
            route("POST", "/_sim/rows", cloud.steer_rows),
            route("POST", "/_sim/projects", cloud.steer_projects),
            route("POST", "/_sim/smn", cloud.steer_smn),
            route("POST", "/_sim/maintenance", cloud.steer_maintenance),
            route("GET", "/_sim/state", cloud.show_state),
            Route("/{path:path}", endpoint(cloud.not_found), methods=list(METHODS)),
        ],
        redirect_slashes=False,
    )


def _logged(cloud: SimulatedCloud, exchange: SimulatedExchange, reply: SimulatedReply) -> Call:
    return Call(
        at=cloud.clock.now(),
        method=exchange.request.method,
        path=exchange.request.url.path,
        query=dict(exchange.request.query_params),
        language=exchange.language,
        by=exchange.by,
        status=0 if exchange.fault.kind == "reset" else reply.status,
        fault=exchange.fault.kind if exchange.fault is not NO_FAULT else "",
    )
