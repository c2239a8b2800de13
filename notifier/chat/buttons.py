"""The buttons of messages and replies, and what a click on each carries back."""

from __future__ import annotations

ACKNOWLEDGE = "acknowledge"
"""Its value: the id of the event that the message shows."""
MUTE = "mute"
"""A menu. The value of an option: a duration, a colon, the id of the event that the message shows: `2h:6d0c…`."""
UNMUTE = "unmute"
"""Its value: the id of the event that the message shows."""
DETAILS = "details"
"""Its value: a task's subject, `source/job_id`."""
CONSOLE = "console"
"""A link. Slack reports the click all the same."""
PAGE_BEFORE, PAGE_AFTER = "page_before", "page_after"
"""Another page of a list. The value: an offset, a colon, the words of the command: `10:failed 24h`."""
SHARE = "share"
"""Post a reply for all in the channel. Its value as that of a page."""

MUTE_LENGTHS = ("30m", "2h", "8h", "1d")
"""How long MUTE lets people mute."""
