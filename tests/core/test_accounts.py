"""Accounts in a configuration, and the sources that their projects become."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from notifier.config.advice import suspicious_values, warnings
from notifier.config.config import Config
from notifier.config.effective import effective_configuration
from notifier.config.loading import InvalidConfiguration, loads
from notifier.config.outline import read_outline
from notifier.core.projects import FoundProject, ProjectListing, compare_projects
from notifier.sources.cloud_settings import Token
from notifier.sources.gaussdb_events_settings import GaussDBEventsSettings
from notifier.sources.gaussdb_settings import GaussDBSettings

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
ACCOUNT = """
sources:
  - name: acme
    kind: gaussdb_account
    auth: {kind: aksk, access_key: AKAKAK, secret_key: obviously-fake-sk}
    poll_every: 2m
    environment: production
    labels: {team: dba}
"""
PROD = "  - {name: prod, kind: gaussdb, region: cn-north-4, project_id: p1, auth: {kind: ecs_agency}}\n"
LISTED = [
    ProjectListing(id=f"p{number}", name=name)
    for number, name in enumerate(["cn-north-4", "cn-north-4_orders", "cn-east-3", "cn-north-1", "ap-southeast-1_x"])
]
FOUND = compare_projects("acme", (), LISTED, taken=(), now=NOW).saved


def with_found(text: str, found: list[FoundProject] | None = None) -> Config:
    return loads(text, {}).with_found(FOUND if found is None else found, {"acme": 7})


def names(config: Config) -> list[str]:
    return [source.name for source in config.sources]


def test_an_account_is_no_source_until_projects_are_found() -> None:
    config = loads(ACCOUNT, {})
    assert (config.sources, config.expected.sources, config.expected.accounts) == ((), (), ("acme",))
    assert [account.name for account in config.accounts] == ["acme"]


def test_projects_become_sources_with_the_settings_of_their_account() -> None:
    config = with_found(ACCOUNT)
    assert names(config) == [
        "acme-ap-southeast-1-x",
        "acme-cn-east-3",
        "acme-cn-north-4",
        "acme-cn-north-4-orders",
    ]
    orders = config.sources[-1]
    assert type(orders) is GaussDBSettings
    assert (orders.kind, orders.region, orders.project_id) == ("gaussdb", "cn-north-4", "p1")
    assert (orders.poll_every, orders.environment, dict(orders.labels)) == (
        timedelta(minutes=2),
        "production",
        {"team": "dba"},
    )
    assert orders.url == "https://gaussdb-opengauss.cn-north-4.myhuaweicloud.com"
    assert orders == GaussDBSettings.model_validate(orders.model_dump() | {"auth": orders.auth})
    assert config.revisions == {"acme": 7}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("regions: [cn-*]", ["acme-cn-east-3", "acme-cn-north-4", "acme-cn-north-4-orders"]),
        ("regions: [cn-east-3, 'ap-southeast-?']", ["acme-ap-southeast-1-x", "acme-cn-east-3"]),
        ("projects: ['*_*']", ["acme-ap-southeast-1-x", "acme-cn-north-4-orders"]),
        ("projects: [p2]", ["acme-cn-east-3"]),
        ("exclude: [p1, cn-east-*]", ["acme-ap-southeast-1-x", "acme-cn-north-4"]),
        ("endpoint: https://example.com\n    regions: [cn-north-1]", ["acme-cn-north-1"]),
    ],
)
def test_settings_choose_the_projects(line: str, expected: list[str]) -> None:
    assert names(with_found(ACCOUNT + f"    {line}\n")) == expected


def test_a_configured_source_takes_the_place_of_a_found_one() -> None:
    config = with_found(ACCOUNT + PROD)
    assert "acme-cn-north-4-orders" not in names(config)
    assert [source.name for source in config.sources if source.project_id == "p1"] == ["prod"]


def test_a_name_that_is_configured_meanwhile_is_replaced() -> None:
    config = with_found(ACCOUNT + PROD.replace("prod", "acme-cn-east-3"))
    (found,) = [source for source in config.sources if source.project_id == "p2"]
    assert found.name == "acme-cn-east-3-p2"


def test_projects_that_are_gone_and_those_of_other_accounts_are_not_read() -> None:
    gone = FoundProject(
        account="acme", project_id="p", region="cn-north-4", name="cn-north-4", source="a", found_at=NOW, gone_at=NOW
    )
    other = FoundProject(
        account="other", project_id="q", region="cn-north-4", name="cn-north-4", source="b", found_at=NOW
    )
    assert names(with_found(ACCOUNT, [gone, other])) == []


def test_an_iam_of_the_account_issues_tokens_for_its_sources() -> None:
    auth = "{kind: token, domain: d, username: u, password: obviously-fake}"
    text = ACCOUNT.replace("{kind: aksk, access_key: AKAKAK, secret_key: obviously-fake-sk}", auth)
    (account,) = loads(text, {}).accounts
    assert account.iam_url == "https://iam.myhuaweicloud.com"
    assert account.login == account.auth
    (account,) = loads(text + "    iam_endpoint: https://iam.example.com\n", {}).accounts
    assert isinstance(account.login, Token)
    assert (account.iam_url, account.login.iam_endpoint) == ("https://iam.example.com", "https://iam.example.com")
    (account,) = loads(text.replace("domain: d", "iam_endpoint: https://own.example.com, domain: d"), {}).accounts
    assert account.iam_url == "https://own.example.com"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("region: cn-north-4", "9:5: sources[0].region: unknown key. Did you mean regions?"),
        ("project_id: p1", "9:5: sources[0].project_id: unknown key. Did you mean projects?"),
        ("regions: []", "9:14: sources[0].regions: must have at least 1 entry."),
        ("exclude: ['']", "9:15: sources[0].exclude[0]: must have at least 1 character."),
        ("discover_every: 30s", "9:21: sources[0].discover_every: must be at least 1m."),
        ("iam_endpoint: example", None),
    ],
)
def test_a_mistake_is_reported_at_its_place(line: str, expected: str | None) -> None:
    with pytest.raises(InvalidConfiguration) as caught:
        loads(f"{ACCOUNT}    {line}\n", {})
    (found,) = map(str, caught.value.problems)
    assert found == expected or (expected is None and "sources[0].iam_endpoint" in found)


ROUTE = "channels: [{name: dba, kind: console}]\nroutes: [{name: r, match: [MATCHER], channels: [dba]}]\n"
REPORT = "reports: [{name: weekly, channels: [dba], at: mon 09:00, sources: [SOURCE]}]\n"


@pytest.mark.parametrize("matcher", ["source=acme-cn-north-4", "source=acme-*", "source=ac*", "source=~acme.*"])
def test_a_matcher_may_name_sources_that_are_found_later(matcher: str) -> None:
    assert loads(ACCOUNT + ROUTE.replace("MATCHER", matcher), {}).routes


@pytest.mark.parametrize("matcher", ["source=acme", "source=acmecn", "source=other-*"])
def test_a_matcher_that_no_source_can_fit_is_refused(matcher: str) -> None:
    with pytest.raises(InvalidConfiguration, match="no source is called"):
        loads(ACCOUNT + ROUTE.replace("MATCHER", matcher), {})


def test_defaults_of_sources_apply_to_accounts() -> None:
    text = f"source_defaults: {{region: cn-north-4, poll_every: 9m}}{ACCOUNT}".replace("    poll_every: 2m\n", "")
    assert {source.poll_every for source in with_found(text).sources} == {timedelta(minutes=9)}


def test_the_effective_configuration_shows_the_account_as_it_is_written() -> None:
    values = {one.key: one for one in effective_configuration(with_found(ACCOUNT + PROD))}
    assert values["sources[0].kind"].value == "gaussdb_account"
    assert values["sources[0].auth.secret_key"].hidden
    assert values["sources[1].name"].value == "prod"
    assert "sources[0].region" not in values
    assert "sources[2].name" not in values


def test_no_secret_of_an_account_shows() -> None:
    config = with_found(ACCOUNT)
    shown = f"{config!r} {config.model_dump()} {config.model_dump_json()} {config.accounts} {config.as_written!r}"
    assert "obviously-fake-sk" not in shown


def test_a_look_up_leaves_accounts_to_the_whole_configuration(tmp_path: Path) -> None:
    path = tmp_path / "notifier.yaml"
    path.write_text(ACCOUNT)
    config = with_found(ACCOUNT)
    found = read_outline(path, lambda _: config, {})
    assert found.source_names == config.source_names
    assert found.expected == config.expected


def test_sources_and_accounts_of_one_key_share_its_budget() -> None:
    (budget,) = with_found(ACCOUNT).call_budgets.values()
    assert (budget.calls_per_minute, budget.sources) == (20, 4)
    (alone,) = loads(ACCOUNT, {}).call_budgets.values()
    assert (alone.calls_per_minute, alone.sources) == (20, 1)


def test_ten_thousand_projects_are_expanded_from_one_validation(monkeypatch: pytest.MonkeyPatch) -> None:
    listed = [ProjectListing(id=f"p{number}", name=f"cn-north-4_{number}") for number in range(10_000)]
    found = compare_projects("acme", (), listed, taken=(), now=NOW).saved
    config = loads(ACCOUNT, {})
    validated: list[object] = []
    monkeypatch.setattr(GaussDBSettings, "model_validate", lambda *one, **_: validated.append(one))
    expanded = config.with_found(found, {})
    assert (len(expanded.sources), validated) == (10_000, [])
    assert len({id(source.auth) for source in expanded.sources}) == 1


def test_routes_are_judged_before_anything_is_found() -> None:
    text = ACCOUNT + ROUTE.replace("MATCHER", "'source=acme-*'")
    remarks = list(warnings(loads(text, {}), NOW))
    assert not [one for one in remarks if "takes no event" in one or "reach no channel" in one]
    assert loads(text, {}).with_stand_ins().source_names == ("acme-af-north-1",)
    assert with_found(text).with_stand_ins() == with_found(text)


def test_ids_that_iam_lists_are_not_suspicious() -> None:
    assert not [one for one in suspicious_values(with_found(ACCOUNT)) if "project_id" in one]
    assert [one for one in suspicious_values(with_found(ACCOUNT + PROD)) if "The project_id of prod" in one]


def test_a_check_asks_some_sources_of_an_account() -> None:
    config = with_found(ACCOUNT + PROD)
    assert config.with_fewer_found(9) is config
    assert config.with_fewer_found(1).source_names == ("acme-ap-southeast-1-x", "prod")


def test_alarms_are_a_source_of_their_own_beside_each_project() -> None:
    text = ACCOUNT + "    alarms: true\n    regions: [cn-north-4]\n"
    events = PROD.replace("prod", "faults").replace("gaussdb,", "gaussdb_events,")
    config = with_found(text + events)
    assert names(config) == ["acme-cn-north-4", "acme-cn-north-4-alarms", "acme-cn-north-4-orders", "faults"]
    alarms = config.sources[1]
    assert type(alarms) is GaussDBEventsSettings
    assert (alarms.kind, alarms.region, alarms.project_id, alarms.poll_every) == (
        "gaussdb_events",
        "cn-north-4",
        "p0",
        timedelta(minutes=2),
    )
    assert (alarms.environment, alarms.auth) == ("production", config.sources[0].auth)
    assert alarms == GaussDBEventsSettings.model_validate(alarms.model_dump() | {"auth": alarms.auth})


def test_alarms_are_not_asked_for_where_there_is_no_cloud_eye() -> None:
    found = compare_projects("acme", (), [ProjectListing(id="p", name="ru-northwest-2")], taken=(), now=NOW).saved
    assert names(with_found(ACCOUNT + "    alarms: true\n", list(found))) == ["acme-ru-northwest-2"]
    text = ACCOUNT + "    alarms: true\n    ces_endpoint: https://ces.example.com\n"
    assert names(with_found(text, list(found))) == ["acme-ru-northwest-2", "acme-ru-northwest-2-alarms"]


def test_alarms_whose_name_a_configured_source_has_are_missed_aloud() -> None:
    text = ACCOUNT + "    alarms: true\n    regions: [cn-north-4]\n"
    other = PROD.replace("prod", "acme-cn-north-4-alarms").replace("p1", "p77")
    config = with_found(text + other)
    assert config.displaced_alarms == {"acme-cn-north-4-alarms": "p0"}
    said = [one for one in warnings(config, NOW) if "acme-cn-north-4-alarms" in one and "p0" in one]
    assert len(said) == 1
    assert said[0].startswith("The alarms of the project p0 are not read: the source acme-cn-north-4-alarms has the")
    same = PROD.replace("prod", "acme-cn-north-4-alarms").replace("gaussdb,", "gaussdb_events,").replace("p1", "p0")
    assert with_found(text + same).displaced_alarms == {}
    assert with_found(text).displaced_alarms == {}
