from __future__ import annotations

import dataclasses
from itertools import combinations
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.cli.init_template import (
    CHAT_KINDS,
    AuthMethod,
    ChannelKind,
    InitAnswers,
    environment_of,
    render_config,
    webhook_variable,
)
from notifier.config.config import Config
from notifier.config.loading import loads

KINDS: tuple[ChannelKind, ...] = ("console", "slack", *CHAT_KINDS, "email", "webhook")
ANSWERS = InitAnswers(region="cn-north-4", project_id="0611f1bd8b00d5d32f17c017f15b599f", channels=KINDS)
VALUES = {
    "HUAWEICLOUD_SDK_AK": "AKEXAMPLE",
    "HUAWEICLOUD_SDK_SK": "sk-example",
    "HUAWEICLOUD_IAM_PASSWORD": "password-example",
    "SLACK_BOT_TOKEN": "xoxb-example",
    "SMTP_PASSWORD": "password-example",
    "WEBHOOK_SECRET": "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz",
} | dict.fromkeys(map(webhook_variable, CHAT_KINDS), "https://chat.example.com/hook")


def loaded(answers: InitAnswers) -> Config:
    text = render_config(answers)
    return loads(text, {name: VALUES[name] for name in environment_of(text)})


@pytest.mark.parametrize("auth", get_args(AuthMethod))
def test_what_is_written_loads_with_every_kind_of_credentials(auth: AuthMethod) -> None:
    config = loaded(dataclasses.replace(ANSWERS, auth=auth))
    assert [(source.name, source.region, source.project_id) for source in config.sources] == [
        ("prod", "cn-north-4", "0611f1bd8b00d5d32f17c017f15b599f")
    ]
    assert [channel.name for channel in config.channels] == list(KINDS)


@pytest.mark.parametrize("kinds", [chosen for size in (0, 1, 2, 9) for chosen in combinations(KINDS, size)])
def test_failures_reach_every_channel_that_was_chosen(kinds: tuple[ChannelKind, ...]) -> None:
    config = loaded(dataclasses.replace(ANSWERS, channels=kinds))
    told = {channel for route in config.routes if route.name == "failures" for channel in route.channels}
    assert told == set(kinds)


def test_mails_are_for_failures_only() -> None:
    routes = loaded(ANSWERS).routes
    assert [route.name for route in routes if "email" in route.channels] == ["failures"]


def test_no_secret_is_asked_for_or_written() -> None:
    text = render_config(ANSWERS)
    assert environment_of(text) == [
        "HUAWEICLOUD_SDK_AK",
        "HUAWEICLOUD_SDK_SK",
        "SLACK_BOT_TOKEN",
        *map(webhook_variable, CHAT_KINDS),
        "SMTP_PASSWORD",
        "WEBHOOK_SECRET",
    ]


def test_an_unknown_region_needs_its_endpoint() -> None:
    config = loaded(dataclasses.replace(ANSWERS, region="xx-moon-1", endpoint="https://gaussdb.example.com"))
    assert config.sources[0].region == "xx-moon-1"


@given(st.text(alphabet=st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=30))
def test_an_answer_is_data_whatever_it_holds(answer: str) -> None:
    answers = dataclasses.replace(ANSWERS, auth="token", channels=(), iam_domain=f"x{answer}")
    (source,) = loaded(answers).sources
    assert f"domain={f'x{answer}'!r}" in repr(source)


def test_the_lines_are_short_enough_to_read() -> None:
    assert max(map(len, render_config(ANSWERS).splitlines())) <= 120
