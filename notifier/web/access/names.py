"""The names of people, as forms, proxies and providers give them: text from outside that becomes an author."""

from typing import Final

from notifier.core.people import Person
from notifier.settings.explain import find_hidden

MAX_NAME: Final = 64
"""Maximum length of a name, in characters."""


def clean_name(text: str) -> str | None:
    """Return a name that can be shown and recorded; None where the text is none."""
    name = " ".join(text.split(" ")).strip()
    return name if 0 < len(name) <= MAX_NAME and find_hidden(name) is None else None


def person_of(name: str) -> Person:
    """Return the person of a name, as the record of actions has them."""
    return Person(id=f"web:{name}", name=name)
