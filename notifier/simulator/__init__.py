"""A simulated cloud with a faithful task list, for development, demonstrations and tests."""

from notifier.simulator.options import Options
from notifier.simulator.server import AuthKind, Simulator, source_yaml

__all__ = ["AuthKind", "Options", "Simulator", "source_yaml"]
