"""Routings of every sort: routes with and without windows, groups, limits, channels of several kinds."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from hypothesis import strategies as st

from generators.hours import windows
from notifier.core.escalations import Escalation, EscalationStep
from notifier.core.matchers import parse_matcher
from notifier.core.routing import Budget, ChannelPolicy, Otherwise, Route, RoutingConfig
from notifier.core.severity import Severity
from notifier.core.windows import parse_window

CHANNELS = ("chat", "mail", "robot", "desk")
"""`chat` edits its messages, `desk` keeps tickets."""

MATCHERS = (
    "status=failed",
    "status=completed",
    "status!=running",
    "type=task.failed",
    "environment=production",
    "environment!=production",
    "severity=critical",
    "instance=db-1*",
    "instance in [db-2, db-3]",
    "name=~.*Backup.*",
    "source=prod",
)


def _channels() -> st.SearchStrategy[tuple[str, ...]]:
    return st.lists(st.sampled_from(CHANNELS), min_size=1, max_size=3, unique=True).map(tuple)


@st.composite
def _routes(draw: st.DrawFn, number: int, zone: str) -> Route:
    window = draw(st.none() | windows(zone))
    wait = draw(st.sampled_from((None, None, timedelta(minutes=2), timedelta(hours=1))))
    otherwise: Otherwise | tuple[str, ...] = draw(st.sampled_from((*Otherwise, *Otherwise)) | _channels())
    return Route(
        name=f"route-{number}",
        match=tuple(map(parse_matcher, draw(st.lists(st.sampled_from(MATCHERS), max_size=2, unique=True)))),
        channels=draw(_channels()),
        stop=draw(st.booleans()),
        severity=draw(st.none() | st.sampled_from([*Severity])),
        mention=draw(st.sampled_from(((), ("@here",)))),
        active=None if window is None else parse_window(window),
        otherwise=otherwise if window is not None else Otherwise.HOLD,
        wait=wait,
        repeats=draw(st.sampled_from((None, None, timedelta(hours=1)))),
        remind=draw(st.sampled_from(((), (), (timedelta(minutes=30),), (timedelta(minutes=10), timedelta(hours=1))))),
        escalate=draw(st.sampled_from((None, None, "night"))),
        group_by=draw(st.sampled_from(((), ("source",), ("instance", "type")))) if wait else (),
    )


def _policy(name: str) -> st.SearchStrategy[ChannelPolicy]:
    budgets = st.sampled_from((None, Budget(messages=1, within=timedelta(hours=1), text="1/h"), _minutely(2)))
    if name == "desk":
        return st.just(ChannelPolicy(name=name, tickets=True, digest_above=None))
    return st.builds(
        ChannelPolicy,
        name=st.just(name),
        digest_above=st.sampled_from((None, 2, 20)),
        digest_size=st.sampled_from((2, 100)),
        storm_size=st.sampled_from((3, 100)),
        threads=st.just(name == "chat"),
        coalesces=st.just(name == "chat"),
        budget=budgets,
    )


def _minutely(messages: int) -> Budget:
    return Budget(messages=messages, within=timedelta(minutes=1), text=f"{messages}/m")


@st.composite
def routings(draw: st.DrawFn, zone: str) -> RoutingConfig:
    """A routing with up to four routes, whose windows are of one zone."""
    count = draw(st.integers(0, 4))
    routes: Sequence[Route] = [draw(_routes(number, zone)) for number in range(count)]
    return RoutingConfig(
        routes=tuple(routes),
        policies={name: draw(_policy(name)) for name in CHANNELS},
        escalations={"night": draw(_escalations(zone))},
        direct=ChannelPolicy(name="direct"),
    )


@st.composite
def _escalations(draw: st.DrawFn, zone: str) -> Escalation:
    afters = sorted(draw(st.sets(st.sampled_from((5, 15, 60, 240)), min_size=1, max_size=3)))
    channels = st.sampled_from(("mail", "robot"))
    window = draw(st.none() | windows(zone))
    return Escalation(
        name="night",
        steps=tuple(EscalationStep(after=timedelta(minutes=after), channels=(draw(channels),)) for after in afters),
        active=None if window is None else parse_window(window),
        repeat=draw(st.sampled_from((None, timedelta(hours=2)))),
    )
