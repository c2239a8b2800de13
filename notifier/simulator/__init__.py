"""A faithful task list of a simulated cloud, to develop, demonstrate and test against."""

from notifier.simulator.options import Options
from notifier.simulator.server import AuthKind, Simulator, paste_ready

__all__ = ["AuthKind", "Options", "Simulator", "paste_ready"]
