"""Placeholders for secrets: put into a text before it is stored, replaced by the secrets when it is sent."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from html import escape
from urllib.parse import quote

_BEGIN, _END = "\ue000", "\ue001"
_MARK = _BEGIN.encode("utf-8")
_SPELLINGS: Mapping[str, Callable[[str], str]] = {
    "": str,
    "json": lambda value: json.dumps(value, ensure_ascii=False)[1:-1],
    "ascii": lambda value: json.dumps(value)[1:-1],
    "tojson": lambda value: _html_safe(json.dumps(value, ensure_ascii=False)[1:-1]),
    "xml": lambda value: escape(value, quote=False).replace("'", "&#39;").replace('"', "&#34;"),
    "url": lambda value: quote(value, safe=""),
    "path": quote,
}
"""Ways to write a value in a template, by their names in a placeholder. Of two that write the same: the first."""


def _html_safe(text: str) -> str:
    """Escape as the filter `tojson` of Jinja does."""
    return re.sub("[<>&']", lambda found: f"\\u{ord(found[0]):04x}", text)


_PLACEHOLDER = re.compile(f"{_BEGIN}\\$\\{{(\\w+)\\}}(\\w*){_END}")


class MissingSecret(Exception):
    """A stored body needs a value that the template no longer has. The message is its name."""


@dataclass(frozen=True, slots=True)
class Placeholders:
    """Replaces secrets with placeholders, and placeholders with secrets."""

    secrets: Mapping[str, str] = field(repr=False)
    """The secrets by the names of their environment variables."""

    def hide(self, text: str) -> str:
        """Return the text with a placeholder for each secret, in every spelling."""
        text = text.replace(_BEGIN, "\ufffd")  # text from outside must not forge a placeholder
        spelled: dict[str, str] = {}
        for name, value in self.secrets.items():
            for spelling, spell in _SPELLINGS.items():
                spelled.setdefault(spell(value), f"{_BEGIN}${{{name}}}{spelling}{_END}")
        if not spelled:
            return text
        longest_first = sorted(spelled, key=len, reverse=True)
        return re.sub("|".join(map(re.escape, longest_first)), lambda found: spelled[found[0]], text)

    def reveal(self, text: str) -> str:
        """Return the text with the secrets in it. Raises MissingSecret."""

        def secret_of(found: re.Match[str]) -> str:
            name, spelling = found.groups()
            if name not in self.secrets or spelling not in _SPELLINGS:
                raise MissingSecret(name)
            return _SPELLINGS[spelling](self.secrets[name])

        return _PLACEHOLDER.sub(secret_of, text)

    def reveal_bytes(self, content: bytes) -> bytes:
        """Do the same to UTF-8. Raises MissingSecret."""
        return self.reveal(content.decode("utf-8")).encode("utf-8") if _MARK in content else content


def readable(text: str) -> str:
    """Return a text for people: `${NAME}` for each placeholder."""
    return _PLACEHOLDER.sub(r"${\1}", text)
