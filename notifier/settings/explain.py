"""Errors of pydantic in plain words.

Every `Settings` class rewrites its own errors, because it alone knows its keys. An error that an inner class has
rewritten is left unchanged. The result is still pydantic's ValidationError, so classes nest as usual.
"""

import re
import unicodedata
from collections.abc import Callable, Collection, Mapping
from datetime import timedelta
from typing import Any, Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

from notifier.core.durations import format_duration
from notifier.settings.words import (
    HEADER_PATTERN,
    HOST_PATTERN,
    LABEL_PATTERN,
    LINK_PATTERN,
    NAME_PATTERN,
    PROJECT_ID_PATTERN,
    REGION_PATTERN,
    SLACK_ID_PATTERN,
    SLACK_WORKSPACE_PATTERN,
    FixedMessageError,
    closest_match,
    did_you_mean,
)

EXPLAINED: Final = "explained"
"""The type of an error in plain words. Its `ctx` has `what`, `on_key` (the key is wrong, not the value) and `quotes`
(`what` may repeat a part of the value)."""

_PATTERNS = {
    NAME_PATTERN: "must be of lower-case letters, digits, - and _, and start with a letter or a digit",
    LINK_PATTERN: "must be a URL that begins with https:// or http://, without spaces and without <, > and |",
    LABEL_PATTERN: "must be a name of lower-case letters, digits and _ that starts with a letter, 40 at most",
    PROJECT_ID_PATTERN: "must be of letters, digits, - and _; usually it is 32 hexadecimal digits",
    HEADER_PATTERN: "must be the name of a header, such as X-Forwarded-User",
    HOST_PATTERN: "must be the name of a host, such as notifier.monitoring.svc, without scheme, port and path",
    REGION_PATTERN: "must be of lower-case letters, digits and -, for example cn-north-4",
    SLACK_WORKSPACE_PATTERN: "must be the id of a workspace (T0123ABCD) or of an organization (E0123ABCD), not a name",
    SLACK_ID_PATTERN: "must be the id of a user (U0123ABCD) or of a user group (S0123ABCD), not a name",
}

Loc = tuple[int | str, ...]


def setting_error(key: str, what: str) -> ValidationError:
    """Return the error of one key, to be raised by a validator of the whole class."""
    return ValidationError.from_exception_data("settings", [error_detail((key,), what)], hide_input=True)


def error_detail(loc: Loc, what: str, *, on_key: bool = False, quotes: bool = True) -> InitErrorDetails:
    """Return one error in plain words, without the input, which may hold a secret."""
    error = PydanticCustomError(EXPLAINED, "{what}", {"what": what, "on_key": on_key, "quotes": quotes})
    return InitErrorDetails(type=error, loc=loc, input=None)


# ---- invisible and wrong characters ----

_QUOTES = "\"'`"
_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode categories of invisible characters: controls, formats such as U+200B and U+FEFF, separators."""


def find_invisible(text: str) -> str | None:
    """Return which invisible character a text has and where; None without one. The text is not quoted."""
    return _first_wrong(text, lambda character: unicodedata.category(character) not in _INVISIBLE)


def find_hidden(text: str) -> str | None:
    """Return which invisible character, or space at an end, a text has; None without one."""
    if text != text.strip():
        return _first_wrong(text, lambda character: not character.isspace())
    return find_invisible(text)


def find_non_ascii(text: str, *, inner_spaces: bool = False) -> str | None:
    """Return which character of a text is a quote or not visible ASCII; None without one. The text is not quoted.

    Keys and tokens of services hold visible ASCII alone. With `inner_spaces`, as for a password, quotes and spaces
    between other characters are accepted.
    """
    if inner_spaces:
        lowest = "!" if text != text.strip(" ") else " "
        return _first_wrong(text, lambda character: lowest <= character <= "~")
    return _first_wrong(text, lambda character: "!" <= character <= "~" and character not in _QUOTES)


def _first_wrong(text: str, accepted: Callable[[str], bool]) -> str | None:
    wrong = [position for position, character in enumerate(text) if not accepted(character)]
    if not wrong:
        return None
    # Characters at the ends come first: they are the most common, and easy to find.
    position = next((at for at in wrong if at in (0, len(text) - 1)), wrong[0])
    verb = {0: "begins with", len(text) - 1: "ends with"}.get(position, "has inside it")
    return f"{verb} {_described(text[position])}"


def _described(character: str) -> str:
    """Describe a character by its kind, with the remedy. A letter is not shown: it could belong to a secret."""
    code = f"U+{ord(character):04X}"
    if character in _NAMED:
        return f"{_NAMED[character]}. Remove it."
    if unicodedata.category(character) == "Cc":
        return f"a control character ({code}). Remove it."
    if unicodedata.category(character) in _INVISIBLE:
        return f"an invisible character ({code}). Remove it."
    if character.isspace():
        return f"white space ({code}). Remove it."
    if unicodedata.normalize("NFKC", character).isascii():
        return "a full-width or otherwise special form of an ASCII character. Type it as plain ASCII."
    return "a character that is not ASCII. Copy the value again from where it was issued."


_NAMED: Mapping[str, str] = {
    "\n": "a line end",
    "\r": "a line end",
    " ": "a space",
    "\t": "a tab",
    "\ufeff": "a byte order mark (U+FEFF)",
} | dict.fromkeys(_QUOTES, "a quote")


# ---- pydantic's errors ----


def explain(error: ErrorDetails, keys: Collection[str], secrets: Collection[str]) -> InitErrorDetails:
    """Rewrite one error of a class with these keys, some of which are secrets."""
    kind, loc, ctx = error["type"], error["loc"], error.get("ctx", {})
    if kind == EXPLAINED:
        return error_detail(loc, ctx["what"], on_key=ctx["on_key"], quotes=ctx["quotes"])
    if kind in ("extra_forbidden", "missing"):
        return _about_key(kind, loc, keys, secrets)
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        return _about_tag(kind, loc, ctx)
    quotes = kind not in _OWN_WORDS and not isinstance(ctx.get("error"), FixedMessageError)
    return error_detail(loc, _in_words(kind, ctx, error["input"], error["msg"]), quotes=quotes)


def _about_key(kind: str, loc: Loc, keys: Collection[str], secrets: Collection[str]) -> InitErrorDetails:
    key = str(loc[-1])
    if kind == "extra_forbidden":
        return error_detail(loc, f"unknown key. {did_you_mean(key, keys, otherwise='Known keys')}", on_key=True)
    if key in secrets:
        return error_detail(loc, f"is missing or empty. Give {key}, or {key}_file with the path of a file.")
    return error_detail(loc, "is missing.")


def _about_tag(kind: str, loc: Loc, ctx: Mapping[str, Any]) -> InitErrorDetails:
    loc = (*loc, *_quoted(ctx["discriminator"]))
    missing = kind == "union_tag_not_found"
    return error_detail(loc, "is missing." if missing else _one_of(ctx["tag"], ctx["expected_tags"]))


def _quoted(listing: str) -> list[str]:
    """Parse `'a', 'b' or 'c'`, as pydantic writes options."""
    return re.findall(r"'([^']*)'", listing)


def _one_of(word: object, listing: str) -> str:
    options = _quoted(listing)
    guess = closest_match(word, options) if isinstance(word, str) else None
    return f"must be one of {', '.join(options)}." + (f" Did you mean {guess}?" if guess else "")


def _in_words(kind: str, ctx: Mapping[str, Any], given: object, message: str) -> str:
    if kind in ("value_error", "assertion_error"):
        return str(ctx["error"])
    if kind in ("literal_error", "enum"):
        return _one_of(given, ctx["expected"])
    if kind in _EXPECTED:
        return f"must be {_EXPECTED[kind]}{_instead(given)}."
    if kind in _LIMITS:
        return _LIMITS[kind](ctx)
    return f"is not accepted: {message}"


_TEXT, _INTEGER, _NUMBER, _SWITCH = "text", "a whole number", "a number", "true or false"
_LIST = "a list: entries in [ ], or each on a line of its own after a dash"
_MAPPING = "a mapping: lines of key: value"
_EXPECTED: Mapping[str, str] = {
    "string_type": _TEXT,
    "string_unicode": "text without broken characters",
    "int_type": _INTEGER,
    "int_parsing": _INTEGER,
    "int_from_float": _INTEGER,
    "int_parsing_size": "a smaller number",
    "float_type": _NUMBER,
    "float_parsing": _NUMBER,
    "finite_number": _NUMBER,
    "bool_type": _SWITCH,
    "bool_parsing": _SWITCH,
    "list_type": _LIST,
    "tuple_type": _LIST,
    "set_type": _LIST,
    "frozen_set_type": _LIST,
    "dict_type": _MAPPING,
    "model_type": _MAPPING,
    "model_attributes_type": _MAPPING,
    "path_type": "a path",
}
"""Expected kinds of values, by pydantic's type of error."""

_LIMITS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "greater_than_equal": lambda ctx: f"must be at least {_figure(ctx['ge'])}.",
    "greater_than": lambda ctx: f"must be more than {_figure(ctx['gt'])}.",
    "less_than_equal": lambda ctx: f"must be at most {_figure(ctx['le'])}.",
    "less_than": lambda ctx: f"must be less than {_figure(ctx['lt'])}.",
    "too_short": lambda ctx: f"must have at least {_count(ctx['min_length'], 'entry', 'entries')}.",
    "too_long": lambda ctx: f"must have at most {_count(ctx['max_length'], 'entry', 'entries')}.",
    "string_too_short": lambda ctx: f"must have at least {_count(ctx['min_length'], 'character', 'characters')}.",
    "string_too_long": lambda ctx: f"must have at most {_count(ctx['max_length'], 'character', 'characters')}.",
    "string_pattern_mismatch": lambda ctx: _PATTERNS.get(ctx["pattern"], f"must match {ctx['pattern']}") + ".",
}
"""Words for values of the right kind beyond a limit, by pydantic's type of error."""


_OWN_WORDS = frozenset({"literal_error", "enum", *_EXPECTED, *_LIMITS})
"""Types of errors whose words never quote the value."""


def _figure(limit: object) -> str:
    """Format a limit. Of a duration pydantic sometimes gives the repr."""
    text = str(limit)
    if not text.startswith("datetime.timedelta("):
        return text
    parts: dict[str, float] = {unit: int(number) for unit, number in re.findall(r"(\w+)=(\d+)", text)}
    return format_duration(timedelta(**parts))


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def _instead(given: object) -> str:
    """Return what is there instead, without its content."""
    match given:
        case None:
            return "; here it is empty"
        case dict():
            return "; here it is a mapping"
        case list() | tuple():
            return "; here it is a list"
    return ""
