"""Turn errors of the data into problems of the file: positions are added, environment values are masked."""

import re
from collections.abc import Collection, Iterator, Mapping

from pydantic import ValidationError

from notifier.config.document import EnvironmentValue, Path, Problem, YamlDocument, dotted
from notifier.config.source_defaults import SECTION, written_path
from notifier.core.fields import LABEL_PREFIX
from notifier.core.matchers import Matcher, fits, parse_matcher
from notifier.core.rota import rota_named
from notifier.settings.explain import Loc
from notifier.settings.words import did_you_mean

_SHORTEST_WORD = 6
"""Length in characters from which a word that a message shares with an environment value counts as a quote of it."""


def collect_problems(document: YamlDocument, error: ValidationError | None) -> list[Problem]:
    """Return all problems of a document, in the order of the file."""
    found = {
        Problem(what=what, place=document.place(path, on_key=on_key), path=path)
        for path, what, on_key in _located_problems(document, error)
        if on_key or not _follows_from(path, document.problems)
    }
    return sorted({*document.problems, *found}, key=lambda problem: (problem.place, _by_number(str(problem))))


def _by_number(text: str) -> list[str]:
    """Return a key that sorts line 3 of a file before its line 11."""
    return [part.zfill(9) for part in re.findall(r"\d+|\D+", text)]


def _located_problems(document: YamlDocument, error: ValidationError | None) -> Iterator[tuple[Path, str, bool]]:
    errors = error.errors(include_url=False) if error else []
    paths = [_path(document.data, found["loc"]) for found in errors]
    for path, found in zip(paths, errors, strict=True):
        # Where something inside is wrong, a list is too short only because entries were dropped.
        if not any(len(other) > len(path) and other[: len(path)] == path for other in paths):
            about, path = found["ctx"], written_path(path, document.values)  # noqa: PLW2901 - the same place
            what = _mask_environment(found["msg"], path, document) if about["quotes"] else found["msg"]
            yield path, what, about["on_key"]
    for path, what in _cross_problems(document.data):
        yield path, _mask_environment(what, path, document), False


def _path(data: object, loc: Loc) -> Path:
    """Return the place of an error in the data: pydantic's location without the names of models and types."""
    path: Path = ()
    for position, step in enumerate(loc, start=1):
        if isinstance(data, dict) and step not in data:
            missing = position == len(loc) and str(step).isidentifier()
            path = (*path, step) if missing else path
        elif isinstance(data, dict) or (isinstance(data, list) and isinstance(step, int)):
            path = (*path, step)
            data = data[step]  # type: ignore[index]  # an index where it is a list
    return path


def _follows_from(path: Path, problems: tuple[Problem, ...]) -> bool:
    """Return whether an unreadable value causes the problem at a path."""
    return any(problem.path and path[: len(problem.path)] == problem.path for problem in problems)


# ---- between sections: names are unique, and referenced names exist ----


def _cross_problems(data: object) -> Iterator[tuple[Path, str]]:
    """Yield the problems between sections of data of any shape: it may be invalid elsewhere."""
    for section in ("sources", "channels", "routes", "calendars", "rotas", "reports", "escalations", "mutes"):
        yield from _repeated_names(data, section)
    yield from _unknown_channels(data)
    yield from _unknown_rotas(data)
    yield from _unknown_sources_of_reports(data)
    yield from _unknown_escalations(data)
    yield from _unknown_names_in_matchers(data)


def _repeated_names(data: object, section: str) -> Iterator[tuple[Path, str]]:
    seen: dict[str, Path] = {}
    for path, entry in _entries(data, section):
        name = entry.get("name")
        if isinstance(name, str) and seen.setdefault(name, path) != path:
            yield (*path, "name"), f"the name is taken by {dotted(seen[name])}."


def _unknown_channels(data: object) -> Iterator[tuple[Path, str]]:
    known = _names(data, "channels")
    alerts = data.get("alerts") if isinstance(data, Mapping) else None
    reported = (found for path, report in _entries(data, "reports") for found in _listed(report, path, "channels"))
    announced = (found for path, rota in _entries(data, "rotas") for found in _listed(rota, path, "announce"))
    leading = (*_texts(data, "channels"), *_texts(data, "otherwise"))
    for path, name in (*leading, *_listed(alerts, ("alerts",), "channels"), *announced, *reported):
        if name not in known:
            yield path, f"no channel is called {name!r}. {did_you_mean(name, known, otherwise='Channels')}"


def _unknown_sources_of_reports(data: object) -> Iterator[tuple[Path, str]]:
    known = _source_names(data)
    for place, report in _entries(data, "reports"):
        for path, name in _listed(report, place, "sources"):
            if name not in known and not _may_be_found(data, name):
                yield path, f"no source is called {name!r}. {did_you_mean(name, known, otherwise='Sources')}"


def _unknown_rotas(data: object) -> Iterator[tuple[Path, str]]:
    known = _names(data, "rotas")
    for path, entry in (*_texts(data, "mention"), *_mentions_of_steps(data)):
        name = rota_named(entry)
        if name is not None and name not in known:
            yield path, f"no rota is called {name!r}. {did_you_mean(name, known, otherwise='Rotas')}"


def _mentions_of_steps(data: object) -> Iterator[tuple[Path, str]]:
    """Yield whom the steps of escalations mention."""
    for path, escalation in _entries(data, "escalations"):
        for place, step in _entries(escalation, "steps"):
            yield from _listed(step, (*path, *place), "mention")


def _unknown_escalations(data: object) -> Iterator[tuple[Path, str]]:
    known = _names(data, "escalations")
    for path, route in _entries(data, "routes"):
        name = route.get("escalate")
        if isinstance(name, str) and name not in known:
            what = f"no escalation is called {name!r}. {did_you_mean(name, known, otherwise='Escalations')}"
            yield (*path, "escalate"), what


def _unknown_names_in_matchers(data: object) -> Iterator[tuple[Path, str]]:
    others = (
        found
        for section in ("reports", "mutes")
        for path, entry in _entries(data, section)
        for found in _listed(entry, path, "match")
    )
    for path, text in (*_texts(data, "match"), *others):
        try:
            matcher = parse_matcher(text)
        except ValueError:
            continue  # reported for the route itself
        if what := unknown_name(data, matcher):
            yield path, what


def _may_be_found(data: object, text: str) -> bool:
    """Return whether a text may name sources that an account becomes, or stand for some: they are found later."""
    begins = re.split("[*?]", text, maxsplit=1)[0]
    names = (f"{name}-" for name in _account_names(data))
    return any(text.startswith(name) or (begins != text and name.startswith(begins)) for name in names)


def _source_names(data: object) -> list[str]:
    """Return the names of the sources that are configured one by one."""
    accounts = set(_account_names(data))
    return [name for name in _names(data, "sources") if name not in accounts]


def _account_names(data: object) -> list[str]:
    accounts = (entry.get("name") for _, entry in _entries(data, "sources") if entry.get("kind") == "gaussdb_account")
    return [name for name in accounts if isinstance(name, str)]


def unknown_name(data: object, matcher: Matcher) -> str | None:
    """Return what a matcher names that the configuration does not have, so that it would match nothing."""
    field = matcher.field
    if field.startswith(LABEL_PREFIX):
        label, labels = field.removeprefix(LABEL_PREFIX), _labels(data)
        return None if label in labels else _unknown("source has the label", label, labels, "Labels")
    if matcher.op in ("=~", "!~"):
        return None
    if field == "source" and any(_may_be_found(data, name) for name in matcher.members):
        return None
    if field in ("source", "channel"):
        known = _source_names(data) if field == "source" else _names(data, "channels")
        return _first_unknown(f"{field} is called", matcher, known, f"{field.title()}s")
    if field == "environment":
        known = _each(data, "sources", "environment")
        return _first_unknown("source has the environment", matcher, known, "Environments")
    return None


def _first_unknown(what: str, matcher: Matcher, known: Collection[str], kinds: str) -> str | None:
    """Return what is wrong with the first value that no known name fits. The empty value is that of other events."""
    for name in matcher.members:
        one = Matcher(field=matcher.field, op="=", value=name)
        if name and not any(fits(one, {matcher.field: other}) for other in known):
            return _unknown(what, name, known, kinds)
    return None


def _unknown(what: str, name: str, known: Collection[str], kinds: str) -> str:
    return f"no {what} {name!r}. {did_you_mean(name, known, otherwise=kinds)}"


def _entries(data: object, section: str) -> Iterator[tuple[Path, Mapping[str, object]]]:
    entries = data.get(section) if isinstance(data, Mapping) else None
    for index, entry in enumerate(entries if isinstance(entries, list) else ()):
        if isinstance(entry, Mapping):
            yield (section, index), entry


def _names(data: object, section: str) -> list[str]:
    return _each(data, section, "name")


def _each(data: object, section: str, key: str) -> list[str]:
    """Return the different texts that the entries of a section have under a key."""
    texts = (entry.get(key) for _, entry in _entries(data, section))
    return list(dict.fromkeys(text for text in texts if isinstance(text, str)))


def _labels(data: object) -> list[str]:
    """Return the names of the labels of all sources."""
    found = (entry.get("labels") for _, entry in _entries(data, "sources"))
    return list(dict.fromkeys(str(name) for labels in found if isinstance(labels, Mapping) for name in labels))


def _texts(data: object, key: str) -> Iterator[tuple[Path, str]]:
    """Yield the texts in one list of every route, and of every step of an escalation."""
    for path, route in _entries(data, "routes"):
        yield from _listed(route, path, key)
    for path, escalation in _entries(data, "escalations"):
        for place, step in _entries(escalation, "steps"):
            yield from _listed(step, (*path, *place), key)


def _listed(section: object, path: Path, key: str) -> Iterator[tuple[Path, str]]:
    """Yield the texts in one list of a section."""
    listed = section.get(key) if isinstance(section, Mapping) else None
    for index, text in enumerate(listed if isinstance(listed, list) else ()):
        if isinstance(text, str):
            yield (*path, key, index), text


# ---- environment values are masked ----


def _mask_environment(what: str, path: Path, document: YamlDocument) -> str:
    places = (path, (SECTION,)) if path[:1] == ("sources",) else (path,)  # a source has the defaults in it
    for inner, borrowed in document.borrowed.items():
        if any(inner[: len(place)] == place for place in places):
            for one in borrowed:
                what = _mask_value(what, one)
    return what


def _mask_value(what: str, borrowed: EnvironmentValue) -> str:
    """Replace the value of a variable by its reference; replace a message that shows parts of the value entirely."""
    reference, value = f"${{{borrowed.name}}}", borrowed.value.strip()
    if len(value) >= _SHORTEST_WORD:
        what = what.replace(value, reference)
    what = what.replace(repr(borrowed.value), reference)
    words = re.findall(rf"\w{{{_SHORTEST_WORD},}}", re.sub(r"^\w+://", "", value))
    return f"the value of {reference} is not accepted here." if any(word in what for word in words) else what
