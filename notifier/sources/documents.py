"""Find errors in JSON documents, in all the spellings of GaussDB, its gateway, IAM and proxies.

Names are compared without case, `_` and `-`: `error_code`, `errorCode` and `ErrorCode` are equal.
"""

from collections.abc import Collection, Mapping

_MAX_DEPTH = 5
_PAIRS = (("errorcode", "errormsg"), ("errcode", "errmsg"), ("code", "message"))
_CODES = ("errorcode", "errcode", "code")
_MESSAGES = ("errormsg", "errmsg", "errormessage", "errmessage", "message", "msg", "errordescription", "detail")
_ERRORS = ("error", "errors")
_SUCCESSES = ("0", "200", "ok", "success")
"""Codes and messages that mean success."""


def find_error(document: object) -> tuple[str, str] | None:
    """Return the error code and message of a document, either of which may be empty; None if it has neither."""
    return _paired_error(document, 0) or _unpaired_error(document, 0)


def is_error(page: Mapping[str, object]) -> bool:
    """Return whether a document that looks like an empty page is an error."""
    values = _normalized(page)
    if values.get("success") is False or any(values.get(name) not in (None, "", 0, "0", {}, []) for name in _ERRORS):
        return True
    told = _values_of(values, _CODES) or _values_of(values, _MESSAGES)
    return any(text.lower() not in _SUCCESSES for text in told)


def _values_of(values: Mapping[str, object], names: Collection[str]) -> list[str]:
    return [text for name in names if (text := _scalar(values.get(name)))]


def _paired_error(document: object, depth: int) -> tuple[str, str] | None:
    values = _normalized(document) if isinstance(document, dict) else {}
    for code, message in _PAIRS:
        if code in values and message in values and (_scalar(values[code]) or _scalar(values[message])):
            return _scalar(values[code]), _scalar(values[message])
    found = (_paired_error(value, depth + 1) for value in _children(document, depth))
    return next((pair for pair in found if pair), None)


def _unpaired_error(document: object, depth: int) -> tuple[str, str] | None:
    """Return a code and a message that do not form one of the known pairs."""
    if isinstance(document, dict):
        values = _normalized(document)
        code, message = (next(iter(_values_of(values, names)), "") for names in (_CODES, (*_MESSAGES, *_ERRORS)))
        if code or message:
            return code, message
    found = (_unpaired_error(value, depth + 1) for value in _children(document, depth))
    return next((error for error in found if error), None)


def _children(document: object, depth: int) -> Collection[object]:
    if depth >= _MAX_DEPTH:
        return ()
    return document.values() if isinstance(document, dict) else document if isinstance(document, list) else ()


def _normalized(document: Mapping[str, object]) -> Mapping[str, object]:
    return {name.lower().replace("_", "").replace("-", ""): value for name, value in document.items()}


def _scalar(value: object) -> str:
    if isinstance(value, list):
        return "; ".join(filter(None, map(_scalar, value)))
    return str(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else ""
