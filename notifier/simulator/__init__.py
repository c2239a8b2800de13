"""A faithful task list of a simulated cloud, to develop, demonstrate and test against."""

from notifier.simulator.options import Options
from notifier.simulator.server import AuthKind, Simulator, source_yaml

__all__ = ["AuthKind", "Options", "Simulator", "source_yaml"]
