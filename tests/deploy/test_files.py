"""The files of `deploy/` are well-formed, name what there is, and ask for what the sandbox needs."""

from __future__ import annotations

import ipaddress
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

import locum
from locum.settings import Settings
from tests.certificates import Certificate
from tests.serving import ServerProcess, clean_environment

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
PACKAGE = Path(locum.__file__).parent
FILES = sorted(path for path in DEPLOY.rglob("*") if path.is_file() and path.suffix != ".pyc")
SETTINGS = {f"LOCUM_{name.upper()}" for name in Settings.model_fields}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(DEPLOY)))
def test_variables_that_a_file_names_are_settings(path: Path) -> None:
    named = set(re.findall(r"\bLOCUM_[A-Z_]+", path.read_text()))
    assert named <= SETTINGS, named - SETTINGS


# ---- Dockerfile


def instructions(file: Path) -> list[tuple[str, str]]:
    """`(instruction, the rest)`, with comments gone and continued lines joined."""
    lines = "\n".join(line for line in file.read_text().splitlines() if not line.startswith("#"))
    joined = lines.replace("\\\n", " ")
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in joined.splitlines() if line)]


DOCKERFILE = instructions(DEPLOY / "Dockerfile")


def last(word: str) -> str:
    return [rest for each, rest in DOCKERFILE if each == word][-1]


def test_what_the_dockerfile_copies_is_here_and_not_ignored() -> None:
    shown = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    sources = [name for word, rest in DOCKERFILE if word == "COPY" for name in shlex.split(rest)[:-1]]
    assert sources
    for source in sources:
        assert (PACKAGE if source == PACKAGE.name else ROOT / source).exists(), source
        assert f"!{source}" in shown, source


def test_the_image_runs_as_an_ordinary_user_by_default() -> None:
    user = last("USER")
    assert any(word == "RUN" and rest.startswith("useradd --uid 1000") and user in rest for word, rest in DOCKERFILE)
    assert (last("ENTRYPOINT"), last("CMD")) == ('["locum"]', '["serve"]')


def test_base_image_is_an_argument_so_that_a_digest_can_name_it() -> None:
    (argument,) = (rest for word, rest in DOCKERFILE if word == "ARG")
    name, _, default = argument.partition("=")
    assert last("FROM") == f"${{{name}}}"
    (version,) = re.findall(r"^python:3\.(\d+)-slim$", default)
    assert int(version) >= 11


@pytest.mark.parametrize("tls", [False, True], ids=["http", "tls"])
def test_health_check_of_the_image_distinguishes_a_server_from_none(tls: bool, tmp_path: Path) -> None:
    settings = Certificate(tmp_path / "tls", address=None).env if tls else {}
    with ServerProcess(tmp_path / "data", env={"LOCUM_SANDBOX": "off", **settings}) as server:
        port = str(urlsplit(server.base_url).port)
        assert health_check(tmp_path, LOCUM_PORT=port, **settings) == 0
        assert health_check(tmp_path, LOCUM_PORT=port, **settings, http_proxy="http://127.0.0.1:1") == 0
        assert health_check(tmp_path, LOCUM_PORT="1", **settings) == 1
        toml = {"port": int(port), **{name.removeprefix("LOCUM_").lower(): value for name, value in settings.items()}}
        (tmp_path / "locum.toml").write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in toml.items()))
        assert health_check(tmp_path) == 0


def health_check(cwd: Path, **env: str) -> int:
    """Return the exit code of the image's health check with these settings."""
    program = json.loads(last("HEALTHCHECK").partition(" CMD ")[2])
    assert program[0] == "python"
    command = [sys.executable, *program[1:]]
    environment = clean_environment(LOCUM_HOST="0.0.0.0", **env)
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, timeout=30, check=False).returncode


# ---- Compose


def test_the_compose_file_builds_this_checkout_and_asks_for_a_key() -> None:
    service = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]["locum"]
    assert (DEPLOY / service["build"]["context"]).resolve() == ROOT
    assert (ROOT / service["build"]["dockerfile"]).is_file()
    assert service["environment"]["LOCUM_API_KEY"].startswith("${LOCUM_API_KEY:?")
    (profile,) = (option for option in service["security_opt"] if option.startswith("seccomp="))
    assert (DEPLOY / profile.removeprefix("seccomp=")).is_file()


# ---- Kubernetes


def manifests() -> dict[str, dict[str, Any]]:
    return {each["kind"]: each for each in yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text())}


def test_the_pod_is_selected_by_its_service_and_set() -> None:
    kinds = manifests()
    labels = kinds["StatefulSet"]["spec"]["template"]["metadata"]["labels"]
    assert kinds["Service"]["spec"]["selector"] == labels
    assert kinds["StatefulSet"]["spec"]["selector"]["matchLabels"] == labels
    assert kinds["StatefulSet"]["spec"]["serviceName"] == kinds["Service"]["metadata"]["name"]
    assert kinds["StatefulSet"]["spec"]["replicas"] == 1


def test_the_pods_mounts_and_ports_are_defined() -> None:
    spec = manifests()["StatefulSet"]["spec"]
    pod = spec["template"]["spec"]
    (locum,) = pod["containers"]
    volumes = {each["name"] for each in pod["volumes"]}
    volumes |= {each["metadata"]["name"] for each in spec["volumeClaimTemplates"]}
    assert {mount["name"] for mount in locum["volumeMounts"]} == volumes
    ports = {port["name"] for port in locum["ports"]}
    assert {port["targetPort"] for port in manifests()["Service"]["spec"]["ports"]} <= ports
    assert {locum[probe]["httpGet"]["path"] for probe in ("readinessProbe", "livenessProbe")} == {"/readyz", "/healthz"}


def test_storage_that_the_pod_takes_of_its_node_is_limited() -> None:
    pod = manifests()["StatefulSet"]["spec"]["template"]["spec"]
    for container in pod["containers"]:
        assert container["resources"]["limits"].keys() >= {"memory", "ephemeral-storage"}
        assert container["resources"]["requests"].keys() >= {"memory", "ephemeral-storage"}
    assert all("sizeLimit" in volume["emptyDir"] for volume in pod["volumes"] if "emptyDir" in volume)


def test_network_policy_covers_the_pod_in_both_directions() -> None:
    kinds = manifests()
    policy = kinds["NetworkPolicy"]["spec"]
    assert policy["podSelector"]["matchLabels"] == kinds["StatefulSet"]["spec"]["template"]["metadata"]["labels"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert [port["port"] for rule in policy["ingress"] for port in rule["ports"]] == ["http"]


@pytest.mark.parametrize(
    ("address", "is_allowed"),
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1::1", True),
        ("169.254.169.254", False),
        ("100.100.100.200", False),
        ("127.0.0.1", False),
        ("10.96.0.1", False),
        ("172.31.0.1", False),
        ("192.168.1.1", False),
        ("fd00:ec2::254", False),
        ("fe80::1", False),
        ("::1", False),
    ],
)
def test_pod_reaches_public_addresses_by_https_and_no_others(address: str, is_allowed: bool) -> None:
    target = ipaddress.ip_address(address)
    rules = manifests()["NetworkPolicy"]["spec"]["egress"]
    blocks = [(peer["ipBlock"], rule["ports"]) for rule in rules for peer in rule["to"] if "ipBlock" in peer]
    reached = [
        ports
        for block, ports in blocks
        if target in ipaddress.ip_network(block["cidr"])
        and not any(target in ipaddress.ip_network(cidr) for cidr in block.get("except", ()))
    ]
    assert reached == ([[{"port": 443}]] if is_allowed else [])


def test_the_pod_gives_up_what_it_needs_not_and_gets_the_profile() -> None:
    pod = manifests()["StatefulSet"]["spec"]["template"]["spec"]
    (locum,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "Localhost", "localhostProfile": "locum.json"}
    assert locum["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert locum["securityContext"]["allowPrivilegeEscalation"] is False
    # Kubernetes would set LOCUM_PORT=tcp://... for the service called locum.
    assert pod["enableServiceLinks"] is False


# ---- systemd


def test_the_unit_is_valid(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    unit = tmp_path / "locum.service"
    text = (DEPLOY / "locum.service").read_text()
    unit.write_text(text.replace("/opt/locum/bin/locum", str(Path(sys.executable).with_name("locum"))))
    done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_the_unit_leaves_alone_what_would_take_the_sandbox_away() -> None:
    unit = (DEPLOY / "locum.service").read_text()
    given = dict(re.findall(r"^([A-Za-z]+)=(.*)$", unit, re.MULTILINE))
    assert not given.keys() & {
        *("RestrictNamespaces", "ProtectHostname", "SystemCallFilter", "ProtectKernelTunables", "ProtectKernelLogs"),
        *("ProtectProc", "ProcSubset", "ProtectControlGroups", "PrivateUsers"),
    }
    assert ("Delegate" in given, given["NoNewPrivileges"], given["KillMode"]) == (False, "yes", "process")


# ---- AppArmor


def test_the_apparmor_profile_can_be_compiled() -> None:
    parser = shutil.which("apparmor_parser") or shutil.which("apparmor_parser", path="/usr/sbin:/sbin")
    features = Path("/etc/apparmor.d/abi/4.0")
    if parser is None or not features.exists():
        pytest.skip("apparmor_parser of version 4, which knows userns, is not installed")
    command = [parser, "--skip-kernel-load", "--skip-cache", "--kernel-features", features, DEPLOY / "apparmor/locum"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
