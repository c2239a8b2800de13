"""Tokens, digests, and when a session is over."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from factories import T0
from hypothesis import given
from hypothesis import strategies as st

from notifier.core.access import (
    TOKEN_PATTERN,
    SignedInBy,
    TokenScope,
    WebSession,
    digest_of,
    format_token,
    is_over,
    is_token,
    parse_scopes,
    proof_of,
)

SESSION = WebSession(
    id=digest_of("secret"),
    name="Chen Jing",
    how=SignedInBy.USER,
    proof=proof_of("secret", "password"),
    created_at=T0,
    seen_at=T0,
    ends_at=T0 + timedelta(days=30),
    address="10.0.0.7",
    browser="Firefox on Linux",
)
WEEK, SECOND = timedelta(days=7), timedelta(seconds=1)


@given(st.binary(min_size=32, max_size=32))
def test_every_token_has_the_form_that_scanners_know(random: bytes) -> None:
    token = format_token(random)
    assert re.fullmatch(TOKEN_PATTERN, token)
    assert is_token(token)


@given(st.binary(min_size=32, max_size=32), st.integers(5, 53), st.sampled_from("09AZaz"))
def test_a_mistyped_token_is_recognised_offline(random: bytes, place: int, other: str) -> None:
    token = format_token(random)
    changed = token[:place] + other + token[place + 1 :]
    assert is_token(changed) == (changed == token)


@pytest.mark.parametrize("text", ["", "gdbn_", "x" * 54, "gdbn_" + "é" * 49, format_token(bytes(32)) + "\n"])
def test_other_texts_are_no_tokens(text: str) -> None:
    assert not is_token(text)


def test_no_two_tokens_are_alike() -> None:
    assert format_token(bytes(31) + b"\1") != format_token(bytes(32))


def test_the_proof_of_a_password_differs_in_every_session() -> None:
    """Equal ones would show who has the same password, and could be guessed by a table."""
    assert proof_of("one", "password") != proof_of("other", "password")
    assert proof_of("one", "password") != proof_of("one", "other")


@pytest.mark.parametrize(
    ("after", "used_after", "over"),
    [
        (timedelta(0), timedelta(0), False),
        (WEEK - SECOND, timedelta(0), False),
        (WEEK, timedelta(0), True),
        (WEEK, SECOND, False),
        (timedelta(days=30) - SECOND, timedelta(days=30) - 2 * SECOND, False),
        (timedelta(days=30), timedelta(days=30) - SECOND, True),
    ],
)
def test_a_session_ends_unused_and_in_the_end(after: timedelta, used_after: timedelta, over: bool) -> None:  # noqa: FBT001 - a case
    used = WebSession(**{name: getattr(SESSION, name) for name in SESSION.__slots__} | {"seen_at": T0 + used_after})
    assert is_over(used, T0 + after, WEEK) is over


def test_scopes_are_words() -> None:
    assert parse_scopes(["read", "metrics"]) == {TokenScope.READ, TokenScope.METRICS}
    with pytest.raises(ValueError, match="scopes are read, act, admin, metrics"):
        parse_scopes(["wirte"])
    with pytest.raises(ValueError, match="needs a scope"):
        parse_scopes([])
