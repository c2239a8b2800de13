"""The history that the pictures show has what they are about."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from notifier.core.delivery import DeliveryState
from notifier.core.failures import FailureState
from notifier.core.model import TaskStatus
from notifier.ports import DeliveryFilter, TaskFilter
from notifier.store.queries import Queries
from pages.history import Histories, Variant
from pages.story import NOW, WEEK_BEGINS


async def test_the_week_has_what_the_pictures_show(histories: Histories, tmp_path: Path) -> None:
    async with histories.copy(Variant.USUAL, tmp_path).open() as app:
        found = await app.store.read(_week)
    assert found == {
        "tasks": {TaskStatus.COMPLETED: 41, TaskStatus.FAILED: 15, TaskStatus.RUNNING: 4},
        "parked": {"tickets": 4},
        "dead": {"tickets": 2, "mail": 1},
        "open": ["BackupSnapshotGaussDBV5InInstance", "EnlargeGaussDBV5Volume", "ResizeGaussDBV5Flavor"],
        "acknowledged": ["Chen Jing"],
        "muted": ["Anna Keller"],
        "storm": 8,
    }


def _week(q: Queries) -> dict[str, object]:
    assert q.now() == NOW
    tasks = q.tasks(TaskFilter(limit=500))
    week = [one.task for one in tasks if one.task.created_at and one.task.created_at >= WEEK_BEGINS]
    open_failures = q.unresolved_failures()
    by_state = {
        state: Counter(one.channel for one in q.deliveries(DeliveryFilter(state=state)))
        for state in (DeliveryState.PARKED, DeliveryState.DEAD)
    }
    (storm,) = q.storms([one.storm.id for one in q.deliveries(DeliveryFilter(limit=1_000)) if one.storm]).values()
    return {
        "tasks": Counter(task.status for task in week),
        "parked": by_state[DeliveryState.PARKED],
        "dead": by_state[DeliveryState.DEAD],
        "open": sorted(
            one.latest.task.name for one in open_failures if one.latest.task and one.state is FailureState.OPEN
        ),
        "acknowledged": [one.acknowledged.name for one in open_failures if one.acknowledged],
        "muted": [mute.name for mute in q.mutes(NOW)],
        "storm": storm.total,
    }


@pytest.mark.parametrize("variant", [Variant.CALM, Variant.BLIND, Variant.EMPTY])
async def test_variants_are_as_they_say(variant: Variant, histories: Histories, tmp_path: Path) -> None:
    async with histories.copy(variant, tmp_path).open() as app:
        failures, states = await app.store.read(lambda q: (q.unresolved_failures(), q.source_states()))
    failing = [one.name for one in states if one.failures]
    assert (bool(failures), failing, len(states)) == {
        Variant.CALM: (False, [], 2),
        Variant.BLIND: (True, ["prod"], 2),
        Variant.EMPTY: (False, [], 0),
    }[variant]
