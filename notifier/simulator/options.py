"""The options of a simulator."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random
from typing import Literal, get_args

from notifier.core.errors import ConfigurationError
from notifier.simulator.rights import RIGHTS

Stamps = Literal["virtual", "real"]
Offset = Literal["record", "page", "page0"]
Order = Literal["newest", "oldest", "shuffled", "unstable"]
TimeFilter = Literal["created", "ended", "overlap"]
ReasonLanguage = Literal["header", "en-us", "zh-cn"]
Ended = Literal["null", "empty", "absent"]
Process = Literal["plain", "percent", "number", "null", "empty", "absent"]
Metadata = Literal["v2", "v1", "no_agency"]
Response = Literal["text", "object", "null"]
TraceJob = Literal["plain", "dashed", "upper", "absent"]
TraceUserForm = Literal["full", "short"]
NoTrace = Literal["empty", "404"]
Case = Literal["upper", "lower"]
RestartType = Literal["RESTAT_NODE", "RESTART_NODE"]
Midnight = Literal["24", "00"]
Missing = Literal["empty", "null", "absent"]
Presence = Literal["present", "absent"]
AlarmStart = Literal["begin", "update"]

MAX_ROWS = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """All options, also for what the documentation of the API leaves open. Raises ConfigurationError."""

    host: str = "127.0.0.1"
    port: int = 0
    """0 selects a free one."""
    seed: int = 1
    speed: float = 1.0
    """Virtual seconds per real second."""
    start: datetime | None = None
    """Virtual time at the start; None is the current time."""
    stamps: Stamps = "virtual"
    """Whether rows have virtual or real times. With real times their tasks appear shorter."""

    backlog: int = 60
    """Number of tasks of the past thirty days at the start of an evolving world."""
    static: int | None = None
    """Number of tasks that never change by themselves, instead of an evolving world."""
    every: timedelta = timedelta(minutes=2)
    """Virtual time between two new tasks, on average."""
    failing: float = 0.15
    """Share of tasks that fail."""
    deleting: float = 0.03
    """Share of ended tasks whose row a user deletes later."""
    regress: float = 0.0
    """Share of failed tasks that run again under the same id."""
    strange: float = 0.0
    """Share of tasks with an undocumented name or status."""

    offset: Offset = "record"
    """Unit of `offset`: rows to skip, page number from 1, page number from 0."""
    order: Order = "newest"
    time_filter: TimeFilter = "created"
    """Which time of a task `start_time` and `end_time` select by. Both ends are inclusive."""
    language: ReasonLanguage = "header"
    """Language of fail_reason: that of X-Language, or always the same."""
    running_ended: Ended = "null"
    """`ended_at` of a task that has not ended."""
    running_process: Process = "plain"
    """`process` of a running task: "60", "60%", 60, null, "" or no such field."""
    timestamps: bool = True
    """Whether rows have `created_at` and `ended_at`; deployments before 2024 do not."""

    trace_lag: timedelta = timedelta(seconds=45)
    """Time from an operation to its trace in the list, on average: half to one and a half times as long."""
    trace_response: Response = "text"
    """`request` and `response` of a trace: a string with JSON in it, an object, or null."""
    trace_job: TraceJob = "plain"
    """The job id in `response`: without dashes, with dashes, in capitals, or left out."""
    trace_user: TraceUserForm = "full"
    """`user` of a trace: with its principal, or only id, name and domain as in older rows."""
    trace_service: str = "GaussDB"
    """`service_type` of the traces. The documents do not print GaussDB's."""
    no_trace: NoTrace = "empty"
    """Answer to a query without traces: an empty list, or 404."""

    incident_every: timedelta | None = timedelta(hours=8)
    """Virtual time between two faults of instances, on average; None: there are none."""
    event_lag: timedelta = timedelta(seconds=30)
    """Time from a fault to its event and its alarm, on average: half to one and a half times as long."""
    failure_events: bool = True
    """Whether failed tasks become events: that needs two rights of the user who began the task."""
    other_events: bool = True
    """Whether Cloud Eye lists events of other services and of applications too."""
    alarm_start: AlarmStart = "begin"
    """Which time of an alarm `start_time` selects by."""

    maintenance_every: timedelta | None = timedelta(hours=36)
    """Virtual time between two announcements of maintenance, on average; None: there are none."""
    maintenance_case: Case = "upper"
    """Case of `status` and `level`: capitals as in the SDK, or lower case as on the page."""
    maintenance_type: RestartType = "RESTAT_NODE"
    """`type`: as the SDK writes it, or as the page does."""
    maintenance_instance: Presence = "present"
    """Whether a maintenance event has `instance_id`."""
    midnight: Midnight = "24"
    """A window that ends at midnight: `T24:00:00` of its day as in the sample, or `T00:00:00` of the next."""
    missing_time: Missing = "empty"
    """A time of a maintenance event that is not known."""

    smn_retry: timedelta = timedelta(seconds=2)
    """Real time after which SMN sends a message again to a subscriber that answered 5xx."""

    deny: tuple[str, ...] = ()
    """Actions that the credentials lack: see `notifier.simulator.rights.RIGHTS`."""

    region: str = "cn-north-4"
    project_id: str = "0611f1bd8b00d5d32f17c017f15b599f"
    projects: tuple[str, ...] = ()
    """Names of more projects of the account: a region, or a region, an underscore and a name of its own."""
    disabled_projects: tuple[str, ...] = ()
    """Those of `projects` that are disabled: they are listed and refuse calls."""
    access_key: str = "SIMULATORACCESSKEY"
    secret_key: str = field(default="simulated-secret-key", repr=False)
    security_token: str | None = field(default=None, repr=False)
    """Token that requests with the access key must carry, as for a temporary key."""
    domain: str = "simulated-account"
    username: str = "notifier"
    password: str = field(default="simulated-password", repr=False)
    token_life: timedelta = timedelta(hours=24)
    credential_life: timedelta = timedelta(hours=24)
    """Lifetime of the keys that the metadata service issues."""
    metadata: Metadata = "v2"
    """v2 requires a metadata token, v1 has none, no_agency has no keys."""

    faults: str = ""
    """Random faults: see `notifier.simulator.faults.parse_faults`."""
    calls_per_minute: int | None = None
    """Calls per minute above which calls are throttled; None: no limit."""
    retry_after: bool = True
    """Whether a throttled reply has the header Retry-After."""

    def random(self, purpose: str) -> Random:
        """Return a generator that gives the same numbers for the same seed and purpose, on any machine."""
        return Random(f"{self.seed}/{purpose}")  # noqa: S311 - a world that can be repeated is the point

    def __post_init__(self) -> None:
        _require(self.speed > 0, f"speed is {self.speed:g}; it must be more than 0, for example 60")
        _require(0 <= self.port <= 65535, f"port is {self.port}; it must be from 0 to 65535")  # noqa: PLR2004 - TCP's range
        _require(0 <= self.backlog <= MAX_ROWS, f"backlog is {self.backlog}; it must be from 0 to {MAX_ROWS}")
        _require(0 <= (self.static or 0) <= MAX_ROWS, f"static is {self.static}; it must be from 0 to {MAX_ROWS}")
        _require(self.every > timedelta(0), "the time between two new tasks must be more than 0")
        _require((self.calls_per_minute or 1) > 0, "calls_per_minute must be more than 0, or left out")
        for name in ("incident_every", "maintenance_every"):
            span: timedelta | None = getattr(self, name)
            _require(span is None or span > timedelta(0), f"{name} must be more than 0, or left out")
        for name in ("trace_lag", "event_lag", "smn_retry"):
            lag: timedelta = getattr(self, name)
            _require(lag >= timedelta(0), f"{name} must not be less than 0")
        unknown = sorted({*self.disabled_projects} - {*self.projects})
        _require(not unknown, f"there is no project {', '.join(unknown)} to disable: name it as a project too")
        for action in self.deny:
            _require(action in RIGHTS, f"there is no action {action!r} to deny; there are {', '.join(RIGHTS)}")
        for name in ("failing", "deleting", "regress", "strange"):
            share: float = getattr(self, name)
            _require(0 <= share <= 1, f"{name} is {share:g}; it is a share, from 0 to 1")
        for name, choices in _CHOICES.items():
            value: str = getattr(self, name)
            _require(value in choices, f"{name} is {value!r}; it must be one of {', '.join(choices)}")


FORMS: dict[str, tuple[str, ...]] = {
    "running_ended": get_args(Ended),
    "running_process": get_args(Process),
    "trace_response": get_args(Response),
    "trace_job": get_args(TraceJob),
    "trace_user": get_args(TraceUserForm),
    "no_trace": get_args(NoTrace),
    "alarm_start": get_args(AlarmStart),
    "maintenance_case": get_args(Case),
    "maintenance_type": get_args(RestartType),
    "maintenance_instance": get_args(Presence),
    "midnight": get_args(Midnight),
    "missing_time": get_args(Missing),
}
"""The options that select one of several forms in which the services may answer, and the forms."""
_CHOICES: dict[str, tuple[str, ...]] = {
    "offset": get_args(Offset),
    "order": get_args(Order),
    "time_filter": get_args(TimeFilter),
    "language": get_args(ReasonLanguage),
    "metadata": get_args(Metadata),
    **FORMS,
}


def _require(holds: bool, problem: str) -> None:  # noqa: FBT001 - the condition is the point of the call
    if not holds:
        raise ConfigurationError(f"simulator: {problem}")
