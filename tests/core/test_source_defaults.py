"""`source_defaults`: what every source takes that does not give its own."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from notifier.config.document import parse
from notifier.config.effective import effective_configuration
from notifier.config.loading import InvalidConfiguration, load, loads
from notifier.config.outline import read_outline
from notifier.config.schema import json_schema
from notifier.config.source_defaults import filled, with_defaults, written_path
from notifier.settings.effective import ValueOrigin
from notifier.sources.cloud_settings import AkSk
from notifier.sources.gaussdb_settings import GaussDBSettings

TEXT = """
source_defaults:
  poll_every: 2m
  region: cn-north-4
  labels: {team: dba, site: north}
  auth:
    kind: aksk
    access_key: ${AK}
    secret_key: ${SK}
sources:
  - {name: one, kind: gaussdb, project_id: 0611f1bd8b00d5d32f17c017f15b599f}
  - name: two
    kind: gaussdb
    project_id: 1611f1bd8b00d5d32f17c017f15b599f
    region: cn-east-3
    poll_every: 10s
    labels: {team: payments}
"""
ENVIRON = {"AK": "obviously-fake-ak", "SK": "obviously-fake-sk"}
SOURCE = "sources: [{name: one, kind: gaussdb, project_id: 0611f1bd8b00d5d32f17c017f15b599f}]\n"


def problems_of(text: str, environ: Mapping[str, str] = ENVIRON) -> list[str]:
    with pytest.raises(InvalidConfiguration) as caught:
        loads(text, environ)
    return [str(problem) for problem in caught.value.problems]


def test_a_source_takes_what_it_does_not_give() -> None:
    one, two = loads(TEXT, ENVIRON).sources
    assert (one.region, one.poll_every) == ("cn-north-4", timedelta(minutes=2))
    assert (two.region, two.poll_every) == ("cn-east-3", timedelta(seconds=10))
    assert isinstance(one.auth, AkSk)
    assert isinstance(two.auth, AkSk)
    assert one.auth == two.auth
    assert one.auth.secret_key.get_secret_value() == "obviously-fake-sk"


def test_labels_are_merged_by_name() -> None:
    one, two = loads(TEXT, ENVIRON).sources
    assert (dict(one.labels), dict(two.labels)) == (
        {"team": "dba", "site": "north"},
        {"team": "payments", "site": "north"},
    )


def test_a_null_of_a_source_is_its_own_value() -> None:
    text = TEXT.replace("poll_every: 2m", "stalled_after: 2h").replace("poll_every: 10s", "stalled_after: null")
    given = [source.stalled_after for source in loads(text, ENVIRON).sources if isinstance(source, GaussDBSettings)]
    assert given == [timedelta(hours=2), None]


def test_an_own_login_replaces_that_of_the_defaults() -> None:
    text = TEXT.replace("poll_every: 10s", "auth: {kind: ecs_agency}")
    assert [source.auth.kind for source in loads(text, ENVIRON).sources] == ["aksk", "ecs_agency"]


@pytest.mark.parametrize("own", ["secret", "secret_file"])
@pytest.mark.parametrize("shared", ["secret", "secret_file"])
def test_a_secret_and_its_file_are_one_setting(own: str, shared: str) -> None:
    assert filled({own: "a"}, {shared: "b"}, {"secret", "secret_file"}) == {own: "a"}


def test_a_default_applies_to_the_kinds_that_have_it() -> None:
    document = parse("source_defaults: {a: 1, b: 2}\nsources: [{kind: x}, {kind: y}, {kind: z}, text, {}]", {})
    found = with_defaults(document, {"x": ["a"], "y": ["a", "b"]}.__getitem__, ["x", "y"])
    assert found.problems == ()
    assert found.data == {
        "source_defaults": {"a": "1", "b": "2"},
        "sources": [{"a": "1", "kind": "x"}, {"a": "1", "b": "2", "kind": "y"}, {"kind": "z"}, "text", {}],
    }


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            "poll_evry: 1m",
            "2:3: source_defaults.poll_evry: no kind of sources has this setting. Did you mean poll_every?",
        ),
        ("name: prod", "2:3: source_defaults.name: every source has its own. Give it there."),
        (
            "poll_every: soon",
            (
                "2:15: source_defaults.poll_every: 'soon' is not a duration; write a number and a unit, for example"
                " 30s, 5m, 2h or 7d"
            ),
        ),
        ("progress_step: 200", "2:18: source_defaults.progress_step: must be at most 100."),
        (
            "labels: {Team: x}",
            (
                "2:18: source_defaults.labels.Team: must be a name of lower-case letters, digits and _ that starts with"
                " a letter, 40 at most."
            ),
        ),
        (
            "auth: {kind: aksk, access_key: A}",
            (
                "2:3: source_defaults.auth.secret_key: is missing or empty. Give secret_key, or secret_key_file"
                " with the path of a file."
            ),
        ),
        (
            "auth: {kind: ecs_agency, agency: x}",
            "2:28: source_defaults.auth.agency: unknown key. Known keys: kind, metadata_url.",
        ),
    ],
)
@pytest.mark.parametrize("sources", [1, 3])
def test_a_wrong_default_is_one_error_at_its_place(line: str, expected: str, sources: int) -> None:
    rest = "".join(
        f"  - {{name: s{number}, kind: gaussdb, region: cn-north-4, project_id: p{number}"
        + ("}\n" if line.startswith("auth") else ", auth: {kind: ecs_agency}}\n")
        for number in range(sources)
    )
    assert problems_of(f"source_defaults:\n  {line}\nsources:\n{rest}") == [expected]


def test_a_wrong_default_that_every_source_replaces_is_reported() -> None:
    text = "source_defaults: {poll_every: soon}\n" + SOURCE.replace(
        "project", "poll_every: 1m, region: cn-north-4, project"
    )
    (found,) = problems_of(text.replace("name: one", "auth: {kind: ecs_agency}, name: one"))
    assert "source_defaults.poll_every" in found


@pytest.mark.parametrize("value", ["[a]", "text", ""])
def test_the_defaults_are_a_mapping(value: str) -> None:
    found = problems_of(f"source_defaults: {value}\n" + SOURCE)
    assert any("source_defaults: must be a mapping" in one for one in found)


def test_what_neither_gives_is_missing_in_the_source() -> None:
    (found,) = problems_of("source_defaults: {region: cn-north-4}\n" + SOURCE)
    assert found.endswith("sources[0].auth: is missing.")


def test_values_of_the_environment_are_in_no_message() -> None:
    text = TEXT.replace("region: cn-north-4", "region: ${REGION}").replace("region: cn-east-3", "environment: x")
    found = problems_of(text, ENVIRON | {"REGION": "cn-nowhere-99"})
    assert [one.split(": ")[1] for one in found] == ["source_defaults.region"]
    assert "nowhere" not in "".join(found)


def test_a_variable_that_is_not_set_is_reported_once() -> None:
    found = problems_of(TEXT, {"AK": "A"})
    assert [one.split(": ")[1] for one in found] == ["source_defaults.auth.secret_key"]


def test_a_matcher_may_name_what_the_defaults_give() -> None:
    routes = "channels: [{name: dba, kind: console}]\nroutes: [{name: r, match: [label.site=north], channels: [dba]}]\n"
    assert loads(TEXT + routes, ENVIRON).routes


def test_no_secret_shows_in_a_configuration() -> None:
    config = loads(TEXT, ENVIRON)
    shown = f"{config!r} {config.model_dump()} {config.model_dump_json()} {effective_configuration(config)}"
    assert config.source_defaults == ("poll_every", "region", "labels", "auth")
    assert "obviously-fake-sk" not in shown


def test_effective_values_name_the_line_of_the_default() -> None:
    values = {one.key: one for one in effective_configuration(loads(TEXT, ENVIRON))}
    one, two = values["sources[0].poll_every"], values["sources[1].poll_every"]
    assert (one.value, one.origin, one.line) == ("2m", ValueOrigin.FILE, 3)
    assert (two.value, two.origin, two.line) == ("10s", ValueOrigin.FILE, 16)
    assert values["sources[1].labels.site"].line == 5
    assert values["sources[1].labels.team"].line == 17
    key = values["sources[1].auth.secret_key"]
    assert (key.value, key.hidden, key.origin, key.variables, key.line) == (
        "",
        True,
        ValueOrigin.ENVIRONMENT,
        ("SK",),
        9,
    )
    assert values["source_defaults"].value == "poll_every, region, labels, auth"


def test_a_path_leads_to_where_its_value_is_written() -> None:
    known = parse(TEXT, ENVIRON).values
    for path, expected in {
        ("sources", 0, "auth", "secret_key"): ("source_defaults", "auth", "secret_key"),
        ("sources", 1, "region"): ("sources", 1, "region"),
        ("sources", 1, "labels", "site"): ("source_defaults", "labels", "site"),
        ("sources", 1, "labels"): ("sources", 1, "labels"),
        ("sources", 0, "environment"): ("sources", 0, "environment"),
        ("sources", 0): ("sources", 0),
        ("channels", 0, "auth"): ("channels", 0, "auth"),
    }.items():
        assert written_path(path, known) == expected


def test_a_look_up_reads_the_defaults_without_the_settings(tmp_path: Path) -> None:
    def never(_path: Path) -> Any:
        raise AssertionError

    path = tmp_path / "notifier.yaml"
    path.write_text(TEXT, encoding="utf-8")
    assert read_outline(path, never, ENVIRON).expected == load(path, ENVIRON).expected
    path.write_text(TEXT.replace("poll_every: 2m", "name: x"), encoding="utf-8")
    with pytest.raises(AssertionError):
        _ = read_outline(path, never, ENVIRON).expected


@pytest.fixture(scope="module")
def schema() -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(json_schema())


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        (TEXT, True),
        (SOURCE, False),
        ("source_defaults: {region: cn-north-4}\n" + SOURCE, False),
        ("source_defaults: {region: cn-north-4, auth: {kind: ecs_agency}}\n" + SOURCE, True),
        ("source_defaults: {region: cn-north-4, auth: {kind: ecs_agency}, poll_evry: 1m}\n" + SOURCE, False),
        ("source_defaults: {region: cn-north-4, auth: {kind: ecs_agency}, name: x}\n" + SOURCE, False),
    ],
)
def test_the_schema_asks_for_what_neither_gives(
    text: str, *, valid: bool, schema: jsonschema.Draft202012Validator
) -> None:
    assert schema.is_valid(yaml.safe_load(text)) is valid


def test_a_thousand_sources_share_one_block() -> None:
    entries = "".join(f"  - {{name: s{n}, kind: gaussdb, project_id: p{n}}}\n" for n in range(1000))
    config = loads(TEXT[: TEXT.index("sources:\n  -")] + "sources:\n" + entries, ENVIRON)
    assert len(config.sources) == 1000
    assert len({source.credential for source in config.sources}) == 1
