"""What channels have in common: finding a kind, and the meaning of an HTTP answer."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import httpx
import pytest
from factories import T0, make_delivery

from notifier.channels import rate_limits as limits
from notifier.channels.base import PROBE_AFTER, stored_body
from notifier.channels.http_channel import outcome_of_error, outcome_of_status
from notifier.channels.kinds import channel_class, installed_kinds, settings_class
from notifier.channels.rate_limits import RateLimit
from notifier.channels.settings import ChannelSettings
from notifier.core.delivery import Delivered, GaveUp, Outcome, Parked, Retry, Unknown
from notifier.core.errors import ConfigurationError
from notifier.core.pacing import Pace
from notifier.http import AddressRefused, HttpError, NoAnswer, NotSent, ReplyTooLarge
from notifier.integrations.webhook.channel import WebhookChannel
from notifier.integrations.webhook.settings import WebhookSettings
from notifier.settings.types import is_loopback


class TestKinds:
    def test_the_built_in_ones_are_found(self) -> None:
        assert {"console", "email", "mattermost", "rocketchat", "slack", "webhook"} <= set(installed_kinds())

    def test_a_kind_is_loaded_by_its_name(self) -> None:
        assert channel_class("webhook") is WebhookChannel
        assert settings_class("webhook") is WebhookSettings

    def test_a_misspelt_one_gets_the_near_name(self) -> None:
        with pytest.raises(ConfigurationError, match=r"^unknown channel kind 'slak'\. Did you mean slack\?$"):
            settings_class("slak")

    def test_a_strange_one_gets_the_list(self) -> None:
        with pytest.raises(
            ConfigurationError, match=r"^unknown channel kind 'pigeon'\. Known kinds: .*console, .*email, "
        ):
            settings_class("pigeon")

    def test_a_third_party_channel_is_found_the_same_way(self, site: Path) -> None:
        program = "class Settings: ...\nclass Pigeon:\n    kind = 'pigeon'\n    Settings = Settings\n"
        (site / "birds.py").write_text(program)
        install(site, "birds", "pigeon = birds:Pigeon")
        assert "pigeon" in installed_kinds()
        assert settings_class("pigeon").__module__ == "birds"
        assert channel_class("pigeon").kind == "pigeon"

    @pytest.mark.parametrize(
        ("entry", "problem"),
        [
            ("pigeon = no_such_package:Pigeon", "cannot be loaded from no_such_package:Pigeon: No module named"),
            ("pigeon = notifier.ports:Pigeon", "cannot be loaded from notifier.ports:Pigeon: module"),
        ],
    )
    def test_one_that_cannot_be_imported_is_named(self, site: Path, entry: str, problem: str) -> None:
        install(site, "birds", entry)
        with pytest.raises(ConfigurationError) as caught:
            settings_class("pigeon")
        assert str(caught.value).startswith(f"channel kind 'pigeon' {problem}")

    def test_a_channel_class_without_settings_is_named(self, site: Path) -> None:
        (site / "doves.py").write_text("class Pigeon:\n    kind = 'pigeon'\n")
        install(site, "doves", "pigeon = doves:Pigeon")
        with pytest.raises(ConfigurationError, match=r"'pigeon' cannot be loaded from doves:Pigeon\.Settings: "):
            settings_class("pigeon")

    @pytest.mark.parametrize(("module", "location"), [("rooks", ""), ("crows", "crows:Pigeon")])
    def test_settings_with_a_wrong_channel_class_are_named(self, site: Path, module: str, location: str) -> None:
        program = "from notifier.channels.settings import ChannelSettings\n\nclass PigeonSettings(ChannelSettings):\n"
        (site / f"{module}.py").write_text(f"{program}    channel_class = {location!r}\n")
        install(site, module, f"pigeon = {module}:PigeonSettings")
        assert settings_class("pigeon").__name__ == "PigeonSettings"
        with pytest.raises(ConfigurationError, match=f"'pigeon' cannot be loaded from {location or 'channel_class'}: "):
            channel_class("pigeon")

    def test_two_packages_cannot_claim_the_same_one(self, site: Path) -> None:
        install(site, "birds", "pigeon = birds:Pigeon")
        install(site, "posts", "pigeon = posts:Pigeon")
        with pytest.raises(ConfigurationError, match="is claimed by birds:Pigeon and posts:Pigeon; uninstall one"):
            settings_class("pigeon")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder that packages can be installed into."""
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def install(site: Path, package: str, entry: str) -> None:
    information = site / f"{package}-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(f"[notifier.channels]\n{entry}\n")


class Pigeonry(ChannelSettings):
    """Settings of a kind that the program has never heard of, and that knows its own limit."""

    @property
    def limit(self) -> RateLimit:
        return RateLimit(per_second=0.2, burst=2)


def paced(**settings: object) -> Pace:
    return Pigeonry.model_validate({"name": "birds"} | settings).pace


class TestPace:
    @pytest.mark.parametrize("service", sorted(limits.known_limits()))
    def test_every_limit_has_a_date_a_source_and_a_note(self, service: str) -> None:
        entry = limits.known_limits()[service]
        assert isinstance(entry["checked"], date)
        assert entry["source"]
        assert entry["note"]
        assert entry.keys() <= {"rate", "burst", "checked", "source", "note"}
        assert limits.rate_limit(service).burst >= 1

    def test_every_built_in_kind_is_in_the_file_of_limits(self) -> None:
        assert {service.partition("-")[0] for service in limits.known_limits()} >= {
            "console",
            "email",
            "mattermost",
            "rocketchat",
            "slack",
            "webhook",
        }

    def test_a_mail_server_never_gets_more_than_thirty_in_any_minute(self) -> None:
        limit = limits.rate_limit("email")
        assert limit.burst + 60 * (limit.per_second or 0) <= 30

    def test_service_limits_are_defaults_and_each_part_can_be_set(self) -> None:
        assert paced() == Pace(per_second=0.2, burst=2)
        assert paced(burst=5) == Pace(per_second=0.2, burst=5)
        assert paced(rate="30/m") == Pace(per_second=0.5, burst=2)
        assert paced(rate=None) == Pace(burst=2)
        breaker = {"opens_after": 1, "probes": ["1m"]}
        assert paced(rate="auto", burst=None, breaker=breaker) == Pace(
            per_second=0.2, burst=2, opens_after=1, probes=(timedelta(minutes=1),)
        )

    def test_a_service_that_is_not_in_the_file_has_no_limit(self) -> None:
        assert ChannelSettings.model_validate({"name": "birds"}).pace == Pace()

    @pytest.mark.parametrize(("rate", "per_second"), [("1/s", 1), ("30/m", 0.5), ("1/h", 1 / 3600), ("9999/s", 9999)])
    def test_a_rate_reads_as_it_is_written(self, rate: str, per_second: float) -> None:
        assert limits.parse_rate(rate) == per_second

    @pytest.mark.parametrize(
        "rate", ["", "1", "1/d", "0/s", "10000/s", "01/s", "-1/s", "1.5/s", "1 / s", "/s", "auto/s", "١/s"]
    )
    def test_what_is_no_rate_is_refused_with_an_example(self, rate: str) -> None:
        with pytest.raises(ValueError, match="for example 1/s, 30/m or 500/h"):
            limits.parse_rate(rate)


MISCONFIGURED = {410: Parked("HTTP 410: the receiver is gone")} | {
    status: Parked(f"HTTP {status}: check the URL and the credentials that the receiver wants", PROBE_AFTER)
    for status in (401, 403, 404, 405)
}


def meaning(status: int) -> Outcome:
    """Say what a status means, as the reference has it."""
    reason = f"HTTP {status}"
    if status in range(200, 300):
        return Delivered()
    if status in range(300, 400):
        return Retry(f"{reason}: redirect not followed")
    if status in (400, 413, 422):
        return GaveUp(reason)
    if status in MISCONFIGURED:
        return MISCONFIGURED[status]
    if status in (408, 425, 429) or status >= 500:
        return Retry(reason, timedelta(seconds=30))
    return Retry(reason)


class TestStatus:
    @pytest.mark.parametrize("status", range(200, 600))
    def test_every_status_means_one_thing(self, status: int) -> None:
        assert outcome_of_status(status, httpx.Headers({"Retry-After": "30"}), T0) == meaning(status)

    @pytest.mark.parametrize(
        ("error", "outcome"),
        [
            (NotSent("connection refused by h"), Retry("connection refused by h")),
            (AddressRefused("h refused"), Parked("h refused", PROBE_AFTER)),
            (NoAnswer("connection to h lost"), Unknown("connection to h lost")),
            (NoAnswer("connection to h lost", status=202), Delivered()),
            (NoAnswer("connection to h lost", status=503), Retry("HTTP 503")),
            (ReplyTooLarge("too long", status=200), Delivered()),
            (ReplyTooLarge("too long", status=413), GaveUp("HTTP 413")),
        ],
    )
    def test_no_usable_reply_means_what_is_known_of_it(self, error: HttpError, outcome: Outcome) -> None:
        assert outcome_of_error(error, T0) == outcome


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_loopback_is_this_machine(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["10.0.0.1", "example.com", "localhost.example.com", ""])
def test_others_are_not(host: str) -> None:
    assert not is_loopback(host)


def test_what_was_never_rendered_cannot_be_sent() -> None:
    with pytest.raises(ValueError, match="was not rendered"):
        stored_body(make_delivery(body=None))
