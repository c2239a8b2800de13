"""Look-ups and the outbox by hand, on a real database file beside which no service runs."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from factories import make_event, make_task
from servers.program import COMMAND
from timeouts import HANG_TIMEOUT
from typer.testing import CliRunner, Result

from notifier import people
from notifier.cli.root import app
from notifier.core.delivery import Attempt, Delivery, DeliveryState, delivery_id
from notifier.core.diff import RecordedTask, TaskWrite
from notifier.core.events import EventType
from notifier.core.failures import after_events
from notifier.core.identity import DirectChannel
from notifier.core.model import Event, Scope, Snapshot, Task, TaskStatus
from notifier.core.outbox import Settlement
from notifier.core.people import EventSubscription, Person
from notifier.core.routing import Route, RoutedEvent, RoutingConfig
from notifier.store.engine import admin_engine, open_store
from notifier.store.sqlite_driver import connect
from notifier.store.transaction import Transaction

NOW = ENDED = datetime.now(UTC).replace(microsecond=0)
LEASE = timedelta(minutes=1)
FAILED = make_task(
    "fa11ed00-0000-4000-8000-000000000001",
    instance_id="5a3f0d5c6c1e4e2f9d7b8a6c5e4d3f2ein14",
    instance_name="[bold]gauss-orders",
    ended_at=ENDED,
)
RUNNING = make_task("0000aaaa-1", status=TaskStatus.RUNNING, instance_name="gauss-users")
TWIN = make_task("0000aaaa-2", status=TaskStatus.COMPLETED, instance_name="gauss-users")

CONFIG = """
timezone: Asia/Shanghai
store: {url: "sqlite:///%s/notifier.db"}
sources:
  - name: prod
    kind: gaussdb
    region: cn-north-4
    endpoint: http://127.0.0.1:1
    project_id: 0611f1bd8b00d5d32f17c017f15b599f
    auth: {kind: aksk, access_key: AKAKAK, secret_key: sksksk}
channels:
  - {name: dba, kind: console}
  - {name: tickets, kind: webhook, url: "http://127.0.0.1:1/hook"}
  - {name: spare, kind: console}
routes:
  - {name: failures, match: ["type=task.failed"], channels: [dba, tickets]}
  - {name: users, match: ["instance=gauss-users"], channels: [tickets], stop: true}
"""

Run = Callable[..., Result]


def event_of(task: Task, **changes: Any) -> Event:
    return make_event(task, observed_at=NOW, **changes)


def delivery_to(channel: str, event: Event) -> Delivery:
    return Delivery(
        id=delivery_id(channel, event.id),
        channel=channel,
        subject=event.subject,
        state=DeliveryState.PENDING,
        available_at=NOW,
        created_at=NOW,
        events=(event,),
    )


def record(tx: Transaction) -> None:
    """A failure that reached one channel and died on the other; a task that runs; one that completed unrouted."""
    claim = tx.polls.claim("prod", "me", NOW, LEASE)
    assert claim is not None
    tasks = (FAILED, RUNNING, TWIN)
    updates = [TaskWrite(recorded=RecordedTask(task=task, occurrence="o"), fingerprint=b"1") for task in tasks]
    tx.polls.record_tasks(claim, updates, NOW)
    failure, end = event_of(FAILED), event_of(TWIN)
    tx.events.record(
        [
            RoutedEvent(event=failure, routes=("failures",), channels=("dba", "tickets")),
            RoutedEvent(event=end, routes=(), channels=()),
        ]
    )
    tx.deliveries.record([delivery_to("dba", failure), delivery_to("tickets", failure)])
    tx.polls.record(
        claim,
        Snapshot(
            source="prod", taken_at=NOW, fingerprints={t.job_id: b"1" for t in tasks}, complete=True, scope=Scope.FULL
        ),
        NOW,
        NOW,
    )
    for channel, state, reason, reply in (
        ("dba", DeliveryState.DELIVERED, None, "HTTP 200: ok"),
        ("tickets", DeliveryState.DEAD, "HTTP 400", REPLY),
    ):
        (claimed,) = tx.deliveries.claim_due(channel, "me", NOW, LEASE, 1)
        attempt = Attempt(
            delivery_id=claimed.id,
            number=claimed.attempt,
            started_at=NOW,
            finished_at=NOW,
            outcome="retry" if reason else "delivered",
            reason=reason,
            reply=reply,
        )
        tx.deliveries.settle(
            [Settlement(delivery_id=claimed.id, state=state, wait=None, attempt=attempt, reason=reason)], NOW
        )


REPLY = 'HTTP 400: {"errors": {"priority": "Field \'priority\' cannot be set"}}'


async def fill(url: str, action: Callable[[Transaction], None] = record) -> None:
    store = open_store(url)
    try:
        await store.transact(action)
    finally:
        await store.aclose()


@pytest.fixture(autouse=True)
def _now(monkeypatch: pytest.MonkeyPatch) -> None:
    """Set the present for each test: the commands follow the real clock, and a run of the suite takes minutes."""
    monkeypatch.setitem(globals(), "NOW", datetime.now(UTC).replace(microsecond=0))


@pytest.fixture
def empty(tmp_path: Path) -> Run:
    """A configuration whose database nobody has used yet."""
    path = tmp_path / "notifier.yaml"
    path.write_text(CONFIG % tmp_path, encoding="utf-8")
    return partial(_invoke, path)


@pytest.fixture
def run(empty: Run, tmp_path: Path) -> Run:
    """The same with something in it."""
    asyncio.run(fill(f"sqlite:///{tmp_path}/notifier.db"))
    return empty


def _invoke(config: Path, *args: str, code: int = 0) -> Result:
    found = CliRunner().invoke(app, ["-c", str(config), *args], env={"COLUMNS": "80"})
    assert found.exit_code == code, found.output
    return found


def document(found: Result) -> Any:
    return json.loads(found.stdout)


# ---- tasks ----


def test_tasks_lists_what_is_recorded(run: Run) -> None:
    shown = run("tasks").stdout
    assert "✗ Failed" in shown
    assert "▶ Running 60%" in shown
    assert "[bold]gauss-orders" in shown
    assert "\x1b" not in shown


def test_tasks_can_be_narrowed(run: Run) -> None:
    def ids(*args: str) -> set[str]:
        return {task["job_id"] for task in document(run("tasks", "--json", *args))["tasks"]}

    assert ids("--status", "failed") == {FAILED.job_id}
    assert ids("--instance", "users") == {RUNNING.job_id, TWIN.job_id}
    assert ids("--source", "prod") == {FAILED.job_id, RUNNING.job_id, TWIN.job_id}
    assert ids("--since", "1h") == {FAILED.job_id, RUNNING.job_id}  # the other ended long ago
    assert len(ids("--limit", "2")) == 2


def test_tasks_as_json_have_stable_keys(run: Run) -> None:
    found = document(run("tasks", "--json", "--status", "failed"))
    (task,) = found["tasks"]
    assert list(found) == ["tasks", "sources"]
    assert list(task) == [
        *("source", "job_id", "name", "status", "raw_status", "progress", "instance", "created_at", "ended_at"),
        *(
            "fail_reason",
            "alarm",
            "error_code",
            "cause",
            "means",
            "action",
            "retry",
            "inferred",
            "runbook_url",
            "first_seen_at",
            "changed_at",
            "listed",
            "usual",
            "started_by",
            "acknowledged",
            "muted",
        ),
    ]
    assert task["ended_at"] == ENDED.isoformat().replace("+00:00", "Z")
    assert task["instance"]["name"] == "[bold]gauss-orders"


@pytest.mark.parametrize(
    ("language", "expected"),
    [
        (
            "en",
            (
                "→ vCPU or memory quota used up · Free unused servers or ask for a higher quota (My Quotas), then"
                " submit again. · Retry: helps once that is done"
            ),
        ),
        ("zh", "→ vCPU/内存配额不足 · 释放不用的资源，或在“我的配额”申请扩容，获批后重新提交。 · 重试：处理后再重试"),
    ],
)
def test_tasks_explains_each_failure(run: Run, tmp_path: Path, language: str, expected: str) -> None:
    configure(tmp_path, language=language)
    shown = run("tasks", "--status", "failed").stdout
    assert without_spaces(expected) in without_spaces(shown)
    assert without_spaces(expected) not in without_spaces(run("tasks", "--status", "running").stdout)


@pytest.mark.parametrize("command", ["task", "explain"])
def test_the_meaning_of_a_failure_is_shown(run: Run, tmp_path: Path, command: str) -> None:
    shown = " ".join(run(command, "fa11").stdout.split())
    assert "The quota of vCPUs is not enough." in shown
    assert "Means The account's quota of servers, vCPUs or memory in this region is used up." in shown
    assert "Try Free unused servers" in shown
    assert "Retry helps once that is done" in shown
    configure(tmp_path, causes=["own.yaml"])
    own = (
        "{id: own, match: ['quota of vCPUs'], means: Ask us., retry: no, evidence: inferred, runbook_url: 'https://w/'}"
    )
    (tmp_path / "own.yaml").write_text(f"causes: [{own}]", encoding="utf-8")
    shown = " ".join(run(command, "fa11").stdout.split())
    assert "Means Usually: Ask us." in shown
    assert "Retry does not help: the same call would fail again" in shown
    assert "Runbook https://w/" in shown
    assert "Try" not in shown


@pytest.mark.parametrize(
    ("language", "means"), [("en", "The account's quota of servers"), ("zh", "本区域云服务器（vCPU/内存）配额已用完")]
)
def test_the_meaning_of_a_failure_as_json(run: Run, tmp_path: Path, language: str, means: str) -> None:
    configure(tmp_path, language=language)
    for found in (
        document(run("tasks", "--status", "failed", "--json"))["tasks"][0],
        document(run("task", "fa11", "--json")),
        document(run("explain", "fa11", "--json"))["task"],
    ):
        assert found["means"].startswith(means)
        assert found["action"]
        keys = ("error_code", "cause", "retry", "inferred", "runbook_url")
        assert [found[key] for key in keys] == [None, "quota-vcpu-memory", "after", False, None]
    running = document(run("task", RUNNING.job_id, "--json"))
    assert [running[key] for key in ("cause", "means", "action", "retry")] == [None] * 4


def configure(folder: Path, **settings: object) -> None:
    with (folder / "notifier.yaml").open("a", encoding="utf-8") as file:
        file.writelines(f"{name}: {json.dumps(value)}\n" for name, value in settings.items())


def without_spaces(text: str) -> str:
    return re.sub(r"\s", "", text)


def test_an_empty_task_list_names_what_was_queried(run: Run, empty: Run) -> None:
    assert "Searched prod (3 tasks, polled" in run("tasks", "--instance", "nowhere", code=1).stdout
    assert document(empty("tasks", "--json", "--instance", "nowhere", code=1))["tasks"] == []


@pytest.mark.parametrize("command", ["tasks", "events", "deliveries"])
def test_a_listing_that_is_cut_reports_it(run: Run, command: str) -> None:
    assert run(command, "--limit", "1").stdout.splitlines()[-1] == "The newest 1; --limit shows more."
    assert "--limit" not in run(command, "--limit", "3").stdout
    assert "--limit" not in run(command, "--limit", "1", "--json").stdout


@pytest.mark.parametrize(
    ("command", "kind", "known"),
    [
        ("tasks", "source", "prod"),
        ("events", "source", "prod"),
        ("deliveries", "channel", "dba, tickets, spare"),
    ],
)
@pytest.mark.parametrize("as_json", [(), ("--json",)])
def test_a_name_that_is_not_configured_is_an_error(
    run: Run, command: str, kind: str, known: str, as_json: tuple[str, ...]
) -> None:
    found = run(command, f"--{kind}", "nope", *as_json, code=2)
    assert f"there is no {kind} 'nope'; configured: {known}" in found.stderr
    assert found.stdout == ""


LOOK_UPS = (
    ("tasks",),
    ("task", "fa11"),
    ("events",),
    ("deliveries",),
    ("explain", "fa11"),
    ("audit",),
    ("health",),
    ("mutes",),
    ("subscriptions",),
    ("unsubscribe", "1a2b3c"),
    ("mute", "gauss", "30m"),
    ("retry", "--all-dead"),
    ("db", "prune"),
)


@pytest.mark.parametrize("command", LOOK_UPS, ids=" ".join)
def test_a_query_without_a_database_names_the_file_and_creates_none(
    empty: Run, tmp_path: Path, command: tuple[str, ...]
) -> None:
    told = " ".join(empty(*command, code=1).output.split())
    assert f"no source has been polled yet: there is no database {tmp_path}/notifier.db" in told
    assert [path.name for path in tmp_path.iterdir()] == ["notifier.yaml"]


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A configuration in another folder than the working directory, with a relative path in it."""
    for name in ("etc", "current"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "current")
    path = tmp_path / "etc" / "notifier.yaml"
    path.write_text((CONFIG % tmp_path).replace(f"sqlite:///{tmp_path}/", "sqlite:///"), encoding="utf-8")
    return partial(_invoke, path)


def test_a_relative_path_starts_at_the_configuration_file(elsewhere: Run, tmp_path: Path) -> None:
    asyncio.run(fill(f"sqlite:///{tmp_path}/etc/notifier.db"))
    found = elsewhere("audit")
    assert "warning" not in found.stderr
    assert document(elsewhere("tasks", "--json"))
    elsewhere("db", "upgrade")
    assert list((tmp_path / "current").iterdir()) == []


def test_a_database_in_the_working_directory_stays_in_use(elsewhere: Run, tmp_path: Path) -> None:
    asyncio.run(fill(f"sqlite:///{tmp_path}/current/notifier.db"))
    found = elsewhere("tasks", "--json")
    assert document(found)
    told = " ".join(found.stderr.split())
    assert f"warning: the database is {tmp_path}/current/notifier.db, where an earlier version created it" in told
    assert f"move it to {tmp_path}/etc/notifier.db" in told
    assert "where an earlier version created it" in " ".join(elsewhere("check").stdout.split())
    (tmp_path / "current" / "notifier.db").rename(tmp_path / "etc" / "notifier.db")
    assert elsewhere("tasks").stderr == ""


def test_before_the_first_poll_a_listing_reports_it(empty: Run) -> None:
    empty("db", "upgrade")
    assert "No source has been polled yet" in empty("tasks", code=1).stdout


def test_task_shows_everything_about_one(run: Run) -> None:
    shown = run("task", "fa11").stdout
    assert "Instance creation (CreateGaussDBV5Instance)" in shown
    assert "The quota of vCPUs is not enough." in shown
    assert "UTC+8" in shown
    assert "task.failed" in shown


def test_task_as_json_has_its_events(run: Run) -> None:
    found = document(run("task", "fa11", "--json"))
    assert found["job_id"] == FAILED.job_id
    assert [event["type"] for event in found["events"]] == ["task.failed"]
    assert found["events"][0]["channels"] == ["dba", "tickets"]


def test_a_beginning_that_fits_several_lists_the_candidates(run: Run) -> None:
    found = run("task", "0000", "--json", code=1)
    assert found.stdout == ""
    assert RUNNING.job_id in found.stderr
    assert TWIN.job_id in found.stderr


def test_a_missing_task_error_names_where_to_search(run: Run) -> None:
    found = run("explain", "ffff", code=1)
    assert found.stdout == ""
    assert "notifier tasks" in found.stderr


# ---- events, deliveries, why ----


def test_events_lists_changes(run: Run) -> None:
    assert "task.failed" in run("events").stdout
    found = document(run("events", "--json", "--type", "task.completed"))["events"]
    assert [(event["task"]["job_id"], event["channels"]) for event in found] == [(TWIN.job_id, [])]


def test_deliveries_lists_by_state_and_channel(run: Run) -> None:
    assert "HTTP 400" in run("deliveries").stdout
    found = document(run("deliveries", "--json", "--state", "dead"))["deliveries"]
    assert [(one["channel"], one["reason"], one["reply"]) for one in found] == [("tickets", "HTTP 400", REPLY)]
    assert document(run("deliveries", "--json", "--channel", "spare", code=1))["deliveries"] == []


def test_explain_goes_from_routes_to_attempts(run: Run) -> None:
    shown = run("explain", "fa11").stdout
    assert "✓ failures → dba, tickets" in shown
    assert "✗ users: requires instance=gauss-users, was '[bold]gauss-orders'" in shown
    assert "dba: delivered" in shown
    assert "tickets: dead" in shown
    assert "spare: not notified, no route leads here" in shown


def test_the_receivers_words_stand_wherever_an_attempt_does(run: Run) -> None:
    for shown in (run("explain", "fa11").stdout, run("deliveries").stdout, run("audit").stdout):
        assert "Field 'priority' cannot be set" in re.sub(r"[\s│]+", " ", shown), shown
    assert "HTTP 200: ok" in run("explain", "fa11").stdout
    assert "ok" not in run("deliveries", "--state", "delivered").stdout


def test_explain_as_json(run: Run) -> None:
    (event,) = document(run("explain", "fa11", "--json"))["events"]
    replies = [attempt["reply"] for channel in event["channels"] for attempt in channel["attempts"]]
    assert replies == ["HTTP 200: ok", REPLY]
    assert [(v["route"], v["matched"]) for v in event["routes_now"]] == [("failures", True), ("users", False)]
    assert [(c["channel"], c["planned"], len(c["attempts"])) for c in event["channels"]] == [
        ("dba", True, 1),
        ("spare", False, 0),
        ("tickets", True, 1),
    ]


def test_explain_reports_routes_that_changed_since(run: Run) -> None:
    assert "at the time it went to no channel" in run("explain", TWIN.job_id).stdout


def test_explain_of_the_baseline(run: Run) -> None:
    assert "baseline" in run("explain", RUNNING.job_id).stdout


def test_audit_accounts_for_every_pair(run: Run) -> None:
    assert "0 unaccounted" in run("audit").stdout
    found = document(run("audit", "--json"))
    assert (found["ok"], found["events"], found["unrouted"], found["pairs"]) == (True, 2, 1, 2)
    assert found["by_state"]["dead"] == 1


# ---- retry ----


def states(run: Run) -> dict[str, str]:
    return {d["channel"]: d["state"] for d in document(run("deliveries", "--json"))["deliveries"]}


def test_retry_sends_a_dead_delivery_by_the_beginning_of_its_id(run: Run) -> None:
    dead = delivery_id("tickets", event_of(FAILED).id)
    assert "1 delivery will be sent again" in run("retry", dead[:8]).stdout
    assert states(run) == {"dba": "delivered", "tickets": "pending"}


def test_retry_takes_all_that_is_dead(run: Run) -> None:
    assert document(run("retry", "--all-dead", "--json")) == {"released": 1}
    assert document(run("retry", "--all-dead", "--json", code=1)) == {"released": 0}


def test_retry_does_not_send_again_what_was_delivered(run: Run) -> None:
    found = run("retry", delivery_id("dba", event_of(FAILED).id), code=1)
    assert "is delivered; only dead and parked deliveries can be" in " ".join(found.stdout.split())
    assert states(run)["dba"] == "delivered"


def test_retry_reports_which_process_sends_them_and_when(run: Run) -> None:
    said = " ".join(run("retry", "--all-dead").stdout.split())
    assert said.endswith("1 delivery will be sent again; `notifier run` sends them, or `notifier poll` now.")
    assert "no delivery is dead" in run("retry", "--all-dead", code=1).stdout


def test_retry_of_an_unparked_channel_points_to_dead_deliveries(run: Run) -> None:
    said = " ".join(run("retry", "--channel", "tickets", code=1).stdout.split())
    assert "nothing is parked on tickets" in said
    assert "`notifier retry --all-dead --channel tickets`" in said


def test_retry_of_the_dead_points_to_what_is_parked(run: Run, tmp_path: Path) -> None:
    asyncio.run(fill(f"sqlite:///{tmp_path}/notifier.db", with_tickets(DeliveryState.PARKED, NOW)))
    run("retry", "--all-dead")
    said = " ".join(run("retry", "--all-dead", code=1).stdout.split())
    assert "`notifier retry --channel tickets`" in said


@pytest.mark.parametrize("args", [["tasks"], ["tasks", "--json"]])
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no full device to write to")
def test_output_that_cannot_be_written_is_one_error(run: Run, tmp_path: Path, args: list[str]) -> None:
    program = [*COMMAND, *args]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(  # noqa: S603 - our own program
            program, cwd=tmp_path, stdout=full, stderr=subprocess.PIPE, text=True, timeout=HANG_TIMEOUT, check=False
        )
    assert (done.returncode, done.stderr) == (1, "error: cannot write to stdout: No space left on device\n")
    assert run("tasks").stdout


def test_retry_of_one_channel_leaves_the_dead_of_the_others(run: Run) -> None:
    run("retry", "--all-dead", "--channel", "dba", code=1)
    assert states(run)["tickets"] == "dead"


@pytest.mark.parametrize("args", [[], ["abc", "--all-dead"], ["abc", "--channel", "dba"]])
def test_retry_wants_exactly_one_choice(run: Run, args: list[str]) -> None:
    assert "--all-dead" in run("retry", *args, code=2).stderr


def test_retry_names_the_channels_there_are(run: Run) -> None:
    assert "dba, tickets, spare" in run("retry", "--channel", "dbas", code=2).stderr


def test_retry_of_an_unknown_id_changes_nothing(run: Run) -> None:
    before = states(run)
    assert "notifier deliveries" in run("retry", "zzzz", code=1).stderr
    assert states(run) == before


# ---- health, db ----


@pytest.fixture
def well(run: Run) -> Run:
    """The same, and somebody has accepted what died."""
    run("dismiss", "--all-dead")
    return run


def test_health_follows_the_last_good_poll(well: Run) -> None:
    assert well("health").stdout.startswith("✓ All is well\n✓ source prod: polled ")
    assert document(well("health", "--json"))["ok"] is True


@pytest.mark.parametrize(
    "act", [("dismiss", "--all-dead"), ("dismiss", "--all-dead", "--channel", "tickets"), ("retry", "--all-dead")]
)
def test_health_is_red_until_what_died_is_retried_or_dismissed(run: Run, act: tuple[str, ...]) -> None:
    shown = run("health", code=1).stdout
    assert shown.startswith("✗ Not well: 1 message not delivered\n✗ channel tickets: 1 message given up, the first ")
    assert "\n    HTTP 400: " in shown
    assert "\n    notifier dismiss --all-dead --channel tickets\n" in shown
    (finding,) = document(run("health", "--json", code=1))["findings"]
    assert [finding[key] for key in ("kind", "about", "count", "red")] == ["channel.dead", "tickets", 1, True]
    assert finding["reason"].startswith("HTTP 400: ")
    assert finding["since"]
    assert "notifier retry --all-dead --channel tickets" in finding["commands"]
    run(*act)
    assert run("health").stdout.startswith("✓ All is well")


def test_dismiss_takes_the_beginning_of_an_id_and_retry_still_works(run: Run) -> None:
    (dead,) = document(run("deliveries", "--state", "dead", "--json"))["deliveries"]
    assert document(run("dismiss", dead["delivery_id"][:8], "--json"))["dismissed"] == 1
    assert "only dead, parked and pending deliveries can be, and each once" in run(
        "dismiss", dead["delivery_id"], code=1
    ).stdout.replace("\n", " ")
    assert "dismissed" in run("deliveries", "--state", "dead").stdout
    assert document(run("retry", dead["delivery_id"], "--json"))["released"] == 1


def test_a_failed_task_is_acknowledged_once_and_shown_everywhere(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "bob")
    assert [task["job_id"] for task in document(run("tasks", "--unacked", "--json"))["tasks"]] == [FAILED.job_id]
    assert "acknowledged by you" in run("ack", "fa11ed").stdout
    assert document(run("ack", "fa11ed", "--json"))["yours"] is True
    run("tasks", "--unacked", code=1)
    monkeypatch.setenv("LOGNAME", "eve")
    assert "bob acknowledged fa11ed at " in run("ack", "fa11ed", code=1).stdout
    known = document(run("task", "fa11ed", "--json"))["acknowledged"]
    assert (known["by"], known["name"]) == ("cli:bob", "bob")
    assert document(run("tasks", "--status", "failed", "--json"))["tasks"][0]["acknowledged"] == known
    assert document(run("explain", "fa11ed", "--json"))["task"]["acknowledged"] == known
    for command in ("task", "explain"):
        assert re.search(r"Acknowledged +bob · ", run(command, "fa11ed").stdout)
    assert [one["verb"] for one in document(run("audit", "log", "--json"))["actions"]] == ["acknowledge"]


def test_an_acknowledgement_is_taken_back_by_anybody(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "bob")
    assert "fa11ed was not acknowledged" in run("unack", "fa11ed", code=1).stdout
    run("ack", "fa11ed")
    monkeypatch.setenv("LOGNAME", "eve")
    assert "the acknowledgement of fa11ed by bob is taken back" in run("unack", "fa11ed").stdout
    assert document(run("unack", "fa11ed", "--json", code=1))["acknowledged"] is None
    assert [task["job_id"] for task in document(run("tasks", "--unacked", "--json"))["tasks"]] == [FAILED.job_id]
    assert document(run("ack", "fa11ed", "--json"))["yours"] is True
    assert document(run("unack", "fa11ed", "--json"))["acknowledged"]["by"] == "cli:eve"
    actions = [(one["by"], one["verb"], one["detail"]) for one in document(run("audit", "log", "--json"))["actions"]]
    assert actions[:3] == [
        ("cli:eve", "unacknowledge", "acknowledged by eve"),
        ("cli:eve", "acknowledge", "task.failed"),
        ("cli:eve", "unacknowledge", "acknowledged by bob"),
    ]


@pytest.mark.parametrize("job_id", [RUNNING.job_id, TWIN.job_id])
def test_only_what_asks_for_care_is_acknowledged(run: Run, job_id: str) -> None:
    assert f"there is nothing to acknowledge about {job_id}: " in run("ack", job_id, code=1).stderr


def test_a_mute_is_shown_by_instance_name_and_with_its_tasks(run: Run) -> None:
    run("mute", FAILED.instance_id or "", "2h", "--reason", "resizing")
    (mute,) = document(run("mutes", "--json"))["mutes"]
    assert (mute["instance"], mute["label"]) == (FAILED.instance_id, FAILED.instance_name)
    assert f"{FAILED.instance_name}  " in run("mutes").stdout
    for command in ("task", "explain"):
        assert re.search(r"Muted +Until .*: resizing", run(command, "fa11ed").stdout)
    assert document(run("task", "fa11ed", "--json"))["muted"] == mute


def test_what_people_do_is_recorded_with_their_name(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "No action has been recorded" in run("audit", "log", code=1).stdout
    monkeypatch.setenv("LOGNAME", "bob")
    run("mute", "gauss-users", "2h", "--reason", "resizing")
    run("unmute", "gauss-users")
    run("dismiss", "--all-dead")
    found = document(run("audit", "log", "--json"))["actions"]
    assert [(one["by"], one["verb"], one["target"]) for one in reversed(found)] == [
        ("cli:bob", "mute", "gauss-users"),
        ("cli:bob", "unmute", "gauss-users"),
        ("cli:bob", "dismiss", "every channel"),
    ]
    assert found[-1]["detail"].endswith(": resizing")
    shown = run("audit", "log", "--limit", "1").stdout
    assert "dismiss" in shown
    assert "unmute" not in shown


def waiting_on(channel: str, count: int = 2) -> Callable[[Transaction], None]:
    """Deliveries to a channel that the configuration no longer has, planned ten minutes ago."""

    def recorded(tx: Transaction) -> None:
        events = [event_of(replace(FAILED, job_id=f"job-{n}")) for n in range(count)]
        tx.events.record([RoutedEvent(event=event, routes=("failures",), channels=(channel,)) for event in events])
        ago = NOW - timedelta(minutes=10)
        tx.deliveries.record([replace(delivery_to(channel, event), created_at=ago) for event in events])

    return recorded


@pytest.mark.parametrize("channel", ["old-tickets", "dm:U0123"])
def test_messages_of_a_removed_channel_are_moved_to_another(well: Run, tmp_path: Path, channel: str) -> None:
    asyncio.run(fill(f"sqlite:///{tmp_path}/notifier.db", waiting_on(channel)))
    shown = well("health", code=1).stdout
    assert f"✗ channel {channel}: no longer configured; 2 messages waiting for " in shown
    assert f"\n    notifier move {channel} OTHER-CHANNEL\n    notifier dismiss --channel {channel}\n" in shown
    assert document(well("move", channel, "spare", "--json"))["moved"] == 2
    assert f"Nothing waits on {channel}" in well("move", channel, "spare", code=1).stdout
    moved = document(well("deliveries", "--channel", "spare", "--json"))["deliveries"]
    assert [one["state"] for one in moved] == ["pending", "pending"]
    assert document(well("audit", "--json"))["unaccounted"] == []
    assert well("health").stdout.startswith("✓ All is well")


def test_messages_for_a_channel_that_is_gone_can_be_dismissed(well: Run, tmp_path: Path) -> None:
    asyncio.run(fill(f"sqlite:///{tmp_path}/notifier.db", waiting_on("old-tickets")))
    assert "2 deliveries dismissed" in well("dismiss", "--channel", "old-tickets").stdout
    assert well("health").stdout.startswith("✓ All is well")
    assert document(well("audit", "--json"))["unaccounted"] == []


def test_messages_of_a_working_channel_are_not_dismissed_by_its_name(run: Run) -> None:
    assert "channel dba is configured and not parked" in run("dismiss", "--channel", "dba", code=1).stderr


def test_messages_are_moved_only_to_a_channel_that_is_configured(run: Run) -> None:
    assert "there is no channel 'nowhere'" in run("move", "old", "nowhere", code=2).stderr


def test_health_is_red_at_once_if_the_database_cannot_be_written(well: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk, and a server that has become read-only: what is recorded can still be read."""

    def full(*args: Any) -> Any:
        connection = connect(*args)
        connection.execute("PRAGMA query_only=ON")
        return connection

    monkeypatch.setattr("notifier.store.reading.connect", full)
    shown = well("health", code=1).stdout
    assert shown.startswith("✗ Not well: 1 finding\n✗ the database cannot be used\n    the database ")
    assert "cannot be written" in shown
    (finding,) = document(well("health", "--json", code=1))["findings"]
    assert finding["kind"] == "database.unavailable"


def with_tickets(state: DeliveryState, since: datetime) -> Callable[[Transaction], None]:
    """One more failure, whose delivery to the channel tickets stands like this since then."""

    def recorded(tx: Transaction) -> None:
        event = event_of(FAILED, occurrence="another")
        tx.events.record([RoutedEvent(event=event, routes=("failures",), channels=("tickets",))])
        tx.deliveries.record([replace(delivery_to("tickets", event), created_at=since)])
        (claimed,) = tx.deliveries.claim_due("tickets", "me", NOW, LEASE, 1)
        attempt = Attempt(
            delivery_id=claimed.id, number=claimed.attempt, started_at=since, finished_at=since, outcome="x"
        )
        tx.deliveries.settle(
            [
                Settlement(
                    delivery_id=claimed.id,
                    state=state,
                    wait=timedelta(),
                    attempt=attempt,
                    reason="HTTP 410",
                )
            ],
            NOW,
        )

    return recorded


@pytest.mark.parametrize(
    ("state", "minutes", "ok"),
    [(DeliveryState.PARKED, 0, False), (DeliveryState.PENDING, 6, False), (DeliveryState.PENDING, 0, True)],
)
def test_health_fails_when_a_channel_does_not_deliver(
    well: Run, tmp_path: Path, *, state: DeliveryState, minutes: int, ok: bool
) -> None:
    asyncio.run(fill(f"sqlite:///{tmp_path}/notifier.db", with_tickets(state, NOW - timedelta(minutes=minutes))))
    found = document(well("health", "--json", code=0 if ok else 1))
    assert found["ok"] is ok
    assert {channel["name"]: channel["ok"] for channel in found["channels"]} == {
        "dba": True,
        "tickets": ok,
        "spare": True,
    }
    assert (
        "notifier deliveries --channel tickets" in " ".join(well("health", code=0 if ok else 1).stdout.split())
    ) is not ok


def test_audit_names_the_channels_that_are_parked(run: Run, tmp_path: Path) -> None:
    asyncio.run(fill(f"sqlite:///{tmp_path}/notifier.db", with_tickets(DeliveryState.PARKED, NOW)))
    assert "✗ channel tickets: parked as misconfigured for" in run("audit").stdout
    assert [(c["channel"], c["reason"]) for c in document(run("audit", "--json"))["parked"]] == [
        ("tickets", "HTTP 410")
    ]


def test_health_fails_before_the_first_poll(empty: Run) -> None:
    empty("db", "upgrade")
    assert "✗ source prod: not polled yet" in empty("health", code=1).stdout


def test_db_current_prints_the_revision(empty: Run) -> None:
    assert "there is no database" in " ".join(empty("db", "current", "--json", code=1).stderr.split())
    assert document(empty("db", "upgrade", "--json"))["changed"] is True
    assert document(empty("db", "upgrade", "--json"))["changed"] is False
    found = document(empty("db", "current", "--json"))
    assert found["current"] is True
    assert found["database"].endswith("/notifier.db")
    assert found["revision"] == found["needed"]


def test_a_newer_database_is_not_offered_an_upgrade(empty: Run, tmp_path: Path) -> None:
    empty("db", "upgrade")
    with admin_engine(f"sqlite:///{tmp_path}/notifier.db") as engine, engine.begin() as connection:
        connection.exec_driver_sql("UPDATE notifier_schema SET version_num = '9999'")
    assert "update the program" in empty("db", "current", code=1).stdout


def test_db_alone_shows_its_commands(empty: Run) -> None:
    shown = empty("db", code=2).output
    assert [name for name in ("upgrade", "current", "backup", "prune", "completion") if name in shown] == [
        "upgrade",
        "current",
        "backup",
        "prune",
    ]


def test_a_copy_is_made_beside_a_service_that_writes(run: Run, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    service = open_store(f"sqlite:///{tmp_path}/notifier.db", exclusive=True)
    with service.writer.begin() as connection:
        connection.exec_driver_sql("DELETE FROM attempts")  # not committed yet: the copy has them
        found = document(run("db", "backup", str(copy), "--json"))
    assert found == {"file": str(copy), "bytes": copy.stat().st_size}
    assert copy.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.glob("copy*")] == ["copy.db"]
    service.close()
    before = run("tasks", "--json").stdout
    (tmp_path / "notifier.db").unlink()
    copy.rename(tmp_path / "notifier.db")
    assert run("tasks", "--json").stdout == before
    with admin_engine(f"sqlite:///{tmp_path}/notifier.db") as engine, engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM attempts").scalar() != 0


def test_a_copy_overwrites_nothing(run: Run, tmp_path: Path) -> None:
    for name in ("precious", "notifier.db"):
        path = tmp_path / name
        path.exists() or path.write_text("precious")
        before = path.read_bytes()
        told = " ".join(run("db", "backup", str(path), code=2).stderr.split())
        assert f"{path} exists already, and nothing is overwritten" in told
        assert path.read_bytes() == before
    assert "cannot be written: No such file" in run("db", "backup", str(tmp_path / "no" / "copy"), code=3).stderr


def test_there_is_no_copy_of_no_database(empty: Run, tmp_path: Path) -> None:
    assert "there is no database" in " ".join(empty("db", "backup", str(tmp_path / "copy"), code=1).stderr.split())
    assert not (tmp_path / "copy").exists()


def test_for_postgresql_a_copy_is_the_command_to_run(tmp_path: Path) -> None:
    path = tmp_path / "notifier.yaml"
    url = "postgresql://ada:S3cr3t@db.example.com:5433/notifier"
    path.write_text((CONFIG % tmp_path).replace(f"sqlite:///{tmp_path}/notifier.db", url), encoding="utf-8")
    told = " ".join(_invoke(path, "db", "backup", "a copy", code=2).stderr.split())
    assert "pg_dump --format=custom '--file=a copy' --host=db.example.com --port=5433 --username=ada notifier" in told
    assert "S3cr3t" not in told


def test_the_database_is_pruned_on_request(run: Run) -> None:
    assert document(run("db", "prune", "--json")) == {"events": 0, "deliveries": 0, "tasks": 0}
    assert run("db", "prune").stdout == "Deleted 0 events, 0 deliveries and 0 tasks.\n"


# ---- route ----


def test_route_explains_which_routes_apply_and_why_not_others(run: Run) -> None:
    shown = run("route", "type=task.completed", "instance=gauss-users").stdout
    assert "✗ failures: requires type=task.failed, was 'task.completed'" in shown
    assert "✓ users → tickets (stop)" in shown
    assert "It would be sent to tickets." in shown


def test_route_exits_with_1_when_an_event_reaches_no_channel(run: Run) -> None:
    assert "It would be sent to no channel." in run("route", "type=task.started", code=1).stdout


def test_route_of_a_task_takes_its_latest_event(run: Run) -> None:
    found = document(run("route", "--task", "fa11", "--json"))
    assert found["channels"] == ["dba", "tickets"]
    assert found["event"]["instance"] == "[bold]gauss-orders"


def test_route_fills_in_the_status_that_the_type_implies(run: Run) -> None:
    assert document(run("route", "type=task.failed", "--json"))["event"]["status"] == "failed"


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ([], "type=task.failed"),
        (["type=task.failed", "--task", "x"], "--task"),
        (["type=task.fialed"], "Did you mean task.failed?"),
        (["instance=x"], "type must be one of"),
        (["instnace=x"], "did you mean 'instance'"),
        (["type=~task.*"], "write type=VALUE"),
        (["task.failed"], "not a matcher"),
    ],
)
def test_route_explains_bad_fields(run: Run, args: list[str], said: str) -> None:
    assert said in run("route", *args, code=2).stderr.replace("\n", " ")


# ---- mutes ----


def test_an_instance_is_muted_listed_and_unmuted(run: Run) -> None:
    assert "gauss-users is muted until" in run("mute", "gauss-users", "2h", "--reason", "resizing").stdout
    (mute,) = document(run("mutes", "--json"))["mutes"]
    assert mute["reason"] == "resizing"
    assert mute["instance"] == RUNNING.instance_id
    assert "resizing" in run("mutes").stdout
    assert "is no longer muted" in run("unmute", "gauss-users").stdout
    assert "was not muted" in run("unmute", "gauss-users", code=1).stdout
    assert "Nothing is muted" in run("mutes", code=1).stdout
    assert document(run("mutes", "--json", code=1)) == {"mutes": [], "during_maintenance": []}


def test_unmute_tells_what_was_in_force_from_what_was_planned(run: Run) -> None:
    run("mute", "gauss-*", "2h")
    run("mute", "gauss-*", "--from", "tomorrow 22:00", "--for", "4h")
    in_force, planned = run("unmute", "gauss-*").stdout.splitlines()
    found = sorted((in_force, planned), key=lambda line: "will not" in line)
    assert found[0] == "✓ gauss-* is no longer muted"
    assert found[1].startswith("✓ gauss-* will not be muted from ")


def test_an_instance_that_nobody_knows_is_not_muted(run: Run) -> None:
    assert "no task of an instance gauss-user is known. Did you mean" in run("mute", "gauss-user", "2h", code=1).stderr
    assert document(run("mutes", "--json", code=1)) == {"mutes": [], "during_maintenance": []}


@pytest.mark.parametrize("length", ["soon", "1s", "40d"])
def test_a_mute_has_a_sensible_length(run: Run, length: str) -> None:
    run("mute", "gauss-users", length, code=2)
    run("mutes", code=1)


def test_a_mute_is_planned_extended_and_ended_by_its_id(run: Run) -> None:
    planned = run("mute", "source=prod", "operation=create", "--from", "2099-01-01 22:00", "--for", "4h", code=2)
    assert "more than a year from now" in planned.stderr
    recurring = run(
        "mute", "gauss-*", "--cron", "0 22 * * 6", "--for", "4h", "--timezone", "Asia/Shanghai", "--except-failures"
    )
    assert "gauss-* will be muted by 0 22 * * 6 (Asia/Shanghai), next from" in recurring.stdout
    (mute,) = document(run("mutes", "--json"))["mutes"]
    assert (mute["covers"], mute["match"], mute["except_failures"]) == ("gauss-*", ["instance=gauss-*"], True)
    assert mute["id"] in run("mutes").stdout
    assert "gauss-* will be muted" in run("extend", mute["id"], "1h").stdout
    ended = document(run("unmute", mute["id"], "--json"))
    assert (ended["mute"]["id"], ended["ended"][0]["held"]) == (mute["id"], {})
    run("extend", mute["id"], "1h", code=1)
    log = document(run("audit", "log", "--json"))["actions"]
    assert [one["verb"] for one in log[:3]] == ["unmute", "extend", "mute"]


def test_a_preview_mutes_nothing(run: Run) -> None:
    shown = run("mute", "gauss-*", "2h", "--preview").stdout
    assert "In the last 7 d it would have held back: 1 task completed" in shown
    found = document(run("mute", "gauss-*", "2h", "--preview", "--json"))["preview"]
    assert found["counts"] == {"task.completed": 1}
    assert document(run("mutes", "--json", code=1)) == {"mutes": [], "during_maintenance": []}


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["sauce=prod", "2h"], "unknown field 'sauce'"),
        (["gauss-*"], "say for how long"),
        (["gauss-*", "2h", "--from", "soon"], "'soon' is no time"),
        (["gauss-*", "--cron", "61 * * * *", "--for", "1h"], "is not a schedule"),
        (["gauss-*", "2h", "--timezone", "Mars"], "there is no time zone 'Mars'"),
        (["gauss-*", "2h", "--until", "18:00"], "give a length or an end, not both"),
        (["source=prd", "2h"], "no source is called 'prd'. Did you mean prod?"),
        (["label.teem=pay", "2h"], "no source has the label 'teem'"),
        (["gauss-*", "--for", "0h"], "'0h' is no time at all"),
        (["gauss-*", "--for", "999999w"], "'999999w' is too long a time"),
        (["*a" * 300, "2h"], "has more than 500 characters"),
    ],
)
def test_a_wrong_mute_gets_one_clear_error(run: Run, arguments: list[str], why: str) -> None:
    assert why in run("mute", *arguments, code=2).stderr


def test_what_a_mute_suppressed_is_listed(run: Run) -> None:
    assert "No matching events" in run("events", "--muted-by", "7k2m", code=1).stdout


# ---- matchers ----


@pytest.mark.parametrize(
    ("command", "match", "jobs"),
    [
        ("tasks", "gauss-u*", {RUNNING.job_id, "0000aaaa-2"}),
        ("tasks", "status=failed", {FAILED.job_id}),
        ("tasks", "operation=create", {FAILED.job_id, RUNNING.job_id, "0000aaaa-2"}),
        ("tasks", "source!=prod", set()),
        ("events", "task.failed", {FAILED.job_id}),
        ("events", "failed stuck", {FAILED.job_id}),
        ("events", f"instance={FAILED.instance_name}", {FAILED.job_id}),
        ("events", "instance=nobody-*", set()),
        ("events", "instance!=nobody-* operation=create task.failed", {FAILED.job_id}),
    ],
)
def test_rows_are_narrowed_by_matchers(run: Run, command: str, match: str, jobs: set[str]) -> None:
    found = document(run(command, "--match", match, "--json", code=0 if jobs else 1))[command]
    assert {(row.get("task") or row)["job_id"] for row in found} == jobs


@pytest.mark.parametrize(
    ("command", "match", "why"),
    [
        ("tasks", "duration>30m", "duration narrows no list"),
        ("tasks", "type=task.failed", "type narrows no list"),
        ("tasks", "status!=failed", "a list has the tasks of one status, or of all"),
        ("tasks", "colour=red", "unknown field 'colour'"),
        ("tasks", "instance=~prod.*", "write a pattern: instance=prod-*"),
        ("tasks", "instance=a instance=b", "instance is compared twice"),
        ("events", "instance_id=a*", "a list compares whole ids of instances"),
        ("events", "", "name what is meant"),
    ],
)
def test_a_matcher_that_narrows_no_list_is_explained(run: Run, command: str, match: str, why: str) -> None:
    assert why in " ".join(run(command, "--match", match, code=2).stderr.replace("│", " ").split())


# ---- subscriptions ----


async def record_unreadable(folder: Path) -> None:
    made = EventSubscription(
        id="0123456789",
        channel="dm:U0BOB",
        matchers="color=red",
        by="U0BOB",
        name="bob",
        created_at=datetime(2100, 1, 1, tzinfo=UTC),
    )
    async with aclosing(open_store(f"sqlite:///{folder / 'notifier.db'}")) as store:
        await store.transact(lambda tx: tx.people.subscribe_to_events(made))


def test_subscriptions_are_listed_and_ended(run: Run, tmp_path: Path) -> None:
    async def subscribe() -> None:
        async with aclosing(open_store(f"sqlite:///{tmp_path / 'notifier.db'}")) as store:
            receiver, alice = DirectChannel("U0ALICE"), Person(id="U0ALICE", name="alice")
            await store.transact(lambda tx: people.subscribe_to_events(tx, receiver, "prod-* failed", alice))

    assert "There are no subscriptions" in run("subscriptions", code=1).stdout
    asyncio.run(subscribe())
    (one,) = document(run("subscriptions", "--json"))["subscriptions"]
    assert (one["receiver"], one["matchers"], one["name"]) == ("U0ALICE", "prod-* failed", "alice")
    shown = run("subscriptions").stdout
    assert all(text in shown for text in (one["id"], "U0ALICE", "prod-* failed", "alice"))
    marks = [("readable", "prod-* failed"), ("unreadable", "color=red")]
    asyncio.run(record_unreadable(tmp_path))
    listed = document(run("subscriptions", "--json"))["subscriptions"]
    assert [("readable" if each["readable"] else "unreadable", each["matchers"]) for each in listed] == marks
    assert run("subscriptions").stdout.count("this version cannot read it, so nothing is sent for it") == 1
    run("unsubscribe", "0123456789")
    assert "There is no subscription to nope" in run("unsubscribe", "nope", code=1).stdout
    assert "The subscription to prod-* failed has ended" in run("unsubscribe", one["id"]).stdout
    assert document(run("unsubscribe", one["id"], "--json", code=1)) == {"subscription": None}
    assert document(run("subscriptions", "--json", code=1)) == {"subscriptions": []}
    newest, _, first = document(run("audit", "log", "--json"))["actions"][:3]
    assert (newest["verb"], first["verb"], newest["detail"]) == ("unsubscribe", "subscribe", "dm:U0ALICE")


# ---- in Chinese ----


@pytest.fixture
def chinese(run: Run, tmp_path: Path) -> Run:
    """The configuration of `run` for readers of Chinese."""
    path = tmp_path / "notifier.yaml"
    path.write_text(f"language: zh\n{path.read_text(encoding='utf-8')}", encoding="utf-8")
    return run


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("tasks", 0),
        ("tasks --instance nobody", 1),
        ("task fa11ed", 0),
        ("task 0000aaaa-1", 0),
        ("explain fa11ed", 0),
        ("explain 0000aaaa-1", 0),
        ("events", 0),
        ("events --limit 1", 0),
        ("deliveries", 0),
        ("deliveries --channel spare", 1),
        ("health", 1),
        ("audit", 0),
        ("audit log", 1),
        ("mutes", 1),
        ("subscriptions", 1),
        ("unsubscribe 1a2b3c", 1),
        ("unmute gauss-users", 1),
        ("mute gauss-users 2h", 0),
        ("ack fa11ed", 0),
        ("unack fa11ed", 1),
        ("route type=task.failed instance=gauss-users", 0),
        ("route type=task.started", 1),
        ("retry --all-dead", 0),
        ("retry --channel dba", 1),
        ("dismiss --all-dead", 0),
        ("move dba spare", 1),
    ],
)
def test_a_command_in_chinese_has_no_english_sentence(chinese: Run, command: str, code: int) -> None:
    shown = chinese(*command.split(), code=code).stdout
    ours = shown.replace(FAILED.fail_reason or "", "").replace(REPLY.partition(": ")[2], "")
    ours = re.sub(r"notifier [a-z-]+( [a-z]+)?( --[a-z-]+)*|GaussDB ReadOnlyAccess", "", ours)
    assert re.search(r"[\u4e00-\u9fff]", ours)
    assert not re.search(r"[A-Za-z']+ [a-z']+ [a-z']+", ours), ours


# ---- open failures ----


def open_failure(tx: Transaction) -> None:
    """Two failures of one operation, which a route reminds of, and one that vanished from the list."""
    reminding = RoutingConfig(routes=(Route(name="failures", channels=("dba",), remind=(timedelta(minutes=30),)),))
    again = event_of(replace(FAILED, job_id="fa11ed00-0000-4000-8000-000000000002", ended_at=ENDED))
    vanished = event_of(RUNNING, type=EventType.TASK_UNLISTED, occurrence="unlisted")
    items = [
        RoutedEvent(event=event, routes=("failures",), channels=("dba",))
        for event in (event_of(FAILED), again, vanished)
    ]
    told = {item.event.id: item.channels for item in items}
    tx.failures.save(after_events(items, {}, told, reminding, NOW))


@pytest.fixture
def failing(run: Run, tmp_path: Path) -> Run:
    asyncio.run(fill(f"sqlite:///{tmp_path}/notifier.db", open_failure))
    return run


def test_open_lists_what_failed_and_is_not_over(failing: Run) -> None:
    shown = " ".join(failing("open").stdout.split())
    assert "failed" in shown
    assert "2 times" in shown
    assert "nobody takes care of it" in shown
    assert "next reminder in 29 min" in shown or "next reminder in 30 min" in shown
    found = document(failing("open", "--json"))["open"]
    assert {(one["type"], one["failures"], one["state"]) for one in found} == {
        ("task.failed", 2, "open"),
        ("task.unlisted", 1, "open"),
    }
    assert found[0]["told"] == ["dba"]
    assert document(failing("open", "--json", "--instance", "users"))["open"][0]["type"] == "task.unlisted"
    assert document(failing("open", "--json", "--match", "gauss-users"))["open"][0]["type"] == "task.unlisted"
    assert document(failing("open", "--json", "--match", "nothing-*", code=1)) == {"open": []}


def test_resolve_closes_failures_and_explain_tells_of_it(failing: Run) -> None:
    assert "no such thing" in failing("resolve", "no such thing", code=1).stdout
    assert "Instance creation failed" in failing("resolve", "fa11ed00-", "--reason", "quota raised").stdout
    (left,) = document(failing("open", "--json"))["open"]
    assert left["type"] == "task.unlisted"
    explained = " ".join(failing("explain", "fa11ed00-0000-4000-8000-000000000001").stdout.split())
    assert "opened: Instance creation failed on [bold]gauss-orders (2 in all)" in explained
    assert "resolved by" in explained
    assert "quota raised" in explained
    (told,) = document(failing("explain", "fa11ed00-0000-4000-8000-000000000001", "--json"))["failures"]
    assert (told["state"], told["history"][-1]["reason"]) == ("resolved", "quota raised")
    (action,) = document(failing("audit", "log", "--json"))["actions"]
    assert action["verb"] == "resolve"


def test_open_says_that_nothing_is_open(run: Run) -> None:
    assert "Nothing is open" in run("open", code=1).stdout
