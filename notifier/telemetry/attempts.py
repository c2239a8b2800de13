"""Attempts to deliver as spans: they are over when a step reports them, with the times that were recorded."""

from notifier.core.delivery import DeliveryState
from notifier.core.identity import DirectChannel
from notifier.deliver import DeliveryReport
from notifier.telemetry.ports import NoTracer, Tracer

_BAD = frozenset({DeliveryState.PENDING, DeliveryState.PARKED, DeliveryState.DEAD})


def record_attempts(tracer: Tracer, report: DeliveryReport) -> None:
    """Record the attempts that a step has settled. A direct channel is not named: its name is a person's id."""
    if isinstance(tracer, NoTracer):
        return
    channel = "direct" if DirectChannel.parse(report.channel) else report.channel
    for delivery, settlement in report.settled:
        attempt = settlement.attempt
        tracer.record(
            "deliver",
            attempt.started_at,
            attempt.finished_at,
            failed=settlement.state in _BAD,
            channel=channel,
            outcome=attempt.outcome,
            state=str(settlement.state),
            attempt=attempt.number,
            events=len(delivery.events),
        )
