"""Whatever the configuration, the hour and the crash: every event has exactly one account on each channel."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from generators.happenings import Happening, happenings
from generators.hours import changes, starts_before
from generators.routings import routings
from hypothesis import given, note, settings
from hypothesis import strategies as st
from sqlalchemy import text
from stage import Stage

from notifier.core.delivery import DeliveryState
from notifier.core.events import EventType
from notifier.core.failures import HistoryKind
from notifier.core.holds import kind_of
from notifier.core.routing import RoutingConfig

KINDS = {"mute", "route", "repeat"}
"""Kinds of the rules that suppress. Groups and budgets only hold."""
FINAL = {DeliveryState.DELIVERED, DeliveryState.DEAD, DeliveryState.SUPPRESSED, DeliveryState.SUPERSEDED}


@st.composite
def histories(draw: st.DrawFn) -> tuple[datetime, tuple[RoutingConfig, RoutingConfig], list[Happening]]:
    """When it begins, two configurations, and what happens."""
    change = draw(changes())
    both = draw(routings(change.zone)), draw(routings(change.zone))
    return draw(starts_before(change)), both, draw(happenings())


@contextmanager
def played(start: datetime, both: tuple[RoutingConfig, RoutingConfig], story: list[Happening]) -> Iterator[Stage]:
    stage = Stage(start, *both)
    try:
        for happening in story:
            stage.happen(happening)
        stage.settle_down()
        yield stage
    finally:
        stage.close()


def check_reasons(stage: Stage) -> None:
    """What is kept back has a rule of a known kind and a reason, unless a ticket has no use for it."""
    for one in stage.history():
        if one.state is DeliveryState.SUPPRESSED:
            assert one.reason
            assert one.rule is None or kind_of(one.rule) in KINDS
            assert one.rule is not None or one.channel == "desk"
        if one.events[0].type is EventType.TASK_FAILED and one.state is DeliveryState.SUPPRESSED and one.rule:
            assert kind_of(one.rule) in KINDS, "nothing else may suppress a failure"


def check_reminders(stage: Stage) -> None:
    """No reminder or step of an escalation was sent twice, and none is overdue once the service has run."""
    stage.tick()
    assert not stage.run(lambda tx: tx.queries.any_due_failure())
    for one in stage.failures():
        entries = [entry for entry in one.history if entry.kind in (HistoryKind.REMINDED, HistoryKind.ESCALATED)]
        sent = Counter((entry.kind, entry.name, entry.number) for entry in entries)
        assert [entry for entry, count in sent.items() if count > 1] == []
        times = [entry.at for entry in entries]
        assert times == sorted(times)


@settings(max_examples=settings().max_examples // 4)
@given(histories())
def test_every_event_has_one_account_on_each_channel(
    history: tuple[datetime, tuple[RoutingConfig, RoutingConfig], list[Happening]],
) -> None:
    with played(*history) as stage:
        ledger = stage.run(lambda tx: tx.queries.ledger())
        assert ledger.unaccounted == ()
        assert {state for state, count in ledger.by_state.items() if count} <= FINAL
        accounts = Counter((event.id, one.channel) for one in stage.history() for event in one.events)
        note(f"{len(accounts)} accounts")
        assert [pair for pair, count in accounts.items() if count != 1] == []
        assert ledger.pairs == len(accounts)
        check_reasons(stage)
        check_reminders(stage)
        empty = text("SELECT count(*) FROM deliveries WHERE id NOT IN (SELECT delivery_id FROM delivery_events)")
        assert stage.run(lambda tx: tx.queries._session.connection.execute(empty).scalar()) == 0
