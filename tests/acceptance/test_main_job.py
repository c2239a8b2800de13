"""The main job, end to end: the sample of the API's documentation, byte for byte, from a socket to every channel."""

from __future__ import annotations

import asyncio
import hashlib
import html
import io
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from fakes import FakeClock
from listeners import CHANNELS, NAMES, SECRET, Listeners, listening
from servers.http import HttpServer, reply
from servers.slack import TOKEN, shown_texts

from notifier.config import loading as configuration
from notifier.core.delivery import DeliveryState
from notifier.ports import Ledger
from notifier.service.service import poll_and_deliver
from notifier.service.stats import Summary
from notifier.wiring.app import App, open_app

SAMPLE = (Path(__file__).parent.parent / "data" / "list_tasks_sample.json").read_bytes()
EMPTY = b'{"tasks": [], "total_count": 0}'
CREATION, DELETION = "03bc055a-135c-4245-8bd8-b0bc6d3350b3", "2cc16e0b-75ab-4a28-9453-16517e990bba"
SECRET_KEY = "obviously-fake-secret-key"

SOURCE = f"""
language: ${{LANGUAGE}}
timezone: Asia/Shanghai
store: {{url: "${{STORE}}"}}
sources:
  - name: prod
    kind: gaussdb
    region: cn-north-1        # the region of the documentation; no endpoint is known for it
    endpoint: ${{CLOUD}}
    project_id: 0611f1bd8b00d5d32f17c017f15b599f
    auth: {{kind: aksk, access_key: AKAKAK, secret_key: {SECRET_KEY}}}
    language: zh-cn
    poll_every: 30s
"""

# ---- what people get: the failed creation, then the completed deletion ----

CONSOLE = {
    "en": """\
{clock} ✗ FAILED  gauss-6568-zzh  Instance creation  prod/cn-north-1
           │ ECS云服务器处理异常。
           Instance is creating · job 03bc055a
           The server layer (ECS) could not create or change a machine; the text gives no reason. Usual reasons: \
no capacity, quota, addresses or a fault there.
           Try Check flavor capacity, quotas and free subnet addresses; submit once more; if it fails again, open a \
ticket with the job id.
           Console https://console.huaweicloud.com/gaussdb/?region=cn-north-1#/gaussdb/management/list
{clock} ✓ COMPLETED  gauss-7875-lt-m  Instance deletion  prod/cn-north-1
           Instance is deleted · job 2cc16e0b
""",
    "zh": """\
{clock} ✗ 失败  gauss-6568-zzh  创建实例  prod/cn-north-1
           │ ECS云服务器处理异常。
           实例状态 创建中 · 任务 03bc055a
           云服务器层处理失败但未说明原因，常见为资源售罄、配额或子网IP不足、底层故障。
           建议 先检查规格余量、配额、子网IP，再重试一次；仍失败请携带任务ID提工单。创建失败的实例需先删除。
           控制台 https://console.huaweicloud.com/gaussdb/?locale=zh-cn&region=cn-north-1#/gaussdb/management/list
{clock} ✓ 已完成  gauss-7875-lt-m  删除实例  prod/cn-north-1
           实例状态 已删除 · 任务 2cc16e0b
""",
}

SLACK = {
    "en": (
        [
            "🔴 *Instance creation failed on* `gauss-6568-zzh`  ·  <!date^{epoch}^{{time_secs}}|{clock}>",
            "ECS云服务器处理异常。",
            "Instance is *creating*",
            (
                "The server layer (ECS) could not create or change a machine; the text gives no reason. Usual reasons: "
                "no capacity, quota, addresses or a fault there."
            ),
            (
                "Try  Check flavor capacity, quotas and free subnet addresses; submit once more; if it fails again, "
                "open a ticket with the job id."
            ),
            "prod / cn-north-1  ·  job `03bc055a`",
        ],
        [
            "🟢 *Instance deletion completed on* `gauss-7875-lt-m`  ·  <!date^{epoch}^{{time_secs}}|{clock}>",
            "Instance is *deleted*",
            "prod / cn-north-1  ·  job `2cc16e0b`",
        ],
    ),
    "zh": (
        [
            "🔴 *创建实例失败*  ·  `gauss-6568-zzh`  ·  <!date^{epoch}^{{time_secs}}|{clock}>",
            "ECS云服务器处理异常。",
            "实例状态 *创建中*",
            "云服务器层处理失败但未说明原因，常见为资源售罄、配额或子网IP不足、底层故障。",
            "建议  先检查规格余量、配额、子网IP，再重试一次；仍失败请携带任务ID提工单。创建失败的实例需先删除。",
            "prod / cn-north-1  ·  任务 `03bc055a`",
        ],
        [
            "🟢 *删除实例已完成*  ·  `gauss-7875-lt-m`  ·  <!date^{epoch}^{{time_secs}}|{clock}>",
            "实例状态 *已删除*",
            "prod / cn-north-1  ·  任务 `2cc16e0b`",
        ],
    ),
}

SUBJECTS = {
    "en": ["✗ gauss-6568-zzh: instance creation failed", "✓ gauss-7875-lt-m: instance deletion completed"],
    "zh": ["【失败】gauss-6568-zzh 创建实例", "【已完成】gauss-7875-lt-m 删除实例"],
}
MAILS = {
    "en": (
        """\
FAILED · prod / cn-north-1
Instance creation failed on gauss-6568-zzh

  ECS云服务器处理异常。

Means            The server layer (ECS) could not create or change a machine; the text gives no reason. Usual reasons: \
no capacity, quota, addresses or a fault there.
Try              Check flavor capacity, quotas and free subnet addresses; submit once more; if it fails again, open a \
ticket with the job id.
Console          https://console.huaweicloud.com/gaussdb/?region=cn-north-1#/gaussdb/management/list
Seen             {seen}
Instance status  creating
Job              03bc055a-135c-4245-8bd8-b0bc6d3350b3
Instance ID      ce2dce50f365430abe161bab79495a6ein14
--
Sent because route "everything" sends failed tasks of prod to channel "mail". Why: notifier explain 03bc055a
""",
        """\
COMPLETED · prod / cn-north-1
Instance deletion completed on gauss-7875-lt-m

Console          https://console.huaweicloud.com/gaussdb/?region=cn-north-1#/gaussdb/management/list
Seen             {seen}
Instance status  deleted
Job              2cc16e0b-75ab-4a28-9453-16517e990bba
Instance ID      20ba433bd7ee40da9cf35064f04f9e4cin14
--
Sent because route "everything" sends completed tasks of prod to channel "mail". Why: notifier explain 2cc16e0b
""",
    ),
    "zh": (
        """\
失败 · prod / cn-north-1
gauss-6568-zzh 创建实例失败

  ECS云服务器处理异常。

含义      云服务器层处理失败但未说明原因，常见为资源售罄、配额或子网IP不足、底层故障。
建议      先检查规格余量、配额、子网IP，再重试一次；仍失败请携带任务ID提工单。创建失败的实例需先删除。
控制台    https://console.huaweicloud.com/gaussdb/?locale=zh-cn&region=cn-north-1#/gaussdb/management/list
发现时间  {seen}
实例状态  创建中
任务 ID   03bc055a-135c-4245-8bd8-b0bc6d3350b3
实例 ID   ce2dce50f365430abe161bab79495a6ein14
--
您收到此邮件，是因为路由 everything 将数据源 prod 的失败任务发往通知渠道 mail。查看原因：notifier explain 03bc055a
""",
        """\
已完成 · prod / cn-north-1
gauss-7875-lt-m 删除实例已完成

控制台    https://console.huaweicloud.com/gaussdb/?locale=zh-cn&region=cn-north-1#/gaussdb/management/list
发现时间  {seen}
实例状态  已删除
任务 ID   2cc16e0b-75ab-4a28-9453-16517e990bba
实例 ID   20ba433bd7ee40da9cf35064f04f9e4cin14
--
您收到此邮件，是因为路由 everything 将数据源 prod 的已完成任务发往通知渠道 mail。查看原因：notifier explain 2cc16e0b
""",
    ),
}

LABELS = {"en": ["Instance creation", "Instance deletion"], "zh": ["创建实例", "删除实例"]}
WEBHOOK_TASKS = (
    {
        "job_id": CREATION,
        "name": "CreateGaussDBV5Instance",
        "status": "failed",
        "raw_status": "Failed",
        "progress": None,
        "instance": {
            "id": "ce2dce50f365430abe161bab79495a6ein14",
            "name": "gauss-6568-zzh",
            "status": "creating",
        },
        "created_at": None,
        "ended_at": None,
        "fail_reason": "ECS云服务器处理异常。",
    },
    {
        "job_id": DELETION,
        "name": "DeleteGaussDBV5Instance",
        "status": "completed",
        "raw_status": "Completed",
        "progress": None,
        "instance": {
            "id": "20ba433bd7ee40da9cf35064f04f9e4cin14",
            "name": "gauss-7875-lt-m",
            "status": "deleted",
        },
        "created_at": None,
        "ended_at": None,
        "fail_reason": None,
    },
)


# ---- the house ----


@dataclass(frozen=True, slots=True, kw_only=True)
class House:
    """A notifier at work: the cloud that it polls, whom it tells, and the printed record."""

    app: App
    clock: FakeClock
    cloud: HttpServer
    told: Listeners

    async def poll(self, shown: bytes) -> Summary:
        """Let the cloud show this half a minute later, poll it and deliver."""
        self.cloud.answers = [reply(200, shown)]
        self.clock.advance(timedelta(seconds=30))
        return await poll_and_deliver(self.app)

    async def ledger(self) -> Ledger:
        return await self.app.store.read(lambda q: q.ledger())

    @property
    def messages(self) -> dict[str, int]:
        """How many came out at each of the far ends."""
        return {
            "chat": len(self.told.slack_messages(bot=True)),
            "hook": len(self.told.slack_messages(bot=False)),
            "mail": len(self.told.mails),
            "tickets": len(self.told.webhooks),
        }


@asynccontextmanager
async def house(store_url: str, language: str = "en", source: str = SOURCE) -> AsyncIterator[House]:
    """Open everything that a configuration in YAML asks for; nothing in it but the time is a double.

    Time starts at the present: receivers of webhooks refuse what is older than five minutes.
    """
    clock = FakeClock(datetime.now(UTC).replace(microsecond=0))
    async with listening() as told, HttpServer() as cloud:
        environ = told.environ | {"STORE": store_url, "CLOUD": cloud.url(""), "LANGUAGE": language}
        config = configuration.loads(source + CHANNELS, environ)
        async with open_app(config, exclusive=True, clock=clock) as app:
            await app.store.transact(lambda tx: tx.polls.introduce("prod", clock.now()))  # people know it already
            yield House(app=app, clock=clock, cloud=cloud, told=told)


def moment(clock: FakeClock, language: str) -> dict[str, str]:
    """Return how the present is written, for the placeholders in what people get."""
    local = clock.now().astimezone(ZoneInfo("Asia/Shanghai"))
    day = f"{local.month}月{local.day}日" if language == "zh" else f"{local.day} {local:%b}"
    zone = "（UTC+8）" if language == "zh" else " (UTC+8)"
    return {"clock": f"{local:%H:%M:%S}", "seen": f"{day} {local:%H:%M:%S}{zone}", "epoch": str(int(local.timestamp()))}


def text_of(mail: EmailMessage, kind: str) -> str:
    part = mail.get_body((kind,))
    assert part is not None
    content: str = part.get_content()
    return content.replace("\r\n", "\n")


def read_page(page: str) -> str:
    """Return the text and the links of a page, in lower case."""
    links = re.findall('href="([^"]+)"', page)
    return html.unescape(re.sub(r"<[^>]+>", "", page) + " ".join(links)).casefold()


# ---- the tests ----


def test_the_sample_is_that_of_the_documentation_byte_for_byte() -> None:
    digest = hashlib.sha256(SAMPLE).hexdigest()
    assert digest == "fc13f52ae8ca8a94b22fafcb4296b1a9907a47c27c0db743310bd78dd37436e5"


@pytest.mark.parametrize("language", ["en", "zh"])
async def test_one_failed_and_one_completed_task_reach_every_channel(
    store_url: str, language: str, records: io.StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    async with house(store_url, language) as at:
        assert await at.poll(EMPTY) == Summary(polls=1)
        assert await at.poll(SAMPLE) == Summary(polls=1, events=2, deliveries=2 * len(NAMES))
        seen = moment(at.clock, language)
        printed = capsys.readouterr().out
        assert printed == CONSOLE[language].format(**seen)
        expected = [[text.format(**seen) for text in texts] for texts in SLACK[language]]
        check_slack(at.told, expected)
        check_mails(at.told.mails, SUBJECTS[language], [text.format(**seen) for text in MAILS[language]])
        check_webhooks(at.told.webhooks, LABELS[language], at.clock.now())
        check_ledger(await at.ledger())
        check_requests(at.cloud)
        check_secrets(records.getvalue(), printed)


def check_slack(told: Listeners, expected: Sequence[Sequence[str]]) -> None:
    bot, hook = told.slack_messages(bot=True), told.slack_messages(bot=False)
    assert [list(shown_texts(message)) for message in bot] == expected
    assert [list(shown_texts(message)) for message in hook] == expected
    colours = [message["attachments"][0]["color"] for message in bot]
    assert colours == ["#E01E5A", "#2EB67D"]
    assert [message["metadata"]["event_payload"]["job_id"] for message in bot] == [CREATION, DELETION]


def check_mails(mails: Sequence[EmailMessage], subjects: Sequence[str], texts: Sequence[str]) -> None:
    assert [mail["Subject"] for mail in mails] == subjects
    assert [text_of(mail, "plain") for mail in mails] == texts
    for mail, text in zip(mails, texts, strict=True):
        page = read_page(text_of(mail, "html"))
        assert [word for word in text.casefold().split() if word not in page and word not in ("--", "·")] == []
    assert {(mail["From"], mail["To"]) for mail in mails} == {
        ("GaussDB notifier <gaussdb@example.com>", "dba@example.com")
    }
    assert len({mail["Message-ID"] for mail in mails}) == len({mail["References"] for mail in mails}) == 2


def check_webhooks(bodies: Sequence[dict[str, Any]], labels: Sequence[str], seen: datetime) -> None:
    """Subjects go out side by side, so the two arrive in either order."""
    found = {body["data"]["task"]["job_id"]: body for body in bodies}
    assert len(bodies) == len(found) == 2
    for task, label, type_ in zip(WEBHOOK_TASKS, labels, ("task.failed", "task.completed"), strict=True):
        body = found[str(task["job_id"])]
        event_id = body["data"].pop("event_id")
        assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", event_id)
        in_words = [body["data"].pop(name) for name in ("summary", "cause", "means", "action")]
        assert label.casefold() in in_words[0].casefold()
        assert "region=cn-north-1#" in body["data"].pop("console_url")
        assert [bool(text) for text in in_words[1:]] == [type_ == "task.failed"] * 3
        assert body == {
            "type": type_,
            "timestamp": seen.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "data": {
                "source": "prod",
                "region": "cn-north-1",
                "project_id": "0611f1bd8b00d5d32f17c017f15b599f",
                "late": False,
                "previous_status": None,
                "task": task | {"label": label},
                "severity": "error" if type_ == "task.failed" else "info",
                "environment": None,
                "labels": {},
                "error_code": None,
                "duration_seconds": None,
                "runbook_url": None,
                "dedup_key": f"prod/{task['job_id']}",
            },
        }


def check_ledger(ledger: Ledger) -> None:
    assert (ledger.events, ledger.unrouted, ledger.pairs) == (2, 0, 2 * len(NAMES))
    assert ledger.by_state[DeliveryState.DELIVERED] == ledger.pairs
    assert (ledger.unaccounted, ledger.dead, ledger.oldest_pending) == ((), (), None)


def check_requests(cloud: HttpServer) -> None:
    """An empty list is asked for a second time before it is believed."""
    assert len(cloud.requests) == 3
    for request in cloud.requests:
        assert request.method == "GET"
        assert request.target == "/v3/0611f1bd8b00d5d32f17c017f15b599f/tasks?limit=100&offset=0"
        assert request.headers["x-language"] == "zh-cn"
        assert request.headers["authorization"].startswith("SDK-HMAC-SHA256 Access=AKAKAK, SignedHeaders=")


def check_secrets(*shown: str) -> None:
    for text in shown:
        assert not any(secret in text for secret in (SECRET_KEY, TOKEN, SECRET, "obviously-fake"))


async def test_the_same_list_again_notifies_nobody(store_url: str, records: io.StringIO) -> None:
    async with house(store_url) as at:
        assert [(await at.poll(shown)).events for shown in (EMPTY, SAMPLE, SAMPLE, SAMPLE)] == [0, 2, 0, 0]
        assert set(at.messages.values()) == {2}
        check_ledger(await at.ledger())
    assert "error" not in records.getvalue()


async def test_a_first_poll_is_a_quiet_baseline(store_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    async with house(store_url) as at:
        assert await at.poll(SAMPLE) == Summary(polls=1)
        assert await at.poll(SAMPLE) == Summary(polls=1)
        assert set(at.messages.values()) == {0}
    assert "FAILED" not in capsys.readouterr().out


async def test_a_first_poll_notifies_if_the_configuration_asks_for_it(
    store_url: str, records: io.StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    async with house(store_url, source=SOURCE + "    first_poll: notify\n") as at:
        assert await at.poll(SAMPLE) == Summary(polls=1, events=2, deliveries=2 * len(NAMES))
        assert capsys.readouterr().out == CONSOLE["en"].format(**moment(at.clock, "en"))
        assert set(at.messages.values()) == {2}
        check_ledger(await at.ledger())
    assert "error" not in records.getvalue()


async def test_a_running_task_that_fails_makes_two_messages_in_one_thread(
    store_url: str, records: io.StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    running = SAMPLE.replace(b'"Failed"', b'"Running"').replace("ECS云服务器处理异常。".encode(), b"")
    async with house(store_url) as at:
        for shown in (EMPTY, running, SAMPLE):
            await at.poll(shown)
        creation = [mail for mail in at.told.mails if "6568" in mail["Subject"]]
        assert [mail["X-GaussDB-Event"] for mail in creation] == ["task.started", "task.failed"]
        assert len({mail["References"] for mail in creation}) == 1
        failure = next(body for body in at.told.webhooks if body["type"] == "task.failed")
        assert failure["data"]["previous_status"] == "running"
        assert (await at.ledger()).unaccounted == ()
    headlines = [line[9:] for line in capsys.readouterr().out.splitlines() if not line.startswith(" ")]
    assert headlines == [
        "▶ STARTED  gauss-6568-zzh  Instance creation  prod/cn-north-1",
        "✓ COMPLETED  gauss-7875-lt-m  Instance deletion  prod/cn-north-1",
        "✗ FAILED  gauss-6568-zzh  Instance creation  prod/cn-north-1",
    ]
    assert "error" not in records.getvalue()


async def test_a_receiver_that_hangs_delays_nobody_else(
    store_url: str, records: io.StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    released = asyncio.Event()

    async def hang(writer: asyncio.StreamWriter) -> None:
        await released.wait()
        await reply(204, b"")(writer)

    async with house(store_url) as at:
        await at.poll(EMPTY)
        at.told.receiver.answers = [hang]
        async with asyncio.timeout(20), asyncio.TaskGroup() as group:
            polling = group.create_task(at.poll(SAMPLE))
            while (await at.ledger()).by_state[DeliveryState.DELIVERED] < 2 * (len(NAMES) - 1):
                assert not polling.done()
            released.set()
        check_ledger(await at.ledger())
    assert len(at.told.webhooks) == 2
    assert capsys.readouterr().out.count("prod/cn-north-1") == 2
    assert "error" not in records.getvalue()


async def test_no_secret_reaches_the_database(sqlite_url: str, tmp_path: Path, records: io.StringIO) -> None:
    async with house(sqlite_url) as at:
        for shown in (EMPTY, SAMPLE):
            await at.poll(shown)
    written = contents(tmp_path)
    assert CREATION.encode() in written
    check_secrets(written.decode("latin-1"), records.getvalue())


def contents(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.iterdir())
