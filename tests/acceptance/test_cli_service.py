"""The commands that reach out: init, check, poll, run, preview, test-send and demo, against a simulated cloud."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import re
import signal
import socket
import stat
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import chdir
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import httpx
import pytest
from servers.program import COMMAND, completed, environment, read_until, running
from standardwebhooks import Webhook
from timeouts import HANG_TIMEOUT
from typer.testing import CliRunner, Result

from notifier.cli.demo_run import Receipt, Receiver, webhook_secret
from notifier.cli.root import app
from notifier.wording.causes import builtin_catalogue

JOB = "6af3a3bd-0495-4e50-a20d-c51fc11403d0"
NOWHERE = "http://127.0.0.1:1"
NO_SERVER = {"host": "127.0.0.1", "port": 1, "security": "none"}
NO_CLOUD = {
    "name": "prod",
    "kind": "gaussdb",
    "region": "cn-north-4",
    "endpoint": NOWHERE,
    "project_id": "0611f1bd8b00d5d32f17c017f15b599f",
    "auth": {"kind": "aksk", "access_key": "AKAKAK", "secret_key": "sksksk"},
}


def notifier(
    *args: str, cwd: Path, code: int = 0, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    done = completed(*args, cwd=cwd, env=env)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done


def invoke(*args: str, cwd: Path, code: int = 0, env: Mapping[str, str] | None = None) -> Result:
    """Run a command inside this process: quicker, for those that set up no logs."""
    with chdir(cwd):
        done = CliRunner().invoke(app, args, env={"COLUMNS": "100"} | dict(env or {}))
    assert done.exit_code == code, done.output
    return done


@pytest.fixture
def source(tmp_path: Path) -> Iterator[dict[str, Any]]:
    """A source that lists three tasks which do not change by themselves."""
    with running("simulate", "--static", "3", "--json", cwd=tmp_path) as process:
        yield json.loads(read_until(process.stdout, "\n}\n"))["source"]


@pytest.fixture
def house(tmp_path: Path, source: dict[str, Any]) -> Path:
    """A folder with a configuration that reads it and prints everything."""
    return configured(tmp_path, source)


def configured(folder: Path, source: Mapping[str, Any], **more: Any) -> Path:
    channels = [
        {"name": "terminal", "kind": "console"},
        {"name": "hook", "kind": "webhook", "url": f"{NOWHERE}/hook"},
        {"name": "chat", "kind": "slack", "bot_token": "xoxb-fake", "channel": "C0", "api_url": f"{NOWHERE}/api/"},
        {"name": "mail", "kind": "email", "from": "a@example.com", "to": ["b@example.com"], **NO_SERVER},
    ]
    document = {
        "sources": [dict(source) | {"poll_every": "1s"}],
        "channels": channels,
        "routes": [{"name": "everything", "channels": ["terminal"]}],
    }
    (folder / "notifier.yaml").write_text(json.dumps(document | more), encoding="utf-8")
    return folder


def put(source: Mapping[str, Any], status: str, **more: Any) -> None:
    """Let the simulated cloud list one more task, or another state of it."""
    row = {
        "job_id": JOB,
        "name": "CreateGaussDBV5Instance",
        "status": status,
        "instance_info": {"instance_id": "i", "instance_name": "gauss-orders"},
        **more,
    }
    request = urllib.request.Request(  # noqa: S310 - our own simulator
        f"{source['endpoint']}/_sim/tasks", data=json.dumps({"put": [row]}).encode(), method="POST"
    )
    with urllib.request.urlopen(request, timeout=HANG_TIMEOUT) as reply:  # noqa: S310 - the same
        assert reply.status == 200


# ---- poll ----


def test_poll_is_quiet_first_and_notifies_changes_then(house: Path, source: dict[str, Any]) -> None:
    *monitored, summary = notifier("poll", cwd=house).stdout.splitlines()
    assert "◉ MONITORED  Monitoring simulator: " in monitored[0]
    assert summary == "1 poll, 0 events, 1 delivery, 0 failures"
    put(source, "Running")
    assert "▶ STARTED  gauss-orders  Instance creation" in notifier("poll", cwd=house).stdout
    put(source, "Failed", fail_reason="no quota")
    second = notifier("poll", cwd=house).stdout
    assert "✗ FAILED  gauss-orders  Instance creation" in second
    assert "no quota" in second
    assert "2 events" not in second
    assert "0 unaccounted" in notifier("audit", cwd=house).stdout


def test_poll_as_json_keeps_the_messages_off_stdout(house: Path, source: dict[str, Any]) -> None:
    notifier("poll", "--json", cwd=house)
    put(source, "Failed")
    done = notifier("poll", "--json", cwd=house)
    waiting = {"pending": 0, "parked": 0, "dead": 0}
    expected = {"polls": 1, "events": 1, "deliveries": 1, "failures": 0, "errors": [], "waiting": waiting}
    assert json.loads(done.stdout) == expected
    assert "✗ FAILED" in done.stderr


def test_poll_without_delivery_leaves_it_to_the_next(house: Path, source: dict[str, Any]) -> None:
    notifier("poll", cwd=house)
    put(source, "Failed")
    assert "FAILED" not in notifier("poll", "--no-deliver", cwd=house).stdout
    assert "✗ FAILED" in notifier("poll", cwd=house).stdout


def test_poll_with_a_wrong_key_exits_with_1(tmp_path: Path, source: dict[str, Any]) -> None:
    wrong = source | {"auth": source["auth"] | {"secret_key": "wrong-key"}}
    done = notifier("poll", cwd=configured(tmp_path, wrong), code=1)
    assert "wrong-key" not in done.stdout + done.stderr
    assert "1 failure" in done.stdout


def test_poll_of_a_cloud_that_is_not_there_exits_with_3(tmp_path: Path, source: dict[str, Any]) -> None:
    done = notifier("poll", "--json", cwd=configured(tmp_path, source | {"endpoint": NOWHERE}), code=3)
    assert "connection refused" in json.loads(done.stdout)["errors"][0]


def test_ctrl_c_in_the_middle_of_a_poll_exits_with_130(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        host, port = silent.getsockname()
        folder = configured(tmp_path, NO_CLOUD | {"endpoint": f"http://{host}:{port}"})
        with running("poll", cwd=folder) as process:
            connection, _ = silent.accept()
            process.send_signal(signal.SIGINT)
            output, errors = process.communicate(timeout=HANG_TIMEOUT)
            connection.close()
    assert (process.returncode, output) == (130, "")
    assert [json.loads(line)["event"] for line in errors.splitlines()] == ["store.created"]


# ---- run ----


def test_run_notifies_changes_and_stops_gracefully(house: Path, source: dict[str, Any]) -> None:
    with running("run", cwd=house) as process:
        read_until(process.stdout, "◉ MONITORED")
        put(source, "Running")
        read_until(process.stdout, "▶ STARTED")
        assert "another notifier already runs" in notifier("run", cwd=house, code=1).stderr
        assert "another notifier already runs" in notifier("poll", cwd=house, code=1).stderr
        assert "gauss-orders" in notifier("tasks", cwd=house).stdout
        assert "✓ source simulator" in notifier("health", cwd=house).stdout
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=HANG_TIMEOUT)
    assert process.returncode == 0
    assert "1 event, 2 deliveries, 0 failures" in errors
    assert "0 unaccounted" in notifier("audit", cwd=house).stdout


def test_run_reads_its_configuration_again_on_sighup(house: Path, source: dict[str, Any]) -> None:
    with running("run", cwd=house) as process:
        read_until(process.stdout, "◉ MONITORED")
        (house / "notifier.yaml").write_text("sources: [", encoding="utf-8")
        process.send_signal(signal.SIGHUP)
        assert "notifier.yaml:1:" in read_until(process.stderr, "the old configuration stays")
        configured(house, source, channels=[{"name": "terminal", "kind": "console", "style": "line"}])
        process.send_signal(signal.SIGHUP)
        read_until(process.stderr, '"event": "reload.finished"', '"channels": ["terminal"]')
        put(source, "Failed")
        assert "FAILED" in read_until(process.stdout, "gauss-orders")
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=HANG_TIMEOUT)
    assert process.returncode == 0
    assert "1 event, 2 deliveries, 0 failures" in errors


def test_health_of_a_store_that_does_not_answer_exits_with_1(tmp_path: Path) -> None:
    folder = configured(tmp_path, NO_CLOUD, store={"url": "sqlite:///no/such/folder/notifier.db"})
    assert "no/such/folder" in invoke("health", cwd=folder, code=1).stdout


# ---- check ----


def test_check_shows_what_was_understood(house: Path) -> None:
    shown = invoke("check", cwd=house).stdout
    assert "the configuration is valid" in shown
    assert "Every failed task reaches terminal." in shown
    assert "No route leads to the channel mail." in shown
    assert f"{len(builtin_catalogue().causes)} causes of failures" in shown


def test_check_shows_how_many_causes_each_file_has(tmp_path: Path) -> None:
    folder = configured(tmp_path, NO_CLOUD, causes=["own.yaml"])
    (folder / "own.yaml").write_text("causes: [{id: own, match: [x], means: m, retry: no}]", encoding="utf-8")
    known, path = len(builtin_catalogue().causes) + 1, str(folder / "own.yaml")
    said = f"{known} causes of failures, 1 of them from "
    assert said in " ".join(invoke("check", cwd=folder).stdout.split())
    found = json.loads(invoke("check", "--json", cwd=folder).stdout)["causes"]
    assert (found["known"], [file["entries"] for file in found["files"]]) == (known, [1])
    assert path.endswith(found["files"][0]["path"])


def test_a_mistake_in_a_file_of_causes_is_a_configuration_error(tmp_path: Path) -> None:
    folder = configured(tmp_path, NO_CLOUD, causes=["own.yaml"])
    (folder / "own.yaml").write_text("causes: [{id: own, match: [x], retry: no}]", encoding="utf-8")
    failed = invoke("check", cwd=folder, code=2)
    assert "causes[0]: own.yaml:1:10: causes[0].means: is missing." in failed.stderr


@pytest.mark.parametrize(
    ("match", "said"),
    [
        (["type=task.started"], "A failed task would reach no channel"),
        (["type=task.failed", "instance=~prod-.*"], "Only some failed tasks would reach a channel (terminal)"),
    ],
)
def test_check_warns_if_failures_reach_nobody(tmp_path: Path, match: list[str], said: str) -> None:
    routes = [{"name": "r", "match": match, "channels": ["terminal"]}]
    folder = configured(tmp_path, NO_CLOUD, routes=routes)
    assert said in " ".join(invoke("check", cwd=folder).stdout.split())
    assert said in json.loads(invoke("check", "--json", cwd=folder).stdout)["warnings"][0]


@pytest.mark.parametrize(
    ("match", "warnings"),
    [(["type=task.completed"], 1), (["instance=~prod-.*", "type=~task.(failed|completed)"], 0)],
)
def test_check_warns_if_a_channel_would_never_open_a_ticket(tmp_path: Path, match: list[str], warnings: int) -> None:
    desk = {"name": "desk", "kind": "roundup", "url": "https://bugs.example.com/t", "user": "bot", "password": "secret"}
    routes = [{"name": "r", "match": match, "channels": ["desk"]}]
    folder = configured(tmp_path, NO_CLOUD, channels=[desk], routes=routes)
    said = "The channel desk will never open a ticket: no route sends failures there."
    assert " ".join(invoke("check", cwd=folder).stdout.split()).count(said) == warnings


def test_check_tells_the_environments_of_sources_apart(tmp_path: Path) -> None:
    names = {"prod": "production", "test": "staging", "spare": ""}
    sources = [dict(NO_CLOUD) | {"name": name, "environment": env} for name, env in names.items()]
    routes = [
        {"name": "oncall", "match": ["type=task.failed", "severity=critical"], "channels": ["mail"]},
        {"name": "rest", "match": ["environment=staging"], "channels": ["terminal"], "severity": "info"},
    ]
    folder = configured(tmp_path, NO_CLOUD, sources=sources, routes=routes)
    shown = " ".join(invoke("check", cwd=folder).stdout.split())
    assert "Every failed task of prod reaches mail." in shown
    assert "Every failed task of test reaches terminal." in shown
    assert "A failed task of spare would reach no channel" in shown
    assert "environment=staging → terminal as info" in shown
    assert "environment staging (failed tasks: warning)" in shown
    found = json.loads(invoke("check", "--json", cwd=folder).stdout)
    assert [source["environment"] for source in found["sources"]] == [*names.values()]
    assert [route["severity"] for route in found["routes"]] == [None, "info"]


def test_check_warns_of_a_route_that_never_mentions_anybody(tmp_path: Path) -> None:
    source = dict(NO_CLOUD) | {"environment": "staging"}
    route = {"name": "all", "channels": ["chat"], "mention": ["@here"], "match": ["type=~task[.].*"]}
    for more, warned in (({}, True), ({"severity": "error"}, False), ({"match": ["type=channel.failing"]}, False)):
        folder = configured(tmp_path, source, routes=[route | more])
        warnings = json.loads(invoke("check", "--json", cwd=folder).stdout)["warnings"]
        assert any("Route all mentions nobody" in warning for warning in warnings) is warned, more


def test_check_warns_of_reminders_and_escalations_without_effect(tmp_path: Path) -> None:
    escalations = [{"name": "night", "steps": [{"after": "15m", "channels": ["chat"]}]}]
    failures = {"name": "failures", "channels": ["terminal"], "match": ["type=task.failed"]}
    started = {"name": "started", "channels": ["terminal"], "match": ["type=task.started"], "remind": "30m"}
    again = {"name": "again", "channels": ["terminal"], "match": ["type=task.reminded"]}
    folder = configured(tmp_path, NO_CLOUD, routes=[failures, started, again], escalations=escalations)
    warnings = " ".join(json.loads(invoke("check", "--json", cwd=folder).stdout)["warnings"])
    assert "No route uses the escalation night" in warnings
    assert "Route started takes no failures, so its remind has no effect." in warnings
    assert "Route again takes no event" in warnings
    assert "until somebody acknowledges them, which only `notifier ack` can do" in warnings
    assert "No route leads to the channel chat." in warnings
    used = failures | {"escalate": "night", "remind": ["30m", "1h"]}
    folder = configured(tmp_path, NO_CLOUD, routes=[used], escalations=escalations)
    warnings = " ".join(json.loads(invoke("check", "--json", cwd=folder).stdout)["warnings"])
    assert "No route uses" not in warnings
    assert "No route leads to the channel chat." not in warnings


def test_route_knows_what_follows_from_the_source(tmp_path: Path) -> None:
    source = dict(NO_CLOUD) | {"name": "prod", "environment": "production", "labels": {"team": "payments"}}
    routes = [{"name": "oncall", "match": ["severity=critical", "label.team=payments"], "channels": ["mail"]}]
    folder = configured(tmp_path, source, routes=routes)
    found = json.loads(invoke("route", "type=task.failed", "source=prod", "--json", cwd=folder).stdout)
    assert found["channels"] == ["mail"]
    assert (found["event"]["environment"], found["event"]["label.team"]) == ("production", "payments")
    other = ("route", "type=task.failed", "source=prod", "environment=staging", "--json")
    assert json.loads(invoke(*other, cwd=folder, code=1).stdout)["event"]["severity"] == "warning"


WORK = {"active": "weekdays 09:00-18:00 Asia/Shanghai", "holidays": ["2026-12-25"]}


@pytest.mark.parametrize(
    ("otherwise", "at", "code", "said"),
    [
        ("hold", "2026-11-27T10:00", 0, "It would be sent to mail."),
        ("hold", "2026-11-28T10:00", 0, "It would be sent to mail at 30 Nov 09:00:00 (UTC+8)."),
        ("hold", "2026-12-25T10:00", 0, "It would be sent to mail at 28 Dec 09:00:00 (UTC+8)."),
        ("drop", "2026-11-28T10:00", 1, "It would be dropped on mail."),
        (["chat"], "2026-11-28T10:00+08:00", 0, "It would be sent to chat."),
    ],
)
def test_route_shows_what_happens_at_an_hour(tmp_path: Path, otherwise: object, at: str, code: int, said: str) -> None:
    route = {"name": "work", "channels": ["mail"], "otherwise": otherwise, **WORK}
    folder = configured(tmp_path, NO_CLOUD, routes=[route], timezone="Asia/Shanghai")
    shown = invoke("route", "type=task.failed", "--at", at, cwd=folder, code=code).stdout
    assert said in shown


def test_route_shows_what_a_route_wants_of_messages(tmp_path: Path) -> None:
    channels = [
        {"name": "mail", "kind": "console", "templates": {"@night": "x"}},
        {"name": "desk", "kind": "roundup", "url": f"{NOWHERE}/", "user": "u", "password": "p"},
    ]
    route = {"name": "all", "channels": ["mail", "desk"], "template": "night", "wait": "5m", "group_by": ["instance"]}
    ticket = {"ticket": {"priority": "urgent", "labels": ["a", "b"]}, "repeats": "6h", "remind": ["30m", "2h"]}
    folder = configured(tmp_path, NO_CLOUD, channels=channels, routes=[route | ticket | WORK | {"otherwise": "drop"}])
    shown = " ".join(invoke("route", "type=task.failed", "--at", "2026-11-28", cwd=folder, code=1).stdout.split())
    window = "outside weekdays 09:00-18:00 Asia/Shanghai, dropped"
    assert f"({window}, template night, ticket priority=urgent labels=a,b, collected for 5m by instance" in shown
    assert "by instance, repeats counted for 6h, reminds after 30m, 2h)" in shown
    found = json.loads(invoke("route", "type=task.failed", "--at", "2026-11-28", "--json", cwd=folder, code=1).stdout)
    wanted = {"wait": 300, "group_by": ["instance"], "repeats": 21600, "remind": [1800, 7200], "escalate": None}
    assert {name: found["routes"][0][name] for name in wanted} == wanted
    assert found["routes"][0]["ticket"]["labels"] == ["a", "b"]
    assert (found["channels"], found["held"], found["dropped"]) == ([], {}, ["mail", "desk"])
    assert found["routes"][0]["window"] == {
        "active": "weekdays 09:00-18:00 Asia/Shanghai",
        "open": False,
        "otherwise": "drop",
        "opens_at": None,
    }


def test_route_knows_what_follows_from_the_name_and_the_reason(tmp_path: Path) -> None:
    route = {"name": "all", "match": ["operation=backup", "error_code=DBS.280277"], "channels": ["mail"]}
    folder = configured(tmp_path, NO_CLOUD, routes=[route])
    args = ("type=task.failed", "name=BackupSnapshotGaussDBV5InInstance", "fail_reason=DBS.280277: no more")
    assert json.loads(invoke("route", *args, "--json", cwd=folder).stdout)["channels"] == ["mail"]


@pytest.mark.parametrize("typed", ["noon", "0001-01-01", "9999-12-31T23:59-10:00"])
def test_a_time_that_is_none_is_reported(tmp_path: Path, typed: str) -> None:
    shown = invoke("route", "type=task.failed", "--at", typed, cwd=offline(tmp_path), code=2).stderr
    assert shown.strip() == f"error: '{typed}' is not a time; write it as --at \"2026-12-24 18:00\""


def test_check_online_proves_each_part(house: Path) -> None:
    done = invoke("check", "--online", "--json", cwd=house, code=1)
    found = json.loads(done.stdout)
    by_result = {finding["what"]: finding["ok"] for finding in found["findings"]}
    assert found["ok"] is False
    assert by_result["store"] is True
    assert all(ok for what, ok in by_result.items() if what.startswith("source simulator"))
    assert not any(ok for what, ok in by_result.items() if what.startswith(("Slack", "email", "webhook")))
    assert all(finding["remedy"] for finding in found["findings"] if finding["what"].startswith(("Slack", "email")))


TEMPLATES = [
    {"name": "terminal", "kind": "console"},
    {"name": "hook", "kind": "webhook", "url": NOWHERE, "body_template": '{"job": "{{ data.task.job_id }}"}'},
    {
        "name": "ended",
        "kind": "webhook",
        "url": "http://127.0.0.1:9/",
        "body_template": '{"ended": {{ data.task.ended_at[:4] }}, "key": "${PD_KEY}"}',
    },
]
ROUTES = [
    {"name": "all", "channels": ["terminal"]},
    {"name": "hook", "match": ["type=~task[.].*"], "channels": ["hook"]},
    {"name": "ended", "match": ["type=~task[.](failed|stalled)", "instance=prod"], "channels": ["ended"]},
]


def templated(folder: Path, **more: Any) -> Path:
    return configured(folder, NO_CLOUD, channels=TEMPLATES, routes=ROUTES, **more)


def test_check_names_the_event_types_for_which_a_template_fails(tmp_path: Path) -> None:
    folder, env = templated(tmp_path), {"PD_KEY": "obviously-fake"}
    found = json.loads(invoke("check", "--json", cwd=folder, code=1, env=env).stdout)
    (finding,) = found["findings"]
    assert (found["ok"], finding["ok"], finding["what"]) == (False, False, "channel ended")
    assert finding["detail"].startswith("task.stalled: body_template fails: TypeError: ")
    assert finding["remedy"] == "notifier preview ended --event task.stalled"
    shown = " ".join(invoke("check", cwd=folder, code=1, env=env).stdout.split())
    assert "✗ channel ended: task.stalled: body_template fails" in shown


def test_check_warns_of_alerts_that_a_template_cannot_format(tmp_path: Path) -> None:
    routes = [{"name": "failures", "match": ["type=task.failed"], "channels": ["hook"]}]
    folder = configured(tmp_path, NO_CLOUD, channels=TEMPLATES[:2], routes=routes, alerts={"channels": ["hook"]})
    found = json.loads(invoke("check", "--json", cwd=folder).stdout)["findings"]
    assert {finding["detail"].partition(":")[0] for finding in found} >= {"source.failing", "channel.gave_up"}
    assert all(finding["ok"] and not finding["proven"] for finding in found)
    assert "! channel hook: source.failing: body_template fails" in invoke("check", cwd=folder).stdout


def test_check_names_the_digests_for_which_a_template_fails(tmp_path: Path) -> None:
    by_type = {"task.*": '{"job": "{{ data.task.job_id }}"}', "digest": '{"n": {{ data.evnts | length }}}'}
    hook = {"name": "hook", "kind": "webhook", "url": NOWHERE, "templates": by_type, "digest_above": 5}
    routes = [{"name": "tasks", "match": ["type=~task[.].*"], "channels": ["hook"]}]
    folder = configured(tmp_path, NO_CLOUD, channels=[hook], routes=routes, alerts={"channels": []})
    (finding,) = json.loads(invoke("check", "--json", cwd=folder, code=1).stdout)["findings"]
    assert (finding["ok"], finding["what"]) == (False, "channel hook")
    assert finding["detail"].startswith("digest: template digest fails: UndefinedError: ")
    assert finding["remedy"] == "notifier preview hook --digest"
    found = json.loads(invoke("preview", "hook", "--digest", "--json", cwd=folder, code=1).stdout)
    assert found["body"]["type"] == "digest"
    assert len(found["body"]["data"]["events"]) > 5
    assert [*found["flaws"]] == ["digest"]


CHAT_HOOK = {"webhook_url": NOWHERE}
TEMPLATED: list[dict[str, Any]] = [
    {"kind": "console"},
    {"kind": "slack", "bot_token": "xoxb-obviously-fake", "channel": "C0123ABCD"},
    {"kind": "email", "host": "127.0.0.1", "security": "none", "from": "a@example.com", "to": ["b@example.com"]},
    {"kind": "mattermost"} | CHAT_HOOK,
    {"kind": "rocketchat"} | CHAT_HOOK,
    {"kind": "webhook", "url": NOWHERE},
]


@pytest.mark.parametrize("settings", TEMPLATED, ids=[one["kind"] for one in TEMPLATED])
def test_check_names_the_template_the_type_and_the_remedy(tmp_path: Path, settings: dict[str, Any]) -> None:
    text = {"text": '"{{ data.task.fail_reason.strip() }}"'}
    title = {} if settings["kind"] == "webhook" else {"title": "{{ headline }}"}
    channel = settings | {"name": "own", "digest_above": None, "templates": {"task.*": title | text}}
    routes = [{"name": "r", "match": ["type=~task[.](failed|started)"], "channels": ["own"]}]
    folder = configured(tmp_path, NO_CLOUD, channels=[channel], routes=routes, alerts={"channels": []})
    (finding,) = json.loads(invoke("check", "--json", cwd=folder, code=1).stdout)["findings"]
    assert (finding["ok"], finding["what"]) == (False, "channel own")
    assert re.match(
        r"task\.started: template task\.\*( \(text\))? fails: UndefinedError: 'None' has", finding["detail"]
    )
    assert finding["remedy"] == "notifier preview own --event task.started"
    shown = invoke(*finding["remedy"].split()[1:], cwd=folder, code=1).stdout
    assert "gauss-sample" in shown, "the built-in message is shown"
    assert "✗ task.started: template task.*" in " ".join(shown.split())


def test_check_warns_of_templates_that_are_never_used(tmp_path: Path) -> None:
    by_type = dict.fromkeys(("task.failed", "task.stalled", "task.*", "source.*", "digest"), '{"type": "{{ type }}"}')
    hook = {"name": "hook", "kind": "webhook", "url": NOWHERE, "templates": by_type}
    routes = [{"name": "tasks", "match": ["type=~task[.](failed|started)"], "channels": ["hook"]}]
    folder = configured(tmp_path, NO_CLOUD, channels=[hook], routes=routes, alerts={"channels": []})
    found = json.loads(invoke("check", "--json", cwd=folder).stdout)["warnings"]
    assert [one for one in found if "template" in one] == [
        f"The template {key} of the channel hook is never used: no such message goes there."
        for key in ("task.stalled", "source.*", "digest")
    ]


def test_preview_names_types_with_failing_templates_and_no_secret(tmp_path: Path) -> None:
    folder, env = templated(tmp_path), {"PD_KEY": "obviously-fake"}
    done = invoke("preview", "ended", "--json", cwd=folder, code=1, env=env)
    found = json.loads(done.stdout)
    assert found["body"]["key"] == "${PD_KEY}"
    assert [*found["flaws"]] == ["task.stalled"]
    other = invoke("preview", "ended", "--event", "task.stalled", cwd=folder, code=1, env=env)
    assert "✗ task.stalled: body_template fails: TypeError" in " ".join(other.stdout.split())
    assert "obviously" not in done.output + other.output
    assert "flaws" in invoke("preview", "hook", "--json", cwd=folder, env=env).stdout


# ---- preview, test-send ----


@pytest.mark.parametrize(
    ("channel", "said"),
    [
        ("terminal", "✗ FAILED  gauss-sample  Instance creation"),
        ("hook", '"type": "task.failed"'),
        ("chat", "🔴 Instance creation failed on gauss-sample"),
        ("mail", "Subject: ✗ gauss-sample: instance creation failed"),
    ],
)
def test_preview_shows_the_message_of_every_kind_of_channel(tmp_path: Path, channel: str, said: str) -> None:
    assert said in invoke("preview", channel, cwd=offline(tmp_path)).stdout


def test_preview_as_json_has_the_payload(tmp_path: Path) -> None:
    done = invoke("preview", "chat", "--event", "task.completed", "--json", cwd=offline(tmp_path))
    found = json.loads(done.stdout)
    assert found["kind"] == "slack"
    assert found["body"]["metadata"]["event_type"] == "gaussdb_task"


@pytest.mark.parametrize("event", ["source.gap", "task.progressed", "task.unlisted", "task.changed", "task.restarted"])
def test_preview_knows_every_type_of_event(tmp_path: Path, event: str) -> None:
    assert invoke("preview", "terminal", "--event", event, cwd=offline(tmp_path)).stdout


def test_a_test_message_is_marked_as_one(tmp_path: Path) -> None:
    shown = invoke("test-send", "terminal", cwd=offline(tmp_path)).stdout
    assert "This is a test message; nothing happened." in shown
    assert "TEST" in shown
    assert "terminal: delivered" in shown


@pytest.mark.parametrize("channel", ["hook", "chat", "mail"])
def test_a_test_message_to_nowhere_exits_with_3(tmp_path: Path, channel: str) -> None:
    done = invoke("test-send", channel, "--json", cwd=offline(tmp_path), code=3)
    found = json.loads(done.stdout)
    assert found["outcome"] == "retry"
    assert "connection refused" in found["reason"]


def test_a_failed_test_send_shows_the_receivers_answer_and_exits_1(tmp_path: Path, source: dict[str, Any]) -> None:
    hook = {"name": "hook", "kind": "webhook", "url": f"{source['endpoint']}/nowhere"}
    folder = configured(tmp_path, source, channels=[hook], routes=[{"name": "everything", "channels": ["hook"]}])
    shown = invoke("test-send", "hook", cwd=folder, code=1).stdout
    assert re.match(
        r"✗ hook answered HTTP 404: check the URL and [a-z ]+: not delivered\n  replied: HTTP 404: \{",
        shown,
    ), shown
    assert json.loads(invoke("test-send", "hook", "--json", cwd=folder, code=1).stdout)["reply"].startswith("HTTP 40")


def test_a_missing_receiver_is_reported_as_out_of_reach(tmp_path: Path) -> None:
    shown = invoke("test-send", "hook", cwd=offline(tmp_path), code=3).stdout
    assert shown.startswith("✗ hook could not be reached: ")


def test_an_unknown_channel_is_answered_with_the_known_ones(tmp_path: Path) -> None:
    assert "terminal, hook, chat, mail" in invoke("preview", "dba", cwd=offline(tmp_path), code=2).stderr


def offline(folder: Path) -> Path:
    return configured(folder, NO_CLOUD)


# ---- cron ----


def test_a_single_poll_reports_undelivered_messages_and_fails(tmp_path: Path, source: dict[str, Any]) -> None:
    hook = {"name": "hook", "kind": "webhook", "url": f"{source['endpoint']}/nowhere"}
    route = {"name": "tasks", "match": ["type=~task[.].*"], "channels": ["hook"]}
    folder = configured(tmp_path, source, channels=[hook], routes=[route], alerts={"channels": []})
    first = notifier("poll", "--quiet", cwd=folder)
    assert first.stdout == ""
    assert '"poll.finished"' not in first.stderr, "cron would mail it"
    put(source, "Failed")
    shown = notifier("poll", "-q", cwd=folder, code=1).stdout
    assert re.search(r"^1 (parked|dead): notifier deliveries --state (parked|dead)$", shown, re.MULTILINE), shown
    waiting = json.loads(notifier("poll", "--json", cwd=folder, code=1).stdout)["waiting"]
    assert sorted(waiting) == ["dead", "parked", "pending"]
    assert sum(waiting.values()) == 1


# ---- what is valid and probably a mistake ----


def test_check_shows_what_is_probably_a_mistake(tmp_path: Path) -> None:
    odd = NO_CLOUD | {"project_id": "zz"}
    routes = [{"name": "all", "match": ["instance=prod-*", "operation=bakup"], "channels": ["terminal"]}]
    folder = configured(tmp_path, odd, channels=[{"name": "terminal", "kind": "console"}], routes=routes)
    found = json.loads(invoke("check", "--json", cwd=folder).stdout)["warnings"]
    assert any("is 'zz'; a project id usually is 32 hexadecimal digits" in warning for warning in found)
    assert any("operation=bakup of route all: did you mean backup?" in warning for warning in found)


def test_a_mistyped_event_type_is_answered_with_the_likely_one(tmp_path: Path) -> None:
    shown = invoke("route", "type=task.complete", cwd=offline(tmp_path), code=2).stderr
    assert shown.strip() == "error: type is never 'task.complete'. Did you mean task.completed?"


def test_full_width_letters_count_as_plain_ones(tmp_path: Path) -> None:
    shown = invoke("route", "ｔｙｐｅ＝ｔａｓｋ．ｆａｉｌｅｄ", "--json", cwd=offline(tmp_path)).stdout
    assert json.loads(shown)["event"]["type"] == "task.failed"


# ---- init ----

KEYS = {"HUAWEICLOUD_SDK_AK": "AKAKAK", "HUAWEICLOUD_SDK_SK": "sksksk"}
FLAGS = ("--region", "cn-north-4", "--project-id", "0611f1bd8b00d5d32f17c017f15b599f")


def test_init_writes_a_file_that_check_and_another_user_can_read(tmp_path: Path) -> None:
    shown = invoke("init", *FLAGS, cwd=tmp_path).stdout
    written = tmp_path / "notifier.yaml"
    assert stat.S_IMODE(written.stat().st_mode) == 0o644
    assert "export HUAWEICLOUD_SDK_AK=" in shown
    assert "notifier check --online" in shown
    assert "notifier run" in shown
    assert "Every failed task reaches console." in invoke("check", cwd=tmp_path, env=KEYS).stdout


def test_init_configures_the_channels_given_as_options(tmp_path: Path) -> None:
    channels = ("--slack-channel", "C0GAUSS", "--mail-to", "a@example.com", "--webhook-url", "https://example.com/hook")
    shown = invoke("init", *FLAGS, *channels, "-o", "other.yaml", cwd=tmp_path).stdout
    assert "notifier -c other.yaml test-send webhook" in shown
    assert "C0GAUSS" in (tmp_path / "other.yaml").read_text(encoding="utf-8")
    assert not (tmp_path / "notifier.yaml").exists()


def test_init_does_not_overwrite_unless_forced(tmp_path: Path) -> None:
    written = tmp_path / "notifier.yaml"
    written.write_text("mine", encoding="utf-8")
    written.chmod(0o600)
    assert "--force" in invoke("init", *FLAGS, cwd=tmp_path, code=2).stderr
    assert written.read_text(encoding="utf-8") == "mine"
    invoke("init", *FLAGS, "--force", cwd=tmp_path)
    assert written.read_text(encoding="utf-8") != "mine"
    assert stat.S_IMODE(written.stat().st_mode) == 0o644


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ((), "--region and --project-id"),
        (("--region", "cn-norht-4", "--project-id", "0611f1bd8b00d5d32f17c017f15b599f"), "cn-north-4"),
        ((*FLAGS, "--timezone", "Mars/Base"), "time zone"),
        ((*FLAGS, "-o", "no/such/folder.yaml"), "cannot write no/such/folder.yaml"),
    ],
)
def test_init_refuses_what_would_not_work_and_writes_nothing(tmp_path: Path, args: tuple[str, ...], said: str) -> None:
    assert said in invoke("init", *args, cwd=tmp_path, code=2).stderr
    assert list(tmp_path.iterdir()) == []


def test_check_points_a_webhook_to_the_kind_for_a_chat(tmp_path: Path) -> None:
    hooks = {
        "wecom": "https://qyapi.weixin.qq.com/cgi-bin/webhook/send?key=obviously-fake",
        "lark": "https://open.larksuite.com/open-apis/bot/v2/hook/obviously-fake",
        "tickets": "https://tickets.example.com/hook",
    }
    channels = [{"name": name, "kind": "webhook", "url": url} for name, url in hooks.items()]
    own = {"name": "own", "kind": "webhook", "url": hooks["wecom"], "body_template": '{"msgtype": "text"}'}
    routes = [{"name": "all", "channels": [*hooks, "own"]}]
    folder = configured(tmp_path, NO_CLOUD, channels=[*channels, own], routes=routes, alerts={"channels": []})
    shown = invoke("check", "--json", cwd=folder).stdout
    found = [warning for warning in json.loads(shown)["warnings"] if "for people" in warning]
    assert [re.findall(r"channel (\w+) .* kind: (\w+) ", warning) for warning in found] == [
        [("wecom", "wecom")],
        [("lark", "feishu")],
    ]
    assert "obviously" not in shown


def test_init_asks_on_a_terminal(tmp_path: Path) -> None:
    terminal, stdin = pty.openpty()
    answers = ["cn-north-9", "0611f1bd8b00d5d32f17c017f15b599f", "magic", "ecs_agency", "C0GAUSS", *[""] * 6]
    os.write(terminal, "".join(f"{answer}\n" for answer in answers).encode())
    try:
        done = subprocess.run(  # noqa: S603 - our own program
            [*COMMAND, "init"],
            cwd=tmp_path,
            env=environment(),
            stdin=stdin,
            capture_output=True,
            text=True,
            timeout=HANG_TIMEOUT,
            check=False,
        )
    finally:
        os.close(stdin)
        os.close(terminal)
    assert done.returncode == 0, done.stderr
    assert "Not accepted: 'magic'" in done.stderr
    written = (tmp_path / "notifier.yaml").read_text(encoding="utf-8")
    assert all(text in written for text in ("cn-north-9", "ecs_agency", "C0GAUSS"))


# ---- demo ----


def test_the_demo_shows_the_main_job_and_accounts_for_it(tmp_path: Path) -> None:
    with running("demo", cwd=tmp_path) as process:
        stages = ("▶ STARTED", " is at ", "✓ COMPLETED", "✗ FAILED", "webhook verified: task.failed")
        shown = read_until(process.stdout, *stages)
        page = re.search(r"open\s+(http://127\.0\.0\.1:\d+)\n", shown)
        assert page
        assert "<title>" in httpx.get(page[1], timeout=HANG_TIMEOUT).text
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=HANG_TIMEOUT)
    assert process.returncode == 0
    assert "unaccounted: 0" in output
    assert "notifier init" in output
    assert errors == ""
    assert list(tmp_path.iterdir()) == []


async def test_the_demo_receiver_refuses_unsigned_requests() -> None:
    receipts: list[Receipt] = []
    right, wrong = Webhook(webhook_secret(Random(1))), Webhook(webhook_secret(Random(2)))
    async with Receiver(webhook_secret(Random(1)), receipts.append) as receiver:
        statuses = [await asyncio.to_thread(post_signed, receiver.url, by) for by in (wrong, right)]
    assert statuses == [401, 204]
    assert (receiver.receipts, receiver.rejected) == (1, 1)
    assert [receipt.delivery_id for receipt in receipts] == ["id"]


def post_signed(url: str, by: Webhook) -> int:
    body, now = b'{"type": "task.failed", "data": {}}', datetime.now(UTC)
    signature = by.sign("id", now, body.decode())
    headers = {"webhook-id": "id", "webhook-timestamp": str(int(now.timestamp())), "webhook-signature": signature}
    request = urllib.request.Request(url, data=body, headers=headers)  # noqa: S310 - our own receiver
    try:
        with urllib.request.urlopen(request, timeout=HANG_TIMEOUT) as reply:  # noqa: S310 - the same
            return int(reply.status)
    except urllib.error.HTTPError as refusal:
        with refusal:
            return refusal.code


def test_the_demo_ends_when_nobody_reads_it(tmp_path: Path) -> None:
    with running("demo", cwd=tmp_path) as process:
        read_until(process.stdout, "Ctrl-C ends it")
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        errors = process.stderr.read()
        process.wait(timeout=HANG_TIMEOUT)
    assert process.returncode == 141
    assert "Traceback" not in errors


def test_the_demo_ends_by_itself_when_asked_to(tmp_path: Path) -> None:
    assert "unaccounted: 0" in notifier("demo", "--seconds", "1", cwd=tmp_path).stdout
