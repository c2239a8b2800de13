"""The types that settings are declared with: durations, names, secrets, URLs and files."""

import base64
import binascii
import re
import ssl
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, SecretStr, ValidationInfo, WithJsonSchema

from notifier.core.durations import DURATION_PATTERN, format_duration, parse_duration
from notifier.settings.base import Origin
from notifier.settings.explain import find_hidden, find_invisible, find_non_ascii
from notifier.settings.secrets import is_blank
from notifier.settings.unreadable import read_problem
from notifier.settings.words import LABEL_PATTERN, NAME_PATTERN, TOPIC_URN_PATTERN, FixedMessageError

Name = Annotated[str, Field(pattern=NAME_PATTERN, max_length=64)]
"""The name of a source, a channel or a route."""


def _as_duration(value: object) -> object:
    if isinstance(value, str):
        return parse_duration(value)
    if isinstance(value, timedelta):
        return value
    raise FixedMessageError("a duration needs a unit, for example 30s, 5m, 2h or 7d")


Duration = Annotated[
    timedelta,
    BeforeValidator(_as_duration),
    PlainSerializer(format_duration, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": DURATION_PATTERN, "examples": ["30s", "5m", "2h"]}),
]
"""A duration, written `30s`, `5m`, `2h`, `1h30m` or `7d`."""


def _as_text(value: object) -> object:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


Unquoted = BeforeValidator(_as_text)
"""Lets a setting that is text be written as a number, without quotes."""


def _ca_file(path: Path | None, info: ValidationInfo) -> Path | None:
    if path is None:
        return None
    found = (info.context or Origin()).directory / path
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=found)
    except (OSError, ssl.SSLError) as error:
        why = "it holds no certificates in PEM" if isinstance(error, ssl.SSLError) else error.strerror
        raise ValueError(f"no certificates can be read from {found}: {why}.") from None
    return found


CaFile = Annotated[
    Path | None, BeforeValidator(lambda value: None if is_blank(value) else value), AfterValidator(_ca_file)
]
"""A PEM file of authorities to trust besides those of the operating system. A relative path starts at the folder of the
configuration file."""


def _pem_file(path: Path | None, info: ValidationInfo) -> Path | None:
    if path is None:
        return None
    found = (info.context or Origin()).directory / path
    try:
        found.open("rb").close()
    except OSError as error:
        raise ValueError(read_problem(found, error)) from None
    return found


PemFile = Annotated[
    Path | None, BeforeValidator(lambda value: None if is_blank(value) else value), AfterValidator(_pem_file)
]
"""A file that can be read, such as a certificate or its key. A relative path starts at the folder of the configuration
file."""


def strip_line_end(value: object) -> object:
    """Return text without line ends at its end: shells and editors add one, and no key or password has one."""
    return value.rstrip("\r\n") if isinstance(value, str) else value


def _require(problem: Callable[[str], str | None]) -> AfterValidator:
    """Return the validator of a text, plain or secret. `problem` returns a sentence that does not quote the text."""

    def check(value: SecretStr | str) -> SecretStr | str:
        if found := problem(value.get_secret_value() if isinstance(value, SecretStr) else value):
            raise FixedMessageError(found)
        return value

    return AfterValidator(check)


Secret = Annotated[SecretStr, BeforeValidator(strip_line_end), _require(find_invisible)]
"""Text that is never shown. In a `Settings` model every secret `x` has a twin `x_file`: a path to read it from.

A blank secret counts as not given. Line ends after it are dropped; invisible characters are refused.
"""

AsciiSecret = Annotated[Secret, _require(find_non_ascii)]
"""A key or token as services issue them: visible ASCII without quotes."""

AccountPassword = Annotated[Secret, _require(partial(find_non_ascii, inner_spaces=True))]
"""A password for a service that accepts only ASCII and locks the account after wrong ones."""

PlainText = Annotated[str, Field(min_length=1), BeforeValidator(strip_line_end), _require(find_hidden)]
"""A name given by people, in any script: no invisible character, no space at either end."""

EnvironmentName = Annotated[
    str,
    Field(max_length=40),
    BeforeValidator(lambda value: "" if is_blank(value) else strip_line_end(value)),
    _require(find_hidden),
]
"""The name of an environment, in any script, on one line; the empty string for none."""

LabelName = Annotated[str, Field(pattern=LABEL_PATTERN)]
"""The name of a label, as matchers write it."""

LabelText = Annotated[str, Field(min_length=1, max_length=100), BeforeValidator(strip_line_end), _require(find_hidden)]
"""The text of a label, in any script, on one line."""

MentionText = Annotated[
    str, Field(min_length=1, max_length=320), BeforeValidator(strip_line_end), _require(find_hidden)
]
"""An entry of a list of people to mention. The kinds of channels decide which they understand."""

KeyId = Annotated[str, Field(min_length=1), BeforeValidator(strip_line_end), _require(find_non_ascii)]
"""The public part of a key: visible ASCII, as in `AsciiSecret`, and not a secret."""


def _check_urn(urn: str) -> str:
    if not re.fullmatch(TOPIC_URN_PATTERN, urn):
        raise FixedMessageError("must be the URN of a topic, such as urn:smn:cn-north-4:PROJECT_ID:dba")
    return urn


TopicUrn = Annotated[str, AfterValidator(_check_urn)]
"""The URN of a topic of SMN (`urn:smn:REGION:PROJECT_ID:NAME`), which its page in the console shows."""

SIGNING_KEY_SIZES = range(24, 65)
"""Sizes of the key of a signing secret of Standard Webhooks, in bytes."""


def _signing_secret_problem(secret: str) -> str | None:
    prefix, _, encoded = secret.partition("_")
    try:
        size = len(base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True))
    except binascii.Error:
        size = 0
    if prefix == "whsec" and size in SIGNING_KEY_SIZES:
        return None
    return (
        "a signing secret is whsec_ and 24 to 64 random bytes in base64;"
        ' make one with: echo "whsec_$(openssl rand -base64 32)"'
    )


SigningSecret = Annotated[Secret, _require(_signing_secret_problem)]
"""A secret of Standard Webhooks: `whsec_` and its key in base64."""


# ---- URLs ----


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine, to which nobody can read the traffic."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def url_rule(example: str, *, https_only: bool = False, origin_only: bool = False) -> AfterValidator:
    """Return the validator of a URL, plain or secret. Its error shows the example.

    With `https_only`, http is accepted for loopback addresses alone. With `origin_only`, a user, a path and a query are
    refused.
    """

    def problem(url: str) -> str | None:
        parts = _http_parts(url)
        if parts is None:
            return f"must be a URL such as {example}."
        if origin_only and ("@" in parts.netloc or url != f"{parts.scheme}://{parts.netloc}"):
            return f"must be a URL such as {example}, without a user, a path or a query."
        if https_only and parts.scheme == "http" and not is_loopback(parts.hostname or ""):
            return "must begin with https://: others could read what is sent over http."
        return None

    return _require(problem)


def _http_parts(url: str) -> SplitResult | None:
    """Return the parts of a usable URL of http or https; None for anything else."""
    if re.search(r"[\x00-\x20\x7f]", url):
        return None
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return None
    return parts if usable else None


def _without_slash(value: object) -> object:
    return value.rstrip("/") if isinstance(value, str) else value


HttpUrl = Annotated[Secret, url_rule("https://host/path")]
"""A URL that is never shown, for it may hold a password or a token."""

HttpsUrl = Annotated[str, url_rule("https://host/path", https_only=True)]
"""The URL of an API that is sent a secret."""

OriginUrl = Annotated[str, BeforeValidator(_without_slash), url_rule("http://host", origin_only=True)]
"""The origin of a service that is sent no secret: scheme, host and perhaps a port."""

EndpointUrl = Annotated[
    str, BeforeValidator(_without_slash), url_rule("https://host", https_only=True, origin_only=True)
]
"""The origin of an API that is sent a secret: scheme, host and perhaps a port."""


# ---- tokens ----


def _begins_with(prefix: str, message: str) -> AfterValidator:
    return _require(lambda text: None if text.startswith(prefix) else message)


SlackBotToken = Annotated[AsciiSecret, _begins_with("xox", "must be a bot token, which begins with xoxb-.")]
SlackAppToken = Annotated[AsciiSecret, _begins_with("xapp-", "must be an app-level token, which begins with xapp-.")]
