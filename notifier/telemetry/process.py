"""What a process knows of its own course: asked by probes, without a look at the database."""

from collections.abc import Callable, Collection
from enum import StrEnum

from notifier.core.health_facts import Role


class ProcessStage(StrEnum):
    """Where a process is in its course."""

    STARTING = "starting"
    SERVING = "serving"
    STOPPING = "stopping"


class ProcessStatus:
    """The course of one service. The service sets it."""

    def __init__(self, roles: Collection[Role]) -> None:
        self.roles = tuple(sorted(roles))
        self.stage = ProcessStage.STARTING
        self.alive: Callable[[], bool] = lambda: True
        """Returns False where work hangs, so that only a restart helps."""
