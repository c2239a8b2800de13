"""An account over the simulated cloud: its projects are found, polled, and written into a configuration."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from notifier.config.loading import load
from notifier.simulator import Options, Simulator

PROJECTS = Options(
    static=3, projects=("cn-north-4_payments", "cn-east-3", "cn-south-1"), disabled_projects=("cn-south-1",)
)
FOUND = {"acme-cn-east-3", "acme-cn-north-4", "acme-cn-north-4-payments"}


async def notifier(folder: Path, *args: str, env: Mapping[str, str] | None = None) -> tuple[int, str, str]:
    program = (sys.executable, "-c", "from notifier.cli import main; main()")
    process = await asyncio.create_subprocess_exec(
        *program,
        *args,
        cwd=folder,
        env={"COLUMNS": "200", "PATH": "/usr/bin:/bin", **(env or {})},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


def keys(simulator: Simulator, **changed: str) -> dict[str, str]:
    known = simulator.options
    return {"HUAWEICLOUD_SDK_AK": known.access_key, "HUAWEICLOUD_SDK_SK": known.secret_key} | changed


def write(folder: Path, simulator: Simulator, **settings: Any) -> None:
    account = {
        "name": "acme",
        "kind": "gaussdb_account",
        "endpoint": simulator.url,
        "iam_endpoint": simulator.url,
        "auth": {"kind": "default_chain"},
    }
    config = {"sources": [account | settings], "channels": [{"name": "dba", "kind": "console"}]}
    (folder / "notifier.yaml").write_text(json.dumps(config | {"routes": [{"name": "all", "channels": ["dba"]}]}))


@pytest.mark.parametrize("auth", ["default_chain", "token"])
async def test_projects_are_found_and_known_to_every_command(tmp_path: Path, auth: str) -> None:
    async with Simulator(PROJECTS) as simulator:
        known = simulator.options
        login: dict[str, Any] = {"domain": known.domain, "username": known.username, "password": known.password}
        write(tmp_path, simulator, **({"auth": {"kind": "token", **login}} if auth == "token" else {}))
        code, out, err = await notifier(tmp_path, "poll", "--json", env=keys(simulator))
        assert (code, json.loads(out)["polls"]) == (0, 3), err
        code, out, _ = await notifier(tmp_path, "check", "--online", "--json", env=keys(simulator))
        checked = json.loads(out)
        assert (code, checked["accounts"][0]["sources"]) == (0, sorted(FOUND))
        assert {
            "ok": True,
            "proven": True,
            "what": "source acme",
            "detail": "projects listed: 3, in cn-east-3, cn-north-4",
            "remedy": "",
        } in (checked["findings"])
    # Without IAM and GaussDB, from what is recorded.
    code, out, _ = await notifier(tmp_path, "health", "--json")
    assert {source["name"] for source in json.loads(out)["sources"]} == FOUND
    code, out, _ = await notifier(tmp_path, "tasks", "--source", "acme-cn-east-3", "--json")
    assert (code, len(json.loads(out)["tasks"])) == (0, 3)
    code, out, _ = await notifier(tmp_path, "route", "type=task.failed", "source=acme-cn-east-3")
    assert (code, "region=cn-east-3" in out) == (0, True)


async def test_what_cannot_be_listed_fails_a_poll_and_is_shown(tmp_path: Path) -> None:
    async with Simulator(PROJECTS) as simulator:
        write(tmp_path, simulator)
        code, out, _ = await notifier(tmp_path, "poll", "--json", env=keys(simulator, HUAWEICLOUD_SDK_SK="wrong"))
        assert (code, json.loads(out)["polls"], len(json.loads(out)["errors"])) == (1, 0, 1)
    code, out, _ = await notifier(tmp_path, "health", "--json")
    (finding,) = [one for one in json.loads(out)["findings"] if one["about"] == "acme"]
    assert (finding["kind"], finding["red"]) == ("source.not_polled", True)
    assert "credentials rejected" in finding["reason"]


class TestInit:
    async def init(
        self, folder: Path, simulator: Simulator, *args: str, env: Mapping[str, str] | None = None
    ) -> tuple[int, str, str]:
        places = ("--endpoint", simulator.url, "--iam-endpoint", simulator.url)
        return await notifier(folder, "init", "--discover", *places, *args, env=env or keys(simulator))

    async def test_it_writes_the_projects_that_are_in_use(self, tmp_path: Path) -> None:
        async with Simulator(PROJECTS) as simulator:
            code, out, err = await self.init(tmp_path, simulator)
            assert (code, err) == (0, "")
            assert "3 tasks in the last month" in out
            config = load(tmp_path / "notifier.yaml", keys(simulator))
            assert {name.removeprefix("acme-") for name in FOUND} == {*config.source_names}
            code, _, err = await notifier(tmp_path, "check", "--online", env=keys(simulator))
            assert (code, err) == (0, "")

    async def test_it_writes_the_account_with_the_regions_in_use(self, tmp_path: Path) -> None:
        async with Simulator(PROJECTS) as simulator:
            code, _, err = await self.init(tmp_path, simulator, "--account", "--name", "acme")
            assert (code, err) == (0, "")
            (account,) = load(tmp_path / "notifier.yaml", keys(simulator)).accounts
            assert (account.name, account.regions) == ("acme", ("cn-east-3", "cn-north-4"))
            code, out, _ = await notifier(tmp_path, "poll", "--json", env=keys(simulator))
            assert (code, json.loads(out)["polls"]) == (0, 3)

    @pytest.mark.parametrize(
        ("args", "env", "code", "said"),
        [
            ((), {"HUAWEICLOUD_SDK_SK": ""}, 2, "set HUAWEICLOUD_SDK_SK"),
            ((), {"HUAWEICLOUD_SDK_SK": "wrong"}, 1, "credentials rejected"),
            (("--iam-endpoint", "http://127.0.0.1:1"), {}, 3, "connection refused"),
            (("--region", "me-*"), {}, 1, "none of them is in me-*"),
            (("--project-id", "p"), {}, 2, "--project-id does not go with --discover"),
            (("--auth", "token"), {}, 2, "needs --iam-domain"),
            (("--region", "CN-*"), {}, 1, "none of them is in CN-*"),
        ],
    )
    async def test_what_goes_wrong_is_one_sentence_with_its_code(
        self, tmp_path: Path, args: tuple[str, ...], env: Mapping[str, str], code: int, said: str
    ) -> None:
        async with Simulator(PROJECTS) as simulator:
            found, _, err = await self.init(tmp_path, simulator, *args, env=keys(simulator, **env))
        assert (found, len(err.splitlines()), said in err) == (code, 1, True), err
        assert not (tmp_path / "notifier.yaml").exists()

    async def test_an_account_that_uses_no_gaussdb_is_said_to(self, tmp_path: Path) -> None:
        async with Simulator(Options(static=0)) as simulator:
            code, _, err = await self.init(tmp_path, simulator)
        assert (code, "none of the 1 projects had a GaussDB task" in err) == (1, True)

    @pytest.mark.parametrize("args", [("--account",), ("--iam-endpoint", "https://iam.example.com")])
    async def test_options_of_discovery_go_with_it(self, tmp_path: Path, args: tuple[str, ...]) -> None:
        code, _, err = await notifier(tmp_path, "init", *args)
        assert (code, f"{args[0]} goes with --discover" in err) == (2, True)
