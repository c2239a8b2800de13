"""How replies look in Slack and in Mattermost: whatever comes from outside, and within every limit."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest
from factories import HOSTILE
from hypothesis import given
from hypothesis import strategies as st
from servers.slack import Json, mrkdwn_texts, problems

from notifier.chat.requests import ChatReply, ReplyRow, quoted, split_quoted, without_marks
from notifier.core.model import TaskStatus
from notifier.integrations.mattermost import replies as markdown
from notifier.integrations.mattermost.markdown import ZERO_WIDTH_SPACE, code, fence, plain
from notifier.integrations.slack import replies as blocks
from notifier.wording.phrases import Language
from notifier.wording.states import STATES, state_of_status

MARK = "ж"
"""Stands in every text from outside, and nowhere else."""

outside = st.one_of(
    st.sampled_from([*HOSTILE, "<!channel>", "@here", "`", "```", "*_~`", "&amp;"]), st.text(max_size=80)
)
SECTIONS = st.sampled_from(["failed 24h", "", "x" * 3_000])


@st.composite
def answers(draw: st.DrawFn) -> ChatReply:
    said = st.builds(lambda begin, text: f"{begin} {quoted(text)}", st.sampled_from(["", "Done:"]), outside)
    row = st.builds(
        ReplyRow,
        state=st.sampled_from(STATES),
        label=outside,
        known=st.booleans(),
        instance=st.one_of(st.none(), outside),
        detail=said,
        subject=outside,
    )
    return ChatReply(
        title=draw(said),
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
        state=state_of_status(TaskStatus.FAILED),
        label=text,
        known=False,
        instance=text,
        detail=quoted(text),
        subject="prod/x",
    )
    answer = ChatReply(
        title=f"Muted: {quoted(text)}",
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
    row = ReplyRow(
        state=state_of_status(TaskStatus.FAILED), label="x", known=True, instance=None, detail="x", subject="j" * 3_000
    )
    assert list(buttons(blocks.reply_message(ChatReply(title="x", rows=[row]), "en"))) == []


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
    shown = plain(text, limit)
    assert len(shown) <= limit
    assert not re.search(rf"@(?!{ZERO_WIDTH_SPACE})|<(?!{ZERO_WIDTH_SPACE})|~(?!{ZERO_WIDTH_SPACE})", shown)
    assert not re.search(r"(?<!\\)[*_`\[\]|#]", shown.replace("\\\\", ""))


@given(st.text(max_size=200), st.integers(20, 200))
def test_code_and_fences_cannot_be_closed_from_inside(text: str, limit: int) -> None:
    assert code(text, limit).count("`") == 2
    assert fence(text, limit).count("`") == 6
    assert len(code(text, limit)) <= limit
    assert len(fence(text, limit)) <= limit


# ---- quoted parts ----


@given(st.text(max_size=60), st.text(max_size=60))
def test_a_sentence_falls_into_its_parts_again(before: str, said: str) -> None:
    sentence = f"{without_marks(quoted(before))}{quoted(said)}"
    assert "".join(part for part, _ in split_quoted(sentence)) == without_marks(sentence)
    assert not {"\ue000", "\ue001"} & set(without_marks(sentence))


@pytest.mark.parametrize(
    "text", ["https://evil.example/x", "www.evil.example", ":smile:", "me@evil.example", "~town-square"]
)
def test_plain_text_has_no_address_and_no_emoji(text: str) -> None:
    shown = plain(text, 200)
    assert text not in shown
    assert not re.search(r"://|evil\.example|:smile:", shown)
