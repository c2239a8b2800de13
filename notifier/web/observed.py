"""Counts and traces requests by the template of their route: a path may name an instance or a task."""

from time import perf_counter

from starlette.routing import Mount
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from notifier.telemetry.ports import Telemetry

UNMATCHED = "unmatched"
"""Stands for the route of a request that fits none."""


def route_of(scope: Scope) -> str:
    """Return the template of the route that answered a request."""
    route = scope.get("route")
    if route is None or not hasattr(route, "path"):
        return UNMATCHED
    if isinstance(route, Mount):
        return str(route.path) or UNMATCHED  # mounted at the root: it has found nothing either
    return f"{scope.get('root_path', '')}{route.path}"


class Observed:
    """An application whose requests are reported."""

    def __init__(self, app: ASGIApp, telemetry: Telemetry) -> None:
        self._app = app
        self._telemetry = telemetry

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the application answer, and report that."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = perf_counter(), 500

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        with self._telemetry.tracer.span("http.request") as span:
            try:
                await self._app(scope, receive, sending)
            finally:
                route = route_of(scope)
                span.set(**{"http.request.method": scope["method"], "http.route": route})
                span.set(**{"http.response.status_code": status})
                if status >= 500:  # noqa: PLR2004 - a mistake of ours
                    span.fail()
                self._telemetry.meters.served(scope["method"], route, status, perf_counter() - began)
