"""Replies in Mattermost's Markdown. Pure."""

from collections.abc import Iterator

from notifier.channels.base import Json
from notifier.chat.replies import PAGE_ROWS
from notifier.chat.requests import ChatReply, ReplyRow
from notifier.core.identity import Subject
from notifier.integrations.mattermost.markdown import MATTERMOST
from notifier.wording.marks import heading_of
from notifier.wording.phrases import Language, text

REPLY_SENTENCE_LIMIT = 400
"""Maximum length of a sentence, in characters."""
QUOTE_LIMIT = 6_000
"""Maximum length of a reason, in characters."""
POST_LIMIT = 14_500
"""Maximum length of a reply, in characters; Mattermost's is 16,383."""


def reply_message(reply: ChatReply, language: Language) -> Json:
    """Return a reply as the answer to a slash command."""
    lines: list[str] = []
    left = POST_LIMIT
    for line in _lines(reply, language):
        left -= len(line) + 1
        if left < 0:
            lines.append("…")
            break
        lines.append(line)
    return {"response_type": "in_channel" if reply.shared else "ephemeral", "text": "\n".join(lines)}


def _lines(reply: ChatReply, language: Language) -> Iterator[str]:
    yield _title(reply)
    for line in reply.lines:
        if heading := heading_of(line):
            yield f"\n{MATTERMOST.bold(heading, REPLY_SENTENCE_LIMIT)}"
        else:
            yield f"- {sentence(line)}"
    for label, value, outside in reply.facts:
        yield f"- **{label}** {MATTERMOST.code(value, REPLY_SENTENCE_LIMIT) if outside else sentence(value)}"
    if reply.quote:
        yield MATTERMOST.fence(reply.quote, QUOTE_LIMIT)
    yield from (f"- {_row(row)}" for row in reply.rows[:PAGE_ROWS])
    if links := [MATTERMOST.link(one.label, one.url) for one in reply.buttons if one.url]:
        yield " · ".join(links)
    if reply.note:
        yield f"_{sentence(reply.note)}_" if "`" not in reply.note else sentence(reply.note)
    if reply.after is not None:
        yield text(language, "note.more", n=PAGE_ROWS)


def _title(reply: ChatReply) -> str:
    whole = sentence(reply.title)
    if not reply.ok:
        whole = f"⚠️ {whole}"
    elif "`" not in whole:
        whole = f"**{whole}**"
    return f"{whole} · {sentence(reply.summary)}" if reply.summary else whole


def sentence(text: str) -> str:
    """Return a sentence whose quoted parts are code. Times are words: Mattermost has no markup for them."""
    return MATTERMOST.sentence(text, REPLY_SENTENCE_LIMIT)


def _row(row: ReplyRow) -> str:
    """Return two lines: what and where, and below it why. The second line belongs to the item of the list."""
    label = (
        f"**{MATTERMOST.plain(row.label, REPLY_SENTENCE_LIMIT)}**"
        if row.known
        else MATTERMOST.code(row.label, REPLY_SENTENCE_LIMIT)
    )
    instance = MATTERMOST.code(row.instance, REPLY_SENTENCE_LIMIT) if row.instance else ""
    job = MATTERMOST.code(Subject.parse(row.subject).job_id, REPLY_SENTENCE_LIMIT)
    place = sentence(row.place) if row.place else ""
    line = " · ".join(filter(None, (f"{row.emoji} {label}", instance, place, job)))
    return f"{line}\n  {sentence(row.detail)}"
