"""The settings that every kind of source has. Light: reading a configuration imports this, and no network library."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from notifier.core.credentials import Credential
from notifier.core.durations import format_duration
from notifier.core.polling import PollRules
from notifier.settings.base import Settings
from notifier.settings.explain import setting_error
from notifier.settings.types import CaFile, Duration, EnvironmentName, LabelName, LabelText, Name


class SourceSettings(Settings):
    """Settings that every kind has. A kind narrows `kind` and `auth`, and adds its own."""

    source_class: ClassVar[str] = ""
    """Where the source class of the kind is, as `package.module:Class`. It is imported when a source is opened."""
    lists_alarms: ClassVar[bool] = False
    """True for the kinds that list alarms instead of tasks."""

    kind: str
    name: Name
    region: str
    project_id: str
    auth: Settings
    environment: EnvironmentName = ""
    """What the source's instances are for, shown in every message: `production`, `staging` … Failed tasks are critical
    in `production`, `prod` or `生产`, warnings in any other environment, and errors without one. A warning mentions
    nobody."""
    labels: Mapping[LabelName, LabelText] = Field(
        default={}, max_length=20, json_schema_extra={"additionalProperties": False}
    )
    """Names and texts of your own, such as `team: payments`. Routes match them as `label.team=payments`."""
    ca_file: CaFile = None
    """PEM file of authorities to trust besides the usual ones: for the endpoint, IAM and the metadata service."""
    poll_every: Annotated[Duration, Field(ge=timedelta(milliseconds=100))] = timedelta(seconds=30)
    """Longest time from one poll to the next."""
    poll_busy_every: Annotated[Duration, Field(ge=timedelta(milliseconds=100))] | None = None
    """Time from one poll to the next while a task runs or something has changed in the last minutes, such as `5s`, as
    far as `calls_per_minute` allows. Then it grows step by step to `poll_every`. Null: always `poll_every`."""
    calls_per_minute: int = Field(default=20, ge=1)
    """API calls in the long run; 40 more after a rest. Sources with the same credential share one budget, the largest
    of theirs: the cloud counts calls by user."""

    @model_validator(mode="after")
    def _is_busy_more_often(self) -> Self:
        if self.poll_busy_every is not None and self.poll_busy_every > self.poll_every:
            busy, longest = format_duration(self.poll_busy_every), format_duration(self.poll_every)
            raise setting_error(
                "poll_busy_every",
                f"{busy} is longer than poll_every, which is {longest}: give it at most that. It is the interval while"
                " something happens.",
            )
        return self

    @property
    def sorted_labels(self) -> tuple[tuple[str, str], ...]:
        """The labels by name, as events carry them."""
        return tuple(sorted(self.labels.items()))

    @property
    def calls_per_poll(self) -> int:
        """API calls that a poll takes at least."""
        return 1

    @property
    def promised_per_minute(self) -> float:
        """API calls that polls take at least in a minute, by `poll_every`."""
        return self.calls_per_poll * (timedelta(minutes=1) / self.poll_every)

    @property
    def reads_maintenance(self) -> bool:
        """Whether the maintenance that the cloud plans is read and announced."""
        return False

    @property
    def credential(self) -> str:
        """The identity that makes the calls. Sources with an equal value share its limits. Not a secret."""
        return f"{self.kind} {self.name}"

    @property
    def finds_origins(self) -> bool:
        """Whether it is searched for who started the tasks."""
        return False

    def poll_rules(
        self, *, lease: timedelta, calls_per_minute: float, credential: Credential | None, configured: frozenset[str]
    ) -> PollRules:
        """Return how this source is polled.

        Args:
            lease: how long the right to poll holds.
            calls_per_minute: this source's share of the budget of its credential.
            credential: the credential that limits the calls; None where nothing does.
            configured: names of all configured sources.
        """
        return PollRules(
            poll_every=self.poll_every,
            poll_busy_every=self.poll_busy_every,
            lease=lease,
            calls_per_poll=self.calls_per_poll,
            calls_per_minute=calls_per_minute,
            credential=credential,
            finds_origins=self.finds_origins,
            configured=configured,
            environment=self.environment,
            labels=self.sorted_labels,
        )


class TaskListSettings(SourceSettings):
    """Settings of the kinds that list tasks."""

    first_poll: Literal["baseline", "notify"] = "baseline"
    """Whether tasks found by the first poll are recorded quietly or notified."""
    progress_step: int = Field(default=25, ge=0, le=100)
    """Percent between two progress events; 0 makes none."""
    stalled_after: Annotated[Duration, Field(ge=timedelta(minutes=1))] | None = timedelta(hours=1)
    """Time without progress after which a running task counts as stalled; null never."""

    def poll_rules(
        self, *, lease: timedelta, calls_per_minute: float, credential: Credential | None, configured: frozenset[str]
    ) -> PollRules:
        """Return how this source is polled; see `SourceSettings.poll_rules`."""
        rules = super().poll_rules(
            lease=lease, calls_per_minute=calls_per_minute, credential=credential, configured=configured
        )
        return replace(
            rules,
            quiet_baseline=self.first_poll == "baseline",
            progress_step=self.progress_step,
            stalled_after=self.stalled_after,
        )
