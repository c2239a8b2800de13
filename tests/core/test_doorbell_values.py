"""What a ring does, and what is believed of a message of SMN before its signature is verified."""

from __future__ import annotations

import json
from datetime import timedelta
from importlib.util import find_spec
from typing import Any

import pytest
from factories import T0
from hypothesis import given
from hypothesis import strategies as st
from servers.smn_push import CERTIFICATE_PATH, CONFIRM_PATH, TOPIC

from notifier.config import doorbell as settings
from notifier.config.loading import InvalidConfiguration, loads
from notifier.core.doorbell import MAX_AGE, MAX_LEAD, Ring, RingEffect, RungSource, answer_ring, time_problem
from notifier.doorbell import Refusal, RingRefused
from notifier.integrations.smn.incoming import (
    parse_message,
    require_certificate_address,
    require_confirmation_address,
    string_to_sign,
)
from notifier.store.people import REPLAYABLE

SECOND = timedelta(seconds=1)
INTERVAL = 2 * SECOND
LATER = T0 + timedelta(minutes=5)


def ring(**recorded: Any) -> tuple[RingEffect, Any]:
    found = answer_ring(RungSource(name="prod", **recorded), T0, INTERVAL)
    assert isinstance(found, Ring)
    return found.effect, found.next_poll_at


@pytest.mark.parametrize(
    ("recorded", "effect", "due"),
    [
        ({}, RingEffect.JOINED, None),
        ({"next_poll_at": LATER}, RingEffect.DUE, T0),
        ({"next_poll_at": LATER, "last_poll_at": T0 - 30 * SECOND}, RingEffect.DUE, T0),
        ({"next_poll_at": LATER, "last_poll_at": T0 - SECOND}, RingEffect.DUE, T0 + SECOND),
        ({"next_poll_at": T0 + SECOND, "last_poll_at": T0 - SECOND}, RingEffect.JOINED, T0 + SECOND),
        ({"next_poll_at": T0 - SECOND}, RingEffect.JOINED, T0 - SECOND),
        ({"next_poll_at": LATER, "last_poll_at": LATER}, RingEffect.DUE, T0 + INTERVAL),
        ({"next_poll_at": T0, "claimed": True}, RingEffect.AFTER, T0),
        ({"next_poll_at": T0, "claimed": True, "rung": True}, RingEffect.JOINED, T0),
        ({"next_poll_at": T0, "claimed": True, "failures": 3}, RingEffect.AFTER, T0),
        ({"next_poll_at": LATER, "failures": 1}, RingEffect.WAITS, LATER),
        ({"next_poll_at": LATER, "rung": True}, RingEffect.JOINED, LATER),
    ],
    ids=[
        "never polled",
        "waits for its time",
        "polled a while ago",
        "polled just now",
        "due at the same time",
        "due already",
        "polled by a clock that was ahead",
        "being polled",
        "being polled, rung before",
        "being tried again",
        "paused after a failure",
        "waits for its turn since a ring",
    ],
)
def test_a_ring_is_followed_by_one_poll_that_begins_after_it(
    recorded: dict[str, Any], effect: RingEffect, due: object
) -> None:
    assert ring(**recorded) == (effect, due)


def test_nothing_is_accepted_for_longer_than_requests_are_remembered() -> None:
    assert MAX_AGE + MAX_LEAD <= REPLAYABLE
    assert [time_problem(T0 + off, T0) for off in (-MAX_AGE, MAX_LEAD)] == [None, None]
    assert time_problem(T0 - MAX_AGE - SECOND, T0) == "too old"
    assert time_problem(T0 + MAX_LEAD + SECOND, T0) == "from the future"


# ---- messages of SMN ----

FIELDS = {
    "type": "Notification",
    "message": "m",
    "message_id": "id",
    "topic_urn": TOPIC,
    "timestamp": "2026-01-15T08:30:00Z",
    "signature_version": "V1",
    "signature": "AAAA",
    "signing_cert_url": f"https://smn.cn-north-4.myhuaweicloud.com{CERTIFICATE_PATH}",
}


def refusal_of(body: bytes) -> tuple[Refusal, str] | None:
    try:
        parse_message(body, {TOPIC})
    except RingRefused as error:
        return error.refusal, str(error)
    return None


def test_each_key_and_value_is_signed_on_its_own_line() -> None:
    """As the manual shows it: a subject that is empty or absent is left out."""
    begin = "message\nm\nmessage_id\nid\n"
    end = f"timestamp\n2026-01-15T08:30:00Z\ntopic_urn\n{TOPIC}\ntype\nNotification\n"
    assert string_to_sign(FIELDS) == (begin + end).encode()
    assert string_to_sign(FIELDS | {"subject": ""}) == (begin + end).encode()
    assert string_to_sign(FIELDS | {"subject": "磁盘"}) == f"{begin}subject\n磁盘\n{end}".encode()
    confirmation = FIELDS | {"type": "SubscriptionConfirmation", "subscribe_url": "https://x", "subject": "no"}
    assert b"subscribe_url\nhttps://x\ntimestamp\n" in string_to_sign(confirmation)
    assert b"subject" not in string_to_sign(confirmation)


def test_a_message_tells_its_topic_and_its_time() -> None:
    found = parse_message(json.dumps(FIELDS).encode(), {TOPIC})
    assert (found.region, found.project_id) == ("cn-north-4", "0611f1bd8b00d5d32f17c017f15b599f")
    assert (found.at, found.signature) == (T0.replace(hour=8, minute=30, second=0, microsecond=0), bytes(3))


@pytest.mark.parametrize(
    ("changed", "refusal", "why"),
    [
        ({"type": "Other"}, Refusal.MALFORMED, "type is none of"),
        ({"type": ["Notification"]}, Refusal.MALFORMED, "type is none of"),
        ({"signature_version": "v2"}, Refusal.MALFORMED, "signature_version"),
        ({"message": ""}, Refusal.MALFORMED, "message is missing"),
        ({"timestamp": "yesterday"}, Refusal.MALFORMED, "timestamp is no time"),
        ({"timestamp": "2026-01-15T08:30:00"}, Refusal.MALFORMED, "no offset"),
        ({"signature": "*"}, Refusal.MALFORMED, "base64"),
        ({"message_id": "x" * 300}, Refusal.MALFORMED, "too long"),
        ({"topic_urn": f"{TOPIC}2"}, Refusal.FORBIDDEN, "topic"),
        ({"type": "SubscriptionConfirmation"}, Refusal.MALFORMED, "subscribe_url is missing"),
    ],
)
def test_what_is_no_message_of_a_known_topic_is_refused(changed: dict[str, Any], refusal: Refusal, why: str) -> None:
    found = refusal_of(json.dumps(FIELDS | changed).encode())
    assert found is not None
    assert (found[0], why in found[1]) == (refusal, True)


@given(
    body=st.binary()
    | st.recursive(st.text() | st.none() | st.integers(), st.lists).map(lambda v: json.dumps(v).encode())
)
def test_any_body_is_refused_in_one_sentence(body: bytes) -> None:
    found = refusal_of(body)
    assert found is not None
    assert "\n" not in found[1]


@given(field=st.sampled_from(sorted(FIELDS)), value=st.text() | st.none() | st.integers() | st.lists(st.text()))
def test_any_value_of_a_field_is_refused_or_read(field: str, value: object) -> None:
    refusal_of(json.dumps(FIELDS | {field: value}).encode())


CERTIFICATE = "https://smn.cn-north-4.myhuaweicloud.com/smn/SMN_cn-north-4_b397.pem"


@pytest.mark.parametrize(
    "url",
    [
        CERTIFICATE,
        "https://smn.cn-north-4.myhuaweicloud.cn/smn/SMN_cn-north-4_b397.pem",
        "https://smn.cn-north-4.myhuaweicloud.eu/smn/SMN_x.pem",
    ],
)
def test_certificates_are_where_smn_keeps_them(url: str) -> None:
    require_certificate_address(url, "cn-north-4")


@pytest.mark.parametrize(
    "url",
    [
        "http://smn.cn-north-4.myhuaweicloud.com/smn/SMN_x.pem",
        "https://smn.cn-south-1.myhuaweicloud.com/smn/SMN_x.pem",
        "https://smn.cn-north-4.myhuaweicloud.com.evil.example/smn/SMN_x.pem",
        "https://evil.example/smn.cn-north-4.myhuaweicloud.com/smn/SMN_x.pem",
        "https://smn.cn-north-4.myhuaweicloud.com@evil.example/smn/SMN_x.pem",
        "https://evil.example#@smn.cn-north-4.myhuaweicloud.com/smn/SMN_x.pem",
        "https://evil.example\\@smn.cn-north-4.myhuaweicloud.com/smn/SMN_x.pem",
        "https://bucket.obs.cn-north-4.myhuaweicloud.com/smn/SMN_x.pem",
        "https://smn.cn-north-4.myhuaweicloud.com:444/smn/SMN_x.pem",
        "https://smn.cn-north-4.myhuaweicloud.com/smn/../v2/SMN_x.pem",
        "https://smn.cn-north-4.myhuaweicloud.com/smn/SMN_x.pem?y",
        "https://smn.cn-north-4.myhuaweicloud.com/smn/SMN_x.pem/",
        "https://smn.cn-north-4.myhuaweicloud.com/smn/SMN_x.pem\n",
        "https://smn.cn-north-4.myhuaweicloud.com/smn/SMN_é.pem",
        "https://smn.cn-north-4.myhuaweicloud.com/SMN_x.pem",
        "file:///smn/SMN_x.pem",
        "",
    ],
)
def test_a_certificate_from_elsewhere_is_refused(url: str) -> None:
    with pytest.raises(RingRefused, match="signing_cert_url") as refused:
        require_certificate_address(url, "cn-north-4")
    assert refused.value.refusal is Refusal.FORBIDDEN


def test_own_origins_replace_those_of_the_cloud() -> None:
    own = {"https://smn.dc1.example"}
    require_certificate_address("https://smn.dc1.example/smn/SMN_x.pem", "dc1", own)
    with pytest.raises(RingRefused):
        require_certificate_address(CERTIFICATE, "cn-north-4", own)
    require_confirmation_address(f"https://smn.dc1.example{CONFIRM_PATH}", TOPIC, "cn-north-4", own)
    with pytest.raises(RingRefused):
        require_confirmation_address(f"https://console.huaweicloud.com{CONFIRM_PATH}", TOPIC, "cn-north-4", own)


@pytest.mark.parametrize(
    "host",
    [
        "console.huaweicloud.com",
        "console-intl.huaweicloud.com",
        "sa-brazil-1-console.huaweicloud.com",
        "console.eu.huaweicloud.com",
        "console.huaweicloud.eu",
        "smn.cn-north-4.myhuaweicloud.com",
    ],
)
def test_subscriptions_are_confirmed_at_the_console_or_at_smn(host: str) -> None:
    require_confirmation_address(f"https://{host}{CONFIRM_PATH}", TOPIC, "cn-north-4")


@pytest.mark.parametrize(
    "url",
    [
        f"https://console.evil.example{CONFIRM_PATH}",
        f"https://evilconsole.huaweicloud.com{CONFIRM_PATH}",
        f"https://console.huaweicloud.com.evil.example{CONFIRM_PATH}",
        f"http://console.huaweicloud.com{CONFIRM_PATH}",
        f"https://169.254.169.254{CONFIRM_PATH}",
        f"https://console.huaweicloud.com/smn/subscription/unsubscribe?topic_urn={TOPIC}",
        f"https://console.huaweicloud.com{CONFIRM_PATH.replace(':gaussdb', ':other')}",
        f"https://smn.cn-south-1.myhuaweicloud.com{CONFIRM_PATH}",
    ],
)
def test_a_subscription_is_confirmed_nowhere_else(url: str) -> None:
    with pytest.raises(RingRefused, match="subscribe_url"):
        require_confirmation_address(url, TOPIC, "cn-north-4")


# ---- settings ----

CONFIGURATION = """
sources:
  - {name: prod, kind: gaussdb, region: cn-north-4, project_id: p, auth: {kind: aksk, access_key: a, secret_key: s}}
web: {}
"""
SMN = f"doorbell: {{smn: {{topics: ['{TOPIC}']}}}}"


def test_the_doorbell_takes_several_tokens_and_secrets_for_a_rotation() -> None:
    old, new = "o" * 24, "n" * 24
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    text = f"doorbell: {{token: {new}, tokens: [{old}], secrets: [{secret}], min_interval: 5s}}"
    config = loads(CONFIGURATION + text, {})
    assert config.doorbell is not None
    assert config.doorbell.accepted_tokens == (new, old)
    assert config.doorbell.accepted_secrets == (secret,)
    assert (config.expected.doorbell, config.expected.topics) == (True, ())
    assert old not in repr(config)


def test_smn_without_its_library_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    assert loads(CONFIGURATION + SMN, {}).expected.topics == (TOPIC,)
    monkeypatch.setattr(settings, "find_spec", lambda name: None if name == "cryptography" else find_spec(name))
    with pytest.raises(InvalidConfiguration) as refused:
        loads(CONFIGURATION + SMN, {}, origin="n.yaml")
    (said,) = str(refused.value).splitlines()
    assert said.startswith("n.yaml:5:26: doorbell.smn.topics: the signature of SMN cannot be verified: install the")
    assert "pip install 'gaussdb-notifier[doorbell]'" in said
