from __future__ import annotations

import io
import json
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from notifier import logs
from notifier.wording.terminal import shows_colours


@pytest.fixture(autouse=True)
def _logging_left_as_found() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()


@pytest.fixture
def out() -> io.StringIO:
    return io.StringIO()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def records(out: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_a_record_is_one_json_object_with_time_level_and_event_first(out: io.StringIO) -> None:
    logs.configure("info", "json", out)
    structlog.get_logger("notifier.poll").info("poll recorded", source="prod", tasks=12, late=False, label="创建实例")
    (record,) = records(out)
    assert list(record)[:3] == ["timestamp", "level", "event"]
    assert record.pop("timestamp").endswith("Z")
    assert record == {
        "level": "info",
        "event": "poll recorded",
        "logger": "notifier.poll",
        "source": "prod",
        "tasks": 12,
        "late": False,
        "label": "创建实例",
    }
    assert "创建实例" in out.getvalue()


@pytest.mark.parametrize(
    ("style", "stream", "is_json"),
    [
        ("auto", io.StringIO, True),
        ("auto", Terminal, False),
        ("json", Terminal, True),
        ("console", io.StringIO, False),
    ],
)
def test_auto_means_console_on_a_terminal_and_json_elsewhere(
    style: logs.Format, stream: type[io.StringIO], *, is_json: bool
) -> None:
    out = stream()
    logs.configure("info", style, out)
    structlog.get_logger().info("hello")
    assert out.getvalue().startswith("{") is is_json


def test_only_a_terminal_gets_colours() -> None:
    plain, terminal = io.StringIO(), Terminal()
    for out in (plain, terminal):
        logs.configure("info", "console", out)
        structlog.get_logger().info("hello")
    assert "\x1b[" not in plain.getvalue()
    assert "\x1b[" in terminal.getvalue()


def test_records_below_the_level_are_left_out(out: io.StringIO) -> None:
    logs.configure("warning", "json", out)
    structlog.get_logger().info("quiet")
    structlog.get_logger().warning("loud")
    assert [record["event"] for record in records(out)] == ["loud"]


def test_configuring_again_replaces_the_last_configuration(out: io.StringIO) -> None:
    before = io.StringIO()
    logs.configure("info", "json", before)
    logs.configure("info", "json", out)
    structlog.get_logger().info("once")
    assert before.getvalue() == ""
    assert len(records(out)) == 1


def test_nothing_is_written_to_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "json")
    structlog.get_logger().info("hello")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "hello" in captured.err


def test_the_records_of_libraries_take_the_same_form(out: io.StringIO) -> None:
    logs.configure("info", "json", out)
    logging.getLogger("uvicorn.error").info("listening on %s", "127.0.0.1")
    warnings.simplefilter("always")
    warnings.warn("old", UserWarning, stacklevel=1)
    listening, warned = records(out)
    assert (listening["event"], listening["logger"]) == ("listening on 127.0.0.1", "uvicorn.error")
    assert (warned["level"], warned["logger"]) == ("warning", "py.warnings")


@pytest.mark.parametrize(
    "name",
    ["httpx", "httpcore.http11", "httpx2", "httpcore2.http11", "sqlalchemy.engine.Engine", "apscheduler.scheduler"],
)
def test_libraries_that_log_urls_are_logged_from_warning_on(out: io.StringIO, name: str) -> None:
    logs.configure("debug", "json", out)
    logging.getLogger(name).info("POST https://receiver.example/hook/key")
    logging.getLogger(name).warning("trouble")
    assert [record["event"] for record in records(out)] == ["trouble"]


@pytest.mark.parametrize("style", ["json", "console"])
@pytest.mark.parametrize("get", [structlog.get_logger, logging.getLogger])
def test_a_traceback_stays_within_its_line(out: io.StringIO, style: logs.Format, get: Any) -> None:
    logs.configure("info", style, out)
    try:
        int("12\n whsec_c2VjcmV0")
    except ValueError:
        get("notifier").exception("boom")
    (line,) = out.getvalue().splitlines()
    assert "ValueError: invalid literal" in line
    assert "c2VjcmV0" not in line


@pytest.mark.parametrize(
    "key",
    [
        "secret",
        "bot_token",
        "password",
        "db_passwd",
        "Authorization",
        "secret_key",
        "api_key",
        "Set-Cookie",
        "webhook_url",
    ],
)
def test_the_value_under_a_telling_key_is_masked_at_any_depth(out: io.StringIO, key: str) -> None:
    logs.configure("info", "json", out)
    structlog.get_logger().info("sent", **{key: "hunter2"}, request={"headers": [{key: "hunter2"}]})
    (record,) = records(out)
    assert record[key] == "***"
    assert record["request"] == {"headers": [{key: "***"}]}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("signed with whsec_MfKQ9r8GKYqrTwjU/+=", "signed with whsec_***"),
        ("asked with gdbn_0MxTKQ8dli2C3RT0HDYb of", "asked with gdbn_*** of"),
        ("stored as $scrypt$ln=15,r=8,p=3$UeitPCo9$kCCv99+/w here", "stored as $scrypt$*** here"),
        ("xoxb-123-abc refused", "xoxb-*** refused"),
        ("xapp-1-A0-99 refused", "xapp-*** refused"),
        ("POST https://hooks.slack.com/services/T0/B0/key gave 404", "POST https://hooks.slack.com/*** gave 404"),
        ("postgresql://user:hunter2@db/notifier", "postgresql://***@db/notifier"),
        ("Authorization: Bearer abc", "Authorization: *** ***"),
        ('"SDK-HMAC-SHA256 Access=AK, SignedHeaders=host, Signature=ff" is wrong', '"SDK-HMAC-SHA256 ***" is wrong'),
        ("https://host/path?token=abc&page=2", "https://host/path?token=***&page=2"),
        ("{'password': 'hunter2', 'port': 25}", "{'password': '***', 'port': 25}"),
        ("X-Auth-Token: abc", "X-Auth-Token: ***"),
        (f"got MIIE{'a' * 80}=", "got ***"),
    ],
)
def test_a_secret_inside_a_text_is_masked(text: str, shown: str) -> None:
    assert logs.redact(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "task 0611f1bd-8b00 failed: quota exceeded",
        "connection refused by tickets.example.com",
        "MII is a prefix",
        "12:30:05",
    ],
)
def test_an_ordinary_text_is_left_alone(text: str) -> None:
    assert logs.redact(text) == text


@pytest.mark.parametrize("value", ["é" * 20_000, ["x" * 50] * 200, {"reason": "y" * 5000}])
def test_a_long_field_is_cut_from_the_middle(out: io.StringIO, value: object) -> None:
    logs.configure("info", "json", out)
    structlog.get_logger().info("row", value=value)
    (record,) = records(out)
    assert len(record["value"].encode()) <= logs.LOG_FIELD_LIMIT
    assert "bytes cut" in record["value"]


def test_a_secret_is_masked_before_the_field_is_cut(out: io.StringIO) -> None:
    logs.configure("info", "json", out)
    structlog.get_logger().info("row", value="x" * 1000 + " whsec_" + "A" * 3000)
    assert "AA" not in out.getvalue()


@pytest.mark.parametrize("style", ["json", "console"])
@given(text=st.text(st.characters(), max_size=200))
def test_no_text_leaves_its_line_or_reaches_the_terminal_raw(style: logs.Format, text: str) -> None:
    out = io.StringIO()
    logs.configure("info", style, out)
    structlog.get_logger().info(text, reason=text, nested={"reason": [text]})
    logging.getLogger("library").info("%s", text)
    assert len(out.getvalue().splitlines()) == 2
    raw = set(out.getvalue().replace("\n", ""))
    assert not raw & {chr(c) for c in (*range(32), *range(0x7F, 0xA0), *range(0x2028, 0x202F), *range(0x2066, 0x206A))}


@given(text=st.text(st.characters(), max_size=200))
def test_json_carries_every_text_unchanged(text: str) -> None:
    out = io.StringIO()
    logs.configure("info", "json", out)
    structlog.get_logger().info("row", value=text)
    assert records(out)[0]["value"] == logs.redact(text)


# ---- what strangers can cause ----


def test_a_frequent_message_is_logged_at_once_then_once_a_minute(out: io.StringIO) -> None:
    logs.configure("info", "json", out)
    now = 100.0
    rejections = logs.RejectionLog("requests refused", logger="notifier.web", seconds=lambda: now)
    rejections.count("slow")
    for _ in range(1000):
        rejections.count("not signed")
    now += 59.9
    rejections.count("slow")
    assert [record["reasons"] for record in records(out)] == ["slow (1)"]
    now += 0.1
    rejections.count("slow")
    assert [record["reasons"] for record in records(out)] == ["slow (1)", "not signed (1000), slow (2)"]


@pytest.mark.parametrize(
    ("environ", "coloured"),
    [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False), ({"NO_COLOR": ""}, True)],
)
def test_a_terminal_gets_colours_unless_its_owner_wants_none(
    monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], *, coloured: bool
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    for name, value in {"TERM": "xterm-256color", **environ}.items():
        monkeypatch.setenv(name, value)
    stream = Terminal()
    assert shows_colours(stream) is coloured
    logs.configure("info", "auto", stream)
    structlog.get_logger("notifier").info("said")
    assert ("\x1b[" in stream.getvalue()) is coloured
    assert not shows_colours(io.StringIO())
