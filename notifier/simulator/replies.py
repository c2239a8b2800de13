"""The replies of the gateway and of the services, each in its own form."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

CLOUD_EYE_STATUS = "ces."
"""Code of an error of Cloud Eye that writes its HTTP status as its code, as the documented sample does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedReply:
    """One HTTP reply."""

    status: int = 200
    body: bytes = b""
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


class SimulatedError(Exception):
    """An error reply. Its code decides the form of the body: see `body`."""

    def __init__(self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        """An empty code makes it a reply of IAM's token API."""
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.headers = headers or {}

    def body(self, request_id: str) -> dict[str, Any]:
        """Return the error in the form of the gateway or of the service that its code belongs to."""
        if self.code.startswith("APIGW."):
            return {"error_msg": self.message, "error_code": self.code, "request_id": request_id}
        if self.code.startswith("ces."):
            code = str(self.status) if self.code == CLOUD_EYE_STATUS else self.code
            return {"http_code": str(self.status), "message": {"details": self.message, "code": code}}
        if self.code.startswith("SMN."):
            return {"request_id": request_id, "code": self.code, "message": self.message}
        if self.code:
            return {"error_code": self.code, "error_msg": self.message}
        title = {400: "Bad Request", 401: "Unauthorized", 403: "Forbidden"}.get(self.status, "Error")
        return {"error": {"code": self.status, "message": self.message, "title": title}}

    def reply(self, request_id: str) -> SimulatedReply:
        """Return the complete reply."""
        return json_reply(self.body(request_id), status=self.status, headers=self.headers)


def json_reply(value: object, *, status: int = 200, headers: Mapping[str, str] | None = None) -> SimulatedReply:
    """Return a value as JSON, non-ASCII text unescaped as the API writes it."""
    body = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "backslashreplace")
    return SimulatedReply(status=status, body=body, headers=headers or {})


def unauthenticated(detail: str) -> SimulatedError:
    """Return the gateway's 401."""
    return SimulatedError(401, "APIGW.0301", f"Incorrect IAM authentication information: {detail}")


def stale_token() -> SimulatedError:
    """Return the gateway's 401 for a token that is expired, revoked or of another project."""
    return SimulatedError(401, "APIGW.0307", "The token must be updated.")


def throttled(limit: int, *, retry_after: int | None) -> SimulatedError:
    """Return the gateway's 429; `retry_after` is in seconds, None leaves the header out."""
    message = f"The throttling threshold has been reached: policy user over ratelimit,limit:{limit},time:1 minute"
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    return SimulatedError(429, "APIGW.0308", message, headers)


def unpublished() -> SimulatedError:
    """Return the gateway's 404 for an unknown path or method."""
    return SimulatedError(404, "APIGW.0101", "The API does not exist or has not been published in the environment")
