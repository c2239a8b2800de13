"""How fast passwords may be tried: slowly from one address, slowly by all strangers together.

The limits are buckets of tries that refill with time. A try takes from them before the password is looked at, so that
many at once gain nothing; a right password gives back what its try took. Whoever has signed in from an address lately,
and this machine itself, do not share the bucket of strangers: however busy those are, people get in.
"""

from collections import OrderedDict
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Final

from notifier.settings.types import is_loopback


@dataclass(frozen=True, slots=True, kw_only=True)
class Tries:
    """A bucket: tries at once, and seconds for each further one."""

    burst: int
    seconds: float


PER_ADDRESS: Final = Tries(burst=5, seconds=30.0)
"""2,880 a day from one address."""
STRANGERS: Final = Tries(burst=20, seconds=2.0)
"""From all addresses together from which nobody has signed in lately."""
MAX_ADDRESSES: Final = 10_000
"""Number of addresses that are remembered; beyond it the one that tried longest ago is forgotten."""


@dataclass(slots=True)
class _Bucket:
    """Tries that are left, at a time."""

    left: float
    at: float


class LoginThrottle:
    """Decides whether a password may be tried now. Times are seconds of a monotonic clock."""

    def __init__(self) -> None:
        self._addresses: OrderedDict[str, _Bucket] = OrderedDict()
        self._strangers = _Bucket(STRANGERS.burst, 0.0)

    def wait_of(self, address: str, now: float, *, known: bool) -> float:
        """Take a try from the buckets and return 0; or take nothing, and return the seconds until one is left.

        `known` is whether somebody has signed in from this address lately.
        """
        own = self._bucket_of(network_of(address), now)
        shared = None if known or is_loopback(address) else self._strangers
        waits = [_wait(own, PER_ADDRESS, now), _wait(shared, STRANGERS, now) if shared else 0.0]
        if longest := max(waits):
            return longest
        own.left -= 1
        if shared:
            shared.left -= 1
        return 0.0

    def give_back(self, address: str, now: float, *, known: bool) -> None:
        """Give a try back: the password was right."""
        own = self._bucket_of(network_of(address), now)
        own.left = min(PER_ADDRESS.burst, own.left + 1)
        if not (known or is_loopback(address)):
            self._strangers.left = min(STRANGERS.burst, self._strangers.left + 1)

    def _bucket_of(self, network: str, now: float) -> _Bucket:
        bucket = self._addresses.setdefault(network, _Bucket(PER_ADDRESS.burst, now))
        self._addresses.move_to_end(network)
        if len(self._addresses) > MAX_ADDRESSES:
            self._addresses.popitem(last=False)
        return bucket


class CallThrottle:
    """Decides whether a caller that has proved who it is may call now. Times are seconds of a monotonic clock."""

    def __init__(self, calls: Tries) -> None:
        self._calls = calls
        self._callers: dict[str, _Bucket] = {}

    def wait_of(self, caller: str, now: float) -> float:
        """Take a call from the caller's bucket and return 0; or take nothing, and return the seconds until one is left.

        `caller` is one of few names that the configuration knows.
        """
        bucket = self._callers.setdefault(caller, _Bucket(self._calls.burst, now))
        wait = _wait(bucket, self._calls, now)
        if not wait:
            bucket.left -= 1
        return wait


def network_of(address: str) -> str:
    """Return what counts as one address: one of IPv4, or the 64 bits of IPv6 that a household or a server has."""
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(found, IPv6Address):
        return str(found.ipv4_mapped or ip_network((found, 64), strict=False))
    return str(found)


def _wait(bucket: _Bucket, tries: Tries, now: float) -> float:
    """Refill a bucket, and return the seconds until it has a try."""
    bucket.left = min(tries.burst, bucket.left + max(0.0, now - bucket.at) / tries.seconds)
    bucket.at = now
    return 0.0 if bucket.left >= 1 else (1 - bucket.left) * tries.seconds
