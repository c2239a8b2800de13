"""The parts of a configuration that look-ups and `health` need, read without the settings classes.

Building those, and pydantic under them, takes longer than a query. What is written plainly is read here. Anything else,
also a wrong value, is left to the whole configuration, which reports it as always. A fault in a part that a command
does not need is left to `notifier check`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import date, timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from notifier.config.database_place import DatabasePlace
from notifier.config.document import YamlDocument, parse
from notifier.config.files import environment, read_text
from notifier.config.source_defaults import OWN_SETTINGS, SECTION, filled
from notifier.core.causes import CauseCatalogue
from notifier.core.durations import parse_duration
from notifier.core.health_facts import FAILING_AFTER, ConfiguredSource, Expected
from notifier.core.maintenance_mutes import MaintenanceMute
from notifier.core.matchers import check_field, parse_matcher
from notifier.core.routing import Otherwise, Route
from notifier.core.severity import Severity
from notifier.core.wall_time import is_zone
from notifier.core.windows import parse_window
from notifier.settings.words import LABEL_PATTERN, NAME_PATTERN, PROJECT_ID_PATTERN, REGION_PATTERN, TOPIC_URN_PATTERN
from notifier.wording.causes import builtin_catalogue

if TYPE_CHECKING:  # what this module does without
    from notifier.config.config import Config

T = TypeVar("T")

# fmt: off
SECTIONS = frozenset((
    "language", "timezone", "store", "sources", "channels", "routes", "delivery", "alerts", "retention", "chat", "web",
    "source_defaults", "calendars", "rotas", "quiet", "reports", "escalations", "mutes", "foresight", "expect",
    "maintenance", "doorbell",
    "console_url", "runbook_url", "causes", "network", "log", "telemetry", "heartbeat_url", "heartbeat_fail_url",
))
# fmt: on
"""The keys of a configuration; a test holds them to `Config`."""

# fmt: off
_ROUTE = frozenset((
    "name", "match", "channels", "stop", "severity", "mention", "template", "active", "otherwise", "holidays",
    "wait", "group_by", "repeats", "remind", "escalate",
))
# fmt: on
_MINUTE, _DAY, _MONTH = timedelta(minutes=1), timedelta(days=1), timedelta(days=30)
_POLL_EVERY, _CALLS_PER_MINUTE = timedelta(seconds=30), "20"
"""Defaults of a source, which a test holds to its settings."""
_SHORTEST_INTERVAL = timedelta(milliseconds=100)


class _NotPlainError(Exception):
    """A value takes the settings classes to be understood, or is wrong."""


class Outline:
    """The parts of a configuration that are read one by one. Each may raise ConfigurationError."""

    def __init__(self, document: YamlDocument, directory: Path, whole: Callable[[], Config]) -> None:
        """`whole` reads the same configuration by its settings classes."""
        self._data = document.data if isinstance(document.data, dict) else {}
        self._unset = document.unset
        self._directory = directory
        self._read_whole = whole
        if document.misread or not self._data or not self._data.keys() <= SECTIONS:
            _ = self._whole

    @cached_property
    def _whole(self) -> Config:
        return self._read_whole()

    def _part(self, plainly: Callable[[], T], whole: Callable[[Config], T]) -> T:
        try:
            return plainly()
        except _NotPlainError:
            return whole(self._whole)

    @cached_property
    def language(self) -> Literal["en", "zh"]:
        """Language of what people read."""
        return self._part(self._language, lambda config: config.language)

    @cached_property
    def timezone(self) -> str:
        """Time zone of displayed times."""
        return self._part(self._timezone, lambda config: config.timezone)

    @cached_property
    def database(self) -> DatabasePlace:
        """The database."""
        return self._part(self._database, lambda config: config.store.place)

    @cached_property
    def source_names(self) -> tuple[str, ...]:
        """Names of the sources."""
        return self._part(lambda: self._names("sources"), lambda config: config.source_names)

    @cached_property
    def channel_names(self) -> tuple[str, ...]:
        """Names of the channels."""
        return self._part(lambda: self._names("channels"), lambda config: config.channel_names)

    @cached_property
    def routes(self) -> tuple[Route, ...]:
        """Which events go to which channels."""
        return self._part(lambda: tuple(map(self._route, self._entries("routes"))), lambda config: config.routes)

    @cached_property
    def expected(self) -> Expected:
        """The configured parts that health is judged against."""
        return self._part(self._expected, lambda config: config.expected)

    @cached_property
    def cause_catalogue(self) -> CauseCatalogue:
        """The causes that explain the reasons of failed tasks."""
        return self._whole.cause_catalogue if self._data.get("causes") else builtin_catalogue()

    @cached_property
    def maintenance_mutes(self) -> tuple[MaintenanceMute, ...]:
        """The mutes that are in force while a maintenance of an instance is open."""
        entries = self._data.get("mutes")
        named = isinstance(entries, list) and any(isinstance(one, dict) and "during" in one for one in entries)
        return self._whole.maintenance_mutes if named else ()

    # ---- what is plain ----

    def _language(self) -> Literal["en", "zh"]:
        return "zh" if _one_of(self._data.get("language", "en"), ("en", "zh")) == "zh" else "en"

    def _timezone(self) -> str:
        name = _text(self._data.get("timezone", "UTC"))
        if not is_zone(name):
            raise _NotPlainError
        return name

    def _database(self) -> DatabasePlace:
        store = self._data.get("store", {})
        if not isinstance(store, dict) or not store.keys() <= {"url", "migrate"} or self._is_unset("store"):
            raise _NotPlainError
        _one_of(store.get("migrate", "false"), ("true", "false"))
        url = store.get("url")
        try:
            return DatabasePlace.of(DatabasePlace.DEFAULT if url is None else _text(url), self._directory)
        except ValueError:
            raise _NotPlainError from None

    def _is_unset(self, *sections: str) -> bool:
        return any(path[0] in sections for path in self._unset)

    def _entries(self, section: str) -> Iterator[Mapping[str, Any]]:
        entries = self._data.get(section, [])
        if not isinstance(entries, list):
            raise _NotPlainError
        for entry in entries:
            if not isinstance(entry, dict):
                raise _NotPlainError
            yield entry

    def _names(self, section: str) -> tuple[str, ...]:
        entries = list(self._entries(section))
        names = [_text(entry.get("name"), NAME_PATTERN, 64) for entry in entries]
        if section == "sources" and any(entry.get("kind") == "gaussdb_account" for entry in entries):
            raise _NotPlainError  # its sources are known to the database
        if len({*names}) < len(names) or any(path[0] == section and path[-1] == "name" for path in self._unset):
            raise _NotPlainError
        return tuple(names)

    def _route(self, entry: Mapping[str, Any]) -> Route:
        if not entry.keys() <= _ROUTE or self._is_unset("routes"):
            raise _NotPlainError
        try:
            match = tuple(parse_matcher(_text(text)) for text in _texts(entry.get("match", [])))
            severity, template, escalate = entry.get("severity"), entry.get("template"), entry.get("escalate")
            remind = entry.get("remind")
            waits = [remind] if isinstance(remind, str) else _texts([] if remind is None else remind)
            groups = [_text(name) for name in _texts(entry.get("group_by", []))]
            if (remind is not None and not waits) or ("group_by" in entry and entry.get("wait") is None):
                raise _NotPlainError
            for name in groups:
                check_field(name)
            return Route(
                name=_text(entry.get("name"), NAME_PATTERN, 64),
                match=match,
                channels=tuple(_one_of(name, self.channel_names) for name in _texts(entry["channels"])),
                stop=_one_of(entry.get("stop", "false"), ("true", "false")) == "true",
                severity=None if severity is None else Severity(severity),
                mention=tuple(map(_text, _texts(entry.get("mention", [])))),
                template=None if template is None else _text(template, NAME_PATTERN, 64),
                wait=_limited(entry.get("wait"), timedelta(seconds=1), _DAY),
                group_by=tuple(groups),
                repeats=_limited(entry.get("repeats"), _MINUTE, _MONTH),
                remind=tuple(filter(None, (_limited(wait, _MINUTE, _MONTH) for wait in waits))),
                escalate=None if escalate is None else _one_of(escalate, self._names("escalations")),
                **self._window(entry),
            )
        except (KeyError, ValueError):
            raise _NotPlainError from None

    def _window(self, entry: Mapping[str, Any]) -> Mapping[str, Any]:
        active, otherwise = entry.get("active"), entry.get("otherwise")
        if active is None and otherwise is None and entry.get("holidays") is None:
            return {}
        if not otherwise:
            raise _NotPlainError
        texts = [active] if isinstance(active, str) else _texts(active)
        days = [date.fromisoformat(_text(day)) for day in _texts(entry.get("holidays", []))]
        if isinstance(otherwise, str):
            otherwise = Otherwise(otherwise)
        else:
            otherwise = tuple(dict.fromkeys(_one_of(name, self.channel_names) for name in _texts(otherwise)))
        return {"active": parse_window(list(map(_text, texts)), self.timezone, days), "otherwise": otherwise}

    def _expected(self) -> Expected:
        if self._unset:  # a token that is not set may be one of those that count here
            raise _NotPlainError
        defaults = self._data.get(SECTION, {})
        if not isinstance(defaults, dict) or not OWN_SETTINGS.isdisjoint(defaults):
            raise _NotPlainError
        entries = [filled(entry, defaults, defaults) for entry in self._entries("sources")]
        budgets: dict[tuple[str, ...], list[int]] = {}
        for entry in entries:
            budgets.setdefault(_identity(entry), []).append(_calls_per_minute(entry))
        sources = (_source(entry, budgets[_identity(entry)]) for entry in entries)
        chat, alerts = _mapping(self._data.get("chat")), _mapping(self._data.get("alerts"))
        doorbell = self._data.get("doorbell")
        smn = _mapping(_mapping(doorbell).get("smn"))
        return Expected(
            sources=tuple(sources),
            channels=self.channel_names,
            direct=self._has_slack_token(chat) or self._has_mattermost_bot(chat),
            chat=bool(chat.get("slack") or chat.get("mattermost")),
            doorbell=doorbell is not None,
            topics=tuple(_text(urn, TOPIC_URN_PATTERN) for urn in _texts(smn.get("topics", []))),
            failing_after=_duration(alerts.get("failing_after"), FAILING_AFTER, timedelta(seconds=10)),
        )

    def _has_mattermost_bot(self, chat: Mapping[str, Any]) -> bool:
        if not chat.get("mattermost"):
            return False
        places = [entry for entry in self._entries("channels") if entry.get("kind") == "mattermost"]
        if any("bot_token_file" in place for place in places):
            raise _NotPlainError
        return any(place.get("bot_token") is not None and _text(place["bot_token"]) for place in places)

    def _has_slack_token(self, chat: Mapping[str, Any]) -> bool:
        if not chat.get("slack"):
            return False
        channels = (entry for entry in self._entries("channels") if entry.get("kind") == "slack")
        places = [_mapping(chat["slack"]), *channels]
        if any("bot_token_file" in place for place in places):
            raise _NotPlainError
        return any(place.get("bot_token") is not None and _text(place["bot_token"]) for place in places)


def read_outline(path: Path, whole: Callable[[Path], Config], environ: Mapping[str, str] | None = None) -> Outline:
    """Read a file. Raises ConfigurationError where it cannot be read, or its language, time zone or store is wrong.

    `whole` reads the whole configuration in this file.
    """
    document = parse(read_text(path), environment() if environ is None else environ)
    outline = Outline(document, path.parent, lambda: whole(path))
    _ = outline.language, outline.timezone, outline.database
    return outline


def _text(value: object, pattern: str = "", limit: int = 1000) -> str:
    """Return a text that no validator would change or refuse."""
    plain = isinstance(value, str) and value.isprintable() and value == value.strip() and 0 < len(value) <= limit
    if not isinstance(value, str) or not plain or not re.search(pattern, value):
        raise _NotPlainError
    return value


def _one_of(value: object, choices: Collection[str]) -> str:
    if not isinstance(value, str) or value not in choices:
        raise _NotPlainError
    return value


def _texts(value: object) -> Sequence[object]:
    if not isinstance(value, list):
        raise _NotPlainError
    return value


def _mapping(value: object) -> Mapping[str, Any]:
    """Return a mapping; an empty one where there is none."""
    if value is not None and not isinstance(value, dict):
        raise _NotPlainError
    return value or {}


def _duration(value: object, default: timedelta, shortest: timedelta) -> timedelta:
    return _limited(value, shortest, _DAY) or default


def _limited(value: object, shortest: timedelta, longest: timedelta) -> timedelta | None:
    """Return a duration between two others; None where there is no value."""
    if value is None:
        return None
    try:
        found = parse_duration(_text(value))
    except ValueError:
        raise _NotPlainError from None
    if not shortest <= found <= longest:
        raise _NotPlainError
    return found


def _identity(source: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what sources with the same credential have in common; see `GaussDBSettings.credential`."""
    auth = _mapping(source.get("auth"))
    match auth.get("kind"):
        case "aksk":
            keys: tuple[str, ...] = ("kind", "access_key")
        case "token":
            keys = ("kind", "domain", "username")
        case _:  # its default depends on the kind
            raise _NotPlainError
    return tuple(_text(auth.get(key)) for key in keys)


def _calls_per_minute(source: Mapping[str, Any]) -> int:
    text = _text(source.get("calls_per_minute", _CALLS_PER_MINUTE), "^[1-9][0-9]{0,8}$")
    return int(text)


def _source(entry: Mapping[str, Any], budget: Sequence[int]) -> ConfiguredSource:
    if entry.get("kind") != "gaussdb":
        raise _NotPlainError
    environment, labels = entry.get("environment"), _mapping(entry.get("labels"))
    poll_every = _duration(entry.get("poll_every"), _POLL_EVERY, _SHORTEST_INTERVAL)
    return ConfiguredSource(
        name=_text(entry.get("name"), NAME_PATTERN, 64),
        region=_text(entry.get("region"), REGION_PATTERN, 64),
        project_id=_text(entry.get("project_id"), PROJECT_ID_PATTERN),
        poll_every=poll_every,
        poll_busy_every=_limited(entry.get("poll_busy_every"), _SHORTEST_INTERVAL, poll_every),
        calls_per_minute=max(budget) / len(budget),
        environment="" if environment is None else _text(environment, limit=40),
        labels=tuple(sorted((_text(name, LABEL_PATTERN), _text(text, limit=100)) for name, text in labels.items())),
    )
