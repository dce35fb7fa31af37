"""500 tenants over three providers: started, listed, removed; one is hopeless, some crash, one provider is down."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pages import ROOT
from pasted import TIMEOUT_S, pasted
from threads import DEADLINE_S, eventually

from oidc_actor import ManagerNotRunning, NoTokenError, TokenManager
from oidc_actor.metrics import ready
from oidc_actor.testing import Provider
from supervision import AlreadyStarted, ChildNotFound, DynamicSupervisor, kill, whereis

pytestmark = pytest.mark.usefixtures("stop_managers")

TENANTS = 500


@pytest.fixture
def providers() -> Iterator[list[Provider]]:
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(Provider(token_lifetime_s=3600)) for _ in range(3)]


@pytest.fixture
def program(providers: list[Provider], tmp_path: Path) -> Any:
    """The recipe, started."""
    text = pasted("tenants.py", providers[0], secrets=f"/var/run/secrets/tenants=>{tmp_path}")
    names: dict[str, Any] = {}
    exec(compile(text, "tenants.py", "exec"), names)
    program = SimpleNamespace(**names)
    program.start()
    return program


def add(program: Any, providers: list[Provider], folder: Path, tenant: str, number: int) -> None:
    provider = providers[number % 3]
    provider.add_client(f"client-of-{tenant}", f"secret-of-{tenant}")
    (folder / tenant).write_text(f"secret-of-{tenant}\n")
    program.add(tenant, provider.issuer_url, f"client-of-{tenant}")


def test_five_hundred(program: Any, providers: list[Provider], tmp_path: Path) -> None:
    began = time.monotonic()
    for number in range(TENANTS):
        add(program, providers, tmp_path, f"t{number}", number)
    assert time.monotonic() - began < DEADLINE_S
    providers[2].add_client("client-of-hopeless", "another secret")
    (tmp_path / "hopeless").write_text("secret-of-hopeless")
    program.add("hopeless", providers[2].issuer_url, "client-of-hopeless")

    names = [f"tenants.t{number}" for number in range(TENANTS)]
    for name in names:
        TokenManager.get_token(name, timeout=3 * DEADLINE_S)
    assert ready(*names)
    assert sum(provider.tokens_issued for provider in providers) == TENANTS

    with pytest.raises(NoTokenError, match="invalid_client"):
        program.call("hopeless", providers[2].resource_url)
    health = program.health()
    assert len(health) == TENANTS + 1
    assert [tenant for tenant, one in health.items() if one.blocked] == ["hopeless"]
    assert [tenant for tenant, one in health.items() if not one.ready] == ["hopeless"]
    assert not ready()

    program.remove("hopeless")
    assert ready()
    with pytest.raises(ManagerNotRunning):
        program.call("hopeless", providers[2].resource_url)
    with pytest.raises(ChildNotFound):
        program.remove("hopeless")

    with pytest.raises(AlreadyStarted):
        program.add("t7", providers[0].issuer_url, "client-of-t7")
    before = {name: TokenManager.get_access_token(name) for name in names}
    for name in names[:20]:
        kill(name)
    eventually(lambda: DynamicSupervisor.count_children("tenants").active == TENANTS, "the restarts")
    assert {
        name: TokenManager.get_access_token(name) for name in names
    } == before  # none was lost, none asked for again
    for number in (0, 1, 2):
        assert program.call(f"t{number}", providers[number].resource_url).status_code == 200


def test_a_provider_that_is_down_concerns_its_own_tenants(
    program: Any, providers: list[Provider], tmp_path: Path
) -> None:
    providers[1].down()
    for number in range(9):
        add(program, providers, tmp_path, f"t{number}", number)
    for number in (0, 2, 3, 5, 6, 8):
        assert program.call(f"t{number}", providers[number % 3].resource_url).status_code == 200
    with pytest.raises(NoTokenError):
        TokenManager.get_token("tenants.t1", timeout=0)
    providers[1].up()
    for number in (1, 4, 7):
        TokenManager.get_token(f"tenants.t{number}", timeout=DEADLINE_S)


def test_a_pool_that_ends_comes_back_without_its_tenants(
    program: Any, providers: list[Provider], tmp_path: Path
) -> None:
    add(program, providers, tmp_path, "t", 0)
    TokenManager.get_token("tenants.t")
    kill("tenants")
    eventually(lambda: is_gone("tenants.t") and whereis("tenants"), "another pool")
    assert program.health() == {}
    add(program, providers, tmp_path, "t", 0)
    TokenManager.get_token("tenants.t")


def test_the_figures_can_be_measured() -> None:
    command = [sys.executable, str(ROOT / "tests" / "bench" / "tenants.py"), "--tenants=40", "--issuers=2"]
    measured = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert measured.returncode == 0, measured.stderr
    assert [line.split("  ")[0] for line in measured.stdout.splitlines()][-5:] == [
        "health of all",
        "ready()",
        "remove one by name",
        "remove one by ref",
        "stop all",
    ]


def is_gone(name: str) -> bool:
    try:
        TokenManager.health(name)
    except ManagerNotRunning:
        return True
    return False
