"""The page of messages, and the bodies of webhooks: `python tests/messages_page.py` writes both."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from channel_samples import chapters, webhook_bodies
from message_samples import drawn, samples

PAGE = Path(__file__).parent.parent / "docs" / "messages.md"
BODIES = Path(__file__).parent / "data" / "webhook_bodies.txt"
INTRODUCTION = """\
What people get, drawn from the code: first every message in Slack, as `notifier preview CHANNEL`
shows it (`▌` is the bar in the colour of the state, and brackets mark a button), then mails, the
console and Mattermost. `make messages` writes this page, and a test keeps it up to date.
`make contact-sheet` draws every message of every channel to look at."""


def page() -> str:
    """Return the page."""
    return "\n\n".join(["# Messages", INTRODUCTION, *_parts()]) + "\n"


def bodies() -> bytes:
    """Return the standard bodies of a webhook, each after a line with its name."""
    return b"".join(b"# %s\n%s\n" % (name.encode(), body) for name, body in webhook_bodies())


def _parts() -> Iterator[str]:
    for title, found in samples():
        yield f"## {title}"
        yield from (_sample(name, drawn(message)) for name, message in found)
    for title, texts in chapters():
        yield f"## {title}"
        yield from (_sample(name, text) for name, text in texts)


def _sample(name: str, text: str) -> str:
    shown = "\n".join(line.rstrip() for line in text.splitlines())
    return f"{name}:\n\n````text\n{shown}\n````"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    BODIES.write_bytes(bodies())
