"""Rate limits of services: the notation of a rate, and the known limits in `limits.toml`."""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from importlib.resources import files
from typing import Annotated, Any

from pydantic import AfterValidator, WithJsonSchema

from notifier.core.routing import Budget

AUTO = "auto"
"""Stands for the limit of the service."""

_SECONDS = {"s": 1, "m": 60, "h": 3600}
_RATE = re.compile(r"([1-9][0-9]{0,3})/([smh])")


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimit:
    """The rate limit of a service."""

    per_second: float | None = None
    """Messages a second in the long run; None where there is no limit."""
    burst: int = 1
    """Messages at once after a pause."""


def parse_rate(rate: str) -> float:
    """Return `1/s`, `30/m` or `500/h` in messages a second. Raises ValueError with an example."""
    found = _RATE.fullmatch(rate)
    if not found:
        raise ValueError(
            f"{rate!r} is not a rate; write messages per second, minute or hour, for example 1/s, 30/m or 500/h; "
            "null is no limit"
        )
    return int(found[1]) / _SECONDS[found[2]]


def _check_rate(rate: str) -> str:
    if rate != AUTO:
        parse_rate(rate)
    return rate


Rate = Annotated[
    str,
    AfterValidator(_check_rate),
    WithJsonSchema(
        {"type": "string", "pattern": f"^({AUTO}|{_RATE.pattern})$", "examples": ["auto", "1/s", "30/m", "500/h"]}
    ),
]
"""Messages in the long run, written `1/s`, `30/m`, `500/h`, or `auto`."""


MAX_BUDGET = 1000
"""Maximum number of messages of a budget: a plan reads the times of this many."""

_PERIODS = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}
_BUDGET = re.compile(r"([1-9][0-9]{0,2}|1000)/([mhd])")


def parse_budget(budget: str) -> Budget:
    """Read `20/h` or `100/d`. Raises ValueError with an example."""
    found = _BUDGET.fullmatch(budget)
    if not found:
        raise ValueError(
            f"{budget!r} is not a budget; write messages per minute, hour or day, at most {MAX_BUDGET}, for example "
            "20/h or 100/d; null is no budget"
        )
    return Budget(messages=int(found[1]), within=_PERIODS[found[2]], text=budget)


def _check_budget(budget: str) -> str:
    parse_budget(budget)
    return budget


BudgetText = Annotated[
    str,
    AfterValidator(_check_budget),
    WithJsonSchema({"type": "string", "pattern": f"^{_BUDGET.pattern}$", "examples": ["20/h", "100/d"]}),
]
"""Messages within a time, written `20/h` or `100/d`."""


def rate_limit(service: str) -> RateLimit:
    """Return the limit of a service, such as `email` or `slack-bot`; no limit where none is known."""
    entry = known_limits().get(service, {})
    return RateLimit(per_second=parse_rate(entry["rate"]) if "rate" in entry else None, burst=entry.get("burst", 1))


@cache
def known_limits() -> Mapping[str, Mapping[str, Any]]:
    """Return the content of `limits.toml`."""
    return tomllib.loads(files(__package__).joinpath("limits.toml").read_text(encoding="utf-8"))
