"""The JSON Schema of a configuration file, for editors. It is generated from the settings."""

import ast
import inspect
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import entry_points
from itertools import pairwise
from typing import Any

from notifier.channels import kinds as channel_kinds
from notifier.config.config import Config
from notifier.config.routes import RouteSettings
from notifier.config.source_defaults import OWN_SETTINGS, SECTION
from notifier.settings.base import Settings
from notifier.sources import kinds as source_kinds

Schema = dict[str, Any]

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_BUILT_IN = "notifier."
_REFERENCE: Schema = {"type": "string", "pattern": r"\$\{[A-Za-z_]\w*(:-[^{}]*)?\}"}
"""A text with a reference to the environment, accepted in place of a number, a switch or a fixed form."""


def json_schema() -> Schema:
    """Return the schema of a configuration with the built-in kinds."""
    # The shipped schema must not depend on other installed packages.
    points = entry_points(group=channel_kinds.GROUP)
    built_in = sorted(point.name for point in points if point.value.startswith(_BUILT_IN))
    sources = {kind: source_kinds.settings_class(kind) for kind in sorted(source_kinds.SOURCES)}
    channels = {kind: channel_kinds.settings_class(kind) for kind in built_in}
    definitions: dict[str, Schema] = {"Source": _by_kind(sources), "Channel": _by_kind(channels)}
    models: list[type[Settings]] = [Config, RouteSettings, *sources.values(), *channels.values()]
    for model in models:
        definitions |= _definitions(model)
    shared = _defaults(definitions, sources)
    needed = _needed_of_sources(definitions, sources)
    top = definitions.pop(Config.__name__)
    top["properties"][SECTION] = {"description": top["properties"][SECTION]["description"], **shared}
    for section, name in {"sources": "Source", "channels": "Channel", "routes": RouteSettings.__name__}.items():
        top["properties"][section]["items"] = {"$ref": f"#/$defs/{name}"}
    return _lenient({"$schema": _DIALECT, **top, "allOf": needed, "$defs": dict(sorted(definitions.items()))})


def _defaults(definitions: Mapping[str, Schema], sources: Mapping[str, type[Settings]]) -> Schema:
    """Return the schema of the defaults of sources: any setting of any kind, as some kind accepts it."""
    found: dict[str, list[Schema]] = {}
    for model in sources.values():
        for key, schema in definitions[model.__name__]["properties"].items():
            if key not in OWN_SETTINGS and schema not in found.setdefault(key, []):
                found[key].append(schema)
    properties = {key: schemas[0] if len(schemas) == 1 else {"anyOf": schemas} for key, schemas in found.items()}
    return {"type": "object", "additionalProperties": False, "properties": properties}


def _needed_of_sources(definitions: Mapping[str, Schema], sources: Mapping[str, type[Settings]]) -> list[Schema]:
    """Return what sources must give unless the defaults do; it is taken out of what each kind requires."""
    kinds: dict[str, list[str]] = {}
    for kind, model in sources.items():
        schema = definitions[model.__name__]
        for key in (key for key in schema["required"] if key not in OWN_SETTINGS):
            kinds.setdefault(key, []).append(kind)
        schema["required"] = [key for key in schema["required"] if key in OWN_SETTINGS]
    return [
        {
            "if": {"required": [SECTION], "properties": {SECTION: {"type": "object", "required": [key]}}},
            "else": {"properties": {"sources": {"items": _required_of(those, key)}}},
        }
        for key, those in kinds.items()
    ]


def _required_of(kinds: Sequence[str], key: str) -> Schema:
    """Return that sources of these kinds must have a key."""
    return {"if": {"properties": {"kind": {"enum": list(kinds)}}}, "then": {"required": [key]}}


def _by_kind(models: Mapping[str, type[Settings]]) -> Schema:
    """Return a schema that selects by kind, so that an editor reports errors of that kind only."""
    return {
        "type": "object",
        "required": ["name", "kind"],
        "properties": {"kind": {"enum": list(models)}},
        "allOf": [
            {"if": {"properties": {"kind": {"const": kind}}}, "then": {"$ref": f"#/$defs/{model.__name__}"}}
            for kind, model in models.items()
        ],
    }


def _definitions(model: type[Settings]) -> dict[str, Schema]:
    """Return the schemas of a model and of those inside it, by name."""
    schema = model.model_json_schema()
    found = {**schema.pop("$defs", {}), model.__name__: schema}
    for known in _descendants(Settings):
        if known.__name__ in found and known.__module__.startswith(_BUILT_IN):
            _describe(found[known.__name__], known)
    return found


def _descendants(model: type[Settings]) -> Iterator[type[Settings]]:
    for child in model.__subclasses__():
        yield child
        yield from _descendants(child)


# ---- descriptions: the docstring after each field ----


def _describe(schema: Schema, model: type[Settings]) -> None:
    for name, text in _docstrings(model).items():
        key = model.model_fields[name].alias or name
        if name in model.unused_settings:
            continue
        schema["properties"][key].setdefault("description", " ".join(text.split()))


def _docstrings(model: type[Settings]) -> dict[str, str]:
    parents = (parent for parent in reversed(model.__mro__) if issubclass(parent, Settings) and parent is not Settings)
    found = {name: text for parent in parents for name, text in _own_docstrings(parent)}
    return {name: text for name, text in found.items() if name in model.model_fields}


def _own_docstrings(model: type[Settings]) -> Iterator[tuple[str, str]]:
    body = ast.parse(textwrap.dedent(inspect.getsource(model))).body[0]
    statements = body.body if isinstance(body, ast.ClassDef) else []
    for field, following in pairwise(statements):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(following, ast.Expr):
            yield field.target.id, inspect.cleandoc(ast.literal_eval(following.value))


# ---- references to the environment ----

_FIXED_FORMS = frozenset({"enum", "pattern", "maxLength"})
_PLACES_OF_MANY = frozenset({"properties", "$defs"})
_PLACES_OF_SOME = frozenset({"anyOf", "oneOf", "allOf"})
_PLACES_OF_ONE = frozenset({"items", "additionalProperties", "then"})


def _lenient(schema: Schema) -> Schema:
    """Accept a reference for any scalar, and drop titles, which only repeat the names."""
    found = {key: _inside(key, value) for key, value in schema.items() if not _is_noise(key, value)}
    if schema.get("type") in ("integer", "number", "boolean") or _FIXED_FORMS & schema.keys():
        notes: Schema = {key: found.pop(key) for key in ("description", "default") if key in found}
        return {**notes, "anyOf": [found, _REFERENCE]}
    return found


def _is_noise(key: str, value: object) -> bool:
    return (key == "title" and isinstance(value, str)) or (key == "default" and isinstance(value, dict | None))


def _inside(key: str, value: Any) -> Any:  # noqa: ANN401 - JSON
    if key in _PLACES_OF_MANY:
        return {name: _lenient(inner) for name, inner in value.items()}
    if key in _PLACES_OF_SOME:
        return [_lenient(inner) for inner in value]
    if key in _PLACES_OF_ONE and isinstance(value, dict):
        return _lenient(value)
    return value
