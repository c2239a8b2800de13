"""What is kept of a receiver's reply: readable, bounded, harmless, and without secrets."""

from __future__ import annotations

import json
from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier import logs
from notifier.channels.reply_text import REPLY_LIMIT, Secrets, http_reply, reply_line

HOOK = "https://user:pass-word@chat.example.com/services/T0123/B0123/obviously-fake-part?key=fake%2Fkey&mode=2"

PAGE = b"""<html><head><title>502 Bad Gateway</title><style>h1{color:red}</style></head>
<body><h1>502 Bad Gateway</h1><hr><script>if (a < b) alert('x')</script>nginx &amp; co</body></html>"""


@pytest.mark.parametrize(
    ("body", "content_type", "said"),
    [
        (b"", "", ""),
        (b"  \r\n", "text/plain", ""),
        (b"ok", "", ": ok"),
        (b"a\r\nb\tc", "text/plain", ": a b c"),
        (b'{"errors":{"priority":"Field \'priority\' cannot be set"}}', "application/json", None),
        (rb'{"errmsg":"\u673a\u5668\u4eba"}', "application/json", ': {"errmsg": "机器人"}'),
        ("机器人".encode("gbk"), "text/plain; charset=GBK", ": 机器人"),
        ("ß".encode(), "text/plain; charset=no-such-thing", ": ß"),
        (b"\xef\xbb\xbfok", "", ": ok"),
        (b"caf\xe9", "", ": caf\ufffd"),
        (b"\x1f\x8b\x08\x00\x00", "", ": (not text)"),
        (b"[" * 10_000, "application/json", ": " + "[" * (REPLY_LIMIT - 1) + "…"),
        (b"\x1b[31mred\x1b[0m \xe2\x80\xaetxt", "", ": red txt"),
        (b"x" * 20_000, "", ": " + "x" * (REPLY_LIMIT - 1) + "…"),
        (PAGE, "text/html", ": 502 Bad Gateway nginx & co"),
        (b"<!DOCTYPE html><p>Log in</p>", "", ": Log in"),
        (b"5 < 6", "text/plain", ": 5 < 6"),
    ],
)
def test_a_reply_is_one_readable_line(body: bytes, content_type: str, said: str | None) -> None:
    expected = ': {"errors": {"priority": "Field \'priority\' cannot be set"}}' if said is None else said
    assert http_reply(400, body, content_type) == f"HTTP 400{expected}"


@given(st.binary(max_size=2000), st.sampled_from(["", "text/html", "application/json", "text/x; charset=utf-16"]))
def test_whatever_is_replied_the_line_is_short_and_harmless(body: bytes, content_type: str) -> None:
    line = http_reply(500, body, content_type)
    assert line.startswith("HTTP 500")
    assert len(line) <= len("HTTP 500: ") + REPLY_LIMIT
    assert line.isprintable() or all(ch.isprintable() or not ch.isascii() for ch in line)
    assert "\n" not in line
    line.encode("utf-8")


@pytest.mark.parametrize(
    "echo",
    [
        HOOK,
        "Cannot POST /services/T0123/B0123/obviously-fake-part",
        "no hook obviously-fake-part",
        "bad key fake%2Fkey or fake/key",
        "user user:pass-word is not known",
        'header x-mine: very secret "value"',
        "user " + b64encode(b"user:pass-word").decode() + " is not known",
        "user " + b64encode(b"user:pass-word").decode().rstrip("=") + " is not known",
        "no very%20secret%20%22value%22 here",
        "x" * (REPLY_LIMIT - 20) + " obviously-fake-part",
    ],
)
@pytest.mark.parametrize("dressed", [str, lambda text: json.dumps({"error": text}), lambda text: f"<p>{text}</p>"])
def test_a_secret_that_was_sent_is_masked_where_it_is_repeated(echo: str, dressed: type[str]) -> None:
    secrets = Secrets([HOOK, 'very secret "value"'])
    line = http_reply(404, dressed(echo).encode(), secrets=secrets)
    kept_out = (
        "fake-part",
        "fake/key",
        "fake%2Fkey",
        "pass-word",
        "very secret",
        "very%20",
        "dXNlcjpwYXNz",
        "obviously",
    )
    for secret in kept_out:
        assert secret not in line
    assert logs.MASK in line


def test_words_that_are_no_secret_stay() -> None:
    secrets = Secrets([HOOK, "", "abc"])
    text = "the services of abc at chat.example.com are closed, mode 2"
    assert reply_line("HTTP 503", text, secrets=secrets) == f"HTTP 503: {text}"


@pytest.mark.parametrize(
    "secret", ["https://[::1", "://", "http://x", "https://host/", "https://host/?a=&b", "https://\ud800:x@h/"]
)
def test_any_text_may_be_a_secret(secret: str) -> None:
    assert reply_line("HTTP 400", "fine", secrets=Secrets([secret])) == "HTTP 400: fine"


@pytest.mark.parametrize(
    "said",
    ["Authorization: Bearer fake-token", "x-api-key: fake-token", '{"password": "fake-token"}', "xoxb-fake-token"],
)
def test_text_that_resembles_a_secret_is_masked(said: str) -> None:
    assert "fake-token" not in reply_line("HTTP 401", said)


def test_another_protocol_begins_with_its_own_words() -> None:
    assert reply_line("SMTP 550 5.4.5", "daily\r\nquota exceeded") == "SMTP 550 5.4.5: daily quota exceeded"
