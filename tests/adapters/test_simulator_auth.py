"""The simulator's side of the signature: right ones pass, everything else is refused as the gateway refuses it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from notifier.simulator.auth import Key, SignatureVerifier, SignedRequest, canonical_request, signature_of
from notifier.simulator.replies import SimulatedError

VECTORS = json.loads((Path(__file__).parents[1] / "data" / "signing_vectors.json").read_text(encoding="utf-8"))[
    "vectors"
]
NOW = datetime(2026, 1, 15, 8, 30, tzinfo=UTC)
KEY = Key(access="AK", secret="SK")
PATH = "/v3/project/tasks"


def as_sent(vector: dict[str, Any]) -> SignedRequest:
    path, _, query = vector["expected"]["request_uri_sent_by_sdk"].partition("?")
    headers = {name.lower(): value for name, value in vector["headers_to_sign"].items()}
    return SignedRequest(
        method=vector["method"],
        path=quote(path, safe="/%"),
        query=query,
        headers={**headers, "authorization": vector["expected"]["authorization"]},
        body=vector["body"].encode(),
    )


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_it_accepts_what_the_official_signer_made(vector: dict[str, Any]) -> None:
    request, expected = as_sent(vector), vector["expected"]
    signed = tuple(sorted(name.lower() for name in vector["headers_to_sign"]))
    assert canonical_request(request, signed) == expected["canonical_request"]
    key = Key(access=vector["ak"], secret=vector["sk"])
    signed_at = datetime.strptime(vector["x_sdk_date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    assert SignatureVerifier().admit(request, {key.access: key}, signed_at) is key


def signed(key: Key = KEY, *, at: datetime = NOW, query: str = "", **headers: str) -> SignedRequest:
    """A request signed by `key`; header names are given with underscores."""
    date = at.strftime("%Y%m%dT%H%M%SZ")
    present = {"host": "127.0.0.1:8080", "x-sdk-date": date} | {k.replace("_", "-"): v for k, v in headers.items()}
    bare = SignedRequest(method="GET", path=PATH, query=query, headers=present)
    names = tuple(sorted(present))
    signature = signature_of(canonical_request(bare, names), date, key.secret)
    authorization = f"SDK-HMAC-SHA256 Access={key.access}, SignedHeaders={';'.join(names)}, Signature={signature}"
    return SignedRequest(method="GET", path=PATH, query=query, headers={**present, "authorization": authorization})


def altered(request: SignedRequest, query: str | None = None, **headers: str | None) -> SignedRequest:
    """The same request after someone changed it on its way; None takes a header out."""
    changed = {**request.headers, **{name.replace("_", "-"): value for name, value in headers.items()}}
    return SignedRequest(
        method=request.method,
        path=request.path,
        query=request.query if query is None else query,
        headers={name: value for name, value in changed.items() if value is not None},
    )


def refusal(
    request: SignedRequest, keeper: SignatureVerifier | None = None, key: Key = KEY, now: datetime = NOW
) -> str:
    with pytest.raises(SimulatedError) as caught:
        (keeper or SignatureVerifier()).admit(request, {key.access: key}, now)
    assert (caught.value.status, caught.value.code) == (401, "APIGW.0301")
    return caught.value.message.removeprefix("Incorrect IAM authentication information: ")


def test_any_signed_headers_are_accepted_and_extra_unsigned_ones() -> None:
    request = signed(user_agent="anything at all", x_language="zh-cn")
    assert SignatureVerifier().admit(altered(request, accept="*/*"), {"AK": KEY}, NOW) is KEY


def test_a_changed_query_breaks_the_signature_and_is_echoed() -> None:
    message = refusal(altered(signed(query="limit=10"), query="limit=11"))
    assert message.startswith(
        f"verify aksk signature fail, canonicalRequest:GET|{PATH}/|limit=11|host:127.0.0.1:8080|x-sdk-date:"
    )


def test_a_plus_is_a_plus_and_not_a_space() -> None:
    assert SignatureVerifier().admit(signed(query="name=a%20b"), {"AK": KEY}, NOW) is KEY
    assert "name=a%2Bb" in refusal(altered(signed(query="name=a%20b"), query="name=a+b"))


def test_another_port_breaks_the_signature() -> None:
    assert "host:127.0.0.1:9090" in refusal(altered(signed(), host="127.0.0.1:9090"))


def test_an_unknown_key_is_named() -> None:
    assert refusal(signed(Key(access="OTHER", secret="SK"))) == "ak OTHER not exist"


@pytest.mark.parametrize("minutes", [-16, 16])
def test_a_clock_off_by_more_than_fifteen_minutes_is_refused(minutes: int) -> None:
    assert "signature expired" in refusal(signed(at=NOW + timedelta(minutes=minutes)))


@pytest.mark.parametrize("minutes", [-15, 15])
def test_a_quarter_of_an_hour_is_tolerated(minutes: int) -> None:
    assert SignatureVerifier().admit(signed(at=NOW + timedelta(minutes=minutes)), {"AK": KEY}, NOW) is KEY


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"authorization": "Bearer abc"}, "the format of the authorization header is incorrect"),
        ({"authorization": ""}, "the format of the authorization header is incorrect"),
        ({"x_sdk_date": None}, "signed header not found: x-sdk-date"),
        ({"host": None}, "signed header not found: host"),
        ({"x_sdk_date": "yesterday"}, "the format of x-sdk-date is incorrect"),
    ],
)
def test_a_malformed_request_is_answered_with_what_is_wrong(changed: dict[str, str | None], message: str) -> None:
    assert message in refusal(altered(signed(), **changed))


def test_the_date_must_be_signed() -> None:
    loose = signed().headers["authorization"].replace("host;x-sdk-date", "host")
    assert refusal(altered(signed(), authorization=loose)) == "signed header not found: x-sdk-date"


def test_a_temporary_key_needs_its_token_and_ends() -> None:
    key = Key(access="HST", secret="SK", token="the-token", expires_at=NOW + timedelta(hours=1))
    good = signed(key, x_security_token="the-token")
    assert SignatureVerifier().admit(good, {"HST": key}, NOW) is key
    assert "security token" in refusal(signed(key), key=key)
    assert "security token" in refusal(signed(key, x_security_token="another"), key=key)
    late = signed(key, at=NOW + timedelta(hours=1), x_security_token="the-token")
    assert "has expired" in refusal(late, key=key, now=NOW + timedelta(hours=1))


def test_a_security_token_may_be_added_after_signing() -> None:
    key = Key(access="HST", secret="SK", token="the-token")
    assert SignatureVerifier().admit(altered(signed(key), x_security_token="the-token"), {"HST": key}, NOW) is key


WRONG = signed(Key(access="AK", secret="not it"))


def test_six_failures_in_a_row_lock_the_key_for_five_minutes() -> None:
    keeper = SignatureVerifier()
    for _ in range(6):
        assert "verify aksk signature fail" in refusal(WRONG, keeper)
    almost = NOW + timedelta(minutes=4, seconds=59)
    assert refusal(signed(at=almost), keeper, now=almost) == "AK access failed to reach the limit,forbidden"
    after = NOW + timedelta(minutes=5)
    assert keeper.admit(signed(at=after), {"AK": KEY}, after) is KEY


def test_a_success_in_between_starts_the_count_again() -> None:
    keeper = SignatureVerifier()
    for _ in range(5):
        refusal(WRONG, keeper)
    assert keeper.admit(signed(), {"AK": KEY}, NOW) is KEY
    for _ in range(5):
        refusal(WRONG, keeper)
    assert keeper.admit(signed(), {"AK": KEY}, NOW) is KEY


def test_nothing_shows_a_secret() -> None:
    assert "hidden" not in repr(Key(access="AK", secret="hidden-a", token="hidden-b"))
