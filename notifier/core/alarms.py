"""Alarms: what the cloud reports about instances by itself, and which of its reports end others. Pure.

An alarm is recorded as a task with the status raised or cleared. Two lists have them. A row of Cloud Eye's events never
changes: a fault is one row, and that the instance is well again is another one, with a name of its own. A row of
GaussDB's alarm history is one alarm that is raised and later cleared.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from notifier.core.severity import Severity


class AlarmLevel(StrEnum):
    """How bad the cloud considers an alarm. The values are stored, and matchers name them."""

    CRITICAL = "critical"
    MAJOR = "major"
    MINOR = "minor"
    INFO = "info"

    @property
    def severity(self) -> Severity:
        """How bad an alarm of this level is in an environment without a name."""
        return _SEVERITIES[self]


_SEVERITIES: Mapping[AlarmLevel, Severity] = MappingProxyType(
    {
        AlarmLevel.CRITICAL: Severity.CRITICAL,
        AlarmLevel.MAJOR: Severity.ERROR,
        AlarmLevel.MINOR: Severity.WARNING,
        AlarmLevel.INFO: Severity.INFO,
    }
)


class AlarmFeed(StrEnum):
    """The list that an alarm is from. The values are stored, and configurations name them."""

    CLOUD_EYE = "cloud_eye"
    """The events of Cloud Eye: faults of the engine and failed operations, as they happen."""
    ALARM_HISTORY = "alarm_history"
    """The history of the alarm rules of the project."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AlarmFacts:
    """What an alarm has that no task has."""

    feed: AlarmFeed
    level: AlarmLevel | None = None
    """None where the cloud gives none that we know."""
    node_id: str | None = None
    """The node of the instance that it is about; None for an alarm about the whole instance."""


FAULT_OF_RECOVERY: Mapping[str, str] = MappingProxyType(
    {
        "GaussDBV5InstanceRecovered": "GaussDBV5FaultyDBInstance",
        "GaussDBV5FaultyDBNodeRecovered": "GaussDBV5FaultyDBNode",
        "TaurusInstanceRunningStatusRecovered": "TaurusInstanceRunningStatusAbnormal",
        "TaurusNodeRunningStatusRecovered": "TaurusNodeRunningStatusAbnormal",
    }
)
"""The fault that each event of Cloud Eye reports as over. No other event of GaussDB is ever reported as over."""

KERNEL_ALARMS = frozenset(
    {
        "ProcessStatusAlarm",
        "ComponentStatusAlarm",
        "ClusterStatusAlarm",
        "HardwareResourceAlarm",
        "StateTransitionAlarm",
        "OtherAbnormalAlarm",
    }
)
"""Alarms of the engine whose names other services of the cloud may use too."""

_ENDING_FAULTS = frozenset(FAULT_OF_RECOVERY.values())


def has_end(name: str, facts: AlarmFacts) -> bool:
    """Return whether the cloud reports it when an alarm of this name is over.

    A switchover or a failed backup happens at one moment: nothing follows it.
    """
    return facts.feed is AlarmFeed.ALARM_HISTORY or name in _ENDING_FAULTS
