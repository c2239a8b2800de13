"""The section `reports`: what loads, and what each mistake is told."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from notifier.config.loading import InvalidConfiguration, loads
from notifier.config.reach import types_reaching
from notifier.core.events import EventType

BASE = """\
timezone: Asia/Shanghai
sources:
  - {name: prod, kind: gaussdb, region: cn-north-4, project_id: p1, environment: production, auth: {kind: ecs_agency}}
channels:
  - {name: ops, kind: console}
  - {name: issues, kind: roundup, url: "https://tracker.example.com/", user: bot, password: x}
"""
REPORT = "reports: [{name: weekly, schedule: '0 9 * * mon', channels: [ops], %s}]\n"


def complaint(text: str) -> str:
    with pytest.raises(InvalidConfiguration) as caught:
        loads(BASE + text, {}, origin="n.yaml")
    return str(caught.value).splitlines()[-1]


def test_a_report_loads() -> None:
    config = loads(BASE + REPORT % "sources: [prod], match: ['instance=prod-*'], period: 7d, backup_within: 2d", {})
    found = config.reports[0].scheduled(config.timezone)
    assert found.cron.after(datetime(2026, 11, 29, tzinfo=UTC)) == datetime(2026, 11, 30, 1, tzinfo=UTC)
    assert (found.rules.period, found.rules.backup_after) == (timedelta(days=7), timedelta(days=2))
    assert (found.rules.channels, found.rules.scope.sources) == (("ops",), frozenset({"prod"}))
    assert config.reports[0].model_dump(mode="json")["match"] == ["instance=prod-*"]


def test_only_the_channels_of_a_report_get_it() -> None:
    config = loads(BASE + REPORT % "period: 1d", {})
    assert EventType.REPORT_DUE in types_reaching(config, "ops")
    assert EventType.REPORT_DUE not in types_reaching(config, "issues")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (REPORT.replace("0 9 * * mon", "9 * * mon") % "", "is not a schedule: it needs five fields"),
        (REPORT.replace("mon", "funday") % "", "its day of week 'funday' is not valid"),
        (REPORT.replace("ops", "opps") % "", "no channel is called 'opps'. Did you mean ops?"),
        (REPORT.replace("[ops]", "[ops, issues]") % "", "the channel issues keeps tickets, which take no such message"),
        (REPORT.replace("[ops]", "[ops, ops]") % "", "names a channel twice."),
        (REPORT % "sources: [prdo]", "no source is called 'prdo'. Did you mean prod?"),
        (REPORT % "match: ['environment=prodction']", "no source has the environment 'prodction'."),
        (REPORT % "match: ['type=task.failed']", "type narrows no report; fields that do are source, environment"),
        (REPORT % "period: 90d", "must be at most 35d"),
        (REPORT % "timezone: Mars/Base", "no time zone is called 'Mars/Base'"),
        (
            "rotas: [{name: a, people: [{name: Li}], hands_over: '09:00', first: 2026-11-30, announce: [issues]}]\n",
            "the channel issues keeps tickets",
        ),
    ],
)
def test_a_mistake_is_told_with_its_remedy(text: str, problem: str) -> None:
    assert problem in complaint(text)
