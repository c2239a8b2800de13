"""Turn a refusal of the cloud (status, headers and body) into one error that states the remedy.

Error bodies of the cloud are read only here. Their texts are untrusted, and the gateway echoes request headers,
credentials included: no part of a body is used before `redact_reply_text` has cleaned it.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from http import HTTPStatus

from notifier.core.errors import (
    CredentialsRejected,
    PermissionDenied,
    RequestRejected,
    SourceError,
    SourceThrottled,
    SourceUnreachable,
)
from notifier.core.retry import CLOCK_TOLERANCE, MAX_RETRY_AFTER, http_date, retry_after
from notifier.sources.documents import find_error
from notifier.sources.lists import TASK_LIST, ApiList
from notifier.sources.payloads import sanitize_text

INVALID_TOKEN = "DBS.280056"  # noqa: S105 - an error code of the service, not a token

_LONGEST_MESSAGE = 300
_AK_LOCK = timedelta(minutes=5)
_STATUS_LIMIT = 600
_MASK = "***"

_CODE_STATUSES = {
    "APIGW.0301": HTTPStatus.UNAUTHORIZED,
    "APIGW.0303": HTTPStatus.UNAUTHORIZED,
    "APIGW.0305": HTTPStatus.UNAUTHORIZED,
    "APIGW.0307": HTTPStatus.UNAUTHORIZED,
    "APIGW.0302": HTTPStatus.FORBIDDEN,
    "APIGW.0304": HTTPStatus.FORBIDDEN,
    "APIGW.0306": HTTPStatus.FORBIDDEN,
    "APIGW.0308": HTTPStatus.TOO_MANY_REQUESTS,
}
"""HTTP status by code of the gateway."""

_WINDOW = re.compile(r"limit\s*:\s*\d+\s*,\s*time\s*:\s*(\d{1,6})\s*(second|minute|hour)", re.IGNORECASE)
_UNITS = {"second": timedelta(seconds=1), "minute": timedelta(minutes=1), "hour": timedelta(hours=1)}

_ECHO = re.compile(r"canonical_?\s?request.*", re.IGNORECASE | re.DOTALL)
_NAMED_SECRET = re.compile(
    r"""((?:authorization|x-security-token|x-auth-token|x-subject-token|security_?token|password|passwd|secret\w*"""
    r"""|signature|credential|\bsk)["']?\s*[:=]\s*["']?)[^\s"',;|}]+(?:\s+(?:Access|Credential)=[^\s"'|}]+)?""",
    re.IGNORECASE,
)
_SECRET_SHAPED = re.compile(r"[A-Za-z0-9_/+=-]{40,}|\b[A-Z0-9]{16,}\b")


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiRefusal:
    """The content of an error body, redacted and safe to show."""

    code: str = ""
    message: str = ""
    request_id: str = ""


def classify(
    status: int, headers: Mapping[str, str], body: bytes, *, where: str, now: datetime, of: ApiList = TASK_LIST
) -> SourceError:
    """Return the error for a reply that is not the expected one. With a success status, the body states the error.

    Args:
        status: the HTTP status.
        headers: by lower-case names.
        body: in any of the shapes that GaussDB, its gateway, IAM and proxies use.
        where: beginning of the message: `source prod`.
        now: the time of this machine, to compare with the `Date` of the reply.
        of: what was read.
    """
    refusal = read_refusal(headers, body)
    code = "" if refusal.code == str(status) else refusal.code
    kind, what, remedy = _diagnose(status if status != HTTPStatus.OK else _status_of_code(code), refusal, of)
    if kind is CredentialsRejected:
        remedy = _clock_remedy(headers, now) or remedy
    request = f"request {refusal.request_id}" if refusal.request_id else ""
    facts = filter(None, (f"HTTP {status}", code, refusal.message, request))
    return kind(
        f"{where}: {what} ({'; '.join(facts)}). {remedy}",
        status=status,
        code=code or None,
        request_id=refusal.request_id or None,
        retry_after=retry_after(headers, now) or _wait_in_message(kind, refusal),
    )


def detail_of(error: SourceError, where: str) -> str:
    """Return the message of an error without its beginning, for a check whose subject names the source already."""
    return str(error).removeprefix(f"{where}: ")


def is_error_body(body: bytes) -> bool:
    """Return whether an unexpected body is an error document."""
    return find_error(_json(body.decode("utf-8", errors="replace"))) is not None


def _status_of_code(code: str) -> int:
    """Return the HTTP status of an error code; 500 for an unknown code."""
    if code.isdecimal() and HTTPStatus.BAD_REQUEST <= int(code) < _STATUS_LIMIT:
        return int(code)
    return _CODE_STATUSES.get(code, HTTPStatus.INTERNAL_SERVER_ERROR)


def with_wait(error: SourceError, wait: timedelta, message: str | None = None) -> SourceError:
    """Return a copy of an error whose next call may be made after `wait`, with another message if one is given."""
    return type(error)(
        message or str(error), status=error.status, code=error.code, request_id=error.request_id, retry_after=wait
    )


# ---- the body ----


def read_refusal(headers: Mapping[str, str], body: bytes) -> ApiRefusal:
    """Read an error body of any known shape; the text of an unknown one is the message."""
    text = body.decode("utf-8", errors="replace")
    document = _json(text)
    code, message = find_error(document) or ("", _plain_text(text, document))
    inside = document.get("request_id") if isinstance(document, dict) else None
    request_id = headers.get("x-request-id") or headers.get("x-iam-trace-id") or inside
    return ApiRefusal(
        code=_identifier(code),
        message=redact_reply_text(message),
        request_id=_identifier(request_id if isinstance(request_id, str) else ""),
    )


def _json(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _plain_text(text: str, document: object) -> str:
    """Return the text of a body that is no error document; empty for other JSON, a note for a web page."""
    if document is not None or not text.strip():
        return ""
    return "a web page instead of an answer" if text.lstrip().startswith("<") else text


def _identifier(text: str) -> str:
    return re.sub(r"[^\w.-]", "", text, flags=re.ASCII)[:64]


def says_empty(error: RequestRejected) -> bool:
    """Return whether a service says with 404 that its list is empty. A gateway answers so for a path without a list."""
    return error.status == HTTPStatus.NOT_FOUND and bool(error.code) and not (error.code or "").startswith("APIGW")


def redact_reply_text(text: str) -> str:
    """Return a text of the service without the echo of the signed request and without anything shaped like a secret."""
    text = _ECHO.sub("…", text[: 10 * _LONGEST_MESSAGE])
    text = _SECRET_SHAPED.sub(_MASK, _NAMED_SECRET.sub(rf"\1{_MASK}", text))
    return sanitize_text(" ".join(text.split()), _LONGEST_MESSAGE)


def _diagnose(status: int, refusal: ApiRefusal, of: ApiList) -> tuple[type[SourceError], str, str]:
    code = refusal.code
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return SourceThrottled, "throttled", "Poll less often, or share the quota with fewer programs."
    if status == HTTPStatus.UNAUTHORIZED or code == INVALID_TOKEN:
        text = refusal.message.lower()
        remedies = (remedy for part, remedy in _CREDENTIALS_REMEDIES.items() if part in text)
        return CredentialsRejected, "credentials rejected", next(remedies, "Check the credentials under auth.")
    if status == HTTPStatus.FORBIDDEN:
        return PermissionDenied, f"not allowed to list {of.rows}", _permission_remedy(code, of)
    if status == HTTPStatus.REQUEST_TIMEOUT or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return SourceUnreachable, "the service is failing", "It is tried again; if this lasts, see the cloud's status."
    return RequestRejected, "the request is refused", _request_remedy(status, code, of)


_AK_LOCKED = "failed to reach the limit"
_CREDENTIALS_REMEDIES = {
    _AK_LOCKED: "The access key is locked for 5 minutes after repeated failures: correct auth.secret_key meanwhile.",
    "locked": "The account is locked after wrong passwords: correct auth.password, then wait until IAM unlocks it.",
    "aksk signature": "Check auth.secret_key, and that the clock of this machine is right.",
    "not exist": "The access key is unknown: check auth.access_key and region.",
    "token": "The token is expired or of another region: check auth, region and auth.iam_endpoint.",
    "username or password": "Check auth.domain, auth.username and auth.password; the user needs programmatic access.",
}
"""Remedy by a part of the service's text; the first that matches."""


def _permission_remedy(code: str, of: ApiList) -> str:
    if code.endswith((".0401", ".0402")):
        return "The address of this machine is not allowed: ask the administrator of the cloud account."
    return of.remedy


def _request_remedy(status: int, code: str, of: ApiList) -> str:
    if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
        return "Redirects are never followed: check endpoint."
    if status == HTTPStatus.NOT_FOUND:
        return f"There is no {of.name} at this address: check region, endpoint and project_id."
    if code == "DBS.280408":
        return "Check project_id: it must be a project of this region."
    return "Check project_id, region and endpoint."


def _wait_in_message(kind: type[SourceError], refusal: ApiRefusal) -> timedelta | None:
    if kind is CredentialsRejected and _AK_LOCKED in refusal.message:
        return _AK_LOCK
    window = _WINDOW.search(refusal.message) if kind is SourceThrottled else None
    return min(int(window[1]) * _UNITS[window[2].lower()], MAX_RETRY_AFTER) if window else None


def clock_skew(headers: Mapping[str, str], now: datetime) -> timedelta | None:
    """Return how far this machine's clock is ahead of the service's; None for a reply without a date."""
    date = http_date(headers.get("date", ""))
    return None if date is None else now - date


def describe_skew(skew: timedelta) -> str:
    """Return how far off the clock is, such as `17 minutes ahead of`."""
    return f"{abs(skew) // timedelta(minutes=1)} minutes {'ahead of' if skew > timedelta(0) else 'behind'}"


def _clock_remedy(headers: Mapping[str, str], now: datetime) -> str:
    skew = clock_skew(headers, now)
    if skew is None or abs(skew) <= CLOCK_TOLERANCE:
        return ""
    return f"The clock of this machine is {describe_skew(skew)} the service's: correct it, signatures depend on it."
