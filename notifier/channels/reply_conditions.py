"""A reply over HTTP, and conditions on it that a configuration can state. Pure, and light: settings import it."""

import json
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, WithJsonSchema, model_validator

from notifier.settings.base import Settings
from notifier.settings.explain import error_detail
from notifier.settings.types import Duration
from notifier.settings.words import FixedMessageError

_SUCCESS = range(200, 300)
_DECOMPRESSED_LIMIT = 65_536
"""Maximum size of a decompressed body, in bytes. The rest is dropped."""
_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS
"""Makes zlib detect which of the two formats a body has."""


def decompressed(body: bytes, encoding: str) -> bytes:
    """Return a body without the Content-Encoding that some servers add unasked; unchanged if it is unknown or wrong."""
    if encoding.strip().lower() not in ("gzip", "x-gzip", "deflate"):
        return body
    try:
        return zlib.decompressobj(wbits=_GZIP_OR_ZLIB).decompress(body, _DECOMPRESSED_LIMIT)
    except zlib.error:
        return body


@dataclass(frozen=True)
class ParsedReply:
    """A reply over HTTP; text and JSON are decoded once."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def succeeded(self) -> bool:
        """Whether the status is 2xx."""
        return self.status in _SUCCESS

    @cached_property
    def text(self) -> str:
        """The body as text."""
        body = decompressed(self.body, self.headers.get("content-encoding", ""))
        return body.decode("utf-8", "replace").lstrip("\ufeff").strip()

    @cached_property
    def data(self) -> Any:  # noqa: ANN401 - JSON
        """The body as JSON; None where it is not JSON."""
        try:
            return json.loads(self.text)
        except (ValueError, RecursionError):  # RecursionError: nested too deeply
            return None

    @cached_property
    def is_page(self) -> bool:
        """Whether it is a web page: the reply of something in front of the service."""
        return bool(_PAGE.match(self.text)) or "html" in self.headers.get("content-type", "").lower()

    @cached_property
    def is_login(self) -> bool:
        """Whether it is a web page that asks for a login, here or elsewhere."""
        return self.is_page and bool(_LOGIN.search(self.text))


_PAGE = re.compile(
    r"\s*(?:<\?xml[^>]{0,200}>\s*)?(?:<!--.{0,500}?-->\s*)?<(?:!doctype\s+html|html)\b", re.IGNORECASE | re.DOTALL
)
_LOGIN = re.compile(
    r"""<input[^>]{0,500}(type\s*=\s*["']?password|name\s*=\s*["']?SAMLRequest)"""
    r"|<title[^>]{0,200}>[^<]{0,200}(\b(sign|log)[ -]?in\b|登录|登錄)",
    re.IGNORECASE,
)


def as_text(value: object) -> object:
    """Return a JSON value as people write it in YAML; lists and mappings unchanged."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case float() if value.is_integer():
            return str(int(value))
        case int() | float():
            return str(value)
    return value


def _many(value: object) -> object:
    return value if isinstance(value, list | tuple) else (value,)


def _check_status(text: str) -> str:
    if not re.fullmatch(r"[1-5](xx|[0-9]{2})", text):
        raise FixedMessageError("a status is a number such as 200, or a class of them such as 2xx")
    return text


_Text = Annotated[str, BeforeValidator(as_text), Field(max_length=1000)]
_SCALARS: Any = {"type": ["string", "number", "boolean", "null"]}
_ONE_OR_MORE: Any = {"anyOf": [_SCALARS, {"type": "array", "items": _SCALARS, "minItems": 1}]}
Texts = Annotated[
    tuple[_Text, ...], BeforeValidator(_many), Field(min_length=1, max_length=100), WithJsonSchema(_ONE_OR_MORE)
]
_Statuses = Annotated[
    tuple[Annotated[_Text, AfterValidator(_check_status)], ...], BeforeValidator(_many), WithJsonSchema(_ONE_OR_MORE)
]


class Condition(Settings):
    """What a reply must have. Everything given must match."""

    status: _Statuses = ()
    """Accepted statuses: numbers, or classes such as 2xx."""
    values: Mapping[str, Texts] = Field(default_factory=dict, alias="json")
    """Accepted values by their place in the JSON of the reply (`errcode`, `result.ok`, `items.0.id`). A missing value
    counts as null."""
    contains: Texts | None = None
    """Texts of which the reply must contain one."""

    @property
    def reads_body(self) -> bool:
        """Whether the condition needs the body."""
        return bool(self.values or self.contains)

    def mismatch(self, reply: ParsedReply) -> str | None:
        """Return the part of the condition that a reply does not meet; None where it meets all."""
        if self.status and not {str(reply.status), f"{reply.status // 100}xx"} & {*self.status}:
            return "status"
        for place, wanted in self.values.items():
            if as_text(value_at(reply.data, place)) not in wanted:
                return f"json.{place}"
        if self.contains and not any(text in reply.text for text in self.contains):
            return "contains"
        return None


class RetryCondition(Condition):
    """A reply that means that the message has to be sent again, whatever its status."""

    wait: Annotated[Duration, Field(gt=timedelta(), le=timedelta(hours=1))] | None = None
    """How long the whole channel waits where the reply has no Retry-After. Default: as the schedule of retries says."""

    @model_validator(mode="after")
    def _has_a_part(self) -> Self:
        if not (self.status or self.values or self.contains):
            raise ValueError("needs status, json or contains: without any it would fit every reply.")
        return self


def value_at(data: Any, place: str) -> Any:  # noqa: ANN401 - JSON
    """Return the value at a place of JSON; None where there is nothing."""
    for step in place.split("."):
        match data:
            case dict():
                data = data.get(step)
            case list() if step.isascii() and step.isdigit() and int(step) < len(data):
                data = data[int(step)]
            case _:
                return None
    return data


class Sample(Settings):
    """An example of a reply, or of its body alone."""

    status: int | None = Field(default=None, ge=200, le=599)
    """Default: the first status that `success` accepts."""
    body: Annotated[str, Field(max_length=65_536)] = ""


_Samples = Annotated[
    tuple[Annotated[Sample, BeforeValidator(lambda value: {"body": value} if isinstance(value, str) else value)], ...],
    Field(max_length=100),
]


class Success(Condition):
    """What a reply must have to count as success, with examples of replies that prove it."""

    status: _Statuses = Field(default=("2xx",), min_length=1)
    accepts: _Samples = ()
    """Examples of replies that are a success."""
    refuses: _Samples = ()
    """Examples of replies that are not."""

    @model_validator(mode="after")
    def _proven_by_examples(self) -> Self:
        examples = [(("accepts", index), sample) for index, sample in enumerate(self.accepts)]
        examples += [(("refuses", index), sample) for index, sample in enumerate(self.refuses)]
        found = [error_detail(loc, what) for loc, sample in examples if (what := self._contradiction(loc[0], sample))]
        if found:
            raise ValidationError.from_exception_data("success", found, hide_input=True)
        return self

    def _contradiction(self, key: str, sample: Sample) -> str | None:
        status = sample.status or int(self.status[0].replace("xx", "00"))
        mismatch = self.mismatch(ParsedReply(status, {}, sample.body.encode()))
        if key == "accepts":
            return f"this reply does not count as success: `{mismatch}` does not fit it." if mismatch else None
        return None if mismatch else "this reply counts as success: `status`, `json` and `contains` all fit it."
