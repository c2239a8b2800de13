"""Dashboard, alert rules and documents of the metrics, held to what the program shows."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from factories import T0, make_delivery, make_event
from prometheus_client.metrics_core import Metric
from servers.processes import free_port, server_process
from servers.program import running

from notifier.core.credentials import Credential, CredentialState
from notifier.core.delivery import Delivered
from notifier.core.health_facts import ConfiguredSource, Expected, HealthFacts
from notifier.core.model import SourceState
from notifier.core.outbox import settle
from notifier.deliver import DeliveryReport
from notifier.poll import PollReport
from notifier.store.engine import open_store
from notifier.telemetry.prometheus import PrometheusMeters
from notifier.web.metrics import MetricFacts, MetricRules, database_metrics, process_metrics

ROOT = Path(__file__).parent.parent
RULES = ROOT / "deploy" / "prometheus" / "rules.yaml"
CASES = ROOT / "deploy" / "prometheus" / "rules.test.yaml"
DASHBOARD = ROOT / "deploy" / "grafana" / "dashboard.json"
GUIDE = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
NAME = re.compile(r"\b(?:gaussdb_notifier|process|python_gc)_[a-z_]+\b")
PROMTOOL = str(shutil.which("promtool"))
needs_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
needs_prometheus = pytest.mark.skipif(shutil.which("prometheus") is None, reason="Prometheus is not installed")


def shown() -> Mapping[str, set[str]]:
    """Return the labels of every series that a process can show, by its name."""
    source = ConfiguredSource(name="prod", region="r", project_id="p", poll_every=T0 - T0)
    expected = Expected(sources=[source], channels=["dba"])
    credential = Credential(key="k", calls_per_minute=20)
    state = SourceState(name="prod", last_poll_at=T0, last_full_at=T0, clock_skew=0.0)
    rules = MetricRules(version="1", revision="1", expected=expected, credentials={"prod": credential})
    facts = MetricFacts(health=HealthFacts(at=T0, sources=[state]), revision="1", credentials={"k": CredentialState()})
    meters = PrometheusMeters(sources=["prod"], channels=["dba"])
    meters.polled(PollReport(source="prod", polled=True), 1.0)
    meters.api_called("prod", "accepted", 1.0)
    delivery = make_delivery(make_event(), channel="dba", attempt=1)
    ended = settle(delivery, Delivered(), started_at=T0, finished_at=T0, schedule=(), chance=0.0)
    meters.delivered(DeliveryReport(channel="dba", settled=((delivery, ended),)))
    meters.answered("open", "failed", 1.0)
    meters.served("GET", "/", 200, 1.0)
    meters.rang("token", "rung")
    families: list[Metric] = [
        *process_metrics(rules, database_up=True),
        *database_metrics(facts, rules),
        *meters.registry.collect(),
    ]
    return {sample.name: set(sample.labels) for family in families for sample in family.samples}


def bases(series: Mapping[str, set[str]]) -> Mapping[str, set[str]]:
    """Return the labels of metrics by the names that documents call them."""
    found: dict[str, set[str]] = {}
    for name, labels in series.items():
        found.setdefault(re.sub(r"_(bucket|count|sum)$", "", name), set()).update(labels - {"le"})
    return found


def rules() -> Iterator[Mapping[str, Any]]:
    for group in yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]:
        yield from group["rules"]


def expressions() -> list[str]:
    panels = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    asked = [target["expr"] for panel in panels for target in panel.get("targets", ())]
    return [*asked, *(rule["expr"] for rule in rules())]


def promtool(*arguments: str) -> None:
    done = subprocess.run(  # noqa: S603 - our own files
        [PROMTOOL, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


# ---- documents ----


def test_the_guide_explains_exactly_the_metrics_that_there_are() -> None:
    rows = re.findall(r"^\| `(gaussdb_notifier_\w+)` \| ([^|]*)\| (\S[^|]*)\|$", GUIDE, re.MULTILINE)
    explained = {name: set(re.findall(r"`(\w+)`", labels)) for name, labels, _ in rows}
    assert explained == {name: labels for name, labels in bases(shown()).items() if name.startswith("gaussdb_")}


def test_names_follow_the_conventions_of_prometheus() -> None:
    for name in bases(shown()):
        if name.startswith("gaussdb_notifier_"):
            assert not re.search(r"(_ms|_milliseconds|_minutes|_percent|_kb)$", name)
            assert re.sub(r"(_total|_info)$", "", name).count("total") == 0


def test_dashboard_and_rules_ask_for_metrics_and_labels_that_there_are() -> None:
    series = shown()
    labels = {label for some in series.values() for label in some} | {"job", "instance", "pod", "alertstate", "le"}
    for expression in expressions():
        named = set(NAME.findall(expression))
        assert named <= set(series), expression
        selected = re.findall(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"", expression)
        grouped = re.findall(r"\b(?:by|without) \(([^)]*)\)", expression)
        assert {*selected, *(word for group in grouped for word in re.split(r",\s*", group))} <= labels, expression


def test_the_dashboard_asks_in_the_order_of_the_questions() -> None:
    board = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    rows = [panel["title"] for panel in board["panels"] if panel["type"] == "row"]
    assert rows[:5] == [
        "Does somebody need to act?",
        "Are we blind?",
        "Are we mute?",
        "How late?",
        "How much?",
    ]
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids)
    places = [panel["gridPos"] for panel in board["panels"]]
    assert all(place["x"] + place["w"] <= 24 for place in places)
    assert all(panel["description"] for panel in board["panels"] if panel["type"] != "row")
    assert {panel["datasource"]["uid"] for panel in board["panels"] if panel["type"] != "row"} == {"${datasource}"}


def test_each_alert_says_what_it_means_and_leads_to_its_section() -> None:
    headings = {heading.lower() for heading in re.findall(r"^### (\w+)$", GUIDE, re.MULTILINE)}
    found = list(rules())
    for rule in found:
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
        page, _, anchor = rule["annotations"]["runbook_url"].partition("#")
        assert page == "docs/metrics.md"
        assert anchor == rule["alert"].lower()
    assert headings == {rule["alert"].lower() for rule in found}


def test_each_alert_is_seen_to_fire() -> None:
    cases = CASES.read_text(encoding="utf-8")
    assert [rule["alert"] for rule in rules() if f'alertname="{rule["alert"]}"' not in cases] == []


# ---- by the tools of Prometheus ----


@needs_promtool
def test_the_rules_are_right_and_fire_when_they_should() -> None:
    promtool("check", "rules", str(RULES))
    promtool("test", "rules", str(CASES))


@needs_promtool
def test_the_expressions_of_the_dashboard_are_promql(tmp_path: Path) -> None:
    asked = [re.sub(r"\$(__rate_interval)", "5m", expression) for expression in expressions()]
    asked = [re.sub(r"\$\w+", "x", expression) for expression in asked]
    recorded = [{"record": f"test:{number}", "expr": expression} for number, expression in enumerate(asked)]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": "all", "rules": recorded}]}))
    promtool("check", "rules", "--lint=none", str(tmp_path / "rules.yaml"))


CONFIGURATION: Mapping[str, Any] = {
    "store": {"url": "sqlite:///notifier.db"},
    "sources": [
        {
            "name": "prod",
            "kind": "gaussdb",
            "region": "cn-north-4",
            "endpoint": "http://127.0.0.1:1",
            "project_id": "0611f1bd8b00d5d32f17c017f15b599f",
            "auth": {"kind": "aksk", "access_key": "AKAKAK", "secret_key": "sksksk"},
            "poll_every": "1s",
        }
    ],
    "channels": [{"name": "hook", "kind": "webhook", "url": "http://127.0.0.1:1/hook"}],
    "routes": [{"name": "everything", "channels": ["hook"]}],
    "log": {"format": "json"},
}


def query(url: str, expression: str) -> list[Any]:
    """Return the values of an instant query."""
    found = httpx.get(f"{url}/api/v1/query", params={"query": expression}, timeout=10).raise_for_status().json()
    return [float(one["value"][1]) for one in found["data"]["result"]]


@needs_prometheus
@needs_promtool
def test_prometheus_scrapes_a_running_process(tmp_path: Path) -> None:
    """A real one, over loopback: it takes what it reads, and answers questions about it."""
    port, scraper = free_port(), free_port()
    configured = {**CONFIGURATION, "web": {"listen": f"127.0.0.1:{port}"}}
    (tmp_path / "notifier.yaml").write_text(json.dumps(configured), encoding="utf-8")
    open_store(f"sqlite:///{tmp_path}/notifier.db").close()
    scrape = {"job_name": "gaussdb-notifier", "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]}
    settings = {
        "global": {"scrape_interval": "200ms", "evaluation_interval": "200ms"},
        "rule_files": [str(RULES)],
        "scrape_configs": [scrape],
    }
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    command = [
        str(shutil.which("prometheus")),
        f"--config.file={tmp_path / 'prometheus.yml'}",
        f"--storage.tsdb.path={tmp_path / 'data'}",
        f"--web.listen-address=127.0.0.1:{scraper}",
    ]
    url = f"http://127.0.0.1:{scraper}"
    with running("run", cwd=tmp_path), server_process(command, scraper, tmp_path):
        wait_for(lambda: query(url, 'up{job="gaussdb-notifier"} == 1') and query(url, FAILED))
        wait_for(lambda: query(url, 'gaussdb_notifier_replicas{role="poll"} == 1'))
        assert query(url, "gaussdb_notifier_database_up") == [1]
        assert query(url, 'gaussdb_notifier_replicas{role="poll"}') == [1]
        assert query(url, 'gaussdb_notifier_channel_state{channel="hook", state="working"}') == [1]
        assert query(url, "count({__name__=~'gaussdb_notifier_.+'})")[0] > 100
        assert query(url, "scrape_samples_scraped")[0] > 100
        targets = httpx.get(f"{url}/api/v1/targets", timeout=10).json()["data"]["activeTargets"]
        assert [target["lastError"] for target in targets] == [""]
        served = httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=10)
    (tmp_path / "metrics.txt").write_bytes(served.content)
    with (tmp_path / "metrics.txt").open("rb") as text:
        checked = subprocess.run([PROMTOOL, "check", "metrics"], stdin=text, capture_output=True, check=False)  # noqa: S603
    assert (checked.returncode, checked.stderr) == (0, b"")


FAILED = 'gaussdb_notifier_api_calls_total{source="prod", outcome="unreachable"} > 0'


def wait_for(condition: Callable[[], object]) -> None:
    """Ask again until something is so: nobody tells when a scrape is over. Each question takes its time."""
    give_up = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < give_up
