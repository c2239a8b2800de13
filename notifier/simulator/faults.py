"""Faults on request: scripted, or random with a seed."""

import re
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from random import Random

from notifier.core.errors import ConfigurationError
from notifier.simulator.replies import SimulatedError, SimulatedReply, stale_token, throttled, unauthenticated
from notifier.simulator.rights import CLOUD_SERVICES, CloudService, failure

FAULT_KINDS: dict[str, str] = {
    "401": "the credentials are refused",
    "403": "the rights are missing",
    "408": "the service did not answer in time",
    "429": "throttled with Retry-After (default 1 s)",
    "429-bare": "throttled without Retry-After",
    "500": "the service fails",
    "502": "the backend is unavailable",
    "503": "IAM is unavailable",
    "504": "the backend takes too long",
    "slow": "nothing is sent for a while (default 5 s)",
    "drip": "the body comes in ten pieces (default over 5 s)",
    "truncate": "the JSON ends in the middle",
    "html": "a page of a proxy, with status 200",
    "empty": "no rows, but a total_count that says otherwise",
    "blank": "no rows and a total_count of 0",
    "short": "half the rows of the page",
    "insert": "a task begins just before this page",
    "delete": "a row is deleted just before this page",
    "shift": "insert or delete",
    "reset": "the connection is reset before an answer",
    "pass": "nothing (to place a fault at a later call of a script)",
}
"""Every fault by its name."""
_DEFAULTS = {"429": 1.0, "slow": 5.0, "drip": 5.0}
_ITEM = re.compile(
    r"(?P<kind>[a-z0-9-]+)(?:=(?P<amount>\d+(?:\.\d+)?))?(?:@(?P<service>[a-z]+))?(?::(?P<chance>\d*\.?\d+))?"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A fault. `amount` is its duration in seconds, for those that take time."""

    kind: str
    amount: float = 0.0
    service: CloudService | None = None
    """The service whose calls it is for; None: those of any."""

    def concerns(self, service: CloudService) -> bool:
        """Return whether a call of this service can have the fault."""
        return self.service in (None, service)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chance:
    """A fault and its share of the calls, from 0 to 1."""

    fault: Fault
    share: float


NO_FAULT = Fault(kind="pass")


def parse_faults(spec: str) -> tuple[Chance, ...]:
    """Read `kind[=seconds][@service][:share]`, separated by commas, for example `429=30:0.1,500@cts:0.05,shift:0.1`.

    Without a share it always happens, and without a service to the calls of each. Raises ConfigurationError.
    """
    chances = tuple(_parse_item(item.strip()) for item in spec.split(",") if item.strip())
    total = sum(chance.share for chance in chances)
    if total > 1 + 1e-9:
        raise ConfigurationError(f"faults: the shares in {spec!r} add up to {total:g}; they may reach 1 at most")
    return chances


def parse_fault(text: str) -> Fault:
    """Read one `kind[=seconds][@service]`. Raises ConfigurationError."""
    chance = _parse_item(text)
    if chance.share != 1:
        raise ConfigurationError(f"faults: {text!r} is part of a script and takes no share")
    return chance.fault


def _parse_item(item: str) -> Chance:
    match = _ITEM.fullmatch(item)
    if not match:
        raise ConfigurationError(
            f"faults: cannot read {item!r}; write kind[=seconds][@service][:share], for example 429=30:0.1"
        )
    kind = match["kind"]
    if kind not in FAULT_KINDS:
        raise ConfigurationError(f"faults: there is no fault {kind!r}; there are {', '.join(FAULT_KINDS)}")
    amount = float(match["amount"] or _DEFAULTS.get(kind, 0.0))
    return Chance(
        fault=Fault(kind=kind, amount=amount, service=_service(match["service"])), share=float(match["chance"] or 1)
    )


def _service(name: str | None) -> CloudService | None:
    found = next((service for service in CLOUD_SERVICES if service == name), None)
    if name and found is None:
        raise ConfigurationError(f"faults: there is no service {name!r}; there are {', '.join(CLOUD_SERVICES)}")
    return found


class Faults:
    """Decides the fault of each call: the scripted ones first, then random ones."""

    def __init__(self, chances: Iterable[Chance], rng: Random) -> None:
        self.chances = tuple(chances)
        self._script: deque[Fault] = deque()
        self._rng = rng

    def script(self, *faults: str) -> None:
        """Apply these faults to the next calls, one each. On ConfigurationError nothing changes."""
        self._script.extend([parse_fault(fault) for fault in faults])

    def clear(self) -> None:
        """Remove all faults."""
        self._script.clear()
        self.chances = ()

    @property
    def pending(self) -> tuple[str, ...]:
        """Kinds of the scripted faults that are left."""
        return tuple(fault.kind for fault in self._script)

    def next(self, service: CloudService = "gaussdb") -> Fault:
        """Return the fault of one call of a service: the first scripted one for it, else a random one."""
        for fault in self._script:
            if fault.concerns(service):
                self._script.remove(fault)
                return fault
        drawn = self._rng.random()
        for chance in self.chances:
            drawn -= chance.share
            if drawn < 0:
                return chance.fault if chance.fault.concerns(service) else NO_FAULT
        return NO_FAULT


def error_for(fault: Fault, *, by_token: bool, service: CloudService = "gaussdb") -> SimulatedError | None:
    """Return the error reply of a fault; None for a fault of another kind."""
    if fault.kind == "401":
        return stale_token() if by_token else unauthenticated("verify aksk signature fail, canonicalRequest:GET|/|||")
    if fault.kind.startswith("429"):
        return throttled(60, retry_after=round(fault.amount) if fault.kind == "429" else None)
    if fault.kind in {"408", "500"}:
        return failure(service, int(fault.kind))
    answer = _ANSWERS.get(fault.kind)
    return SimulatedError(*answer) if answer else None


_ANSWERS = {
    "403": (403, "APIGW.0302", "Incorrect IAM authentication information: user not authorized"),
    "502": (502, "APIGW.0201", "Backend unavailable"),
    "503": (503, "APIGW.0613", "IAM unavailable"),
    "504": (504, "APIGW.0201", "Backend timeout"),
}


def apply_fault(fault: Fault, reply: SimulatedReply) -> SimulatedReply:
    """Return a good reply as changed by a fault; most leave it unchanged."""
    if fault.kind == "truncate":
        return SimulatedReply(body=reply.body[: len(reply.body) * 2 // 3])
    if fault.kind == "html":
        return SimulatedReply(body=_PROXY_PAGE, content_type="text/html")
    return reply


_PROXY_PAGE = b"<html><head><title>Welcome</title></head><body><h1>Sign in to the network</h1></body></html>\n"
