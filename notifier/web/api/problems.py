"""Errors of the API as problem documents (RFC 9457). No error shows how the program is made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from notifier.core.errors import StoreError
from notifier.web.api.models import ParameterProblem, ProblemDocument

TYPE_PREFIX: Final = "tag:gaussdb-notifier,2026:"
"""How the type of every problem begins."""
RETRY_AFTER: Final = 5
"""Seconds after which a request may be repeated that found the database unreachable."""
PROBLEM_MEDIA_TYPE: Final = "application/problem+json"


TITLES: Final[Mapping[str, str]] = {
    "unauthorized": "Who asks is not known",
    "forbidden": "This may not be asked",
    "misdirected": "This server has another name",
    "not-found": "There is no such thing",
    "method-not-allowed": "The path has no such method",
    "configured": "The configuration decides this",
    "in-progress": "The same request is in progress",
    "too-large": "The body is too large",
    "invalid": "The request is not valid",
    "key-reused": "The key belongs to another request",
    "malformed": "The body cannot be read",
    "too-many-attempts": "There were too many attempts",
    "too-many-streams": "There are too many streams",
    "internal-error": "The notifier made a mistake",
    "database-unreachable": "The database cannot be reached",
}
"""What each kind of problem is, by the end of its type."""


class ApiProblem(Exception):
    """An error that ends a request. The message is its detail."""

    def __init__(
        self,
        status: int,
        word: str,
        detail: str | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        errors: Sequence[ParameterProblem] = (),
    ) -> None:
        """`word` is the end of the problem's type; it is stable."""
        super().__init__(detail)
        self.status = status
        self.word = word
        self.detail = detail
        self.headers = headers or {}
        self.errors = errors

    def response(self) -> Response:
        """Return the answer."""
        document = ProblemDocument(
            type=TYPE_PREFIX + self.word,
            title=TITLES.get(self.word, "The request is refused"),
            status=self.status,
            detail=self.detail,
            errors=list(self.errors),
        )
        headers = {"Cache-Control": "no-store", **self.headers}
        return Response(document.model_dump_json(), self.status, headers, media_type=PROBLEM_MEDIA_TYPE)


def not_found(what: str) -> ApiProblem:
    """Return the error that something is not recorded."""
    return ApiProblem(404, "not-found", f"{what} is not recorded; it may have been deleted because of its age")


def refused(place: str, name: str, message: str) -> ApiProblem:
    """Return the error that a part of the request cannot be."""
    one = ParameterProblem(place=place, name=name, message=message)
    return ApiProblem(422, "invalid", f"{name} {message}" if name else message, errors=[one])


def unreachable() -> ApiProblem:
    """Return the error that the database cannot be reached. Why is in the log, and in `notifier health`."""
    why = "the database cannot be reached now; repeat the request later, a change with its Idempotency-Key"
    return ApiProblem(503, "database-unreachable", why, headers={"Retry-After": str(RETRY_AFTER)})


# ---- what the framework raises ----


async def answer_problem(_request: Request, error: Exception) -> Response:
    """Answer an error of ours."""
    assert isinstance(error, ApiProblem)  # noqa: S101 - registered for it
    return error.response()


async def answer_store_error(_request: Request, error: Exception) -> Response:
    """Answer that the database cannot be reached."""
    assert isinstance(error, StoreError)  # noqa: S101 - registered for it
    return unreachable().response()


async def answer_http_error(_request: Request, error: Exception) -> Response:
    """Answer an unknown path, a method that a path has not, and a body that is too large or no JSON."""
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for it
    word, detail = _HTTP_ERRORS.get(error.status_code, ("refused", None))
    return ApiProblem(error.status_code, word, detail, headers=error.headers).response()


_HTTP_ERRORS: Final[Mapping[int, tuple[str, str | None]]] = {
    400: ("malformed", "the body is no JSON document"),
    404: ("not-found", "there is nothing at this path; /api/v1/openapi.json lists all paths"),
    405: ("method-not-allowed", "this path has other methods; the header Allow names them"),
    413: ("too-large", "the body is larger than 64 KiB"),
}


async def answer_invalid(_request: Request, error: Exception) -> Response:
    """Answer which parameters, or which keys of the body, are wrong, without repeating their values."""
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for it
    errors = [_parameter_problem(one["loc"], one["msg"]) for one in error.errors()]
    if any(one["type"] == "json_invalid" for one in error.errors()):
        return ApiProblem(400, "malformed", "the body is no JSON document", errors=errors).response()
    shown = "; ".join(f"{one.name or one.place}: {one.message}" for one in errors[:3])
    return ApiProblem(422, "invalid", shown, errors=errors).response()


def _parameter_problem(loc: Sequence[object], message: str) -> ParameterProblem:
    place, *names = map(str, loc)
    # A key that a caller made up is not repeated at any length.
    return ParameterProblem(place=place, name=".".join(names)[:100], message=message[:300])


async def answer_mistake(_request: Request, _error: Exception) -> Response:
    """Answer a mistake of ours. The log has the rest."""
    return ApiProblem(500, "internal-error", "this is a mistake of the notifier; its log has the rest").response()
