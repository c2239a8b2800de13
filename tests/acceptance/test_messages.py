"""What Slack is sent: drawn as it would look, and within Slack's limits."""

from __future__ import annotations

import pytest
from contact_sheet import pages
from message_samples import samples
from messages_page import BODIES, PAGE, bodies, page
from servers.slack import Json, problems
from slack_sdk.models.blocks import Block

ALL = [(f"{title}: {name}", message) for title, found in samples() for name, message in found]


def test_the_page_of_samples_shows_what_is_sent() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run `make messages`"


def test_the_bodies_of_a_webhook_are_the_stored_ones() -> None:
    """Receivers rely on them: a change of a byte is a change of the contract."""
    assert BODIES.read_bytes() == bodies(), "run `make messages`"


@pytest.mark.parametrize(("name", "message"), ALL, ids=[name for name, _ in ALL])
def test_slack_takes_every_sample(name: str, message: Json) -> None:
    assert list(problems(message)) == [], name


@pytest.mark.parametrize(("name", "message"), ALL, ids=[name for name, _ in ALL])
def test_the_official_library_reads_every_sample_as_it_is(name: str, message: Json) -> None:
    attached = [block for attachment in message.get("attachments", ()) for block in attachment.get("blocks", ())]
    blocks = [*message.get("blocks", ()), *attached]
    assert [block.to_dict() for block in Block.parse_all(blocks)] == blocks, name


def test_the_contact_sheet_has_a_page_for_each_channel_and_language() -> None:
    names = {name for name, body, _ in pages() if body}
    others = {f"{channel} {language}" for channel in ("mail", "console", "mattermost") for language in ("en", "zh")}
    assert names >= others | {f"slack {title}" for title, _ in samples()}
