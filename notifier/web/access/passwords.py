"""Passwords as they are stored: `$scrypt$ln=15,r=8,p=3$SALT$HASH`, the parameters within, so that they can grow.

The standard library alone: `notifier hash-password` and the reading of a configuration import it.
"""

import base64
import binascii
import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from typing import Final, NamedTuple, Self

HASH_PREFIX: Final = "$scrypt$"
_FORM = re.compile(r"\$scrypt\$ln=(\d{1,2}),r=(\d{1,2}),p=(\d{1,2})\$([\w+/-]{11,86})\$([\w+/-]{43,86})", re.ASCII)


class ScryptCost(NamedTuple):
    """What hashing a password costs."""

    ln: int = 15
    """Logarithm to the base 2 of the cost. With the others 32 MiB and about a fifth of a second, the least that OWASP
    recommends: a small container survives a guess."""
    r: int = 8
    p: int = 3

    @property
    def memory(self) -> int:
        """The memory that it takes, in bytes."""
        return 128 * self.r * ((1 << self.ln) + self.p)

    @property
    def bearable(self) -> bool:
        """Whether it can be computed, and does not take the memory or the time of everything else."""
        return min(self) >= 1 and self.p <= _MAX_PASSES and self.memory <= _MAX_MEMORY


_MAX_MEMORY = 256 * 2**20
"""Most memory that the parameters of a hash may ask for, in bytes."""
_MAX_PASSES = 16
_SALT_BYTES, _HASH_BYTES = 16, 32

MAX_PASSWORD = 1024
"""Longest password that is tried, in characters: longer ones only cost time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HashedPassword:
    """A password that can be recognised and not read."""

    cost: ScryptCost
    salt: bytes
    hash: bytes

    @classmethod
    def of(cls, password: str, salt: bytes | None = None, cost: ScryptCost | None = None) -> Self:
        """Hash a password."""
        salt, cost = secrets.token_bytes(_SALT_BYTES) if salt is None else salt, cost or ScryptCost()
        return cls(cost=cost, salt=salt, hash=_scrypt(password, salt, cost, _HASH_BYTES))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the stored form. Raises ValueError with a sentence that does not quote it."""
        found = _FORM.fullmatch(text)
        if found is None:
            raise ValueError("is not a whole hash; write it as `notifier hash-password` prints it")
        cost = ScryptCost(int(found[1]), int(found[2]), int(found[3]))
        if not cost.bearable:
            raise ValueError("is a hash whose parameters this program does not accept; make it with `hash-password`")
        try:
            salt, hashed = _decode(found[4]), _decode(found[5])
        except binascii.Error:
            raise ValueError("is a hash with a part missing; write it as `notifier hash-password` prints it") from None
        return cls(cost=cost, salt=salt, hash=hashed)

    def __str__(self) -> str:
        """Return the stored form."""
        ln, r, p = self.cost
        return f"{HASH_PREFIX}ln={ln},r={r},p={p}${_encode(self.salt)}${_encode(self.hash)}"

    def accepts(self, password: str) -> bool:
        """Return whether this is the password. It takes as long for a wrong one."""
        if len(password) > MAX_PASSWORD:
            return False
        found = _scrypt(password, self.salt, self.cost, len(self.hash))
        return hmac.compare_digest(found, self.hash)


def is_hashed(text: str) -> bool:
    """Return whether a password of the configuration is a hash, and not the password itself."""
    return text.startswith(HASH_PREFIX)


def accepts(stored: str, password: str) -> bool:
    """Return whether a password is that of the configuration, a hash or the password itself. It may take a while."""
    if is_hashed(stored):
        return HashedPassword.parse(stored).accepts(password)
    return len(password) <= MAX_PASSWORD and hmac.compare_digest(_digest(stored), _digest(password))


def _digest(text: str) -> bytes:
    """Return bytes of the same length for every text: a comparison shows no length."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def _scrypt(password: str, salt: bytes, cost: ScryptCost, length: int) -> bytes:
    text, (ln, r, p) = password.encode("utf-8", "surrogatepass"), cost
    return hashlib.scrypt(text, salt=salt, n=1 << ln, r=r, p=p, maxmem=cost.memory + 2**20, dklen=length)


def _encode(value: bytes) -> str:
    return base64.b64encode(value).decode().rstrip("=")


def _decode(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
