"""Bad input and the words it gets: one clear error that names place and remedy, an exit code, never a traceback.

Mistakes in a configuration have a table of their own beside the configuration's tests.
"""

from __future__ import annotations

import asyncio
import json
import re
import shutil
from collections.abc import Mapping
from contextlib import chdir
from pathlib import Path
from typing import Any

import pytest
from fakes import FakeClock
from servers.http import Answer, HttpServer, cut_short, flood, gzip_bomb, raw, reply, reset
from typer.testing import CliRunner, Result

from notifier.cli.root import app as program

SECRETS = ("obviously-fake-key", "s3cret")
"""In what is configured and in what servers answer; never in what is shown."""
PROJECT = "0611f1bd8b00d5d32f17c017f15b599f"
KEYS = {"kind": "aksk", "access_key": "AKAKAK", "secret_key": SECRETS[0]}
NOWHERE = "http://127.0.0.1:1"


def document(endpoint: str = NOWHERE, **more: Any) -> dict[str, Any]:
    place = {"region": "cn-north-4", "endpoint": endpoint, "project_id": PROJECT}
    return {
        "sources": [{"name": "prod", "kind": "gaussdb", **place, "auth": KEYS}],
        "channels": [{"name": "terminal", "kind": "console"}],
        "routes": [{"name": "everything", "channels": ["terminal"]}],
        **more,
    }


def write(folder: Path, content: Mapping[str, Any]) -> None:
    (folder / "notifier.yaml").write_text(json.dumps(content), encoding="utf-8")


def notifier(folder: Path, *args: str, env: Mapping[str, str] | None = None) -> Result:
    """Run a command in a folder; what it shows holds neither a traceback nor a secret."""
    with chdir(folder):
        done = CliRunner().invoke(program, args, env={"COLUMNS": "100", **(env or {})})
    assert done.exception is None or isinstance(done.exception, SystemExit)
    assert not any(text in done.output for text in ("Traceback", "defect", *SECRETS))
    return done


# ---- what the API answers ----


def error(status: int, headers: Mapping[str, str] | None = None, **body: Any) -> Answer:
    return reply(status, json.dumps(body).encode(), headers)


NOT_JSON = "the answer is not JSON, or was cut short. Check endpoint if this lasts."
FAILING_INSIDE = (
    "the service is failing (HTTP 200; DBS.200022; No such instance.)."
    " It is tried again; if this lasts, see the cloud's status."
)
NOT_TASKS = "the answer has neither tasks nor total_count. Check endpoint if this lasts."
GATEWAY = "Incorrect IAM authentication information: "
REFUSED_KEYS = f"credentials rejected (HTTP 401; APIGW.0301; {GATEWAY}"
ECHO = (
    f"{GATEWAY}verify aksk signature fail, canonicalRequest:GET|/v3/p/tasks/||"
    "host:h|x-security-token:s3cret|authorization:SDK-HMAC-SHA256 Access=AKAKAK, Signature=s3cret"
)

REPLIES: dict[str, tuple[Answer, int, str]] = {
    # A good status, and no task list.
    "a login page": (
        reply(200, b"<html><title>Sign in</title></html>"),
        3,
        "the answer is a web page, not JSON: a proxy or a login page may be in between. Check endpoint if this lasts.",
    ),
    "JSON that ends in the middle": (reply(200, b'{"tasks": [{"job_id": "a", "na'), 3, NOT_JSON),
    "no body": (reply(200, b""), 3, NOT_JSON),
    "bytes": (reply(200, bytes(range(256))), 3, NOT_JSON),
    "brackets without end": (reply(200, b'{"tasks":' + b"[" * 100_000), 3, NOT_JSON),
    "compression nobody asked for": (gzip_bomb(1), 3, NOT_JSON),
    "null": (reply(200, b"null"), 3, NOT_TASKS),
    "a list": (reply(200, b"[]"), 3, NOT_TASKS),
    "another list": (reply(200, b'{"jobs": []}'), 3, NOT_TASKS),
    "an error with a good status": (
        error(200, error_code="DBS.200022", error_msg="No such instance."),
        3,
        FAILING_INSIDE,
    ),
    "tasks as an object": (
        reply(200, b'{"tasks": {"a": 1}, "total_count": 1}'),
        3,
        "tasks is not a list. Check endpoint if this lasts.",
    ),
    "a status without content": (
        reply(204, b""),
        1,
        "the request is refused (HTTP 204). Check project_id, region and endpoint.",
    ),
    # Credentials.
    "a wrong secret key, and an echo of what was signed": (
        error(401, error_code="APIGW.0301", error_msg=ECHO, request_id="r-1"),
        1,
        REFUSED_KEYS + "verify aksk signature fail, …; request r-1). "
        "Check auth.secret_key, and that the clock of this machine is right.",
    ),
    "an unknown access key": (
        error(401, error_code="APIGW.0301", error_msg=GATEWAY + "ak AKAKAK not exist", request_id="r-1"),
        1,
        REFUSED_KEYS + "ak AKAKAK not exist; request r-1). "
        "The access key is unknown: check auth.access_key and region.",
    ),
    "a locked access key": (
        error(401, error_code="APIGW.0301", error_msg=GATEWAY + "AK access failed to reach the limit,forbidden"),
        1,
        REFUSED_KEYS + "AK access failed to reach the limit,forbidden). "
        "The access key is locked for 5 minutes after repeated failures: correct auth.secret_key meanwhile.",
    ),
    "a refusal in the shape of IAM": (
        error(401, error={"code": 401, "message": "The request requires authentication.", "title": "Unauthorized"}),
        1,
        "credentials rejected (HTTP 401; The request requires authentication.). Check the credentials under auth.",
    ),
    "a token of another region": (
        error(403, error_code="DBS.280056", error_msg="Invalid token."),
        1,
        (
            "credentials rejected (HTTP 403; DBS.280056; Invalid token.). "
            "The token is expired or of another region: check auth, region and auth.iam_endpoint."
        ),
    ),
    # Rights.
    "a user without rights": (
        error(403, error_code="APIGW.0302", error_msg="The user is not authorized", request_id="r-1"),
        1,
        (
            "not allowed to list tasks (HTTP 403; APIGW.0302; The user is not authorized; request r-1). "
            "Grant the user GaussDB ReadOnlyAccess (action gaussdb:instance:list) in the project, and check project_id."
        ),
    ),
    "a policy that refuses": (
        error(403, error_code="IAM.0002", error_msg="Access denied", encoded_authorization_message="s3cret" * 20),
        1,
        (
            "not allowed to list tasks (HTTP 403; IAM.0002; Access denied). "
            "Grant the user GaussDB ReadOnlyAccess (action gaussdb:instance:list) in the project, and check project_id."
        ),
    ),
    "an address that is not allowed": (
        error(403, error_code="APIG.0401", error_msg="IP blocked"),
        1,
        (
            "not allowed to list tasks (HTTP 403; APIG.0401; IP blocked). "
            "The address of this machine is not allowed: ask the administrator of the cloud account."
        ),
    ),
    # The request.
    "a project of another region": (
        error(400, error_code="DBS.280408", error_msg="Invalid project ID."),
        1,
        (
            "the request is refused (HTTP 400; DBS.280408; Invalid project ID.). "
            "Check project_id: it must be a project of this region."
        ),
    ),
    "a parameter error in the newer shape": (
        error(400, errCode="DBS.280001", errMsg="Parameter error."),
        1,
        "the request is refused (HTTP 400; DBS.280001; Parameter error.). Check project_id, region and endpoint.",
    ),
    "a host without this API": (
        error(404, error_code="APIGW.0101", error_msg="The API does not exist", request_id="r-1"),
        1,
        (
            "the request is refused (HTTP 404; APIGW.0101; The API does not exist; request r-1). "
            "There is no task list at this address: check region, endpoint and project_id."
        ),
    ),
    "a web server": (
        reply(404, b"<html><h1>404 Not Found</h1></html>"),
        1,
        (
            "the request is refused (HTTP 404; a web page instead of an answer). "
            "There is no task list at this address: check region, endpoint and project_id."
        ),
    ),
    "a redirect": (
        reply(302, b"", {"Location": "https://login.example.com/?ticket=s3cret"}),
        1,
        "the request is refused (HTTP 302). Redirects are never followed: check endpoint.",
    ),
    # Throttling: a long wait is left to the next poll.
    "throttling by the gateway": (
        error(429, error_code="APIGW.0308", error_msg="policy user over ratelimit,limit:200,time:5 minute"),
        3,
        (
            "throttled (HTTP 429; APIGW.0308; policy user over ratelimit,limit:200,time:5 minute). "
            "Poll less often, or share the quota with fewer programs."
        ),
    ),
    "throttling with Retry-After": (
        reply(429, b"", {"Retry-After": "90"}),
        3,
        "throttled (HTTP 429). Poll less often, or share the quota with fewer programs.",
    ),
    "throttling that does not say how long": (
        reply(429, b"slow down", {"Retry-After": "soon"}),
        3,
        "throttled (HTTP 429; slow down). Poll less often, or share the quota with fewer programs.",
    ),
    # Trouble on their side.
    "a failure of GaussDB": (
        error(500, error_code="DBS.200005", error_msg="Server failure."),
        3,
        (
            "the service is failing (HTTP 500; DBS.200005; Server failure.). "
            "It is tried again; if this lasts, see the cloud's status."
        ),
    ),
    "a failure of the load balancer": (
        reply(502, b"<html><h1>502 Bad Gateway</h1></html>"),
        3,
        (
            "the service is failing (HTTP 502; a web page instead of an answer). "
            "It is tried again; if this lasts, see the cloud's status."
        ),
    ),
    "a failure of IAM": (
        error(503, error_code="APIGW.0613", error_msg="IAM unavailable"),
        3,
        (
            "the service is failing (HTTP 503; APIGW.0613; IAM unavailable). "
            "It is tried again; if this lasts, see the cloud's status."
        ),
    ),
    "a timeout of the backend": (
        reply(504, b""),
        3,
        "the service is failing (HTTP 504). It is tried again; if this lasts, see the cloud's status.",
    ),
    # No HTTP to speak of. PLACE is where the server listens.
    "a body without end": (
        flood(),
        3,
        "reply of PLACE is longer than 20000000 bytes. Check endpoint: that is no page of a task list.",
    ),
    "a connection that breaks": (
        cut_short(),
        3,
        "connection to PLACE lost. Check endpoint, the network and the proxy.",
    ),
    "a connection that is reset": (
        reset(),
        3,
        (
            "connection to PLACE lost; if that port speaks TLS, write https:// instead of http://."
            " Check endpoint, the network and the proxy."
        ),
    ),
    "another protocol": (
        raw(b"SSH-2.0-OpenSSH_9\r\n\r\n"),
        3,
        "PLACE does not answer in HTTP. Check endpoint, the network and the proxy.",
    ),
}


@pytest.fixture
def _database(tmp_path: Path, sqlite_template: Path) -> None:
    """Put an empty database beside the configuration: without one a poll warns, and a look-up has nothing to read."""
    shutil.copyfile(sqlite_template, tmp_path / "notifier.db")


@pytest.fixture
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the waits between two tries pass at once."""
    monkeypatch.setattr("notifier.wiring.app.SystemClock", FakeClock)


@pytest.mark.parametrize(("answer", "code", "said"), REPLIES.values(), ids=REPLIES)
@pytest.mark.usefixtures("records", "_no_waiting", "_database")
async def test_a_reply_that_is_no_task_list_is_reported_in_one_sentence(
    tmp_path: Path, answer: Answer, code: int, said: str
) -> None:
    async with HttpServer(answer) as server:
        write(tmp_path, document(server.url("")))
        done = await asyncio.to_thread(notifier, tmp_path, "poll", "--json")
        place = f"127.0.0.1:{server.port}"
    expected = f"source prod: {said.replace('PLACE', place)}"
    counted = {"polls": 1, "events": 0, "deliveries": 0, "failures": 1, "errors": [expected]}
    assert json.loads(done.stdout) == counted | {"waiting": {"pending": 0, "parked": 0, "dead": 0}}
    (record,) = map(json.loads, done.stderr.splitlines())
    assert (record["event"], record["source"], record["error"]) == ("poll.failed", "prod", expected)
    assert done.exit_code == code
    assert len(server.requests) == 1 or code == 3


@pytest.mark.usefixtures("records", "_no_waiting", "_database")
async def test_what_the_first_poll_could_not_read_is_not_half_recorded(tmp_path: Path) -> None:
    page = json.dumps({"tasks": [{"job_id": f"job-{n}", "status": "Running"} for n in range(100)], "total_count": 150})
    async with HttpServer(reply(200, page.encode()), error(400, error_code="DBS.280001", error_msg="no")) as server:
        write(tmp_path, document(server.url("")))
        done = await asyncio.to_thread(notifier, tmp_path, "poll", "--json")
        assert done.exit_code == 1
        found = await asyncio.to_thread(notifier, tmp_path, "tasks", "--json")
    assert json.loads(found.stdout)["tasks"] == []


@pytest.mark.parametrize("total", ['"many"', "null", "-1", "9" * 5000, "1e999", "true", '{"a": 1}'])
@pytest.mark.usefixtures("records", "_no_waiting", "_database")
async def test_a_list_that_cannot_be_proven_whole_is_a_warning(tmp_path: Path, total: str) -> None:
    body = f'{{"tasks": [{{"job_id": "a", "status": "Running"}}], "total_count": {total}}}'
    async with HttpServer(reply(200, body.encode())) as server:
        write(tmp_path, document(server.url("")))
        done = await asyncio.to_thread(notifier, tmp_path, "poll", "--json")
    assert done.exit_code == 0
    (record,) = map(json.loads, done.stderr.splitlines())
    assert (record["level"], record["source"], record["complete"]) == ("warning", "prod", False)
    assert record["event"] == "poll.incomplete"


TOKENS: dict[str, tuple[Answer, int, str]] = {
    "no token": (reply(201, b"{}"), 3, "the answer carries no token. Check auth.iam_endpoint."),
    "a web page": (reply(200, b"<html>"), 3, "the answer carries no token. Check auth.iam_endpoint."),
    "a wrong password": (
        error(401, error={"code": 401, "message": "The username or password is wrong.", "title": "Unauthorized"}),
        1,
        (
            "credentials rejected (HTTP 401; The username or password is wrong.). "
            "Check auth.domain, auth.username and auth.password; the user needs programmatic access."
        ),
    ),
    "too many logins": (
        error(429, {"Retry-After": "60"}, error_code="IAM.0012", error_msg="Too many requests"),
        3,
        "throttled (HTTP 429; IAM.0012; Too many requests). Poll less often, or share the quota with fewer programs.",
    ),
}


@pytest.mark.parametrize(("answer", "code", "said"), TOKENS.values(), ids=TOKENS)
@pytest.mark.usefixtures("records", "_no_waiting", "_database")
async def test_an_iam_answer_without_a_token_is_one_sentence(
    tmp_path: Path, answer: Answer, code: int, said: str
) -> None:
    async with HttpServer(answer) as server:
        content = document(server.url(""))
        place = {"iam_endpoint": server.url(""), "domain": "example"}
        content["sources"][0]["auth"] = {"kind": "token", "username": "u", "password": SECRETS[0], **place}
        write(tmp_path, content)
        done = await asyncio.to_thread(notifier, tmp_path, "poll", "--json")
    assert json.loads(done.stdout)["errors"] == [f"source prod: IAM {server.url('')}: {said}"]
    assert done.exit_code == code


# ---- the environment ----

DATABASES: dict[str, tuple[str, int, str]] = {
    "another kind": (
        "mysql://user:s3cret@h/d",
        2,
        "error: notifier.yaml:1:19: store.url: must be sqlite:///FILE or postgresql://USER:PASSWORD@HOST/DATABASE.",
    ),
    "no file": (
        "sqlite://",
        2,
        "error: notifier.yaml:1:19: store.url: must name a file, for example sqlite:///notifier.db",
    ),
    "no folder": (
        "sqlite:////no/such/folder/n.db",
        3,
        "error: the folder of the database does not exist: /no/such/folder; create it or correct store.url",
    ),
    "a folder": (
        "sqlite:///.",
        2,
        "error: notifier.yaml:1:19: store.url: ",
    ),
    "nobody listens": (
        "postgresql://user:s3cret@127.0.0.1:1/db",
        3,
        (
            "error: PostgreSQL at 127.0.0.1/db does not answer: connection failed: "
            'connection to server at "127.0.0.1", port 1 failed: Connection refused'
        ),
    ),
    "no such host": (
        "postgresql://user:s3cret@db.invalid/db",
        3,
        "error: PostgreSQL at db.invalid/db does not answer: failed to resolve host 'db.invalid':",
    ),
    "no such socket": (
        "postgresql://user:s3cret@/db?host=/no/such",
        3,
        (
            "error: PostgreSQL at /no/such/db does not answer: connection is bad: "
            'connection to server on socket "/no/such/.s.PGSQL.5432" failed: No such file or directory'
        ),
    ),
}


@pytest.mark.parametrize(("url", "code", "said"), DATABASES.values(), ids=DATABASES)
@pytest.mark.parametrize("command", ["poll", "tasks"])
@pytest.mark.usefixtures("records")
def test_a_database_that_cannot_be_used_is_reported_in_one_sentence(
    tmp_path: Path, command: str, url: str, code: int, said: str
) -> None:
    write(tmp_path, {"store": {"url": "${DATABASE}"}, **document()})
    done = notifier(tmp_path, command, env={"DATABASE": url})
    assert done.exit_code == code
    assert done.stdout == ""
    assert done.stderr.startswith(said)
    assert done.stderr.count("\n") == 1


FILES: dict[str, tuple[str, bytes | None, str]] = {
    "a file that is not there": (
        "gone.yaml",
        None,
        "cannot read gone.yaml: No such file or directory.",
    ),
    "a folder": (".", None, ". is a directory. Name the file in it."),
    "a file that is not text": (
        "n.yaml",
        b"sources:\n  \xff\xfe",
        "n.yaml:2: is not UTF-8 text. Save the file as UTF-8.",
    ),
    "a file that is far too large": (
        "n.yaml",
        b"#" * 16_777_217,
        (
            "n.yaml is larger than 16,777,216 bytes; that cannot be a configuration. "
            "Split the sources over several services where it is one."
        ),
    ),
    "an empty file": ("n.yaml", b"", "n.yaml:1:1: the file is empty. Write one with: notifier init"),
}


@pytest.mark.parametrize(("name", "content", "said"), FILES.values(), ids=FILES)
def test_an_unreadable_configuration_from_the_environment_is_named(
    tmp_path: Path, name: str, content: bytes | None, said: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    done = notifier(tmp_path, "tasks", env={"NOTIFIER_CONFIG": name})
    assert (done.exit_code, done.stdout, done.stderr) == (2, "", f"error: {said}\n")


def test_an_unset_variable_is_named_and_nothing_begins(tmp_path: Path) -> None:
    write(tmp_path, {"store": {"url": "sqlite:///${FOLDER}/n.db"}, **document()})
    done = notifier(tmp_path, "poll")
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr == (
        "error: notifier.yaml:1:19: store.url: environment variable FOLDER is not set. "
        "Set it, or give a default: ${FOLDER:-default}.\n"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["notifier.yaml"]


# ---- the command line ----

MISUSE: dict[str, tuple[int, str]] = {
    "taks": (2, "No such command 'taks'. Did you mean 'tasks', 'task', 'stats'?"),
    "tasks --bogus": (2, "No such option: --bogus"),
    "tasks more": (2, "Got unexpected extra argument(s) (more)"),
    "tasks --status broken": (
        2,
        "'broken' is not one of 'running', 'completed', 'failed', 'unknown', 'raised', 'cleared'.",
    ),
    "tasks --limit 0": (2, "Invalid value for '--limit'"),
    "tasks --since yesterday": (
        2,
        (
            "Invalid value for '--since': 'yesterday' is not a duration; "
            "write a number and a unit, for example 30s, 5m, 2h or 7d"
        ),
    ),
    "tasks --since -5m": (2, "'-5m' is not a duration; write a number and a unit, for example 30s, 5m, 2h or 7d"),
    "task": (2, "Missing argument 'JOB_ID'."),
    "task nosuch": (1, "error: no task has a job id that begins with 'nosuch'; `notifier tasks` lists them"),
    "explain nosuch": (1, "error: no task has a job id that begins with 'nosuch'; `notifier tasks` lists them"),
    "events --type task.fialed": (2, "'task.fialed' is not one of 'task.started',"),
    "deliveries --state lost": (2, "'lost' is not one of 'pending', 'delivered', 'parked',"),
    "retry": (2, "give delivery ids, or --all-dead, or --channel NAME"),
    "retry abc --all-dead": (2, "give delivery ids, or --all-dead, or --channel NAME"),
    "retry abc": (1, "error: no delivery has an id that begins with 'abc'; `notifier deliveries` lists them"),
    "retry --channel nowhere": (2, "error: there is no channel 'nowhere'; configured: terminal"),
    "route": (2, "give the event's fields, for example type=task.failed, or --task JOB_ID"),
    "route type": (
        2,
        "error: 'type' is not a matcher; write field=value, field!=value,",
    ),
    "route tpye=task.failed": (2, "error: unknown field 'tpye', did you mean 'type'?"),
    "route type=task.fialed": (2, "error: type is never 'task.fialed'. Did you mean task.failed?"),
    "preview": (2, "Missing argument 'CHANNEL'."),
    "preview nowhere": (2, "error: there is no channel 'nowhere'; configured: terminal"),
    "preview terminal --event task.exploded": (2, "'task.exploded' is not one of 'task.started',"),
    "test-send nowhere": (2, "error: there is no channel 'nowhere'; configured: terminal"),
    "db downgrade": (2, "No such command 'downgrade'. Did you mean 'upgrade'?"),
    "simulate --port 99999": (2, "error: simulator: port is 99999; it must be from 0 to 65535"),
    "simulate --speed 0": (2, "error: simulator: speed is 0; it must be more than 0, for example 60"),
    "simulate --faults 429:2": (2, "error: faults: the shares in '429:2' add up to 2; they may reach 1 at most"),
    "demo --seconds 0": (2, "Invalid value for '--seconds'"),
    "poll --deliver=maybe": (2, "Option '--deliver' does not take a value."),
    "-c": (2, "Option '-c' requires an argument."),
    "init --region cn-north-4": (
        2,
        "error: notifier.yaml exists; --force replaces it, --output writes to another file",
    ),
}


@pytest.mark.usefixtures("_database")
@pytest.mark.parametrize(("line", "code", "said"), [(line, *told) for line, told in MISUSE.items()], ids=MISUSE)
def test_an_impossible_command_is_reported_in_one_sentence(tmp_path: Path, line: str, code: int, said: str) -> None:
    write(tmp_path, document())
    before = (tmp_path / "notifier.yaml").read_bytes()
    done = notifier(tmp_path, *line.split())
    assert (done.exit_code, done.stdout) == (code, "")
    assert said in " ".join(re.sub(r"[│╭╮╰╯─]", " ", done.stderr).split())
    assert (tmp_path / "notifier.yaml").read_bytes() == before
