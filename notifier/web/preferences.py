"""What a reader chose: language, theme and keys. A link sets it in a cookie, and leads back to the page without it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlencode

from starlette.datastructures import QueryParams

from notifier.wording.phrases import Language

Theme = Literal["auto", "light", "dark"]

CHOICES: Mapping[str, tuple[str, ...]] = {
    "lang": ("en", "zh"),
    "theme": ("auto", "light", "dark"),
    "keys": ("on", "off"),
}
"""Names of the cookies, which are also those of the parameters, with their values."""
YEAR = 31_536_000
"""Seconds for which a browser keeps a choice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preferences:
    """How a reader wants pages."""

    language: Language
    theme: Theme = "auto"
    keys: bool = True
    """Whether single keys do something."""


def read_preferences(cookies: Mapping[str, str], accepted: str, otherwise: Language) -> Preferences:
    """Return what was chosen, else what the browser asks for by Accept-Language, else the configured language."""
    chosen_language, theme = cookies.get("lang"), cookies.get("theme")
    known: Language | None = "zh" if chosen_language == "zh" else "en" if chosen_language == "en" else None
    return Preferences(
        language=known or accepted_language(accepted) or otherwise,
        theme="light" if theme == "light" else "dark" if theme == "dark" else "auto",
        keys=cookies.get("keys") != "off",
    )


def accepted_language(header: str) -> Language | None:
    """Return the language of ours that a browser asks for before the others; None where it asks for neither."""
    best: Language | None = None
    weight = 0.0
    for part in header.split(","):
        name, *parameters = part.strip().lower().split(";")
        quality = _quality(parameters)
        primary = name.strip().partition("-")[0]
        if primary in ("en", "zh") and quality > weight:
            best, weight = "zh" if primary == "zh" else "en", quality
    return best


def _quality(parameters: list[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.strip().partition("=")
        if name == "q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0


def chosen(query: QueryParams) -> Mapping[str, str]:
    """Return the choices in a query, by the names of their cookies."""
    return {name: query[name] for name, values in CHOICES.items() if query.get(name) in values}


def without_choices(path: str, query: QueryParams) -> str:
    """Return the address of a page without what was chosen there."""
    rest = urlencode([(name, value) for name, value in query.multi_items() if name not in CHOICES])
    return f"{path}?{rest}" if rest else path
