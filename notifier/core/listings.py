"""Lists that matchers narrow: what of a matcher is decided here, and what the database compares. Pure.

Fields of sources, names of tasks and closed sets of words are few: the values that fit are found here, whatever the op.
Names of instances are many, and the database compares them with globs.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from notifier.core.fields import LABEL_PREFIX, label_fields, operation_kind
from notifier.core.health_facts import ConfiguredSource
from notifier.core.matchers import Matcher, first_misfit, is_glob

_SOURCE_FIELDS = ("source", "environment", "region", "project_id")
_NAME_FIELDS = ("name", "operation")
_GLOB_OPS = ("=", "!=", "in", "not in")


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceMatch:
    """What instances have to fit. None leaves all of them."""

    names: Sequence[str] | None = None
    """Globs, one of which fits the name."""
    other_names: Sequence[str] | None = None
    """Globs, none of which fits the name."""
    ids: Sequence[str] | None = None


ANY_INSTANCE = InstanceMatch()


def check_listing(match: Iterable[Matcher], closed: Collection[str] = ()) -> None:
    """Raise ValueError, with what would be right, for a matcher that narrows no list.

    `closed` are the fields with a closed set of words that the list has besides those of sources, names and instances.
    """
    seen: set[tuple[str, bool]] = set()
    for matcher in match:
        if _is_of_source(matcher) or matcher.field in (*_NAME_FIELDS, *closed):
            continue
        if not _is_of_instance(matcher):
            fields = ", ".join(("instance", "instance_id", *_NAME_FIELDS, *closed, *_SOURCE_FIELDS))
            raise ValueError(f"{matcher.field} narrows no list; fields that do are {fields} and {LABEL_PREFIX}NAME")
        if (key := (matcher.field, matcher.negative)) in seen:
            raise ValueError(f"{matcher.field} is compared twice; write {matcher.field} in [a, b]")
        seen.add(key)


def _is_of_source(matcher: Matcher) -> bool:
    return matcher.field in _SOURCE_FIELDS or matcher.field.startswith(LABEL_PREFIX)


def _is_of_instance(matcher: Matcher) -> bool:
    """Return whether a matcher is about instances. Raises ValueError where the database cannot compare them so."""
    if matcher.field == "instance" and matcher.op not in _GLOB_OPS:
        raise ValueError(f"a list compares no names of instances with {matcher.op}; write a pattern: instance=prod-*")
    if matcher.field == "instance_id" and (matcher.op not in ("=", "in") or any(map(is_glob, matcher.members))):
        raise ValueError("a list compares whole ids of instances; write instance_id=ID or instance_id in [ID, ID]")
    return matcher.field in ("instance", "instance_id")


def instances_of(match: Iterable[Matcher]) -> InstanceMatch:
    """Return what matchers, which `check_listing` accepts, demand of instances."""
    found = {(matcher.field, matcher.negative): matcher.members for matcher in match}
    return InstanceMatch(
        names=found.get(("instance", False)),
        other_names=found.get(("instance", True)),
        ids=found.get(("instance_id", False)),
    )


def sources_of(match: Iterable[Matcher], configured: Sequence[ConfiguredSource]) -> Sequence[str] | None:
    """Return the names of the sources that fit; None where no matcher is about sources.

    Of a source that is no longer configured only the name is known, and that only where a matcher gives it.
    """
    wanted = [matcher for matcher in match if _is_of_source(matcher)]
    if not wanted:
        return None
    named = (member for matcher in wanted if matcher.field == "source" for member in matcher.members)
    known: dict[str, Mapping[str, str]] = {name: {"source": name} for name in named if not is_glob(name)}
    known |= {source.name: _fields_of(source) for source in configured}
    unknown = dict.fromkeys(_SOURCE_FIELDS, "")
    return [name for name, fields in known.items() if first_misfit(wanted, {**unknown, **fields}) is None]


def fits_no_source(match: Iterable[Matcher], configured: Sequence[ConfiguredSource]) -> Matcher | None:
    """Return the first matcher about sources that none of the configured ones fits; None where each fits one."""
    about = (matcher for matcher in match if _is_of_source(matcher))
    return next(
        (one for one in about if not any(first_misfit([one], _fields_of(source)) is None for source in configured)),
        None,
    )


def _fields_of(source: ConfiguredSource) -> Mapping[str, str]:
    own = (source.name, source.environment, source.region, source.project_id)
    return dict(zip(_SOURCE_FIELDS, own, strict=True)) | label_fields(source.labels)


def is_about_names(match: Iterable[Matcher]) -> bool:
    """Return whether any matcher is about the names of tasks."""
    return any(matcher.field in _NAME_FIELDS for matcher in match)


def names_of(match: Iterable[Matcher], recorded: Iterable[str]) -> Sequence[str]:
    """Return those of the recorded names of tasks that fit."""
    wanted = [matcher for matcher in match if matcher.field in _NAME_FIELDS]
    fields = ({"name": name, "operation": operation_kind(name)} for name in recorded)
    return [each["name"] for each in fields if first_misfit(wanted, each) is None]


def words_of(field: str, match: Iterable[Matcher], known: Iterable[str]) -> Sequence[str] | None:
    """Return those of the words of a closed set that fit; None where no matcher is about its field."""
    wanted = [matcher for matcher in match if matcher.field == field]
    return [word for word in known if first_misfit(wanted, {field: word}) is None] if wanted else None
