"""What Slack is sent: drawn as it would look, and within Slack's limits."""

from __future__ import annotations

import pytest
from message_samples import PAGE, page, samples
from servers.slack import Json, problems

ALL = [(f"{title}: {name}", message) for title, found in samples() for name, message in found]


def test_the_page_of_samples_shows_what_is_sent() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run `python tests/message_samples.py`"


@pytest.mark.parametrize(("name", "message"), ALL, ids=[name for name, _ in ALL])
def test_slack_takes_every_sample(name: str, message: Json) -> None:
    assert list(problems(message)) == [], name
