"""Checks of a configuration against the services that it names."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial

from notifier.channels.base import BaseChannel
from notifier.clock import SystemClock
from notifier.config.config import Config
from notifier.config.document import Path
from notifier.core.errors import NotifierError, StoreMissing
from notifier.core.expectations import SEEN_WITHIN
from notifier.core.health import REMOVED_SOURCES_NOTE, removed_sources
from notifier.http import HttpClient
from notifier.lookup import unfitting_rules
from notifier.ports import Channel, CheckResult, Clock, RenderRequest, TaskSource
from notifier.wiring.calendars import check_calendars
from notifier.wiring.channels import build_channels, http_client, open_channel
from notifier.wiring.discovery import build_project_readers
from notifier.wiring.maintenance import build_maintenance_lists
from notifier.wiring.sources import Runtimes, build_access, build_sources, build_trace_logs
from notifier.wiring.stores import open_existing_store, source_places
from notifier.wiring.telemetry import check_traces

MAX_CHECKED_PROJECTS = 5
"""Maximum number of sources of one account that a check asks: each takes several calls of the key's budget."""


async def check_online(config: Config, line_of: Callable[[Path], int] | None = None) -> Sequence[CheckResult]:
    """Check the store, every source, channel and calendar, without sending a message.

    `line_of` returns the line of a value in the configuration.
    """
    clock = SystemClock()
    async with AsyncExitStack() as stack:
        http = http_client(config)
        stack.push_async_callback(http.aclose)
        asked, runtimes = config.with_fewer_found(MAX_CHECKED_PROJECTS), Runtimes(config, http, clock)
        access = build_access(asked, runtimes)
        parts: list[TaskSource | Channel] = [
            *build_sources(asked, access).values(),
            *build_channels(config, http, clock).values(),
        ]
        for part in parts:
            stack.push_async_callback(part.aclose)
        results = await asyncio.gather(
            *(reader.check() for reader in build_project_readers(config, runtimes)),
            *map(_check_part, parts),
            *(one.check() for one in build_maintenance_lists(asked, access)),
            *(one.check() for one in build_trace_logs(asked, access).values()),
            check_calendars(config, http, clock),
            _check_chat(config, http),
            check_traces(config),
            _check_access(config, http, clock),
        )
    expectations = await check_expectations(config, line_of)
    return [
        await _check_store(config),
        *expectations,
        *_left_out(config),
        *(result for some in results for result in some),
    ]


def _left_out(config: Config) -> Sequence[CheckResult]:
    """Return a remark about each account of which not all sources are asked."""
    return [
        CheckResult(
            ok=True,
            proven=False,
            what=f"source {account}",
            detail=f"{len(names) - MAX_CHECKED_PROJECTS} more of its sources were not asked",
        )
        for account, names in config.found_sources.items()
        if len(names) > MAX_CHECKED_PROJECTS
    ]


async def _check_access(config: Config, http: HttpClient, clock: Clock) -> Sequence[CheckResult]:
    if config.web is None or config.web.oidc is None:
        return []
    from notifier.wiring.access import check_access  # noqa: PLC0415 - only a configured provider pays for the page

    return await check_access(config, http, clock)


async def check_rendering(
    config: Config, samples: Mapping[str, Mapping[str, RenderRequest]]
) -> Mapping[str, Mapping[str, str]]:
    """Return why templates fail on sample messages, by channel and type of message; `samples` are by the same.

    Channels without templates are left out. No service is contacted.
    """
    problems: dict[str, Mapping[str, str]] = {}
    for settings in config.channels:
        if settings.name not in samples or not settings.has_template:
            continue
        async with open_channel(config, settings.name) as channel:
            assert isinstance(channel, BaseChannel)  # noqa: S101 - every kind is one
            problems[channel.name] = {
                kind: problem
                for kind, request in samples[channel.name].items()
                if (problem := channel.render_problem(request))
            }
    return problems


async def _check_part(part: TaskSource | Channel) -> Sequence[CheckResult]:
    results = await part.check()
    kind = getattr(part, "kind", None)
    return [replace(one, what=f"channel {part.name} ({kind})") for one in results] if kind else results


async def _check_chat(config: Config, http: HttpClient) -> Sequence[CheckResult]:
    if config.chat.slack is None:
        return ()
    from notifier.wiring import chat  # noqa: PLC0415 - only a configured chat pays for the web server

    return await chat.check(config, config.chat.slack, http)


async def check_expectations(config: Config, line_of: Callable[[Path], int] | None = None) -> Sequence[CheckResult]:
    """Return a remark about each rule of `expect` that fits no recorded instance. Without a store there is none."""
    if not config.expect:
        return ()
    read = partial(unfitting_rules, sources=config.expected.sources, rules=config.expect)
    try:
        async with open_existing_store(config) as store:
            found = await store.read(read)
    except NotifierError:  # the check of the store says so
        return ()
    days = SEEN_WITHIN.days
    return [
        CheckResult(
            ok=True,
            proven=False,
            what=f"expect[{one.number}]" + (f", line {line_of(('expect', one.number))}" if line_of else ""),
            detail=f"{config.expect[one.number].text} fits no instance of a task of the last {days} days",
            remedy=f"Did you mean {', '.join(one.similar_names)}?" if one.similar_names else _LIST_INSTANCES,
        )
        for one in found
    ]


_LIST_INSTANCES = "See the instances of recorded tasks: notifier tasks"


async def _check_store(config: Config) -> CheckResult:
    try:
        async with open_existing_store(config) as store:
            polled, place = await store.read(lambda q: q.source_states()), store.place
    except StoreMissing as error:
        return CheckResult(ok=True, what="store", detail=str(error))
    except NotifierError as error:
        return CheckResult(ok=False, what="store", detail=str(error))
    removed = removed_sources(polled, source_places(config))
    detail = f"{place}: sources recorded: {len(polled)}"
    if not removed:
        return CheckResult(ok=True, what="store", detail=detail)
    names = ", ".join(state.name for state in removed)
    return CheckResult(
        ok=True,
        proven=False,
        what="store",
        detail=f"{detail}; recorded under names that are not configured: {names}",
        remedy=REMOVED_SOURCES_NOTE,
    )
