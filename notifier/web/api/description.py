"""The description of the API: OpenAPI 3.1, as `docs/openapi.json` has it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from notifier.web.api.models import ProblemDocument
from notifier.web.api.problems import PROBLEM_MEDIA_TYPE, RETRY_AFTER, TYPE_PREFIX

REFERENCES: Final = "#/components/schemas/{model}"
_BODIES: Final = ("MuteBody", "ResolveBody", "ExtendBody")
"""Models of bodies: a key that is not wanted is left out."""
_METHODS: Final = frozenset({"get", "post"})
_TAGS: Final[Mapping[str, str]] = {
    "tasks": "What the cloud lists.",
    "events": "What happened, in order.",
    "failures": "What failed and is not over.",
    "deliveries": "Messages, and what became of them.",
    "channels": "Where messages go.",
    "maintenance": "What the cloud plans.",
    "mutes": "What suppresses notifications.",
    "notifier": "The notifier itself.",
}
_SECURITY: Final[Mapping[str, Any]] = {
    "token": {
        "type": "http",
        "scheme": "bearer",
        "description": "A token that `notifier token create` made. Scope `read` reads, scope `act` also changes.",
    },
}
_PROBLEM: Final[Mapping[str, Any]] = {
    "type": f"{TYPE_PREFIX}invalid",
    "title": "The request is not valid",
    "status": 422,
    "detail": "limit: Input should be less than or equal to 500",
    "errors": [{"place": "query", "name": "limit", "message": "Input should be less than or equal to 500"}],
}


def describe(app: FastAPI, server: str) -> Mapping[str, Any]:
    """Return the description of an application that is mounted at a path."""
    document: dict[str, Any] = get_openapi(
        title=app.title,
        version=app.version,
        openapi_version="3.1.0",
        summary=app.summary,
        description=app.description,
        routes=app.routes,
        tags=[{"name": name, "description": text} for name, text in _TAGS.items()],
        servers=[{"url": server}],
    )
    parts = document["components"]
    schema = ProblemDocument.model_json_schema(ref_template=REFERENCES, mode="serialization")
    parts["schemas"] |= schema.pop("$defs", {}) | {"ProblemDocument": schema}
    for name in _BODIES:
        keys = parts["schemas"][name]["properties"]
        keys.update({key: _without_null(value) for key, value in keys.items()})
    parts["securitySchemes"] = dict(_SECURITY)
    parts["responses"] = dict(_responses())
    document["security"] = [{name: []} for name in _SECURITY]
    for operation in _operations(document):
        _complete(operation)
    return document


def written(document: Mapping[str, Any]) -> str:
    """Return the file of a description."""
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def _operations(document: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for path in document["paths"].values():
        yield from (operation for method, operation in path.items() if method in _METHODS)


def _responses() -> Iterator[tuple[str, Any]]:
    content = {PROBLEM_MEDIA_TYPE: {"schema": {"$ref": REFERENCES.format(model="ProblemDocument")}}}
    shown = {PROBLEM_MEDIA_TYPE: content[PROBLEM_MEDIA_TYPE] | {"example": dict(_PROBLEM)}}
    yield "Problem", {"description": "The request is refused; `type` and `detail` say why.", "content": shown}
    seconds = {"schema": {"type": "integer"}, "description": "Seconds.", "example": RETRY_AFTER}
    yield (
        "Unreachable",
        {"description": "The database cannot be reached now.", "headers": {"Retry-After": seconds}, "content": content},
    )


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a parameter or key that may be left out, and is never null."""
    kinds = [one for one in schema.get("anyOf", ()) if one != {"type": "null"}]
    if len(kinds) != 1:
        return schema
    return {**{key: value for key, value in schema.items() if key != "anyOf"}, **kinds[0]}


def _complete(operation: dict[str, Any]) -> None:
    """Add to an operation what all have: errors, and the tag of an answer that can be asked for again."""
    for parameter in operation.get("parameters", ()):
        parameter["schema"] = _without_null(parameter["schema"])
    answers = operation["responses"]
    if "304" in answers:
        tag = {"schema": {"type": "string"}, "description": "Give it as If-None-Match to ask again."}
        answers["200"]["headers"] = {"ETag": tag}
        answers["304"] = {"description": answers["304"]["description"]}
    answers["4XX"] = {"$ref": "#/components/responses/Problem"}
    answers["503"] = {"$ref": "#/components/responses/Unreachable"}
