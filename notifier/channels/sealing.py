"""Secrets kept out of a text that is stored, and put in again when it is sent."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from html import escape
from urllib.parse import quote

_BEGIN, _END = "\ue000", "\ue001"
_SPELLINGS: Mapping[str, Callable[[str], str]] = {
    "": str,
    "json": lambda value: json.dumps(value, ensure_ascii=False)[1:-1],
    "ascii": lambda value: json.dumps(value)[1:-1],
    "tojson": lambda value: _html_safe(json.dumps(value, ensure_ascii=False)[1:-1]),
    "xml": lambda value: escape(value, quote=False).replace("'", "&#39;").replace('"', "&#34;"),
    "url": lambda value: quote(value, safe=""),
    "path": quote,
}
"""How a template may write a value, by the name that a placeholder has for it. The first that gives a text is taken."""


def _html_safe(text: str) -> str:
    """Escape as jinja's own filter does."""
    return re.sub("[<>&']", lambda found: f"\\u{ord(found[0]):04x}", text)


_PLACEHOLDER = re.compile(f"{_BEGIN}\\$\\{{(\\w+)\\}}(\\w*){_END}")


class MissingSecret(Exception):
    """A stored body wants a value that the template does not have any more. The message is its name."""


@dataclass(frozen=True, slots=True)
class Sealer:
    """Takes secrets out of a text and puts them in again."""

    secrets: Mapping[str, str] = field(repr=False)
    """By the name of the environment variable."""

    def seal(self, text: str) -> str:
        """Return the text with a placeholder for each secret, however it is spelled."""
        text = text.replace(_BEGIN, "\ufffd")  # nobody outside asks for a secret
        spelled: dict[str, str] = {}
        for name, value in self.secrets.items():
            for way, spell in _SPELLINGS.items():
                spelled.setdefault(spell(value), f"{_BEGIN}${{{name}}}{way}{_END}")
        if not spelled:
            return text
        longest_first = sorted(spelled, key=len, reverse=True)
        return re.sub("|".join(map(re.escape, longest_first)), lambda found: spelled[found[0]], text)

    def open(self, text: str) -> str:
        """Return the text as it was before it was sealed. Raises MissingSecret."""

        def put_in(found: re.Match[str]) -> str:
            name, way = found.groups()
            if name not in self.secrets or way not in _SPELLINGS:
                raise MissingSecret(name)
            return _SPELLINGS[way](self.secrets[name])

        return _PLACEHOLDER.sub(put_in, text)


def shown(text: str) -> str:
    """Return a sealed text for people: `${NAME}` in the place of each secret."""
    return _PLACEHOLDER.sub(r"${\1}", text)
