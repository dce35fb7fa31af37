"""The recipes for Kubernetes: manifests against its schemas; their probes, secrets and signals with real processes."""

from __future__ import annotations

import importlib.metadata
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from pages import place
from serving import free_port, program
from sidecar.sidecar import Sidecar
from threads import eventually

import oidc_actor
from oidc_actor.testing import Provider

HERE = Path(__file__).parent
MANIFESTS = ["kubernetes.yaml", "kubernetes_sidecar.yaml"]
DOCKERFILE = Path(oidc_actor.__file__).parent / "sidecar" / "Dockerfile"
STOP_S = 5
"""Seconds that the program gives its supervisor, or the sidecar its managers, at most."""


def read(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((HERE / name).read_text()))


def pod(name: str) -> dict[str, Any]:
    (found,) = [one["spec"]["template"]["spec"] for one in read(name) if one["kind"] == "Deployment"]
    return found


class Mounted:
    """A secret as the kubelet mounts it: a link to a folder, which is replaced at once for all files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._generation = 0
        folder.mkdir()
        (folder / "client-secret").symlink_to("..data/client-secret")

    def put(self, secret: str) -> Path:
        self._generation += 1
        version = self._folder / f"..version{self._generation}"
        version.mkdir()
        (version / "client-secret").write_text(secret)
        (self._folder / "..next").symlink_to(version.name)
        (self._folder / "..next").rename(self._folder / "..data")
        return self._folder / "client-secret"


@pytest.fixture
def mounted(tmp_path: Path) -> Mounted:
    return Mounted(tmp_path / "oidc")


# --- what the manifests say ---


@pytest.mark.parametrize("version", ["1.30", kubernetes_validate.latest_version()])
@pytest.mark.parametrize("name", MANIFESTS)
def test_each_manifest_is_what_its_schema_asks_for(name: str, version: str) -> None:
    for resource in read(name):
        kubernetes_validate.validate(resource, version, strict=True)


def test_a_misspelled_field_would_have_been_found() -> None:
    resource = read("kubernetes.yaml")[0]
    resource["spec"]["template"]["spec"]["terminationGracePeriod"] = 30
    with pytest.raises(kubernetes_validate.ValidationError, match="terminationGracePeriod"):
        kubernetes_validate.validate(resource, "1.33", strict=True)


@pytest.mark.parametrize("name", MANIFESTS)
def test_no_container_may_more_than_it_needs(name: str) -> None:
    spec = pod(name)
    assert spec["securityContext"]["runAsNonRoot"]
    for container in [*spec.get("initContainers", []), *spec["containers"]]:
        assert container["securityContext"]["readOnlyRootFilesystem"]
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert not [mount for mount in container["volumeMounts"] if "subPath" in mount]


def test_only_the_sidecar_sees_the_secret() -> None:
    (program,) = pod("kubernetes_sidecar.yaml")["containers"]
    assert [mount["name"] for mount in program["volumeMounts"]] == ["tokens"]


def test_the_pod_is_given_the_time_that_it_takes_to_end() -> None:
    spec = pod("kubernetes.yaml")
    pre_stop_s = spec["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert spec["terminationGracePeriodSeconds"] > pre_stop_s + STOP_S
    drain_s = tomllib.loads(configuration())["server"]["drain_seconds"]
    assert pod("kubernetes_sidecar.yaml")["terminationGracePeriodSeconds"] > drain_s + STOP_S


# --- the program ---


def probe_path(kind: str) -> str:
    (container,) = pod("kubernetes.yaml")["containers"]
    probe = container[f"{kind}Probe"]["httpGet"]
    assert probe["port"] in [port["name"] for port in container["ports"]]
    return str(probe["path"])


@pytest.mark.oidc_provider(token_lifetime_s=600)
def test_the_program_is_probed_gets_a_rotated_secret_and_ends(
    oidc_provider: Provider, mounted: Mounted, tmp_path: Path
) -> None:
    port = free_port()
    (container,) = pod("kubernetes.yaml")["containers"]
    environment = {one["name"]: one["value"] for one in container["env"]} | {
        "OIDC_ISSUER_URL": oidc_provider.issuer_url,
        "OIDC_CLIENT_ID": oidc_provider.client_id,
        "OIDC_CLIENT_SECRET_FILE": str(mounted.put("the old one")),
        "API_URL": oidc_provider.resource_url,
        "PORT": str(port),
    }
    assert container["command"][0] == "python"
    with program(container["command"][1:], tmp_path / "log", environment, port) as running:
        running.wait_for(probe_path("startup"))
        oidc_provider.wait_for_requests(1, timeout_s=10)
        assert running.get(probe_path("readiness")).status_code == 503, "the provider does not take the old secret"
        assert running.get(probe_path("liveness")).status_code == 200, "and a new process would not help"
        assert running.get("/").status_code == 503

        mounted.put(oidc_provider.client_secret)
        running.wait_for(probe_path("readiness"))
        assert running.get("/").status_code == 200

        oidc_provider.fail_next(None, endpoint="token")
        assert running.get(probe_path("readiness")).status_code == 200, "an outage shorter than the token's life"

        oidc_provider.answer_next(delay_s=0.5, endpoint="resource")
        with subprocess.Popen(
            [sys.executable, "-c", f"import requests; print(requests.get('{running.url}/', timeout=10).status_code)"],
            stdout=subprocess.PIPE,
            text=True,
        ) as client:
            assert oidc_provider.wait_for_requests(2, timeout_s=10, endpoint="resource")
            assert running.terminate() == 0
            assert client.communicate(timeout=10)[0] == "200\n", "the request under way has been answered"
        assert oidc_provider.client_secret not in running.log


def test_the_program_ends_as_the_first_process_of_its_container(tmp_path: Path) -> None:
    """A signal's default action does not reach PID 1, so the program must take SIGTERM itself."""
    unshare = ["unshare", "--fork", "--pid", "--kill-child"]
    if subprocess.run([*unshare, "true"], capture_output=True, timeout=10, check=False).returncode:
        pytest.skip("no namespace for processes can be made here")
    port = free_port()
    environment = {
        "OIDC_ISSUER_URL": "http://127.0.0.1:9",
        "OIDC_CLIENT_ID": "billing",
        "OIDC_CLIENT_SECRET_FILE": "/nowhere",
        "PORT": str(port),
    }
    script = f"exec {shlex.join([*unshare, sys.executable])} kubernetes_app.py"
    with program(
        ["-c", f"import os; os.execvp('sh', ['sh', '-c', {script!r}])"], tmp_path / "log", environment, port
    ) as one:
        one.wait_for("/livez")
        children = Path(f"/proc/{one.process.pid}/task/{one.process.pid}/children").read_text().split()
        subprocess.run(["kill", "-TERM", *children], check=True, timeout=10)
        assert one.process.wait(10) == 0


# --- the sidecar ---


def configuration() -> str:
    (found,) = [one["data"]["config.toml"] for one in read("kubernetes_sidecar.yaml") if one["kind"] == "ConfigMap"]
    return str(found)


def container_of_the_sidecar() -> dict[str, Any]:
    (container,) = pod("kubernetes_sidecar.yaml")["initContainers"]
    assert container["restartPolicy"] == "Always"
    return dict(container)


def probed(kind: str, unix_socket: Path, path: str = "/healthz") -> int:
    """The exit status of a probe of the manifest, asked in this machine's paths."""
    probe = container_of_the_sidecar()[f"{kind}Probe"]
    python, *arguments = [
        word.replace("/run/oidc-actor/tokens.sock", str(unix_socket)).replace("/healthz", path)
        for word in probe["exec"]["command"]
    ]
    assert python == "/opt/oidc-actor/bin/python"
    done = subprocess.run(
        [sys.executable, *arguments], capture_output=True, timeout=10 * probe["timeoutSeconds"], check=False
    )
    return done.returncode


def test_the_sidecar_is_probed_gets_a_rotated_secret_and_ends(mounted: Mounted, tmp_path: Path) -> None:
    with Provider(client_id="billing", token_lifetime_s=600) as provider:
        text = configuration()
        for there, here in {
            "/run/oidc-actor/tokens.sock": tmp_path / "tokens.sock",
            "/var/run/secrets/oidc/client-secret": mounted.put("the old one"),
            "https://auth.example.com": provider.issuer_url,
        }.items():
            assert there in text
            text = text.replace(there, str(here))
        (tmp_path / "config.toml").write_text(text)
        assert container_of_the_sidecar()["args"] == ["/etc/oidc-actor/config.toml"]
        with Sidecar(tmp_path) as sidecar:
            assert probed("startup", sidecar.socket) == 0
            assert probed("liveness", sidecar.socket, "/readyz") == 1, "the provider does not take the old secret"
            mounted.put(provider.client_secret)
            eventually(lambda: sidecar.get("/readyz").status == 200)
            assert probed("liveness", sidecar.socket) == 0
            assert sidecar.get("/token/billing").token
            assert sidecar.terminate() == 0
        assert provider.client_secret not in sidecar.log


def test_a_probe_fails_where_no_sidecar_is(tmp_path: Path) -> None:
    assert probed("liveness", tmp_path / "tokens.sock") != 0


# --- its image ---


def test_the_image_installs_what_there_is() -> None:
    text = DOCKERFILE.read_text()
    (extras,) = re.findall(r'"/src\[(.+)\]"', text)
    assert set(extras.split(",")) <= set(importlib.metadata.metadata("oidc-actor").get_all("Provides-Extra") or ())
    copied = [
        name for line in re.findall(r"^COPY ([^-].*) /src\S*$", text, flags=re.MULTILINE) for name in line.split()
    ]
    assert [name for name in copied if place(name).exists()] == copied
    project = tomllib.loads(place("pyproject.toml").read_text())
    hatch = project["tool"]["hatch"]
    needed = {*hatch["build"]["targets"]["wheel"]["packages"], *project["project"]["license-files"], "README.md"}
    needed.add(hatch["metadata"]["hooks"]["custom"]["path"].partition("/")[0])
    assert needed | {"pyproject.toml"} == set(copied)


def test_the_image_runs_as_a_user_without_rights_and_its_first_process_is_the_sidecar() -> None:
    text = DOCKERFILE.read_text()
    (user,) = re.findall(r"^USER (.+)$", text, flags=re.MULTILINE)
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user), "a number, which runAsNonRoot can judge"
    last = text.rpartition("FROM ")[2]
    (entry,) = re.findall(r"^ENTRYPOINT (.+)$", last, flags=re.MULTILINE)
    (command,) = re.findall(r"^CMD (.+)$", last, flags=re.MULTILINE)
    assert yaml.safe_load(entry) == ["/opt/oidc-actor/bin/oidc-actor", "run"], "no shell: it gets the signals itself"
    assert yaml.safe_load(command) == container_of_the_sidecar()["args"]
