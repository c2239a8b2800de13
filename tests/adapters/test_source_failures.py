from __future__ import annotations

import json
from datetime import timedelta
from email.utils import format_datetime

import httpx
import pytest
from fakes import START
from hypothesis import given
from hypothesis import strategies as st

from notifier.core.errors import (
    CredentialsRejected,
    PermissionDenied,
    RequestRejected,
    SourceError,
    SourceThrottled,
    SourceUnreachable,
)
from notifier.core.retry import retry_after
from notifier.sources.failures import classify, clock_skew, read_refusal, redact_reply_text

MINUTE = timedelta(minutes=1)
GATEWAY = "Incorrect IAM authentication information: "
THROTTLED = "The throttling threshold has been reached: policy user over ratelimit,limit:200,time:5 minute"


def error_of(status: int, body: object, **headers: str) -> SourceError:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return classify(status, httpx.Headers(names), content, where="source prod", now=START)


def gateway(code: str, message: str) -> dict[str, str]:
    return {"error_code": f"APIGW.{code}", "error_msg": message, "request_id": "req-1"}


PROJECT = "Check project_id: it must be a project of this region."
PASSING = "It is tried again; if this lasts, see the cloud's status."
REFUSED = "source prod: the request is refused"
FAILING = "source prod: the service is failing"
ADDRESSES = "Check project_id, region and endpoint."
NOT_THERE = "There is no task list at this address: check region, endpoint and project_id."
PASSWORD = "Check auth.domain, auth.username and auth.password; the user needs programmatic access."

CASES: list[tuple[int, object, type[SourceError], str]] = [
    # the shapes of bodies
    (
        400,
        {"error_code": "DBS.200001", "error_msg": "Parameter error."},
        RequestRejected,
        f"{REFUSED} (HTTP 400; DBS.200001; Parameter error.). {ADDRESSES}",
    ),
    (
        400,
        {"errCode": "DBS.280408", "errMsg": "Invalid project ID."},
        RequestRejected,
        f"{REFUSED} (HTTP 400; DBS.280408; Invalid project ID.). {PROJECT}",
    ),
    (
        404,
        gateway("0101", "The API does not exist"),
        RequestRejected,
        f"{REFUSED} (HTTP 404; APIGW.0101; The API does not exist; request req-1). {NOT_THERE}",
    ),
    (
        401,
        {"error": {"code": 401, "message": "The username or password is wrong.", "title": "Unauthorized"}},
        CredentialsRejected,
        f"source prod: credentials rejected (HTTP 401; The username or password is wrong.). {PASSWORD}",
    ),
    (
        502,
        b"<html><head><title>502 Bad Gateway</title></head></html>",
        SourceUnreachable,
        f"{FAILING} (HTTP 502; a web page instead of an answer). {PASSING}",
    ),
    (503, b"", SourceUnreachable, f"{FAILING} (HTTP 503). It is tried again"),
    (
        500,
        {"x": {"y": {"errorCode": "DBS.200005", "errorMsg": "Server failure."}}},
        SourceUnreachable,
        "(HTTP 500; DBS.200005; Server failure.)",
    ),
    (500, b"upstream connect error", SourceUnreachable, "(HTTP 500; upstream connect error)"),
    (500, [1, 2], SourceUnreachable, "(HTTP 500)"),
    (500, b"[" * 100_000, SourceUnreachable, "(HTTP 500; [[[["),
    # 401
    (
        401,
        gateway("0301", GATEWAY + "verify aksk signature fail, canonicalRequest:GET|/v3/"),
        CredentialsRejected,
        "Check auth.secret_key, and that",
    ),
    (
        401,
        gateway("0301", GATEWAY + "ak ABCDEFGHIJ0123456789 not exist"),
        CredentialsRejected,
        "The access key is unknown",
    ),
    (
        401,
        gateway("0301", GATEWAY + "AK access failed to reach the limit,forbidden"),
        CredentialsRejected,
        "is locked for 5 minutes",
    ),
    (
        401,
        gateway("0301", GATEWAY + "decrypt token fail"),
        CredentialsRejected,
        "The token is expired or of another region",
    ),
    (
        401,
        gateway("0307", "The token must be updated."),
        CredentialsRejected,
        "The token is expired or of another region",
    ),
    (401, {"error_code": "IAM.0061", "error_msg": "Account locked."}, CredentialsRejected, "wait until IAM unlocks it"),
    (401, b"", CredentialsRejected, "Check the credentials under auth."),
    # 403
    (403, {"error_code": "DBS.280056", "error_msg": "Invalid token."}, CredentialsRejected, "The token is expired"),
    (403, {"error_code": "DBS.280015", "error_msg": "No permission."}, PermissionDenied, "GaussDB ReadOnlyAccess"),
    (403, gateway("0401", "Source IP refused"), PermissionDenied, "The address of this machine is not allowed"),
    # the rest
    (429, gateway("0308", THROTTLED), SourceThrottled, "source prod: throttled (HTTP 429; APIGW.0308; The throttling"),
    (429, {"error_code": "IAM.0012", "error_msg": "Too many requests."}, SourceThrottled, "Poll less often"),
    (408, b"", SourceUnreachable, "the service is failing (HTTP 408)"),
    (409, {"error_code": "DBS.200011", "error_msg": "Busy."}, RequestRejected, "the request is refused (HTTP 409"),
    (405, b"", RequestRejected, "the request is refused (HTTP 405)"),
    (302, b"", RequestRejected, "Redirects are never followed: check endpoint."),
    (204, b"", RequestRejected, "the request is refused (HTTP 204)"),
]


@pytest.mark.parametrize(("status", "body", "kind", "message"), CASES)
def test_a_refusal_becomes_one_error_with_its_remedy(
    status: int, body: object, kind: type[SourceError], message: str
) -> None:
    error = error_of(status, body)
    assert type(error) is kind
    assert message in str(error)
    assert error.status == status


def test_code_and_request_id_are_on_the_error_and_the_header_wins() -> None:
    error = error_of(400, gateway("0201", "Bad request"), X_Request_Id="from-header")
    assert (error.code, error.request_id) == ("APIGW.0201", "from-header")
    assert error_of(400, gateway("0201", "Bad request")).request_id == "req-1"
    assert error_of(401, {"error": {"code": 401, "message": "x"}}).code is None


@pytest.mark.parametrize(
    ("header", "wait"),
    [
        ("0", timedelta(0)),
        ("5", timedelta(seconds=5)),
        ("1.5", timedelta(seconds=1.5)),
        (" 30 ", timedelta(seconds=30)),
        ("-30", timedelta(0)),
        ("86400", timedelta(hours=1)),
        ("1e400", timedelta(hours=1)),
        ("nan", None),
        ("soon", None),
        ("", None),
        (format_datetime(START + 2 * MINUTE, usegmt=True), 2 * MINUTE),
        (format_datetime(START - MINUTE, usegmt=True), timedelta(0)),
        ("Thu, 15 Jan 9999 08:32:00 GMT", timedelta(hours=1)),
    ],
)
def test_retry_after_is_read_as_seconds_or_date_within_bounds(header: str, wait: timedelta | None) -> None:
    assert retry_after(httpx.Headers({"Retry-After": header}), START) == wait


@pytest.mark.parametrize(
    ("status", "message", "wait"),
    [
        (429, THROTTLED, 5 * MINUTE),
        (429, "policy api over ratelimit,limit:20,time:30 second", timedelta(seconds=30)),
        (429, "policy api over ratelimit,limit:20,time:999999 hour", timedelta(hours=1)),
        (429, "policy api over ratelimit", None),
        (500, THROTTLED, None),
        (401, GATEWAY + "AK access failed to reach the limit,forbidden", 5 * MINUTE),
    ],
)
def test_the_reply_body_can_set_how_long_to_wait(status: int, message: str, wait: timedelta | None) -> None:
    assert error_of(status, gateway("0308", message)).retry_after == wait


def test_a_header_takes_precedence_over_the_body() -> None:
    assert error_of(429, gateway("0308", THROTTLED), Retry_After="7").retry_after == timedelta(seconds=7)
    assert error_of(503, b"", Retry_After="9").retry_after == timedelta(seconds=9)


SECRET = "gQpjbi1ub3J0aC00jexampleTokenWithPadding"
LEAKS = [
    f"verify aksk signature fail, canonicalRequest:GET|/v3/|limit=1|host:x|x-security-token:{SECRET}||",
    f"verify aksk signature fail, CanonicalRequest: {SECRET}",
    f"canonical_request={SECRET}",
    f"Authorization: SDK-HMAC-SHA256 Access={SECRET}, SignedHeaders=host, Signature={SECRET}",
    f"x-auth-token={SECRET}",
    f'{{"x-security-token": "{SECRET}"}}',
    f'"password":"{SECRET}"',
    f"secret_key : {SECRET}",
    f"token {SECRET}",
    f"first\n{SECRET}\nlast",
]


@pytest.mark.parametrize("leak", LEAKS)
@pytest.mark.parametrize("shape", ["document", "text"])
def test_no_credential_that_a_body_echoes_reaches_the_message(leak: str, shape: str) -> None:
    body = gateway("0301", leak) if shape == "document" else leak.encode()
    assert SECRET not in str(error_of(401, body))
    assert SECRET[:30] not in repr(
        read_refusal({}, json.dumps(body).encode() if shape == "document" else leak.encode())
    )


def test_the_echo_of_the_signed_request_is_cut_off() -> None:
    assert (
        redact_reply_text("verify aksk signature fail, canonicalRequest:GET|/v3/|x-own:abc|")
        == "verify aksk signature fail, …"
    )


def test_short_secrets_are_masked_by_their_names() -> None:
    assert redact_reply_text('user bob, "password": "hunter2", sk=abc') == 'user bob, "password": "***", sk=***'


def test_ordinary_words_and_ids_stay_readable() -> None:
    text = (
        "项目 0611f1bd8b00d5d32f17c017f15b599f 没有权限, token must be updated (03bc055a-135c-4245-8bd8-b0bc6d3350b3)"
    )
    assert redact_reply_text(text) == text


def test_a_message_is_one_line_without_controls_and_short() -> None:
    message = redact_reply_text("a\x1b[31m\r\n b" + "很长" * 500)
    assert message.startswith("a\ufffd[31m b")
    assert len(message) == 300


def test_a_wrong_clock_is_named_when_credentials_are_refused() -> None:
    ahead = error_of(401, b"", Date=format_datetime(START - 17 * MINUTE, usegmt=True))
    behind = error_of(401, b"", Date=format_datetime(START + 20 * MINUTE, usegmt=True))
    assert "The clock of this machine is 17 minutes ahead of the service's" in str(ahead)
    assert "20 minutes behind" in str(behind)
    assert "clock" not in str(error_of(401, b"", Date=format_datetime(START - 9 * MINUTE, usegmt=True)))


@pytest.mark.parametrize("date", ["", "never", "Thu, 99 Jan 2026 08:30:00 GMT"])
def test_a_reply_without_a_usable_date_proves_no_clock_skew(date: str) -> None:
    assert clock_skew(httpx.Headers({"Date": date}), START) is None


@given(st.integers(100, 599), st.binary(max_size=300), st.text(max_size=30).filter(str.isascii))
def test_no_reply_crashes(status: int, body: bytes, header: str) -> None:
    headers = {"retry-after": header, "date": header, "x-request-id": header}
    error = classify(status, headers, body, where="source prod", now=START)
    assert str(error).startswith("source prod: ")
    assert str(error).isprintable() or "\ufffd" in str(error)
    assert error.retry_after is None or timedelta(0) <= error.retry_after <= timedelta(hours=1)
