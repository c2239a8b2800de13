"""Passwords as they are stored, and how fast they may be tried."""

from __future__ import annotations

import pytest

from notifier.web.access.passwords import HashedPassword, accepts
from notifier.web.access.throttle import MAX_ADDRESSES, PER_ADDRESS, STRANGERS, LoginThrottle, network_of

# Cheap, so that the suite is quick; the parameters are part of what is stored.
CHEAP = "$scrypt$ln=4,r=8,p=1$UeitPCo9zVkHe4d4T97NWQ$yWpkTnK1TGgRkpJtbfXzt2x4d4VZzQm6vdzmUyJ7hUY"


def test_a_new_hash_accepts_its_password_and_no_other() -> None:
    stored = str(HashedPassword.of("红烧肉 and rice"))
    assert stored.startswith("$scrypt$ln=15,r=8,p=3$")
    assert accepts(stored, "红烧肉 and rice")
    assert not accepts(stored, "红烧肉 and Rice")


def test_two_hashes_of_one_password_differ() -> None:
    first, second = (HashedPassword.of("p").salt for _ in range(2))
    assert first != second


def test_the_stored_form_is_read_as_it_was_written() -> None:
    """Known values, so that hashes of earlier versions stay valid."""
    found = HashedPassword.parse(CHEAP)
    assert (found.cost.ln, found.cost.r, found.cost.p, len(found.salt), len(found.hash)) == (4, 8, 1, 16, 32)
    assert str(found) == CHEAP


@pytest.mark.parametrize(
    "text",
    [
        "",
        "$scrypt$",
        CHEAP[:-12],
        CHEAP.replace("ln=4", "ln=0"),
        CHEAP.replace("ln=4", "ln=24"),
        CHEAP.replace("p=1", "p=99"),
        CHEAP.replace("r=8", "r=0"),
        f"{CHEAP}\n",
        CHEAP.replace("$scrypt", "$argon2id"),
    ],
)
def test_what_is_no_hash_is_refused_without_being_quoted(text: str) -> None:
    with pytest.raises(ValueError, match="hash") as caught:
        HashedPassword.parse(text)
    assert "UeitPCo9" not in str(caught.value)


@pytest.mark.parametrize(("stored", "typed", "right"), [("a", "a", True), ("a", "b", False), ("a", "", False)])
def test_a_password_of_the_configuration_may_be_itself(stored: str, typed: str, right: bool) -> None:  # noqa: FBT001 - a case
    assert accepts(stored, typed) is right


def test_a_very_long_password_is_not_tried() -> None:
    assert not accepts("x" * 5000, "x" * 5000)
    assert not accepts(CHEAP, "x" * 5000)


def test_any_text_can_be_tried() -> None:
    assert not accepts(CHEAP, "\udc80\0")


# ---- throttling ----


def tries(throttle: LoginThrottle, address: str, now: float, count: int, *, known: bool = False) -> int:
    """Return how many of so many tries are admitted."""
    return sum(throttle.wait_of(address, now, known=known) == 0 for _ in range(count))


def test_an_address_has_a_few_tries_and_then_one_at_a_time() -> None:
    throttle = LoginThrottle()
    assert tries(throttle, "192.0.2.1", 0, 100) == PER_ADDRESS.burst
    assert throttle.wait_of("192.0.2.1", 0, known=False) == pytest.approx(PER_ADDRESS.seconds)
    assert tries(throttle, "192.0.2.1", PER_ADDRESS.seconds, 100) == 1
    assert tries(throttle, "192.0.2.1", 10**9, 100) == PER_ADDRESS.burst


def test_a_wait_is_as_long_as_it_says() -> None:
    throttle = LoginThrottle()
    tries(throttle, "192.0.2.1", 0, 100)
    wait = throttle.wait_of("192.0.2.1", 7, known=False)
    assert throttle.wait_of("192.0.2.1", 7 + wait - 0.1, known=False) > 0
    assert throttle.wait_of("192.0.2.1", 7 + wait + 0.1, known=False) == 0


def test_a_right_password_gives_its_try_back() -> None:
    throttle = LoginThrottle()
    for _ in range(100):
        assert throttle.wait_of("192.0.2.1", 0, known=False) == 0
        throttle.give_back("192.0.2.1", 0, known=False)


def test_strangers_together_are_slow_whatever_their_number() -> None:
    throttle = LoginThrottle()
    admitted = sum(tries(throttle, f"198.51.{number // 250}.{number % 250}", 0, 1) for number in range(1000))
    assert admitted == STRANGERS.burst


def test_strangers_lock_out_neither_known_addresses_nor_the_machine_itself() -> None:
    throttle = LoginThrottle()
    for number in range(1000):
        tries(throttle, f"198.51.{number // 250}.{number % 250}", 0, 1)
    assert throttle.wait_of("192.0.2.1", 0, known=False) > 0
    assert throttle.wait_of("192.0.2.1", 0, known=True) == 0
    assert throttle.wait_of("127.0.0.1", 0, known=False) == 0
    assert tries(throttle, "127.0.0.1", 0, 100) == PER_ADDRESS.burst - 1


def test_a_refused_try_takes_nothing() -> None:
    throttle = LoginThrottle()
    for number in range(1000):
        tries(throttle, f"198.51.{number // 250}.{number % 250}", 0, 1)
    assert tries(throttle, "192.0.2.1", 0, 50) == 0
    assert tries(throttle, "192.0.2.1", STRANGERS.burst * STRANGERS.seconds, 50) == PER_ADDRESS.burst


def test_the_memory_of_addresses_is_bounded() -> None:
    throttle = LoginThrottle()
    for number in range(MAX_ADDRESSES + 500):
        throttle.wait_of(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", 0, known=True)
    assert len(throttle._addresses) == MAX_ADDRESSES


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        ("unix", "unix"),
    ],
)
def test_an_ipv6_address_counts_with_its_network(address: str, network: str) -> None:
    assert network_of(address) == network
