"""Builds the endpoints of those who operate the program: probes and metrics."""

from collections.abc import Sequence

from prometheus_client import CollectorRegistry
from starlette.routing import Route

from notifier import __version__
from notifier.store.revision import HEAD
from notifier.telemetry.process import ProcessStatus
from notifier.telemetry.prometheus import PrometheusMeters
from notifier.web.access.viewer import Access
from notifier.web.metrics import MetricRules, MetricsEndpoint, MetricsGate
from notifier.web.probes import Probes
from notifier.web.security import KnownNames
from notifier.wiring.app import App


def operation_routes(app: App, access: Access, process: ProcessStatus, names: KnownNames) -> Sequence[Route]:
    """Return the routes of probes and metrics."""
    meters, web = app.telemetry.meters, app.config.web
    registry = meters.registry if isinstance(meters, PrometheusMeters) else CollectorRegistry()
    metrics = MetricsEndpoint(
        app.store,
        app.clock,
        MetricRules(version=__version__, revision=HEAD, expected=app.config.expected, credentials=app.credentials),
        registry,
        MetricsGate(access, app.clock, names, web.metrics_open_to if web else ()),
    )
    return [*Probes(app.store, app.clock, process, revision=HEAD).routes(), *metrics.routes()]
