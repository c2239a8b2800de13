"""The lists of the cloud that sources read, as errors and checks name them."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiList:
    """What a call reads, for the errors about it."""

    name: str
    """What it is: `task list`."""
    rows: str
    """What it lists, in the plural: `tasks`."""
    action: str
    """The action that the user needs: `gaussdb:instance:list`; the policy where no action is documented."""
    policy: str = ""
    """A policy of the cloud that grants it: `GaussDB ReadOnlyAccess`; the empty string where none is known."""

    of_project: bool = True
    """False for a list of the whole account."""

    @property
    def remedy(self) -> str:
        """What to do where the right is missing."""
        right = f"{self.policy} (action {self.action})" if self.policy else f"the action {self.action}"
        right = self.policy if self.policy == self.action else right
        return f"Grant the user {right}{' in the project, and check project_id' if self.of_project else ''}."


EVENT_NAMES = ApiList(name="list of Cloud Eye events", rows="events of Cloud Eye", action="ces:events:list")
EVENTS_OF_NAME = ApiList(name="detail of a Cloud Eye event", rows="events of Cloud Eye", action="ces:events:get")
_READ_ONLY = "GaussDB ReadOnlyAccess"
ALARM_HISTORY = ApiList(name="alarm history", rows="alarms", action=_READ_ONLY, policy=_READ_ONLY)
"""The documents name no action for it."""
TASK_LIST = ApiList(name="task list", rows="tasks", action="gaussdb:instance:list", policy="GaussDB ReadOnlyAccess")
MAINTENANCE_LIST = ApiList(
    name="list of maintenance",
    rows="planned maintenance",
    action="gaussdb:instance:listScheduleEvents",
    policy="GaussDB ReadOnlyAccess",
)

TRACE_LIST = ApiList(name="audit log", rows="traces", action="cts:trace:list", policy="CTS ReadOnlyAccess")
