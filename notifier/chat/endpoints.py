"""HTTP endpoints that a chat calls: a bounded body, read strictly as a form.

A request is measured, then authenticated, then read, so that a request that fails one step costs nothing of the next.
A caller that is not authenticated gets a status and nothing else; a mistake in an authenticated request is explained.
"""

from collections.abc import Awaitable, Callable, Collection
from urllib.parse import parse_qsl

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from notifier.chat.ports import BadRequest
from notifier.logs import RejectionLog

BODY_LIMIT = 256 * 1024
"""Maximum size of a request's body, in bytes. A click carries the whole message; Slack's largest fits several times."""
MAX_FORM_FIELDS = 100

_FORM = "application/x-www-form-urlencoded"


class InvalidRequest(Exception):
    """The request is rejected with a status and an empty body. The message is a word for the log."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


def post_route(path: str, answer: Callable[[Request], Awaitable[Response]], rejections: RejectionLog) -> Route:
    """Return a route for POST that counts what `answer` rejects. `answer` raises RequestRejected or BadRequest."""

    async def endpoint(request: Request) -> Response:
        try:
            return await answer(request)
        except InvalidRequest as error:
            rejections.count(str(error))
            return Response(status_code=error.status)
        except BadRequest as error:
            rejections.count("not what a chat sends")
            return Response(str(error), status_code=400, media_type="text/plain")

    return Route(path, endpoint, methods=["POST"])


def raw_header(request: Request, name: str) -> bytes:
    """Return a header's bytes, empty where there is none."""
    return request.headers.get(name, "").encode("latin-1")


async def read_body(request: Request) -> bytes:
    """Read the body, at most BODY_LIMIT bytes of it. Raises RequestRejected."""
    length = request.headers.get("Content-Length")
    if length and "Transfer-Encoding" in request.headers:
        raise InvalidRequest(400, "two lengths")  # a proxy may have believed the other one
    if length and int(length) > BODY_LIMIT:
        raise InvalidRequest(413, "too large")
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > BODY_LIMIT:
                raise InvalidRequest(413, "too large")
    except ClientDisconnect:
        raise InvalidRequest(400, "broken off") from None
    return bytes(body)


def parse_form(request: Request, body: bytes, *, repeatable: Collection[str] = ()) -> dict[str, str]:
    """Parse a form of strict UTF-8. Only `repeatable` fields may be given twice; the last value counts.

    Raises RequestRejected where it is no form, and BadRequest where the form is wrong.
    """
    if request.headers.get("Content-Type", "").partition(";")[0].strip().lower() != _FORM:
        raise InvalidRequest(415, "no form")
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, errors="strict", max_num_fields=MAX_FORM_FIELDS)
    except UnicodeDecodeError:
        raise BadRequest("The form is not UTF-8.") from None
    except ValueError:
        raise BadRequest(f"The form has more than {MAX_FORM_FIELDS} fields.") from None
    form: dict[str, str] = {}
    for name, value in pairs:
        if name in form and name not in repeatable:
            raise BadRequest("A field of the form is given twice.")
        if "\0" in value:
            raise BadRequest("The form holds a NUL character.")
        form[name] = value
    return form
