"""How replies look in Slack and in Mattermost: whatever comes from outside, and within every limit."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from factories import HOSTILE, T0
from hypothesis import given
from hypothesis import strategies as st
from servers.slack import Json, mrkdwn_texts, problems

from notifier.channels.markup import ZERO_WIDTH_SPACE, Markdown
from notifier.chat.requests import Button, ButtonAction, ChatReply, ReplyButton, ReplyRow
from notifier.integrations.mattermost import replies as markdown
from notifier.integrations.mattermost.markdown import MATTERMOST, ROCKETCHAT
from notifier.integrations.slack import replies as blocks
from notifier.integrations.slack.blockkit import sentence
from notifier.wording.marks import dated, quoted, split_marked, strong, without_marks
from notifier.wording.phrases import Language
from notifier.wording.sanitize import strip_controls
from notifier.wording.states import STATES

MARK = "ж"
"""Stands in every text from outside, and nowhere else."""

MARKS = frozenset("\ue000\ue001\ue002\ue003\ue004")

outside = st.one_of(
    st.sampled_from([*HOSTILE, "<!channel>", "@here", "`", "```", "*_~`", "&amp;"]), st.text(max_size=80)
)
TASK_ACTIONS = [ButtonAction.ACKNOWLEDGE, ButtonAction.UNACKNOWLEDGE, ButtonAction.MUTE, ButtonAction.CONSOLE]
OFFERS = st.builds(
    ReplyButton,
    button=st.builds(Button, st.sampled_from(TASK_ACTIONS), st.one_of(st.just("event-1"), st.just("e" * 3_000))),
    label=st.just("Mute instance"),
    url=st.one_of(st.just(""), st.sampled_from(["https://x.example/a(b)c?d=<e>", "https://x.example/`@all`"])),
    options=st.sampled_from([(), [(Button(ButtonAction.MUTE, "event-1", "2h"), "for 2 h")]]),
)
SECTIONS = st.sampled_from(["failed 24h", "", "x" * 3_000])


@st.composite
def answers(draw: st.DrawFn) -> ChatReply:
    said = st.builds(lambda begin, text: f"{begin} {quoted(text)}", st.sampled_from(["", "Done:"]), outside)
    row = st.builds(
        ReplyRow,
        emoji=st.sampled_from([state.tone.emoji for state in STATES]),
        label=outside,
        known=st.booleans(),
        instance=st.one_of(st.none(), outside),
        place=said,
        detail=said,
        subject=outside,
    )
    return ChatReply(
        title=draw(said),
        summary=draw(said),
        buttons=draw(st.lists(OFFERS, max_size=6, unique_by=lambda one: one.button.action)),
        lines=draw(st.lists(said, max_size=40)),
        facts=draw(st.lists(st.tuples(st.just("Label"), outside, st.sampled_from([True])), max_size=14)),
        rows=draw(st.lists(row, max_size=10)),
        quote=draw(st.one_of(st.none(), outside, st.just("q" * 100_000))),
        note=draw(said),
        command=draw(SECTIONS),
        before=draw(st.one_of(st.none(), st.integers(0, 50))),
        after=draw(st.one_of(st.none(), st.integers(0, 50))),
        ok=draw(st.booleans()),
        shared=draw(st.booleans()),
    )


def buttons(message: Json) -> Iterator[Json]:
    for block in message["blocks"]:
        yield from block.get("elements", ()) if block["type"] == "actions" else ()
        if "accessory" in block:
            yield block["accessory"]


# ---- Slack ----


@given(answers(), st.sampled_from(["en", "zh"]))
def test_slack_takes_any_reply(answer: ChatReply, language: Language) -> None:
    message = blocks.reply_message(answer, language)
    assert list(problems(message)) == []
    assert len(message["text"]) <= 180


@given(answers())
def test_no_reply_mentions_anybody_or_links_anywhere(answer: ChatReply) -> None:
    message = blocks.reply_message(answer, "en")
    assert not re.search(r"<(?!!date)", "".join([message["text"], *mrkdwn_texts(message)]))


@pytest.mark.parametrize(
    "text", [f"{MARK}*{MARK}", f"{MARK}`{MARK}", f"```{MARK}", f"_{MARK}_", f"~{MARK}~", f"{MARK}\n> {MARK}"]
)
def test_what_comes_from_outside_is_code_wherever_it_stands(text: str) -> None:
    row = ReplyRow(
        emoji="🔴",
        label=text,
        known=False,
        instance=text,
        place=quoted(text),
        detail=quoted(text),
        subject="prod/x",
    )
    answer = ChatReply(
        title=f"Muted: {quoted(text)}",
        summary=quoted(text),
        lines=[quoted(text)],
        facts=[("Job", text, True)],
        rows=[row],
        quote=text,
        note=quoted(text),
    )
    for shown in mrkdwn_texts(blocks.reply_message(answer, "en")):
        bare = re.sub(r"```.*?```|`[^`]*`", "", shown, flags=re.DOTALL)
        assert MARK not in bare, shown


def test_a_reply_that_all_may_see_has_no_share_buttons() -> None:
    private = blocks.reply_message(ChatReply(title="x", command="failed", after=10), "en")
    shared = blocks.reply_message(ChatReply(title="x", command="failed", after=10, shared=True), "en")
    assert [button["value"] for button in buttons(private)] == ["10:failed", "0:failed"]
    assert list(buttons(shared)) == []
    assert (private["response_type"], shared["response_type"]) == ("ephemeral", "in_channel")


def test_a_task_whose_id_no_button_can_carry_has_none() -> None:
    row = ReplyRow(emoji="🔴", label="x", known=True, instance=None, detail="x", subject="j" * 3_000)
    assert list(buttons(blocks.reply_message(ChatReply(title="x", rows=[row]), "en"))) == []


def test_what_can_be_done_is_offered_below_a_private_reply() -> None:
    event = "event-1"
    menu = [(Button(ButtonAction.MUTE, event, "2h"), "for 2 h"), (Button(ButtonAction.MUTE, event, "1d"), "for 1 d")]
    reply = ChatReply(
        title="x",
        command="task x",
        buttons=[
            ReplyButton(button=Button(ButtonAction.ACKNOWLEDGE, event), label="Acknowledge", primary=True),
            ReplyButton(button=Button(ButtonAction.MUTE), label="Mute instance", options=menu),
            ReplyButton(button=Button(ButtonAction.CONSOLE), label="Open console", url="https://x.example/?(a)=<b>"),
        ],
    )
    offered = list(buttons(blocks.reply_message(reply, "en")))
    assert [one["action_id"] for one in offered] == ["acknowledge", "mute", "console", "share"]
    assert (offered[0]["style"], offered[0]["value"], offered[2]["url"]) == ("primary", event, reply.buttons[2].url)
    assert [one["value"] for one in offered[1]["options"]] == ["2h:event-1", "1d:event-1"]
    shared = buttons(blocks.reply_message(replace(reply, shared=True), "en"))
    assert [one["action_id"] for one in shared] == ["console"]
    shown = markdown.reply_message(reply, "en")["text"]
    assert shown == "**x**\n[Open console](https://x.example/?%28a%29=%3Cb%3E)"


def test_a_finding_with_a_long_reason_keeps_its_commands() -> None:
    """The sentence of a finding has a date, a reason of the greatest length and two commands."""
    commands = ["notifier deliveries --state dead --channel tickets", "notifier retry --all-dead --channel tickets"]
    why = quoted("r" * 160)
    line = f"✗ channel tickets: 3 messages given up, the first 9 min ago, at {dated(T0, 'then')}: {why} → "
    (_, shown) = mrkdwn_texts(
        blocks.reply_message(ChatReply(title="x", lines=[line + ", ".join(map(quoted, commands))]), "en")
    )
    assert all(f"`{command}`" in shown for command in commands)


# ---- Mattermost ----


@given(answers(), st.sampled_from(["en", "zh"]))
def test_mattermost_takes_any_reply(answer: ChatReply, language: Language) -> None:
    message = markdown.reply_message(answer, language)
    assert 0 < len(message["text"]) <= 16_383
    json.dumps(message).encode()


@given(answers())
def test_no_reply_in_markdown_has_a_mention_outside_of_code(answer: ChatReply) -> None:
    shown = markdown.reply_message(answer, "en")["text"]
    bare = re.sub(r"```.*?```|`[^`]*`", "", shown, flags=re.DOTALL)
    assert not re.search(rf"@(?!{ZERO_WIDTH_SPACE})\w", bare)


@given(st.text(max_size=200), st.integers(20, 200))
def test_plain_text_keeps_within_its_limit_and_is_no_markup(text: str, limit: int) -> None:
    shown = MATTERMOST.plain(text, limit)
    assert len(shown) <= limit
    assert not re.search(rf"@(?!{ZERO_WIDTH_SPACE})|<(?!{ZERO_WIDTH_SPACE})|~(?!{ZERO_WIDTH_SPACE})", shown)
    assert not re.search(r"(?<!\\)[*_`\[\]|#]", shown.replace("\\\\", ""))


@given(st.text(max_size=200), st.integers(20, 200), st.sampled_from([MATTERMOST, ROCKETCHAT]))
def test_code_and_fences_cannot_be_closed_from_inside(text: str, limit: int, server: Markdown) -> None:
    code, fence, quote = server.code(text, limit), server.fence(text, limit), server.block_quote(text, limit)
    assert (code.count("`"), fence.count("`"), quote.count("`")) == (2, 6, 0)
    assert max(map(len, (code, fence, quote))) <= limit
    assert all(line.startswith("> ") for line in quote.splitlines())


# ---- quoted parts ----


@given(st.text(max_size=60), st.text(max_size=60))
def test_a_sentence_falls_into_its_parts_again(before: str, said: str) -> None:
    sentence = f"{without_marks(quoted(before))}{quoted(said)}"
    assert "".join(part.text for part in split_marked(sentence)) == without_marks(sentence)
    assert not MARKS & set(without_marks(sentence))


marked_text = st.lists(st.one_of(st.sampled_from([*sorted(MARKS), "12345", "9" * 12, "-1"]), st.text(max_size=5)))


@given(marked_text.map("".join))
def test_marks_that_come_from_outside_mark_nothing_beyond_their_text(said: str) -> None:
    parts = list(split_marked(f"{quoted(said)}{dated(T0, said)}"))
    bare = "".join(char for char in said if char not in MARKS)
    assert [(part.text, part.quoted, part.at) for part in parts] == [(bare, True, None), (bare, False, T0)] * bool(bare)
    for part in split_marked(said):
        assert part.text
        assert not MARKS & set(part.text)
    assert not MARKS & set(strip_controls(said))


@given(st.datetimes(timezones=st.just(UTC)))
def test_a_time_of_a_sentence_is_found_again(moment: datetime) -> None:
    before, time, after = split_marked(f"since {dated(moment, 'words')} · x")
    assert (before.text, time.text, time.at, after.text) == ("since ", "words", moment.replace(microsecond=0), " · x")


@pytest.mark.parametrize("seconds", ["253402300800", "-99999999999", "9" * 12, "9" * 13, "", "x"])
def test_a_time_beyond_the_calendar_is_no_time(seconds: str) -> None:
    assert all(part.at is None for part in split_marked(f"\ue002{seconds}\ue003words\ue001"))


def test_a_line_of_strong_words_is_a_heading_in_mattermost() -> None:
    reply = ChatReply(title="Commands", lines=[strong("Queries"), "a line", f"{strong('PROD')} and more"])
    text = markdown.reply_message(reply, "en")["text"]
    assert text == "**Commands**\n\n**Queries**\n- a line\n- PROD and more"


def test_slack_shows_a_time_in_each_readers_zone_and_mattermost_in_words() -> None:
    reply = ChatReply(title=f"muted until {dated(T0, '15 Jan <16:30>')}", facts=[("Ended", dated(T0, "then"), False)])
    token = f"<!date^{int(T0.timestamp())}^{{date_short_pretty}} {{time_secs}}|"
    shown = list(mrkdwn_texts(blocks.reply_message(reply, "en")))
    assert shown == [f"*muted until {token}15 Jan &lt;16:30&gt;>*", f"*Ended*\n{token}then>"]
    assert sentence(dated(T0, "then"), 20) == "then"
    assert "<!date" not in markdown.reply_message(reply, "en")["text"]


@pytest.mark.parametrize("server", [MATTERMOST, ROCKETCHAT])
@pytest.mark.parametrize("text", ["Error code DBS.280277", "at 16:30:00", "since 29 Nov 04:54", "Ecs.0319: no"])
def test_what_people_copy_is_written_as_it_is(text: str, server: Markdown) -> None:
    assert server.plain(text, 200) == text


@pytest.mark.parametrize("server", [MATTERMOST, ROCKETCHAT])
@pytest.mark.parametrize(
    "text",
    [
        "https://evil.example/x",
        "www.evil.example",
        "1.evil.example",
        "192.0.2.1",
        ":smile:",
        ":100:",
        "4:100:5",
        "me@evil.example",
        "~town-square",
        "mailto:me",
    ],
)
def test_plain_text_has_no_address_and_no_emoji(text: str, server: Markdown) -> None:
    shown = server.plain(text, 200)
    assert text not in shown
    assert not re.search(r"://|evil\.example|0\.2\.1|:smile:|:100:|mailto:m", shown)
