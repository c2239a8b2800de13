"""What the configuration says about the two intervals of a source, and about the budget that they need."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import yaml

from notifier.config.advice import warnings
from notifier.config.config import Config
from notifier.config.loading import InvalidConfiguration, loads

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)


def config(*sources: dict[str, Any]) -> Config:
    auth = {"kind": "aksk", "access_key": "AKAKAK", "secret_key": "obviously-fake-sk"}
    named = [
        {"name": f"s{number}", "kind": "gaussdb", "region": "cn-north-4", "project_id": f"p{number}", "auth": auth}
        | one
        for number, one in enumerate(sources)
    ]
    return loads(yaml.safe_dump({"sources": named}), {})


def advice(*sources: dict[str, Any]) -> list[str]:
    return [line for line in warnings(config(*sources), NOW) if "calls_per_minute" in line]


def test_the_interval_of_a_busy_source_is_off_unless_it_is_given() -> None:
    fixed, adaptive = config({}, {"poll_every": "5m", "poll_busy_every": "5s"}).expected.sources
    assert (fixed.poll_busy_every, adaptive.poll_busy_every) == (None, timedelta(seconds=5))


def test_the_interval_of_a_busy_source_is_not_the_longer_one() -> None:
    with pytest.raises(InvalidConfiguration) as error:
        config({"poll_every": "30s", "poll_busy_every": "1m"})
    assert "poll_busy_every: 1m is longer than poll_every, which is 30s: give it at most that." in str(error.value)


@pytest.mark.parametrize(
    ("sources", "said"),
    [
        ([{"poll_every": "5m", "poll_busy_every": "5s"}] * 3, None),
        ([{"poll_every": "3s", "poll_busy_every": "1s"}], "poll_busy_every of s0 has no effect: polls at poll_every"),
        ([{"poll_every": "5s", "poll_busy_every": "2s"}] * 3, "3 sources (s0, s1, s2) share a credential"),
    ],
)
def test_a_budget_without_room_for_busy_sources_is_reported(sources: list[dict[str, Any]], said: str | None) -> None:
    found = advice(*sources)
    assert any(line.startswith(said) for line in found) if said else not found
