"""The parts of a configuration that look-ups read are those of the whole configuration."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from notifier.config import outline
from notifier.config.config import Config
from notifier.config.loading import InvalidConfiguration, load
from notifier.config.outline import SECTIONS, read_outline
from notifier.core.errors import ConfigurationError
from notifier.sources.gaussdb_settings import GaussDBSettings

PARTS = ("language", "timezone", "source_names", "channel_names", "routes", "expected")

AUTH = {"kind": "aksk", "access_key": "AKAKAK", "secret_key": "sksksk"}
SOURCE: dict[str, Any] = {
    "name": "prod",
    "kind": "gaussdb",
    "region": "cn-north-4",
    "project_id": "0611f1bd8b00d5d32f17c017f15b599f",
    "auth": AUTH,
}
SLACK = {"name": "dba", "kind": "slack", "bot_token": "xoxb-1", "channel": "C0GAUSS"}
HOOK = {"name": "hook", "kind": "webhook", "url": "https://example.com/hook"}
ROUTE: dict[str, Any] = {"name": "all", "match": ["type=task.failed"], "channels": ["hook"]}
BASE: dict[str, Any] = {"sources": [SOURCE], "channels": [HOOK], "routes": [ROUTE]}


class Wanted(Exception):
    """The whole configuration was asked for."""


def written(folder: Path, document: Mapping[str, Any]) -> Path:
    path = folder / "notifier.yaml"
    path.write_text(yaml.safe_dump(dict(document), allow_unicode=True), encoding="utf-8")
    return path


def never(_path: Path) -> Config:
    raise Wanted


PLAIN: dict[str, Mapping[str, Any]] = {
    "base": BASE,
    "language": BASE | {"language": "zh", "timezone": "Asia/Shanghai"},
    "store": BASE | {"store": {"url": "postgresql://user:password@host/database", "migrate": "true"}},
    "poll": BASE | {"sources": [SOURCE | {"poll_every": "1m30s", "calls_per_minute": 60, "environment": "生产"}]},
    "busy": BASE | {"sources": [SOURCE | {"poll_every": "5m", "poll_busy_every": "5s"}]},
    "labels": BASE | {"sources": [SOURCE | {"labels": {"team": "payments", "city": "上海"}}]},
    "shared": BASE
    | {"sources": [SOURCE, SOURCE | {"name": "two", "calls_per_minute": 30}, SOURCE | {"name": "three"}]},
    "two credentials": BASE | {"sources": [SOURCE, SOURCE | {"name": "two", "auth": {**AUTH, "access_key": "OTHER"}}]},
    "password": BASE
    | {"sources": [SOURCE | {"auth": {"kind": "token", "domain": "d", "username": "u", "password": "p"}}]},
    "alerts": BASE | {"alerts": {"failing_after": "2m", "channels": ["hook"]}},
    "slack": BASE | {"channels": [HOOK, SLACK], "chat": {"slack": {"app_token": "xapp-1"}}},
    "slack without token": BASE | {"chat": {"slack": {"app_token": "xapp-1"}}},
    "slack's own token": BASE | {"chat": {"slack": {"app_token": "xapp-1", "bot_token": "xoxb-2"}}},
    "mattermost": BASE | {"chat": {"mattermost": {"token": "t"}}, "web": {"listen": "127.0.0.1:8080"}},
    "doorbell": BASE
    | {
        "doorbell": {"token": "obviously-fake-token-of-a-pipeline", "smn": {"topics": ["urn:smn:cn-north-4:p:t"]}},
        "web": {"listen": "127.0.0.1:8080"},
    },
    "routes": BASE
    | {
        "channels": [HOOK, SLACK],
        "routes": [
            ROUTE | {"stop": "true", "severity": "error"},
            {
                "name": "rest",
                "match": ["instance=~prod-.*", "label.team!=x"],
                "channels": ["dba"],
                "mention": ["U0123"],
            },
        ],
        "sources": [SOURCE | {"labels": {"team": "a"}}],
    },
    "windows": BASE
    | {
        "timezone": "Asia/Shanghai",
        "channels": [HOOK, SLACK],
        "routes": [
            ROUTE | {"active": "weekdays 09:00-18:00", "otherwise": "hold", "holidays": ["2027-01-01"]},
            {
                "name": "b",
                "channels": ["dba"],
                "active": ["mon 10:00-11:00 UTC", "sat"],
                "otherwise": ["hook"],
                "match": ["instance in [a, b]", "duration>30m"],
            },
        ],
    },
    "quiet and on call": BASE
    | {
        "routes": [
            ROUTE | {"wait": "5m", "group_by": ["instance", "label.team"], "repeats": "6h", "remind": "30m"},
            ROUTE | {"name": "b", "wait": "1h", "group_by": [], "remind": ["30m", "1d"], "escalate": "night"},
        ],
        "escalations": [{"name": "night", "steps": [{"after": "30m", "channels": ["hook"]}]}],
        "sources": [SOURCE | {"labels": {"team": "a"}}],
    },
    "no routes": {"sources": [SOURCE]},
}


@pytest.mark.parametrize("document", PLAIN.values(), ids=PLAIN.keys())
def test_plain_parts_are_read_without_the_settings(tmp_path: Path, document: Mapping[str, Any]) -> None:
    path = written(tmp_path, document)
    config, found = load(path, {}), read_outline(path, never, {})
    assert {name: getattr(found, name) for name in PARTS} == {name: getattr(config, name) for name in PARTS}
    assert found.database == config.store.place
    assert found.cause_catalogue.causes == config.cause_catalogue.causes


DOUBTFUL: dict[str, Mapping[str, Any]] = {
    "agency": BASE | {"sources": [SOURCE | {"auth": {"kind": "ecs_agency"}}]},
    "twin": BASE | {"chat": {"slack": {"app_token": "xapp-1", "bot_token_file": "token"}}},
}


@pytest.mark.parametrize("document", DOUBTFUL.values(), ids=DOUBTFUL.keys())
def test_what_is_not_plain_is_read_whole(tmp_path: Path, document: Mapping[str, Any]) -> None:
    path = written(tmp_path, document)
    (tmp_path / "token").write_text("xoxb-1")
    (tmp_path / "token").chmod(0o600)
    assert read_outline(path, lambda path: load(path, {}), {}).expected == load(path, {}).expected
    with pytest.raises(Wanted):
        _ = read_outline(path, never, {}).expected


WRONG: dict[str, tuple[str, Mapping[str, Any]]] = {
    "unknown key": ("language", BASE | {"stroe": {"url": "sqlite:///x.db"}}),
    "language": ("language", BASE | {"language": "fr"}),
    "time zone": ("timezone", BASE | {"timezone": "Mars/Base"}),
    "url": ("database", BASE | {"store": {"url": "mysql://host/db"}}),
    "key of the store": ("database", BASE | {"store": {"ulr": "sqlite:///x.db"}}),
    "no store": ("database", BASE | {"store": "sqlite:///x.db"}),
    "name": ("source_names", BASE | {"sources": [SOURCE | {"name": "Prod 1"}]}),
    "same name": ("source_names", BASE | {"sources": [SOURCE, SOURCE]}),
    "no source": ("source_names", BASE | {"sources": ["prod"]}),
    "route": ("routes", BASE | {"routes": [ROUTE | {"channels": ["nobody"]}]}),
    "matcher": ("routes", BASE | {"routes": [ROUTE | {"match": ["type~x"]}]}),
    "severity": ("routes", BASE | {"routes": [ROUTE | {"severity": "awful"}]}),
    "wait": ("routes", BASE | {"routes": [ROUTE | {"wait": "2d"}]}),
    "group": ("routes", BASE | {"routes": [ROUTE | {"wait": "5m", "group_by": ["instence"]}]}),
    "groups alone": ("routes", BASE | {"routes": [ROUTE | {"group_by": []}]}),
    "no reminder": ("routes", BASE | {"routes": [ROUTE | {"remind": []}]}),
    "escalation": ("routes", BASE | {"routes": [ROUTE | {"escalate": "nobody"}]}),
    "repeats": ("routes", BASE | {"routes": [ROUTE | {"repeats": "1s"}]}),
    "reminder": ("routes", BASE | {"routes": [ROUTE | {"remind": ["30"]}]}),
    "window": ("routes", BASE | {"routes": [ROUTE | {"active": "sometimes", "otherwise": "hold"}]}),
    "window alone": ("routes", BASE | {"routes": [ROUTE | {"active": "daily"}]}),
    "otherwise alone": ("routes", BASE | {"routes": [ROUTE | {"otherwise": "hold"}]}),
    "otherwise": ("routes", BASE | {"routes": [ROUTE | {"active": "daily", "otherwise": ["nobody"]}]}),
    "poll": ("expected", BASE | {"sources": [SOURCE | {"poll_every": "1ms"}]}),
    "busy": ("expected", BASE | {"sources": [SOURCE | {"poll_every": "5s", "poll_busy_every": "10s"}]}),
    "calls": ("expected", BASE | {"sources": [SOURCE | {"calls_per_minute": 0}]}),
    "region": ("expected", BASE | {"sources": [SOURCE | {"region": "CN north"}]}),
    "alerts": ("expected", BASE | {"alerts": {"failing_after": "1s"}}),
}


@pytest.mark.parametrize(("part", "document"), WRONG.values(), ids=WRONG.keys())
def test_a_wrong_part_is_reported_as_always(tmp_path: Path, part: str, document: Mapping[str, Any]) -> None:
    path = written(tmp_path, document)

    def read() -> object:
        return getattr(read_outline(path, lambda path: load(path, {}), {}), part)

    with pytest.raises(InvalidConfiguration) as ours:
        read()
    with pytest.raises(InvalidConfiguration) as whole:
        load(path, {})
    assert str(ours.value) == str(whole.value)


def test_a_fault_elsewhere_is_left_to_check(tmp_path: Path) -> None:
    path = written(tmp_path, BASE | {"channels": [HOOK | {"prot": 1}]})
    assert read_outline(path, never, {}).channel_names == ("hook",)
    with pytest.raises(InvalidConfiguration):
        load(path, {})


def test_a_lookup_needs_no_secret_of_the_environment(tmp_path: Path) -> None:
    secret = SOURCE | {"auth": {**AUTH, "secret_key": "${SECRET_KEY}"}}
    path = written(tmp_path, BASE | {"sources": [secret]})
    found = read_outline(path, never, {})
    assert found.source_names == ("prod",)
    with pytest.raises(Wanted):
        _ = found.expected


def test_a_place_that_the_environment_lacks_is_reported(tmp_path: Path) -> None:
    path = written(tmp_path, BASE | {"store": {"url": "${DATABASE}"}})
    with pytest.raises(InvalidConfiguration, match="environment variable DATABASE is not set"):
        read_outline(path, lambda path: load(path, {}), {})
    assert read_outline(path, never, {"DATABASE": "sqlite:////tmp/x.db"}).database.url == "sqlite:////tmp/x.db"


@pytest.mark.parametrize("text", ["", "- a list", "a: [", "sources: []\nsources: []\n"])
def test_a_document_that_is_wrong_as_a_whole_is_reported_as_always(tmp_path: Path, text: str) -> None:
    path = tmp_path / "notifier.yaml"
    path.write_text(text)
    with pytest.raises(ConfigurationError) as ours:
        read_outline(path, lambda path: load(path, {}), {})
    with pytest.raises(ConfigurationError) as whole:
        load(path, {})
    assert str(ours.value) == str(whole.value)


def test_causes_of_files_are_read_whole(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text("causes: [{id: mine, match: [boom], means: It exploded., retry: no}]")
    path = written(tmp_path, BASE | {"causes": ["own.yaml"]})
    found = read_outline(path, lambda path: load(path, {}), {})
    assert found.cause_catalogue.causes == load(path, {}).cause_catalogue.causes


def test_the_keys_and_defaults_are_those_of_the_settings() -> None:
    assert {field.alias or name for name, field in Config.model_fields.items()} == SECTIONS
    defaults = {name: field.default for name, field in GaussDBSettings.model_fields.items()}
    assert defaults["poll_every"] == outline._POLL_EVERY
    assert str(defaults["calls_per_minute"]) == outline._CALLS_PER_MINUTE
