"""The Slack apps that the shipped manifests make are the ones that the program needs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from notifier.config.chat import SlackChatSettings
from notifier.integrations.slack.channel import POST_SCOPE
from notifier.integrations.slack.scopes import SCOPE_COSTS

CONFIG = Path(__file__).parent.parent.parent / "config"
MODES = ("socket", "http")


def manifest(mode: str) -> Any:
    return yaml.safe_load((CONFIG / f"slack-manifest.{mode}.yaml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("mode", MODES)
def test_a_manifest_asks_for_exactly_the_scopes_that_are_used(mode: str) -> None:
    scopes = set(manifest(mode)["oauth_config"]["scopes"]["bot"])
    assert scopes == {POST_SCOPE, "chat:write.public", "channels:history", "groups:history", *SCOPE_COSTS}


@pytest.mark.parametrize("mode", MODES)
def test_the_command_is_the_one_that_replies_name(mode: str) -> None:
    (command,) = manifest(mode)["features"]["slash_commands"]
    assert command["command"] == SlackChatSettings.model_fields["command"].default
    assert len(command["command"]) <= 32
    assert len(command["usage_hint"]) <= 1_000
    assert command["should_escape"] is False


@pytest.mark.parametrize("mode", MODES)
def test_names_keep_to_what_slack_allows(mode: str) -> None:
    found = manifest(mode)
    assert re.fullmatch(r"[a-z0-9._-]{1,80}", found["features"]["bot_user"]["display_name"])
    assert len(found["display_information"]["name"]) <= 35
    assert len(found["display_information"]["description"]) <= 140


def test_socket_mode_names_no_address() -> None:
    found = manifest("socket")
    assert found["settings"]["socket_mode_enabled"] is True
    assert "http" not in str(found)


def test_over_http_both_doors_are_named() -> None:
    found = manifest("http")
    (command,) = found["features"]["slash_commands"]
    called = [command["url"], found["settings"]["interactivity"]["request_url"]]
    assert [urlsplit(url).path for url in called] == ["/slack/commands", "/slack/interactions"]
    assert {urlsplit(url).scheme for url in called} == {"https"}
    assert found["settings"]["socket_mode_enabled"] is False
