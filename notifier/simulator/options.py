"""The options of a simulator."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random
from typing import Literal, get_args

from notifier.core.errors import ConfigurationError

Stamps = Literal["virtual", "real"]
Offset = Literal["record", "page", "page0"]
Order = Literal["newest", "oldest", "shuffled", "unstable"]
TimeFilter = Literal["created", "ended", "overlap"]
ReasonLanguage = Literal["header", "en-us", "zh-cn"]
Ended = Literal["null", "empty", "absent"]
Process = Literal["plain", "percent", "number", "null", "empty", "absent"]
Metadata = Literal["v2", "v1", "no_agency"]

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

    region: str = "cn-north-4"
    project_id: str = "0611f1bd8b00d5d32f17c017f15b599f"
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
        for name in ("failing", "deleting", "regress", "strange"):
            share: float = getattr(self, name)
            _require(0 <= share <= 1, f"{name} is {share:g}; it is a share, from 0 to 1")
        for name, choices in _CHOICES.items():
            value: str = getattr(self, name)
            _require(value in choices, f"{name} is {value!r}; it must be one of {', '.join(choices)}")


_CHOICES: dict[str, tuple[str, ...]] = {
    "offset": get_args(Offset),
    "order": get_args(Order),
    "time_filter": get_args(TimeFilter),
    "language": get_args(ReasonLanguage),
    "running_ended": get_args(Ended),
    "running_process": get_args(Process),
    "metadata": get_args(Metadata),
}


def _require(holds: bool, problem: str) -> None:  # noqa: FBT001 - the condition is the point of the call
    if not holds:
        raise ConfigurationError(f"simulator: {problem}")
