"""The recipes for systemd: its own tool reads the units, where it is installed; real processes are told to reload and to stop."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from serving import program
from sidecar.sidecar import Sidecar

import oidc_actor
from oidc_actor.testing import Provider

HERE = Path(__file__).parent
DEADLINE_S = 30.0
PROGRAM = HERE / "systemd_program.service"
SIDECAR = Path(oidc_actor.__file__).parent / "sidecar" / "oidc-actor.service"
UNITS = [SIDECAR, PROGRAM]
EXPOSURE = {SIDECAR: 15, PROGRAM: 70}
"""What `systemd-analyze security` may say at most, in tenths: 0 is shut off from everything, 100 from nothing."""

needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")


def settings(unit: Path) -> dict[str, str]:
    """Those of a unit that are given once."""
    lines = [line.split("=", 1) for line in unit.read_text().splitlines() if "=" in line and not line.startswith("#")]
    return dict(lines)


def reload_command(unit: Path, pid: int) -> list[str]:
    return settings(unit)["ExecReload"].replace("$MAINPID", str(pid)).split()


# --- the units ---


@needs_systemd
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_has_nothing_to_say_against_the_unit(unit: Path, tmp_path: Path) -> None:
    (tmp_path / unit.name).write_text(unit.read_text().replace(settings(unit)["ExecStart"], sys.executable))
    command = ["systemd-analyze", "verify", "--man=no", unit.name]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@needs_systemd
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_the_unit_may_little(unit: Path) -> None:
    command = ["systemd-analyze", "security", "--offline=yes", f"--threshold={EXPOSURE[unit]}", str(unit)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    if "--offline" in done.stderr:
        pytest.skip("this systemd is too old to judge a file")
    assert done.returncode == 0, done.stdout


def test_the_sidecars_unit_and_its_configuration_name_the_same_places() -> None:
    unit, configuration = settings(SIDECAR), (HERE / "systemd.toml").read_text()
    credential = unit["LoadCredential"].partition(":")[0]
    assert f'"/run/credentials/{SIDECAR.name}/{credential}"' in configuration
    assert f'"/run/{unit["RuntimeDirectory"]}/' in configuration
    assert float(unit["TimeoutStopSec"]) > 10 + 2, "drain_seconds, and the managers"


# --- the sidecar ---


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[tuple[Path, Provider]]:
    """A configuration for this machine, and the provider that it names."""
    with Provider(client_id="billing", token_lifetime_s=600) as provider:
        text = (HERE / "systemd.toml").read_text()
        for there, here in {
            "/run/oidc-actor/tokens.sock": str(tmp_path / "tokens.sock"),
            "/run/credentials/oidc-actor.service/billing": str(tmp_path / "billing"),
            "https://auth.example.com": provider.issuer_url,
        }.items():
            assert there in text
            text = text.replace(there, here)
        (tmp_path / "billing").write_text(provider.client_secret)
        (tmp_path / "config.toml").write_text(text)
        yield tmp_path, provider


def test_the_sidecar_tells_systemd_when_it_is_up_alive_reloaded_and_ends(directory: tuple[Path, Provider]) -> None:
    folder, _ = directory
    with Sidecar(folder, WATCHDOG_USEC="2000000") as sidecar:  # READY=1 has been told
        assert sidecar.get("/token/billing").token
        assert folder.joinpath("tokens.sock").stat().st_mode & 0o777 == 0o660
        sidecar.wait_for("WATCHDOG=1")
        with sidecar.config.open("a") as config:
            config.write("min_interval_seconds = 2.0\n")
        subprocess.run(reload_command(SIDECAR, sidecar.process.pid), check=True, timeout=DEADLINE_S)
        sidecar.wait_for("RELOADING=1")
        sidecar.wait_for("READY=1")
        assert "config_reloaded" in sidecar.log
        sidecar.process.send_signal(signal.SIGTERM)
        sidecar.wait_for("STOPPING=1")
        assert sidecar.process.wait(float(settings(SIDECAR)["TimeoutStopSec"])) == 0


def test_a_wrong_configuration_ends_the_sidecar_with_the_status_that_no_restart_follows(
    directory: tuple[Path, Provider],
) -> None:
    folder, _ = directory
    (folder / "config.toml").write_text("[server]\n")
    command = [sys.executable, "-m", "oidc_actor.cli", "run", str(folder / "config.toml")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert str(done.returncode) == settings(SIDECAR)["RestartPreventExitStatus"], done.stderr


# --- a program of one's own ---


@pytest.mark.oidc_provider(token_lifetime_s=600)
def test_the_program_tells_systemd_gets_a_new_token_at_a_reload_and_ends(
    oidc_provider: Provider, tmp_path: Path
) -> None:
    credential, _, _ = settings(PROGRAM)["LoadCredential"].partition(":")
    (tmp_path / credential).write_text(oidc_provider.client_secret)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.settimeout(DEADLINE_S)
        systemd.bind(str(tmp_path / "notify"))
        environment = {
            "NOTIFY_SOCKET": str(tmp_path / "notify"),
            "CREDENTIALS_DIRECTORY": str(tmp_path),
            "OIDC_ISSUER_URL": oidc_provider.issuer_url,
            "OIDC_CLIENT_ID": oidc_provider.client_id,
        }
        assert set(environment) - {"NOTIFY_SOCKET", "CREDENTIALS_DIRECTORY"} == {
            one.partition("=")[0] for one in settings(PROGRAM)["Environment"].split()
        }
        assert settings(PROGRAM)["ExecStart"].endswith("/systemd_program.py")
        with program(["systemd_program.py"], tmp_path / "log", environment) as running:
            assert systemd.recv(100) == b"READY=1"
            assert oidc_provider.wait_for_requests(1, timeout_s=DEADLINE_S)
            for _ in range(int(DEADLINE_S)):  # a reload during the first request is answered by that request
                subprocess.run(reload_command(PROGRAM, running.process.pid), check=True, timeout=DEADLINE_S)
                if oidc_provider.wait_for_requests(2, timeout_s=1):
                    break
            assert oidc_provider.token_requests >= 2
            running.process.send_signal(signal.SIGTERM)
            assert systemd.recv(100) == b"STOPPING=1"
            assert running.process.wait(float(settings(PROGRAM)["TimeoutStopSec"])) == 0
            assert oidc_provider.client_secret not in running.log
