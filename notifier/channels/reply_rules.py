"""What a reply over HTTP says beyond its status: conditions on it, and what services are known to say.

Many services answer 200 whatever happened and say in the body that they refused, and many say with one status both
what no repeat can change and what a person has to mend. The words of each are data, in `reply_rules.toml`. All pure.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache, cached_property
from importlib.resources import files
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, WithJsonSchema, model_validator

from notifier.channels.base import PROBE_AFTER
from notifier.channels.reply_text import unpacked
from notifier.core.delivery import GaveUp, Outcome, Parked, Retry
from notifier.core.retry import retry_after
from notifier.settings.base import Duration, Settings
from notifier.settings.explain import FixedMessageError, detail

_SUCCESS = range(200, 300)


@dataclass(frozen=True)
class ParsedReply:
    """A reply, read once."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def succeeded(self) -> bool:
        """Whether the status is one of success."""
        return self.status in _SUCCESS

    @cached_property
    def text(self) -> str:
        """The body as text."""
        body = unpacked(self.body, self.headers.get("content-encoding", ""))
        return body.decode("utf-8", "replace").lstrip("\ufeff").strip()

    @cached_property
    def data(self) -> Any:  # noqa: ANN401 - JSON
        """The body as JSON; None where it is none."""
        try:
            return json.loads(self.text)
        except (ValueError, RecursionError):  # the latter for brackets without end
            return None

    @cached_property
    def is_page(self) -> bool:
        """Whether it is a page for people: the answer of something that stands before the service."""
        return bool(_PAGE.match(self.text)) or "html" in self.headers.get("content-type", "").lower()

    @cached_property
    def is_login(self) -> bool:
        """Whether it is a page that asks for a login, by itself or at another place."""
        return self.is_page and bool(_LOGIN.search(self.text))


_PAGE = re.compile(
    r"\s*(?:<\?xml[^>]{0,200}>\s*)?(?:<!--.{0,500}?-->\s*)?<(?:!doctype\s+html|html)\b", re.IGNORECASE | re.DOTALL
)
_LOGIN = re.compile(
    r"""<input[^>]{0,500}(type\s*=\s*["']?password|name\s*=\s*["']?SAMLRequest)"""
    r"|<title[^>]{0,200}>[^<]{0,200}(\b(sign|log)[ -]?in\b|登录|登錄)",
    re.IGNORECASE,
)


# ---- conditions ----


def _as_text(value: object) -> object:
    """Return a value of JSON as people write it in YAML, where everything is text."""
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


_Text = Annotated[str, BeforeValidator(_as_text), Field(max_length=1000)]
_SCALARS: Any = {"type": ["string", "number", "boolean", "null"]}
_ONE_OR_MORE: Any = {"anyOf": [_SCALARS, {"type": "array", "items": _SCALARS, "minItems": 1}]}
_Texts = Annotated[
    tuple[_Text, ...], BeforeValidator(_many), Field(min_length=1, max_length=100), WithJsonSchema(_ONE_OR_MORE)
]
_Statuses = Annotated[
    tuple[Annotated[_Text, AfterValidator(_check_status)], ...], BeforeValidator(_many), WithJsonSchema(_ONE_OR_MORE)
]


class Condition(Settings):
    """What a reply must have: all that is given."""

    status: _Statuses = ()
    """Its status is one of these: numbers, or classes such as 2xx."""
    values: Mapping[str, _Texts] = Field(default_factory=dict, alias="json")
    """The value at each of these places of its JSON (`errcode`, `result.ok`, `items.0.id`) is one of these. What is
    not there counts as null."""
    contains: _Texts | None = None
    """Its text has one of these in it."""

    @property
    def reads_body(self) -> bool:
        """Whether the status alone does not decide."""
        return bool(self.values or self.contains)

    def misfit(self, reply: ParsedReply) -> str | None:
        """Return which part of it a reply does not have; None where it has all."""
        if self.status and not {str(reply.status), f"{reply.status // 100}xx"} & {*self.status}:
            return "status"
        for place, wanted in self.values.items():
            if _as_text(_at(reply.data, place)) not in wanted:
                return f"json.{place}"
        if self.contains and not any(text in reply.text for text in self.contains):
            return "contains"
        return None


def _at(data: Any, place: str) -> Any:  # noqa: ANN401 - JSON
    """Return what is at a place; None where there is nothing."""
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
    """A reply as an example, or its body alone."""

    status: int | None = Field(default=None, ge=200, le=599)
    """Default: the first one that `success` takes."""
    body: Annotated[str, Field(max_length=65_536)] = ""


_Samples = Annotated[
    tuple[Annotated[Sample, BeforeValidator(lambda value: {"body": value} if isinstance(value, str) else value)], ...],
    Field(max_length=100),
]


class Success(Condition):
    """What a reply must have to count as success. Examples of replies prove that it says what is meant."""

    status: _Statuses = Field(default=("2xx",), min_length=1)
    accepts: _Samples = ()
    """Replies that are a success."""
    refuses: _Samples = ()
    """Replies that are none."""

    @model_validator(mode="after")
    def _proven_by_examples(self) -> Self:
        examples = [(("accepts", index), sample) for index, sample in enumerate(self.accepts)]
        examples += [(("refuses", index), sample) for index, sample in enumerate(self.refuses)]
        found = [detail(loc, what) for loc, sample in examples if (what := self._contradiction(loc[0], sample))]
        if found:
            raise ValidationError.from_exception_data("success", found, hide_input=True)
        return self

    def _contradiction(self, list_: str, sample: Sample) -> str | None:
        status = sample.status or int(self.status[0].replace("xx", "00"))
        misfit = self.misfit(ParsedReply(status, {}, sample.body.encode()))
        if list_ == "accepts":
            return f"this reply does not count as success: `{misfit}` does not fit it." if misfit else None
        return None if misfit else "this reply counts as success: `status`, `json` and `contains` all fit it."


# ---- what services say ----


class _Known(Condition):
    """A reply that a service is known to give, and what it means."""

    other_than: Mapping[str, _Texts] = Field(default_factory=dict)
    means: Literal["misconfigured", "busy", "later", "content"]
    remedy: str = ""
    wait: Duration | None = None
    source: str = ""

    def fits(self, reply: ParsedReply) -> bool:
        """Tell whether it is this reply."""
        others = ((_as_text(_at(reply.data, place)), values) for place, values in self.other_than.items())
        return self.misfit(reply) is None and all(found not in ("null", *values) for found, values in others)

    def _says(self, reply: ParsedReply) -> str:
        """Return what was said, of it only words that we know and numbers."""
        found = ((place, _at(reply.data, place)) for place in (*self.values, *self.other_than))
        told = (value if isinstance(value, str) else f"{place} {_as_text(value)}" for place, value in found)
        known = {*(text for texts in self.values.values() for text in texts)}
        shown = (text if text in known or re.fullmatch(r"[\w.]+ -?[\w.]{1,30}", text) else "refused" for text in told)
        words = (text for text in self.contains or () if text in reply.text)
        return ", ".join((*shown, *words))

    def outcome(self, reply: ParsedReply, now: datetime) -> Outcome:
        """Return what becomes of the message."""
        reason = f"HTTP {reply.status}: {self._says(reply)}"
        match self.means:
            case "misconfigured":
                return Parked(f"{reason}; {self.remedy}", PROBE_AFTER)
            case "busy":
                return Retry(reason, retry_after(reply.headers, now) or self.wait)
            case "later":
                return Retry(reason, retry_after(reply.headers, now))
        return GaveUp(reason)


@cache
def known(service: str) -> tuple[_Known, ...]:
    """Return what `reply_rules.toml` has of a service; nothing where it has none."""
    table = tomllib.loads(files(__package__).joinpath("reply_rules.toml").read_text(encoding="utf-8"))
    return tuple(map(_Known.model_validate, table.get(service, ())))


def known_outcome(service: str, reply: ParsedReply, now: datetime) -> Outcome | None:
    """Return what a reply means of which the service's words are known; None where they are not."""
    return next((row.outcome(reply, now) for row in known(service) if row.fits(reply)), None)


def says_failed(reply: ParsedReply) -> bool:
    """Tell whether a body says that the message was not taken, whoever it may be that replies."""
    return any(row.fits(reply) for row in known("webhook"))
