"""The services of the simulated cloud, the actions that their lists need, and their errors. Pure."""

from collections.abc import Mapping
from typing import Literal

from notifier.simulator.replies import CLOUD_EYE_STATUS, SimulatedError

CloudService = Literal["gaussdb", "cts", "ces", "iam", "smn"]
CLOUD_SERVICES: tuple[CloudService, ...] = ("gaussdb", "cts", "ces", "iam", "smn")

LIST_TASKS = "gaussdb:instance:list"
LIST_TRACES = "cts:trace:list"
LIST_EVENTS = "ces:events:list"
SHOW_EVENT = "ces:events:get"
LIST_ALARMS = "gaussdb:alarm:list"
"""The documents name no action for the alarm history; this name is invented."""
LIST_MAINTENANCE = "gaussdb:instance:listScheduleEvents"
LIST_PROJECTS = "iam:projects:listProjects"

RIGHTS: Mapping[str, str] = {
    LIST_TASKS: "the task list and the detail of a job",
    LIST_TRACES: "the traces and the names of operations",
    LIST_EVENTS: "the list of Cloud Eye events",
    SHOW_EVENT: "the detail of a Cloud Eye event",
    LIST_ALARMS: "the alarm history and its counts",
    LIST_MAINTENANCE: "the maintenance events",
    LIST_PROJECTS: "the projects of the account",
}
"""What each action lets a client read."""


def denied(service: CloudService, action: str) -> SimulatedError:
    """Return the 403 of a service for a missing right."""
    if service == "cts":
        problem = "The user fails the authentication or does not have permission to this operation."
        return SimulatedError(403, "CTS.0002", problem)
    if service == "ces":
        return SimulatedError(403, CLOUD_EYE_STATUS, f"Policy doesn't allow [{action}] to be performed")
    if service == "iam":
        return SimulatedError(403, "", "You are not authorized to perform the requested action.")
    return SimulatedError(403, "DBS.280015", "Resource not found or permission denied.")


def foreign_project(service: CloudService) -> SimulatedError:
    """Return the error of a service for a project that does not exist."""
    if service == "cts":
        return SimulatedError(403, "CTS.0012", "Invalid project ID. Check whether the project ID is correct.")
    if service == "ces":
        return SimulatedError(400, "ces.0003", "The tenant ID is left blank or incorrect.")
    if service == "smn":
        return SimulatedError(404, "SMN.0006", "The project does not exist.")
    return SimulatedError(400, "DBS.280408", "Invalid project ID.")


_FAILURES: Mapping[CloudService, tuple[str, str]] = {
    "gaussdb": ("DBS.200005", "Server failure. Try again later."),
    "cts": ("CTS.0005", "Data read exception."),
    "ces": ("ces.0007", "Internal service error."),
    "smn": ("SMN.0005", "Internal error."),
    "iam": ("", "An unexpected error prevented the server from fulfilling your request."),
}


def failure(service: CloudService, status: int) -> SimulatedError:
    """Return the error of a service that fails by itself."""
    code, text = _FAILURES[service]
    return SimulatedError(status, code, text)
