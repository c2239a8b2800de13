"""Parameters of requests. Each is as strict as its description: what a client misspells is said, not guessed."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final

from fastapi import Header, Path, Query
from pydantic import BeforeValidator, Field, Strict, WithJsonSchema

from notifier.web.api.idempotency import KEY_PATTERN
from notifier.web.api.moments import parse_moment
from notifier.web.api.reads import MAX_API_ROWS
from notifier.web.cursors import MAX_CURSOR

MAX_FILTER_TEXT: Final = 300
"""Maximum length of a text to filter by, in characters."""
_NO_NUL: Final = r"^[^\x00]*$"


_FLAGS: Final = {"true": True, "false": False}

Flag = Annotated[bool, Strict(), BeforeValidator(lambda value: _FLAGS.get(value, value))]
"""`true` or `false`, and no other word."""
MomentParam = Annotated[
    datetime, BeforeValidator(parse_moment), WithJsonSchema({"type": "string", "format": "date-time"})
]
TextParam = Annotated[str, Field(max_length=MAX_FILTER_TEXT, pattern=_NO_NUL)]


def _whole(value: object) -> object:
    """Leave what is no whole number to be refused: pydantic would take 1.0, +1 and 1_000."""
    if isinstance(value, str) and not (value.isascii() and value.isdecimal()):
        raise ValueError("is no whole number")
    return value


def _numbers(least: int, most: int) -> WithJsonSchema:
    return WithJsonSchema({"type": "integer", "minimum": least, "maximum": most})


_LAST_NUMBER: Final = 2**63 - 1
EventNumber = Annotated[int, BeforeValidator(_whole), Field(ge=0, le=_LAST_NUMBER), _numbers(0, _LAST_NUMBER)]
"""Number of an event."""
Limit = Annotated[
    Annotated[int, BeforeValidator(_whole), Field(ge=1, le=MAX_API_ROWS), _numbers(1, MAX_API_ROWS)],
    Query(description="Maximum number of rows of the page."),
]
Cursor = Annotated[
    Annotated[
        str,
        Field(max_length=MAX_CURSOR),
        WithJsonSchema({"type": "string", "format": "cursor", "maxLength": MAX_CURSOR}),
    ]
    | None,
    Query(description="`next` of the page before, with the same filters. Without it, the first page is answered."),
]
Since = Annotated[MomentParam | None, Query(description="Only what happened at or after this time.")]
SourceParam = Annotated[TextParam | None, Query(description="Name of a source.", examples=["prod-cn-north-4"])]
Match = Annotated[
    Annotated[
        str,
        Field(max_length=MAX_FILTER_TEXT, pattern=_NO_NUL),
        WithJsonSchema({"type": "string", "format": "matchers", "maxLength": MAX_FILTER_TEXT}),
    ]
    | None,
    Query(
        description="Matchers, all of which have to fit, as the command line and the chat take them.",
        examples=["prod-* operation=backup", "environment=production"],
    ),
]
SourcePath = Annotated[TextParam, Path(description="Name of the source.", examples=["prod-cn-north-4"])]
JobPath = Annotated[TextParam, Path(description="Id of the task.", examples=["31b8ae23-c687-4d80-b7b4-42a66c9bb886"])]
IdPath = Annotated[TextParam, Path(description="Id, whole.")]
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        pattern=KEY_PATTERN,
        description=(
            "Any unique text, such as a UUID. A request that is repeated with the same key within 24 hours gets the "
            "same answer, and changes nothing again."
        ),
        examples=["4c1b7b8e-9a51-4b8e-8a77-2f0a1f1d8c52"],
    ),
]
IfNoneMatch = Annotated[
    str | None,
    Header(alias="If-None-Match", description="`ETag` of an earlier answer: status 304 where nothing changed."),
]
