"""The effective configuration: where each value comes from, and what is hidden."""

from __future__ import annotations

from pathlib import Path

import pytest

from notifier.config.document import parse
from notifier.config.effective import MAX_TRACED_VALUES, effective_configuration, written_places
from notifier.config.loading import loads
from notifier.settings.effective import EffectiveValue, ValueOrigin

TEXT = """
timezone: ${ZONE:-Asia/Shanghai}
sources:
  - name: prod
    kind: gaussdb
    region: cn-north-4
    project_id: ${PROJECT}
    poll_every: 90s
    auth: {kind: aksk, access_key: obviously-fake-ak, secret_key_file: KEY}
channels:
  - {name: hook, kind: webhook, url: "https://example.com/token-in-path", headers: {X-Key: "in-header"}}
  - {name: mail, kind: email, host: smtp.example.com, from: a@example.com, to: [b@example.com, "${WHOM}"]}
routes:
  - {name: all, match: ["type=task.*"], channels: [hook]}
"""


@pytest.fixture
def values(tmp_path: Path) -> dict[str, EffectiveValue]:
    key = tmp_path / "key"
    key.write_text("obviously-fake-sk")
    key.chmod(0o600)
    environ = {"PROJECT": "0611f1bd8b00d5d32f17c017f15b599f", "WHOM": "someone@example.com"}
    config = loads(TEXT.replace("KEY", str(key)), environ)
    return {one.key: one for one in effective_configuration(config)}


def test_a_written_value_has_its_line(values: dict[str, EffectiveValue]) -> None:
    found = values["sources[0].poll_every"]
    assert (found.value, found.origin, found.line, found.hidden) == ("1m30s", ValueOrigin.FILE, 8, False)
    assert values["routes[0].match"].value == "type=task.*"


def test_a_value_of_the_environment_has_its_name_alone(values: dict[str, EffectiveValue]) -> None:
    found = values["sources[0].project_id"]
    assert (found.value, found.origin, found.variables) == ("", ValueOrigin.ENVIRONMENT, ("PROJECT",))
    assert values["channels[1].to"].hidden
    assert values["channels[1].to"].variables == ("WHOM",)


def test_the_default_of_a_reference_is_written_in_the_file(values: dict[str, EffectiveValue]) -> None:
    assert (values["timezone"].value, values["timezone"].origin) == ("Asia/Shanghai", ValueOrigin.FILE)


def test_a_secret_says_where_it_is_read_from(values: dict[str, EffectiveValue]) -> None:
    secret = values["sources[0].auth.secret_key"]
    assert (secret.value, secret.hidden, secret.origin, secret.line) == ("", True, ValueOrigin.SECRET_FILE, 9)
    assert values["sources[0].auth.access_key"].hidden
    assert values["channels[0].url"].hidden
    assert values["channels[0].headers.X-Key"].hidden


def test_a_default_has_no_line(values: dict[str, EffectiveValue]) -> None:
    found = values["retention.tasks"]
    assert (found.value, found.origin, found.line) == ("90d", ValueOrigin.DEFAULT, None)


def test_an_address_is_shown_without_what_may_be_secret(values: dict[str, EffectiveValue]) -> None:
    assert values["console_url"].value == "https://console.huaweicloud.com/…"
    text = TEXT.replace("KEY", "x").replace("secret_key_file: x", "secret_key: obviously-fake")
    text = text.replace("smtp.example.com", "smtp.example.com, helo: h").replace("${WHOM}", "c@example.com")
    config = loads(f"{text}runbook_url: https://u:p@wiki.example.com/a/b?token=1\n", {"PROJECT": "p" * 32})
    shown = {one.key: one.value for one in effective_configuration(config)}
    assert shown["runbook_url"] == "https://wiki.example.com/…"


def test_a_very_long_file_is_shown_without_lines() -> None:
    entries = ", ".join(["x"] * MAX_TRACED_VALUES)
    assert written_places(parse(f"a: [{entries}]", {})) == {}
    assert written_places(parse("a: [x]", {}))[("a", 0)].line == 1
