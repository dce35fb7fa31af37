"""500 tenants over three providers, from a database: started, listed, changed; three are hopeless, one provider is down."""

from __future__ import annotations

import contextlib
import socket
import sqlite3
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
from threads import DEADLINE_S, eventually, in_background

from oidc_actor import ConfigError, NoTokenError, TokenPool, UnknownKey
from oidc_actor.testing import Provider
from supervision import kill, whereis

pytestmark = pytest.mark.usefixtures("stop_managers")

TENANTS = 500


@pytest.fixture
def providers() -> Iterator[list[Provider]]:
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(Provider(token_lifetime_s=3600)) for _ in range(3)]


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "tenants.db"
    with contextlib.closing(sqlite3.connect(path)) as made, made:
        made.execute("CREATE TABLE tenants (id TEXT PRIMARY KEY, issuer_url TEXT, client_id TEXT)")
    return path


@pytest.fixture
def program(providers: list[Provider], tmp_path: Path, database: Path) -> Any:
    """The recipe, started."""
    text = pasted(
        "tenants.py",
        providers[0],
        secrets=f"/var/run/secrets/tenants=>{tmp_path}",
        database=f"/var/lib/gateway/tenants.db=>{database}",
    )
    names: dict[str, Any] = {}
    exec(compile(text, "tenants.py", "exec"), names)
    program = SimpleNamespace(**names)
    program.start()
    return program


def insert(database: Path, rows: list[tuple[str, str, str]]) -> None:
    with contextlib.closing(sqlite3.connect(database)) as opened, opened:
        opened.executemany("INSERT OR REPLACE INTO tenants VALUES (?, ?, ?)", rows)


def delete(database: Path, tenant: str) -> None:
    with contextlib.closing(sqlite3.connect(database)) as opened, opened:
        opened.execute("DELETE FROM tenants WHERE id = ?", [tenant])


def register(providers: list[Provider], folder: Path, database: Path, tenants: list[str]) -> None:
    """Tenants at the three providers in turn, in the database, and their secrets in files."""
    rows = []
    for number, tenant in enumerate(tenants):
        provider = providers[number % 3]
        provider.add_client(f"client-of-{tenant}", f"secret-of-{tenant}")
        (folder / tenant).write_text(f"secret-of-{tenant}\n")
        rows.append((tenant, provider.issuer_url, f"client-of-{tenant}"))
    insert(database, rows)


def read(tenant: str, timeout: float = 3 * DEADLINE_S) -> str:
    return TokenPool.get_access_token("tenants", tenant, timeout=timeout)


def test_five_hundred_of_which_three_are_hopeless(
    program: Any, providers: list[Provider], tmp_path: Path, database: Path
) -> None:
    tenants = [f"t{number}" for number in range(TENANTS - 3)]
    register(providers, tmp_path, database, tenants)
    with socket.create_server(("127.0.0.1", 0), backlog=200) as silent:  # it takes connections and says nothing
        hanging = f"http://127.0.0.1:{silent.getsockname()[1]}"
        insert(database, [("wrong", providers[0].issuer_url, "client-of-t0"), ("hangs", hanging, "id")])
        insert(database, [("raises", "no address", "id")])
        for tenant in ("wrong", "hangs", "raises"):
            (tmp_path / tenant).write_text("not the secret\n")
        readers = [in_background(lambda one=one: hopeless(one)) for one in ("wrong", "hangs", "raises")]  # type: ignore[misc]
        tokens, slowest_s = {}, 0.0
        for tenant in tenants:
            began = time.monotonic()
            tokens[tenant] = read(tenant)
            slowest_s = max(slowest_s, time.monotonic() - began)
        assert slowest_s < DEADLINE_S, "one has waited for those without hope"
        for reader in readers:
            reader.join(3 * DEADLINE_S)
            assert not reader.is_alive()
        assert len(set(tokens.values())) == sum(provider.tokens_issued for provider in providers) == TENANTS - 3
        health = program.health()
        assert set(health) == {*tenants, "wrong", "hangs"}
        assert {tenant for tenant, one in health.items() if not one.ready} == {"wrong", "hangs"}  # they started at once
        assert [tenant for tenant, one in health.items() if one.blocked] == ["wrong"]
        assert {tenant: read(tenant, timeout=0) for tenant in tenants} == tokens
        for number in (0, 1, 2):
            assert program.call(f"t{number}", providers[number].resource_url).status_code == 200


def hopeless(tenant: str) -> None:
    with pytest.raises((NoTokenError, ConfigError)):
        read(tenant, timeout=1.0)


def test_a_tenant_changes_at_run_time(program: Any, providers: list[Provider], tmp_path: Path, database: Path) -> None:
    register(providers, tmp_path, database, ["a", "b"])
    first, other = read("a"), read("b")
    providers[2].add_client("another-client", "secret-of-a")
    insert(database, [("a", providers[2].issuer_url, "another-client")])
    program.changed("a")
    eventually(lambda: read("a") != first, "the token of the new provider")
    assert providers[2].tokens_issued == 1
    assert read("b") == other
    delete(database, "a")
    program.changed("a")
    with pytest.raises(UnknownKey):
        program.call("a", providers[2].resource_url)
    program.changed("never seen")
    assert set(program.health()) == {"b"}


def test_a_provider_that_is_down_concerns_its_own_tenants(
    program: Any, providers: list[Provider], tmp_path: Path, database: Path
) -> None:
    register(providers, tmp_path, database, [f"t{number}" for number in range(9)])
    providers[1].down()
    for number in (0, 2, 3, 5, 6, 8):
        assert program.call(f"t{number}", providers[number % 3].resource_url).status_code == 200
    with pytest.raises(NoTokenError):
        read("t1", timeout=0.5)
    providers[1].up()
    for number in (1, 4, 7):
        read(f"t{number}", timeout=DEADLINE_S)


def test_a_pool_that_crashes_comes_back_with_its_tenants(
    program: Any, providers: list[Provider], tmp_path: Path, database: Path
) -> None:
    register(providers, tmp_path, database, ["t"])
    token, first = read("t"), whereis("tenants")
    assert first is not None
    kill(first)
    assert read("t") == token
    eventually(lambda: whereis("tenants") not in (None, first), "another pool")
    assert set(program.health()) == {"t"}
    assert providers[0].tokens_issued == 1


@pytest.mark.parametrize("kind", ["plain", "pool", "churn"])
def test_the_figures_can_be_measured(kind: str) -> None:
    command = [
        sys.executable,
        str(ROOT / "tests" / "bench" / "tenants.py"),
        f"--kind={kind}",
        "--tenants=20",
        "--issuers=2",
    ]
    measured = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert measured.returncode == 0, measured.stderr
    shown = [line.strip() for line in measured.stdout.splitlines()]
    if kind == "churn":
        assert [line.split()[-4:] for line in shown if line.endswith(" actors")][-1] == ["0", "managers", "1", "actors"]
    else:
        assert {"start 20, one after another", "health of all", "stop all"} <= {line[:44].strip() for line in shown}
