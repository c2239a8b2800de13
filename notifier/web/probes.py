"""Whether the process lives, and whether it can work: for systemd, Kubernetes and load balancers.

Anybody may ask. So an answer holds no name, no address and no error text, and asking often costs one small read a
second at most.
"""

from collections.abc import Sequence
from typing import Protocol

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from notifier.ports import Clock, Store
from notifier.telemetry.process import ProcessStage, ProcessStatus
from notifier.web.shared_read import SharedRead

HEALTHZ, READYZ = "/healthz", "/readyz"

READINESS_TIMEOUT = 2.0
"""Time that a probe waits for the database, in seconds: less than the time limit of a usual probe of Kubernetes allows
for three of them."""


class RevisionReads(Protocol):
    """The read of the schema's revision."""

    def revision(self) -> str | None:
        """Return the revision of the schema."""


class ProbeReads(Protocol):
    """What readiness depends on."""

    @property
    def figures(self) -> RevisionReads:
        """The read of the schema's revision."""


def not_ready(stage: ProcessStage, found: str | None, needed: str) -> Sequence[str]:
    """Return why a process cannot work; nothing where it can.

    Args:
        stage: where the process is in its course.
        found: revision of the schema; None where the database does not answer.
        needed: the revision that this program needs.
    """
    reasons: list[str] = []
    if stage is ProcessStage.STARTING:
        reasons.append("the process is starting")
    if stage is ProcessStage.STOPPING:
        reasons.append("the process is stopping")
    if found is None:
        reasons.append("the database does not answer")
    elif found != needed:
        reasons.append(f"the database has schema {found}, this program needs {needed}")
    return reasons


class Probes:
    """The endpoints of probes."""

    def __init__(
        self, store: Store[object, ProbeReads], clock: Clock, process: ProcessStatus, *, revision: str
    ) -> None:
        """`revision` is the schema that this program needs."""
        self._process = process
        self._revision = revision
        self._found = SharedRead(lambda: store.read(lambda q: q.figures.revision()), clock, timeout=READINESS_TIMEOUT)

    def routes(self) -> Sequence[Route]:
        """Return the routes. HEAD works as GET does."""
        return [Route(HEALTHZ, self._health), Route(READYZ, self._readiness)]

    async def _health(self, _: Request) -> Response:
        """Answer whether the event loop runs, which an answer proves, and no work hangs. Without the database."""
        alive = self._process.alive()
        return _answer("live" if alive else "hung", self._process, () if alive else ("the monitor hangs",))

    async def _readiness(self, _: Request) -> Response:
        reasons = not_ready(self._process.stage, await self._found.get(), self._revision)
        return _answer("not ready" if reasons else "ready", self._process, reasons)


def _answer(status: str, process: ProcessStatus, reasons: Sequence[str]) -> Response:
    content = {"status": status, "stage": str(process.stage), "roles": list(process.roles), "reasons": list(reasons)}
    return JSONResponse(content, status_code=503 if reasons else 200, headers={"Cache-Control": "no-store"})
