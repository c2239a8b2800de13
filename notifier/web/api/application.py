"""The API as a FastAPI application, to be mounted at `API_PATH`.

Importing this module costs about 6 MB and 0.1 s: only a process that serves the page does.
"""

from __future__ import annotations

from typing import Final

from fastapi import Depends, FastAPI, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from notifier.core.errors import StoreError
from notifier.web.api import paths
from notifier.web.api.context import ApiContext
from notifier.web.api.description import describe, written
from notifier.web.api.entrance import Entrance, refuse_unknown_parameters
from notifier.web.api.problems import (
    ApiProblem,
    answer_http_error,
    answer_invalid,
    answer_mistake,
    answer_problem,
    answer_store_error,
)
from notifier.web.api.stream import StreamLimits
from notifier.web.parts import WebParts

API_PATH: Final = "/api/v1"
"""Where the application is mounted."""

_DESCRIPTION: Final = """\
What the notifier knows of the tasks of GaussDB, and what people can do about them.

Keys never change their meaning within a version; new ones may be added, so ignore those that you do not know. Sets of
words that may grow are said to be open. Times are RFC 3339 in UTC. Reasons, replies and names come from outside or from
people: show them as text.
"""


def build_api(parts: WebParts, streams: StreamLimits | None = None) -> ASGIApp:
    """Return the application, with who may use it in front."""
    return Entrance(build_paths(parts, streams), parts.access)


def build_paths(parts: WebParts, streams: StreamLimits | None = None) -> FastAPI:
    """Return the application for requests that were let in."""
    api = ApiContext(parts, streams or StreamLimits())
    app = FastAPI(
        title="GaussDB notifier",
        version="1",
        summary="Tasks, failures, deliveries and mutes.",
        description=_DESCRIPTION,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        separate_input_output_schemas=False,
        dependencies=[Depends(refuse_unknown_parameters)],
        responses={"4XX": {"description": "The request is refused."}},
        exception_handlers={
            ApiProblem: answer_problem,
            StoreError: answer_store_error,
            HTTPException: answer_http_error,
            RequestValidationError: answer_invalid,
            Exception: answer_mistake,
        },
    )
    for group in (
        paths.task_paths,
        paths.stream_paths,
        paths.failure_paths,
        paths.delivery_paths,
        paths.maintenance_paths,
        paths.mute_paths,
        paths.own_paths,
    ):
        app.include_router(group(api))
    made: list[str] = []  # once it is asked for

    @app.get("/openapi.json", include_in_schema=False)
    async def get_openapi() -> Response:
        if not made:
            made.append(written(describe(app, API_PATH)))
        return Response(made[0], media_type="application/openapi+json")

    return app
