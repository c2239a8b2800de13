"""How late the event loop is: everything else in the process waits as long."""

from notifier.ports import Clock
from notifier.telemetry.ports import Meters

LAG_INTERVAL = 1.0
"""Time between two measurements, in seconds."""


async def measure_lag(meters: Meters, clock: Clock) -> None:
    """Measure until cancelled how late the loop resumes what has slept."""
    while True:
        began = clock.monotonic()
        await clock.sleep(LAG_INTERVAL)
        meters.lagged(clock.monotonic() - began - LAG_INTERVAL)
