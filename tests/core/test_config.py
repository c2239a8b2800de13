"""The configuration: what loads, and what each mistake is told."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import timedelta
from ipaddress import ip_network
from itertools import pairwise
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from notifier.config import document
from notifier.config.config import Config
from notifier.config.document import Problem, substitute
from notifier.config.files import find
from notifier.config.loading import InvalidConfiguration, load, loads
from notifier.config.schema import json_schema
from notifier.config.web import WebSettings
from notifier.core.errors import ConfigurationError
from notifier.core.matchers import Matcher
from notifier.core.routing import Route
from notifier.core.tickets import TicketFields
from notifier.integrations.email.settings import EmailSettings

ROOT = Path(__file__).parent.parent.parent
BAD = ROOT / "tests" / "data" / "bad_config"
CONTRACT = ROOT / "tests" / "data" / "notifier.example.yaml"
SHIPPED = ROOT / "config" / "notifier.yaml"
ENVIRONMENT = {
    "HUAWEICLOUD_SDK_AK": "AKEXAMPLE",
    "HUAWEICLOUD_SDK_SK": "sk-example",
    "SLACK_BOT_TOKEN": "xoxb-example",
    "SLACK_APP_TOKEN": "xapp-example",
    "SLACK_SIGNING_SECRET": "signing-example",
    "SMTP_PASSWORD": "password-example",
    "WEBHOOK_SECRET": "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz",
}
BASE = """\
sources: [{name: prod, kind: gaussdb, region: cn-north-4, project_id: p1, auth: {kind: ecs_agency}}]
channels: [{name: dba, kind: console}, {name: ops, kind: console}]
"""


def complaints(text: str, environ: Mapping[str, str] | None = None) -> list[str]:
    with pytest.raises(InvalidConfiguration) as caught:
        loads(text, environ or {}, origin="n.yaml")
    return str(caught.value).splitlines()


# ---- what loads ----


@pytest.fixture(autouse=True)
def _empty_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run where no database is: one in the working directory, from a try of the program, would stay in use."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def contract(tmp_path: Path) -> Config:
    """The example that the names of the settings are taken from, with the one file it refers to."""
    secret = tmp_path / "smtp"
    secret.write_text("password-example\n", encoding="utf-8")
    secret.chmod(0o600)
    text = CONTRACT.read_text(encoding="utf-8").replace("/run/secrets/smtp", "smtp")
    return loads(text, ENVIRONMENT, directory=tmp_path)


def test_the_contract_loads_as_it_stands(contract: Config, tmp_path: Path) -> None:
    assert (contract.language, contract.timezone) == ("en", "Asia/Shanghai")
    assert (contract.store.url, contract.store.migrate) == (f"sqlite:///{tmp_path}/notifier.db", False)
    assert [(source.name, source.kind, source.poll_every) for source in contract.sources] == [
        ("prod", "gaussdb", timedelta(seconds=30))
    ]
    assert [(channel.name, channel.kind) for channel in contract.channels] == [
        ("dba", "slack"),
        ("mail", "email"),
        ("tickets", "webhook"),
    ]
    assert contract.routes[1] == Route(
        name="production-progress",
        match=(
            Matcher(field="type", op="=~", value="task[.](started|completed)"),
            Matcher(field="instance", op="=~", value="prod-.*"),
        ),
        channels=("dba",),
    )
    assert contract.delivery.retry[-1] == timedelta(hours=10)
    assert contract.chat.slack is not None
    assert contract.chat.slack.mode == "socket"
    assert contract.web is not None
    assert (contract.web.host, contract.web.port, contract.web.password) == ("127.0.0.1", 8080, None)
    assert contract.heartbeat_url is None


def test_no_secret_shows_in_a_configuration(contract: Config) -> None:
    shown = f"{contract!r} {contract} {contract.model_dump()} {contract.model_dump_json()}"
    for secret in (*ENVIRONMENT.values(), "password-example", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"):
        if secret != ENVIRONMENT["HUAWEICLOUD_SDK_AK"]:  # an identifier; the secret is the other half
            assert secret not in shown


def test_a_configuration_cannot_be_changed(contract: Config) -> None:
    with pytest.raises(ValueError, match="frozen"):
        contract.language = "zh"


def test_the_shipped_example_loads() -> None:
    config = load(SHIPPED, ENVIRONMENT)
    assert [channel.kind for channel in config.channels] == ["console", "slack", "email", "webhook"]


def test_the_shipped_example_explains_every_setting() -> None:
    text = SHIPPED.read_text(encoding="utf-8")
    names = {name for model in json_schema()["$defs"].values() for name in model.get("properties", {})}
    unexplained = {name for name in names if f"{name}:" not in text and not name.endswith("_file")}
    assert unexplained == set()


def test_little_is_needed() -> None:
    config = loads(BASE, {})
    assert (config.language, config.timezone, config.web, config.routes) == ("en", "UTC", None, ())
    assert config.delivery.lease == timedelta(seconds=60)


def test_the_environment_and_the_labels_of_a_source_reach_polls_and_alerts() -> None:
    text = BASE.replace("auth:", "environment: ' ', labels: {}, auth:").replace(
        "]\nchannels",
        """,
  {name: b, kind: gaussdb, region: cn-north-4, project_id: p2, auth: {kind: ecs_agency},
   environment: 生产, labels: {tier: '1', area: eu west}}]
channels""",
    )
    config = loads(text, {})
    expected = [("", ()), ("生产", (("area", "eu west"), ("tier", "1")))]
    assert [(source.environment, source.labels) for source in config.expected.sources] == expected
    rules = [
        source.poll_rules(lease=timedelta(seconds=15), calls_per_minute=20, credential=None, configured=frozenset())
        for source in config.sources
    ]
    assert [(each.environment, each.labels) for each in rules] == expected


def test_the_console_opens_in_the_language_of_the_messages() -> None:
    path = "https://console.huaweicloud.com/gaussdb/?{}region={{region}}#/gaussdb/management/list"
    assert loads(BASE, {}).console_url == path.format("")
    assert loads(BASE + "language: zh", {}).console_url == path.format("locale=zh-cn&")
    assert loads(BASE + "console_url: null", {}).console_url is None
    assert (
        loads(BASE + "console_url: https://c.example.com/{instance_id}", {}).console_url
        == "https://c.example.com/{instance_id}"
    )


def test_scalars_have_the_meaning_of_their_setting() -> None:
    text = BASE.replace("p1", "00110").replace("prod", "no") + "store: {migrate: yes}\nnetwork: {deny: [10.0.0.0/8]}\n"
    config = loads(text, {})
    assert (config.sources[0].name, config.sources[0].project_id) == ("no", "00110")
    assert config.store.migrate is True
    assert config.network.deny == (ip_network("10.0.0.0/8"),)


def test_null_in_quotes_is_text() -> None:
    assert loads(BASE.replace("p1", "'null'"), {}).sources[0].project_id == "null"
    assert complaints(BASE.replace("p1", "null")) == [
        "n.yaml:1:71: sources[0].project_id: must be text; here it is empty."
    ]


def test_a_part_can_be_written_once_and_used_twice() -> None:
    text = """\
sources:
  - {name: a, kind: gaussdb, region: cn-north-4, project_id: p1, auth: &auth {kind: ecs_agency}}
  - {name: b, kind: gaussdb, region: cn-north-4, project_id: p2, auth: *auth}
"""
    assert [source.name for source in loads(text, {}).sources] == ["a", "b"]


def test_merge_keys_take_over_what_is_not_written_beside_them() -> None:
    text = """\
sources:
  - &base {name: a, kind: gaussdb, region: cn-north-4, project_id: p1, poll_every: 40s, auth: {kind: ecs_agency}}
  - {<<: *base, name: b}
  - <<: [{name: c, poll_every: 50s}, *base]
    page_size: 10
channels: [{name: dba, kind: console}]
routes:
  - &route {name: r1, match: [type=task.failed], channels: [dba]}
  - {name: r2, <<: *route}
"""
    config = loads(text, {})
    assert [source.name for source in config.sources] == ["a", "b", "c"]
    assert [source.poll_every.total_seconds() for source in config.sources] == [40, 40, 50]
    assert [route.name for route in config.routes] == ["r1", "r2"]
    assert config.routes[1].match == config.routes[0].match


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("delivery: {<<: 5s}", "n.yaml:3:12: delivery: << takes the keys of mappings"),
        ("delivery: {<<: [5s]}", "n.yaml:3:12: delivery: << takes the keys of mappings"),
        ("delivery: &d {<<: *d}", "n.yaml:3:15: delivery: refers to itself."),
        ("delivery: {<<: {leese: 5s}}", "n.yaml:3:17: delivery.leese: unknown key. Did you mean lease?"),
        ("delivery: {<<: {? [a] : b}}", "n.yaml:3:19: delivery: a key must be text."),
        ("delivery: {'<<': {lease: 60s}}", "n.yaml:3:12: delivery.<<: unknown key."),
    ],
)
def test_a_merge_that_cannot_be_is_refused_at_its_place(text: str, told: str) -> None:
    (complaint,) = complaints(BASE + text)
    assert complaint.startswith(told)


def test_a_byte_order_mark_and_windows_line_ends_do_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "n.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + BASE.replace("\n", "\r\n").encode())
    assert load(path, {}).sources[0].name == "prod"


# ---- what is pasted along with a key ----

KEYS = """\
sources:
  - {name: prod, kind: gaussdb, region: cn-north-4, project_id: "${PROJECT:-p1}", auth: {kind: aksk,
     access_key: "${AK:-AKIDEXAMPLE}", secret_key: "${SK:-hUnTeR2hUnTeR2}", security_token: "${ST:-t0ken}"}}
  - {name: other, kind: gaussdb, region: cn-north-4, project_id: p2, auth: {kind: token,
     domain: "${DOMAIN:-account}", username: "${USERNAME:-user}", password: "${PASSWORD:-pa ss-w0rd}"}}
channels:
  - {name: chat, kind: slack, bot_token: "${BOT:-xoxb-1}", channel: C0123ABCD}
  - {name: mail, kind: email, host: mail.example.com, from: a@example.com, to: [b@example.com],
     username: u, password: "${MAIL:-p}"}
chat: {slack: {mode: http, signing_secret: "${SIGN:-s}"}, mattermost: {token: "${MM:-m}"}}
web: {listen: 127.0.0.1:8080}
"""
ISSUED = {
    "AK": "sources[0].auth.access_key",
    "SK": "sources[0].auth.secret_key",
    "ST": "sources[0].auth.security_token",
    "PASSWORD": "sources[1].auth.password",
    "BOT": "channels[0].bot_token",
    "SIGN": "chat.slack.signing_secret",
    "MM": "chat.mattermost.token",
}
"""Settings that a service issued or that it takes in ASCII alone, by their variables above."""
PASTED = {
    "\u200b{}": "begins with an invisible character (U+200B). Remove it.",
    "{}\u200b": "ends with an invisible character (U+200B). Remove it.",
    "\ufeff{}": "begins with a byte order mark (U+FEFF). Remove it.",
    " {}": "begins with a space. Remove it.",
    "{} ": "ends with a space. Remove it.",
    "{}\t": "ends with a tab. Remove it.",
    "{} \r\n": "ends with a space. Remove it.",
    "{}\xa0": "ends with white space (U+00A0). Remove it.",
    "\n{}": "begins with a line end. Remove it.",
    "{}\x00": "ends with a control character (U+0000). Remove it.",
    "{}\xadx": "has inside it an invisible character (U+00AD). Remove it.",
    "{}\uff21": "ends with a full-width or otherwise special form of an ASCII character. Type it as plain ASCII.",
    "{}\u4e2d": "ends with a character that is not ASCII. Copy the value again from where it was issued.",
}


@pytest.mark.parametrize("variable", ISSUED)
@pytest.mark.parametrize(("pasted", "complaint"), PASTED.items(), ids=ascii)
def test_what_was_pasted_along_with_a_key_is_refused_by_name(variable: str, pasted: str, complaint: str) -> None:
    value = pasted.format("xoxb-N0tToBeShown")
    with pytest.raises(InvalidConfiguration) as caught:
        loads(KEYS, {variable: value}, origin="n.yaml")
    assert [str(problem).partition(": ")[2] for problem in caught.value.problems] == [
        f"{ISSUED[variable]}: {complaint}"
    ]
    assert "N0tToBeShown" not in str(caught.value)


@pytest.mark.parametrize("quotes", ['"{}"', "'{}'", "`{}`"])
@pytest.mark.parametrize("variable", ISSUED.keys() - {"PASSWORD"})
def test_quotes_around_a_key_are_refused(variable: str, quotes: str) -> None:
    with pytest.raises(InvalidConfiguration, match=r"begins with a quote\. Remove it\."):
        loads(KEYS, {variable: quotes.format("xoxb-1")})


@pytest.mark.parametrize("end", ["\n", "\r\n", "\n\n"])
def test_line_ends_after_a_value_of_the_environment_are_dropped(end: str) -> None:
    variables = ("AK", "SK", "ST", "PASSWORD", "MAIL", "SIGN", "MM", "PROJECT", "DOMAIN", "USERNAME")
    given = dict.fromkeys(variables, "abc") | {"BOT": "xoxb-abc"}
    exact = loads(KEYS, given)
    assert loads(KEYS, {name: value + end for name, value in given.items()}) == exact


def test_a_mail_password_may_hold_more_but_nothing_invisible() -> None:
    password = '"пароль 密码 pass" '
    (_, mail) = loads(KEYS, {"MAIL": password}).channels
    assert isinstance(mail, EmailSettings)
    assert mail.password
    assert mail.password.get_secret_value() == password
    with pytest.raises(InvalidConfiguration, match=r"channels\[1\].password: begins with a byte order mark"):
        loads(KEYS, {"MAIL": "\ufeffpass"})


@pytest.mark.parametrize("name", ["DOMAIN", "USERNAME"])
def test_a_login_name_may_be_of_any_script_and_hides_nothing(name: str) -> None:
    loads(KEYS, {name: "数据 库"})
    for hidden in ("\u200bname", "name ", "\u3000name"):
        with pytest.raises(InvalidConfiguration, match=rf"auth\.{name.lower()}: (begins|ends) with"):
            loads(KEYS, {name: hidden})


def test_a_fault_in_a_files_content_is_reported_at_the_files_place(tmp_path: Path) -> None:
    for content, complaint in ((b"\xef\xbb\xbfkey\n", "a byte order mark (U+FEFF)"), (b'"key"\n', "a quote")):
        (tmp_path / "sk").write_bytes(content)
        (tmp_path / "sk").chmod(0o600)
        text = KEYS.replace('secret_key: "${SK:-hUnTeR2hUnTeR2}"', "secret_key_file: sk")
        with pytest.raises(InvalidConfiguration) as caught:
            loads(text, {}, directory=tmp_path)
        assert [str(problem) for problem in caught.value.problems] == [
            f"3:57: sources[0].auth.secret_key_file: begins with {complaint}. Remove it."
        ]


# ---- the environment ----


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("${A}", "alpha"),
        ("<${A}-${B}>", "<alpha-${A}>"),
        ("${A:-x}", "alpha"),
        ("${EMPTY}", ""),
        ("${EMPTY:-x}", "x"),
        ("${NONE:-x y:z}", "x y:z"),
        ("${NONE:-}", ""),
        ("$${A}", "${A}"),
        ("$A $ $$ {A}", "$A $ $$ {A}"),
        ("prod-.*$", "prod-.*$"),
    ],
)
def test_references_are_filled_in_once(text: str, expected: str) -> None:
    filled = substitute(text, {"A": "alpha", "B": "${A}", "EMPTY": ""})
    assert (filled.text, filled.problems) == (expected, ())


@pytest.mark.parametrize(
    ("line", "value", "told"),
    [
        (
            "heartbeat_url: ${V}",
            "https://host/path and more",
            "must be a URL such as https://host/path.",
        ),
        (
            "store: {url: '${V}'}",
            "jdbc:postgresql://database/must",
            "must not begin with jdbc: and have the user",
        ),
        (
            "store: {url: '${V}'}",
            "PASSWORD@DATABASE",
            "must be sqlite:///FILE or postgresql://USER:PASSWORD@",
        ),
        ("store: {migrate: '${V}'}", "neither true nor false", "must be true or false."),
        ("timezone: ${V}", "Asia/Shanghigh", "no time zone is called '${V}'."),
    ],
)
def test_a_sentence_that_quotes_nothing_is_shown_in_any_environment(line: str, value: str, told: str) -> None:
    (complaint,) = complaints(BASE + line, {"V": value})
    assert told in complaint
    assert value not in complaint


def test_a_number_and_a_switch_can_come_from_the_environment() -> None:
    config = loads(BASE + "store: {migrate: '${M}'}\ndelivery: {lease: '${L:-45s}'}\n", {"M": "true"})
    assert config.store.migrate is True
    assert config.delivery.lease == timedelta(seconds=45)


@pytest.mark.parametrize(
    "value", ["[a, b]", "{x: 1}", "null", "a: b", "- a", "&x", "!x", "# x", '"', "a\nb: c", "${A}"]
)
def test_what_a_variable_holds_is_never_read_as_yaml(value: str) -> None:
    config = loads(BASE + "routes: [{name: r, match: ['instance=${V}'], channels: [dba]}]", {"V": value})
    assert config.routes[0].match[0].value == value


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("timezone: ${V}", "n.yaml:3:11: timezone: no time zone is called '${V}'."),
        ("delivery: {lease: '${V}'}", "n.yaml:3:19: delivery.lease: '${V}' is not a duration;"),
        ("routes: [{name: r, match: ['${V}'], channels: [dba]}]", "n.yaml:3:28: routes[0].match[0]: '${V}' is not a"),
        (
            "routes: [{name: r, match: ['type=${V}'], channels: [dba]}]",
            "n.yaml:3:28: routes[0].match[0]: type is never",
        ),
        ("routes: [{name: r, channels: ['${V}']}]", "n.yaml:3:31: routes[0].channels[0]: no channel is called '${V}'."),
        ("store: {url: '${V}'}", "n.yaml:3:14: store.url: must be sqlite:///FILE or postgresql://"),
        ("language: ${V}", "n.yaml:3:11: language: must be one of en, zh."),
        ("log: {level: '${V}'}", "n.yaml:3:14: log.level: must be one of debug,"),
        ("web: {listen: '${V}'}", "n.yaml:3:15: web.listen: must be ADDRESS:PORT"),
    ],
)
@pytest.mark.parametrize("value", ["hunter2-hunter2", "s3cr3t word/with:marks"])
def test_what_a_variable_holds_is_in_no_message(text: str, told: str, value: str) -> None:
    (line,) = complaints(BASE + text, {"V": value})
    assert line.startswith(told)
    assert not any(word in line for word in ("hunter2", "s3cr3t", "marks"))


# ---- the table of mistakes ----


def table(name: str) -> list[tuple[str, list[str]]]:
    """Read a table of mistakes: blocks of a text and, after =>, the lines that it gets; == begins a remark."""
    text = (BAD / name).read_text(encoding="utf-8")
    blocks = [block.splitlines() for block in text.split("\n\n") if not block.startswith("== ")]
    return [
        (
            "\n".join(line for line in block if not line.startswith("=> ")),
            [line.removeprefix("=> ") for line in block if line.startswith("=> ")],
        )
        for block in blocks
    ]


YAML_MISTAKES = [
    *table("yaml.txt"),
    ("", ["1:1: the file is empty. Write one with: notifier init"]),
    ("# nothing\n", ["1:1: the file is empty. Write one with: notifier init"]),
    ("store:\n\turl: x", ["2:1: a tab. Indent with spaces."]),
    ("language: e\x01n", ["1:12: a control character. Remove it."]),
    ("[" * 5000, ["1:1: is nested too deeply."]),
]
MISTAKES = table("sections.txt")
PARTS = table("parts.txt")


@pytest.mark.parametrize(("text", "expected"), YAML_MISTAKES, ids=[text[:30] for text, _ in YAML_MISTAKES])
def test_a_file_that_is_not_yaml_or_not_a_mapping(text: str, expected: list[str]) -> None:
    (line,) = expected
    assert f"n.yaml:{line}" in complaints(text)


@pytest.mark.parametrize(("text", "expected"), MISTAKES, ids=[text[:40] for text, _ in MISTAKES])
def test_a_mistake_is_reported_with_its_place_and_its_remedy(text: str, expected: list[str]) -> None:
    found = complaints(BASE + text)
    assert found == [f"n.yaml:{line}" for line in expected]
    assert "s3cret" not in found[0]


@pytest.mark.parametrize(("text", "expected"), PARTS, ids=[text[:60] for text, _ in PARTS])
def test_a_mistake_in_a_source_or_channel_is_reported_like_any_other(text: str, expected: list[str]) -> None:
    assert complaints(text) == [f"n.yaml:{line}" for line in expected]


def test_an_unknown_key_is_reported_beside_its_missing_variable() -> None:
    assert complaints(BASE + "lnguage: ${NONE:-zh}\ntimezon: ${NONE}") == [
        "n.yaml:3:1: lnguage: unknown key. Did you mean language?",
        "n.yaml:4:1: timezon: unknown key. Did you mean timezone?",
        "n.yaml:4:10: timezon: environment variable NONE is not set. Set it, or give a default: ${NONE:-default}.",
    ]


def test_every_error_is_reported_at_once_in_the_order_of_the_file() -> None:
    path = BAD / "many.yaml"
    expected = path.with_suffix(".txt").read_text(encoding="utf-8").splitlines()
    assert complaints(path.read_text(encoding="utf-8")) == expected


# ---- files ----


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    for path, told in (
        (tmp_path / "none.yaml", "No such file or directory"),
        (tmp_path, "is a directory. Name the file in it."),
        (tmp_path / "n.yaml" / "x", "Not a directory"),
    ):
        (tmp_path / "n.yaml").touch()
        with pytest.raises(ConfigurationError, match=told) as caught:
            load(path, {})
        assert str(path) in str(caught.value)


def test_a_file_in_another_encoding_is_reported_with_the_line(tmp_path: Path) -> None:
    path = tmp_path / "n.yaml"
    path.write_bytes(b"language: zh\n# \xd6\xd0\xce\xc4\n")
    with pytest.raises(ConfigurationError) as caught:
        load(path, {})
    assert str(caught.value) == f"{path}:2: is not UTF-8 text. Save the file as UTF-8."


def test_a_huge_file_and_a_huge_document_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "n.yaml"
    path.write_bytes(b"# " + b"x" * 16_777_216)
    with pytest.raises(ConfigurationError, match="larger than 16,777,216 bytes"):
        load(path, {})
    names = "abcdefgh"
    layers = [f"{name}: &{name} [{', '.join(['*' + before] * 9)}]" for before, name in pairwise(names)]
    bomb = "\n".join(["a: &a [x]", *layers])
    assert complaints(bomb) == [
        (
            "n.yaml:1:1: has more than 20,000 values, each use of an alias counted. "
            "Use fewer aliases, or split the sources over several services."
        )
    ]


@pytest.mark.skipif(os.name != "posix", reason="modes are a matter of POSIX")
def test_a_secret_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    secret = tmp_path / "hook"
    secret.write_text("https://example.com/s3cret", encoding="utf-8")
    secret.chmod(0o644)
    with pytest.raises(InvalidConfiguration) as caught:
        loads(f"{BASE}heartbeat_url_file: hook", {}, origin="n.yaml", directory=tmp_path)
    assert str(caught.value) == (
        f"n.yaml:3:21: heartbeat_url_file: {secret} can be read by other users. Run: chmod 600 {secret}"
    )


# ---- which file ----


def test_the_file_is_the_given_one_then_the_environments_then_local(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    environ = {"NOTIFIER_CONFIG": "/etc/notifier.yaml"}
    assert find(Path("mine.yaml"), environ) == Path("mine.yaml")
    assert find(None, environ) == Path("/etc/notifier.yaml")
    with pytest.raises(ConfigurationError, match=r"notifier\.yaml does not exist.*notifier init"):
        find(None, {"NOTIFIER_CONFIG": ""})
    (tmp_path / "notifier.yaml").touch()
    assert find(None, {}) == Path("notifier.yaml")


def test_without_an_environment_that_of_the_process_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFIER_CONFIG", "elsewhere.yaml")
    monkeypatch.setenv("NOTIFIER_TEST_LANGUAGE", "zh")
    path = tmp_path / "n.yaml"
    path.write_text(BASE + "language: ${NOTIFIER_TEST_LANGUAGE}", encoding="utf-8")
    assert find() == Path("elsewhere.yaml")
    assert load(path).language == "zh"


# ---- whatever comes ----

YAMLISH = st.text(alphabet=st.sampled_from("ab:-#{}[]&*!|>'\"%@`,?$\\ \n\t\x00\u4e2d\ud800~<=1"), max_size=60)
JSONISH: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def problems_of(text: str) -> Sequence[Problem]:
    try:
        loads(text, {})
    except InvalidConfiguration as refused:
        return refused.problems
    return ()


@given(YAMLISH)
def test_no_text_gets_anything_but_an_answer(text: str) -> None:
    with pytest.raises(InvalidConfiguration):
        loads(text, {})


@given(st.sampled_from(sorted(Config.model_fields)), JSONISH)
def test_no_value_of_a_section_gets_anything_but_an_answer(section: str, value: object) -> None:
    assert all(problem.what for problem in problems_of(json.dumps({**yaml.safe_load(BASE), section: value})))


@given(st.sampled_from(["auth", "region", "project_id", "poll_every", "name", "kind", "endpoint"]), JSONISH)
def test_no_value_of_a_source_gets_anything_but_an_answer(key: str, value: object) -> None:
    source = {**yaml.safe_load(BASE)["sources"][0], key: value}
    assert all(problem.path[:2] == ("sources", 0) for problem in problems_of(json.dumps({"sources": [source]})))


# ---- the page's address ----


@pytest.mark.parametrize(
    ("listen", "host", "port", "loopback"),
    [
        ("127.0.0.1:8080", "127.0.0.1", 8080, True),
        ("localhost:0", "localhost", 0, True),
        ("[::1]:80", "::1", 80, True),
        ("127.9.9.9:1", "127.9.9.9", 1, True),
        ("0.0.0.0:80", "0.0.0.0", 80, False),  # noqa: S104 - an address to judge, not to listen on
        ("[::]:80", "::", 80, False),
        ("localhost.example.com:80", "localhost.example.com", 80, False),
    ],
)
def test_an_address_is_taken_apart_and_judged(listen: str, host: str, port: int, *, loopback: bool) -> None:
    web = WebSettings.model_validate({"listen": listen, "password": "password-example"})
    assert (web.host, web.port, web.loopback) == (host, port, loopback)


# ---- the JSON Schema ----


def test_the_shipped_schema_is_the_one_of_the_settings() -> None:
    shipped = json.loads((ROOT / "config" / "notifier.schema.json").read_text(encoding="utf-8"))
    assert shipped == json_schema(), "run `make schema`"


@pytest.fixture(scope="module")
def schema() -> jsonschema.Draft202012Validator:
    jsonschema.Draft202012Validator.check_schema(json_schema())
    return jsonschema.Draft202012Validator(json_schema())


@pytest.mark.parametrize("path", [CONTRACT, SHIPPED], ids=lambda path: path.name)
def test_the_examples_fit_the_schema(path: Path, schema: jsonschema.Draft202012Validator) -> None:
    assert [error.message for error in schema.iter_errors(yaml.safe_load(path.read_text(encoding="utf-8")))] == []


def test_the_schema_takes_references_for_numbers_switches_choices(schema: jsonschema.Draft202012Validator) -> None:
    text = BASE + "language: ${L:-en}\nstore: {migrate: '${M}'}\ndelivery: {lease: '${D}', retry: ['${R}']}"
    assert [error.message for error in schema.iter_errors(yaml.safe_load(text))] == []


SCHEMA_MISTAKES = [
    text
    for text, (answer, *_) in MISTAKES
    if ("unknown key" in answer or "must be one of" in answer) and not text.startswith("<<")  # there, merging is known
]


@pytest.mark.parametrize(
    "text",
    [
        *SCHEMA_MISTAKES,
        "delivery: {retry: [5]}",
        "delivery: {lease: 5 minutes}",
        "routes: [{name: r, channels: []}]",
        "store: {migrate: 2}",
    ],
)
def test_the_schema_refuses_what_the_loader_refuses(text: str, schema: jsonschema.Draft202012Validator) -> None:
    assert not schema.is_valid(yaml.safe_load(BASE + text))


NOT_FOR_A_SCHEMA = re.compile(
    "the name is taken|not both|cannot read|an attempt of the channel|has inside it|an invisible character"
    "|begins with|no channel of this route"
)


@pytest.mark.parametrize("text", [text for text, (answer, *_) in PARTS if not NOT_FOR_A_SCHEMA.search(answer)])
def test_the_schema_refuses_wrong_parts(text: str, schema: jsonschema.Draft202012Validator) -> None:
    assert not schema.is_valid(yaml.safe_load(text))


def test_the_schema_asks_for_a_secret_in_either_spelling(schema: jsonschema.Draft202012Validator) -> None:
    auth = {"kind": "aksk", "access_key": "A"}
    source = yaml.safe_load(BASE)["sources"][0]
    fits = [
        schema.is_valid({"sources": [{**source, "auth": {**auth, **secret}}]})
        for secret in ({"secret_key": "s"}, {"secret_key_file": "f"}, {})
    ]
    assert fits == [True, True, False]


# ---- speed ----


def test_reading_a_configuration_loads_no_network_and_no_database() -> None:
    program = (
        "import sys; from pathlib import Path; from notifier.config.loading import load;"
        f"load(Path({str(SHIPPED)!r}), {ENVIRONMENT!r});"
        "print(*{'httpx', 'sqlalchemy', 'aiohttp', 'slack_sdk', 'jinja2'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)  # noqa: S603 - ours
    assert done.stdout.split() == []


SOURCE = """
  - {name: NAME, kind: gaussdb, region: cn-north-4, project_id: 0611f1bd8b00d5d32f17c017f15b599f,
     auth: {kind: aksk, access_key: AKAKAK, secret_key: sksksk}}"""
REST = "\nchannels: [{name: dba, kind: console}]\nroutes: [{name: everything, channels: [dba]}]\n"


def with_sources(count: int) -> str:
    return "sources:" + "".join(SOURCE.replace("NAME", f"s{number}") for number in range(count)) + REST


def test_five_thousand_sources_are_accepted() -> None:
    assert len(loads(with_sources(5000), {}).sources) == 5000


@pytest.mark.parametrize(("was", "becomes"), [("", ""), ("kind: aksk", "kind: [aksk"), ("kind: aksk", "knd: aksk")])
def test_a_large_file_is_read_like_a_small_one(monkeypatch: pytest.MonkeyPatch, was: str, becomes: str) -> None:
    """Whichever parser reads: the same values at the same places, and the same complaints."""
    text = with_sources(1000).replace(was, becomes)
    fast = document.parse(text, {})
    monkeypatch.setattr(document, "_LARGE", len(text) + 1)
    plain = document.parse(text, {})
    assert (plain.data, plain.problems, plain.borrowed) == (fast.data, fast.problems, fast.borrowed)
    assert (plain.values.keys(), plain.keys.keys()) == (fast.values.keys(), fast.keys.keys())
    for on_key in (False, True):
        assert [plain.place(path, on_key=on_key) for path in plain.values] == [
            fast.place(path, on_key=on_key) for path in plain.values
        ]


def test_a_long_file_may_use_its_aliases_often() -> None:
    """What a text of its length can hold is read, with aliases or without."""
    usual = "usual: &usual {region: cn-north-4, poll_every: 30s, labels: {team: a, cost: b, tier: c, site: d}}"
    sources = [f"- {{<<: *usual, name: source-number-{n:05}, purpose: one of thousands}}" for n in range(4000)]
    found = document.parse("\n".join([usual, "sources:", *sources]), {})
    assert (found.problems, len(found.values) > 30_000) == ((), True)


class TestTicketsOfRoutes:
    TRACKER = "{name: ops, kind: roundup, url: 'http://127.0.0.1/t', user: a, password: b}"
    WITH_TRACKER = BASE.replace("{name: ops, kind: console}", TRACKER)

    def test_a_route_sets_fields_of_tickets(self) -> None:
        ticket = "{priority: high, labels: [night], fields: {b: {value: x}, a: 1, c: '1', d: [true]}}"
        config = loads(f"{self.WITH_TRACKER}routes: [{{name: r, channels: [ops], ticket: {ticket}}}]", {})
        assert config.routes[0].ticket == TicketFields(
            priority="high",
            labels=("night",),
            fields=(("a", "1"), ("b", '{"value": "x"}'), ("c", '"1"'), ("d", "[true]")),
        )

    def test_a_route_without_a_channel_for_tickets_sets_none(self) -> None:
        text = f"{self.WITH_TRACKER}routes: [{{name: r, channels: [dba], ticket: {{priority: high}}}}]"
        (found,) = complaints(text)
        assert "routes[0].ticket: has no effect: no channel of this route keeps tickets. Remove it." in found


JIRA = "kind: jira, url: https://example.atlassian.net, user: a, token: token-example, deployment: cloud"


@pytest.mark.parametrize(
    ("setting", "wrong"),
    [
        ("project: []", "project: must be text; here it is a list."),
        ("project: [OPS, DEV]", "project: must be text; here it is a list."),
        ("project: ''", "project: must have at least 1 character."),
        ("project: {}", "project: must be text; here it is a mapping."),
        ("project: {fatal: OPS}", "project.fatal: must be one of critical, error, warning, info."),
        (
            "project: OPS, labels: dba",
            "labels: must be a list: entries in [ ], or each on a line of its own after a dash.",
        ),
        ("project: OPS, labels: [a, {}]", "labels[1]: must be text; here it is a mapping."),
        ("project: OPS, priority: [High]", "priority: must be text; here it is a list."),
        ("project: OPS, priority: {error: ''}", "priority.error: must have at least 1 character."),
    ],
)
def test_a_wrong_value_of_what_may_differ_by_severity_has_one_message(setting: str, wrong: str) -> None:
    text = f"{BASE}".replace("channels: [", f"channels: [{{name: desk, {JIRA}, {setting}}}, ")
    (complaint,) = complaints(text)
    assert complaint.partition(" ")[2] == f"channels[0].{wrong}"
