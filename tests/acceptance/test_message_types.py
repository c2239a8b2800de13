"""TypeScript's compiler, with Slack's own types, accepts every message that can be produced."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from factories import HOSTILE, T0, make_event, make_render_request, make_task
from message_samples import FORMATTERS, samples
from servers.slack import Json
from timeouts import HANG_TIMEOUT

from notifier.chat.requests import MUTE_LENGTHS, Button, ButtonAction, ChatReply, ReplyButton, ReplyRow
from notifier.cli.samples import sample_event
from notifier.core.events import EventType
from notifier.integrations.slack import replies as blocks
from notifier.integrations.slack.messages import event_message
from notifier.wording.marks import quoted

FOLDER = Path(__file__).parent.parent / "typescript"
COMPILER = FOLDER / "node_modules" / ".bin" / "tsc"

pytestmark = pytest.mark.skipif(
    not COMPILER.exists() or shutil.which("node") is None,
    reason="needs Node.js and the packages of tests/typescript: npm ci --prefix tests/typescript",
)


def messages() -> Iterator[Json]:
    for _, found in samples():
        yield from (message for _, message in found)
    for text in HOSTILE:
        task = make_task(instance_name=text, instance_id=text or None, fail_reason=text, name=text or "x")
        yield event_message(make_render_request(make_event(task)), FORMATTERS["en"])
        yield blocks.reply_message(_answer(text), "en")
    every = (replace(sample_event(kind, T0), id=kind) for kind in EventType)
    yield event_message(make_render_request(*every), FORMATTERS["en"])


def _answer(text: str) -> ChatReply:
    row = ReplyRow(
        emoji="🔴",
        label=text,
        known=False,
        instance=text or None,
        place=quoted(text),
        detail=quoted(text),
        subject=text,
    )
    return ChatReply(
        title=quoted(text) or "x",
        summary=quoted(text),
        buttons=[
            ReplyButton(button=Button(ButtonAction.ACKNOWLEDGE, "event"), label="Acknowledge", primary=True),
            ReplyButton(
                button=Button(ButtonAction.MUTE),
                label="Mute",
                options=[(Button(ButtonAction.MUTE, "event", one), one) for one in MUTE_LENGTHS],
            ),
            ReplyButton(button=Button(ButtonAction.CONSOLE), label="Console", url="https://console.example.com"),
        ],
        lines=[quoted(text)] * 30,
        facts=[(text or "x", text, True)] * 12,
        rows=[row] * 10,
        quote=text or None,
        note=quoted(text),
        command=text,
        before=0,
        after=20,
    )


def complaints(folder: Path, found: Sequence[Json]) -> str:
    """Compile messages and return what the compiler says."""
    for name in ("message.d.ts", "tsconfig.json", "package.json"):
        shutil.copy(FOLDER / name, folder)
    (folder / "node_modules").symlink_to(FOLDER / "node_modules")
    lines = ['import type { Message } from "./message.js";']
    lines += [f"export const m{n}: Message = {json.dumps(message)};" for n, message in enumerate(found)]
    (folder / "messages.ts").write_text("\n".join(lines), encoding="utf-8")
    command = [str(COMPILER), "--project", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=HANG_TIMEOUT, check=False)  # noqa: S603 - the compiler, on our files
    return done.stdout + done.stderr


def test_the_compiler_accepts_every_message(tmp_path: Path) -> None:
    assert complaints(tmp_path, list(messages())) == ""


@pytest.mark.parametrize(
    "wrong",
    [
        {"text": "x", "blocks": [{"type": "sektion"}]},
        {"text": "x", "blocks": [{"type": "section", "text": {"type": "mrkdwn"}}]},
        {"text": "x", "blocks": [{"type": "actions", "elements": [{"type": "button", "style": "blue"}]}]},
        {"text": "x", "blocks": [], "attachments": [{"blocks": [{"type": "context", "elements": [{"type": "x"}]}]}]},
    ],
)
def test_the_compiler_refuses_what_is_no_message(tmp_path: Path, wrong: Json) -> None:
    assert "error TS" in complaints(tmp_path, [wrong])
