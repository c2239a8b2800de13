"""What proves that a request is Slack's, and what does not."""

from __future__ import annotations

import hashlib
import hmac
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.integrations.slack.signature import TOLERANCE, rejection_reason, sign

# https://docs.slack.dev/authentication/verifying-requests-from-slack
SECRET = "8f742231b10e8888abcd99yyyzzz85a5"
TIME = b"1531420618"
NOW = datetime.fromtimestamp(1531420618, UTC)
BODY = (
    b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V"
    b"&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text="
    b"&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN"
    b"&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c"
)
SIGNATURE = b"v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"

secrets = st.text(min_size=1, alphabet=st.characters(exclude_categories=["Cs"]))


def test_the_example_in_the_documentation_of_slack_is_proven() -> None:
    assert rejection_reason(SECRET, timestamp=TIME, signature=SIGNATURE, body=BODY, now=NOW) is None


@given(secret=secrets, body=st.binary(), seconds=st.integers(0, 4_000_000_000))
def test_whatever_is_signed_as_slack_signs_is_proven(secret: str, body: bytes, seconds: int) -> None:
    text = b"v0:" + str(seconds).encode() + b":" + body
    signature = b"v0=" + hmac.new(secret.encode(), text, hashlib.sha256).hexdigest().encode()
    now = datetime.fromtimestamp(seconds, UTC)
    assert rejection_reason(secret, timestamp=str(seconds).encode(), signature=signature, body=body, now=now) is None


@given(secret=secrets, timestamp=st.binary(), signature=st.binary(), body=st.binary())
def test_bytes_of_any_kind_are_refused_without_an_error(
    secret: str, timestamp: bytes, signature: bytes, body: bytes
) -> None:
    assert rejection_reason(secret, timestamp=timestamp, signature=signature, body=body, now=NOW) is not None


@given(place=st.integers(0, len(SIGNATURE) - 1), byte=st.integers(0, 255))
def test_a_signature_with_one_byte_changed_is_refused(place: int, byte: int) -> None:
    changed = SIGNATURE[:place] + bytes([byte]) + SIGNATURE[place + 1 :]
    found = rejection_reason(SECRET, timestamp=TIME, signature=changed, body=BODY, now=NOW)
    assert (found is None) == (changed == SIGNATURE)


@given(place=st.integers(0, len(BODY) - 1), byte=st.integers(0, 255))
def test_a_body_with_one_byte_changed_is_refused(place: int, byte: int) -> None:
    changed = BODY[:place] + bytes([byte]) + BODY[place + 1 :]
    found = rejection_reason(SECRET, timestamp=TIME, signature=SIGNATURE, body=changed, now=NOW)
    assert found == (None if changed == BODY else "wrong signature")


@pytest.mark.parametrize("seconds", [-TOLERANCE, -1, 0, 1, TOLERANCE])
def test_a_request_may_be_five_minutes_off(seconds: int) -> None:
    now = NOW + timedelta(seconds=seconds)
    assert rejection_reason(SECRET, timestamp=TIME, signature=SIGNATURE, body=BODY, now=now) is None


@pytest.mark.parametrize("seconds", [-86_400, -TOLERANCE - 1, TOLERANCE + 1, 86_400])
def test_a_request_from_longer_ago_or_from_the_future_is_refused(seconds: int) -> None:
    now = NOW + timedelta(seconds=seconds)
    assert rejection_reason(SECRET, timestamp=TIME, signature=SIGNATURE, body=BODY, now=now) == "wrong time"


@pytest.mark.parametrize(
    "timestamp",
    [b"", b"now", b"-1531420618", b"+1531420618", b" 1531420618", b"1531420618\n", b"1531420618.0", b"1e9", b"0x5b47",
     b"1_531_420_618", "１５３１４２０６１８".encode(), b"\xb2", b"9" * 13, b"9" * 5000, b"nan"],
)  # fmt: skip
def test_a_non_numeric_timestamp_is_refused_however_well_signed(timestamp: bytes) -> None:
    signature = sign(SECRET, timestamp=timestamp, body=BODY)
    assert rejection_reason(SECRET, timestamp=timestamp, signature=signature, body=BODY, now=NOW) == "no time"


@pytest.mark.parametrize(
    "signature",
    [b"", SIGNATURE.upper(), SIGNATURE.removeprefix(b"v0="), SIGNATURE.replace(b"v0", b"v1"), SIGNATURE[:-1],
     SIGNATURE + b"0", SIGNATURE + b"\n", "v0=é".encode(), b"v0=" + b"\xff" * 64, b"v0=" + "ａ".encode() * 64],
)  # fmt: skip
def test_a_signature_in_another_form_is_refused(signature: bytes) -> None:
    assert rejection_reason(SECRET, timestamp=TIME, signature=signature, body=BODY, now=NOW) == "no signature"


def test_no_header_at_all_is_called_not_signed() -> None:
    assert rejection_reason(SECRET, timestamp=b"", signature=b"", body=BODY, now=NOW) == "not signed"
