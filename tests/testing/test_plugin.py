"""The pytest plugin: its fixtures fit together, and a project that does not use them pays nothing for it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pages
import pykka
import pytest
import requests

from oidc_actor import TokenManager
from oidc_actor.testing import FaultProxy, ManualClock, Provider
from supervision import stop

PLUGIN = "oidc_actor.testing.plugin"
HEAVY = ("authlib", "flask", "joserfc", "cryptography", "requests", "structlog", "pykka")

Manager = pykka.ActorRef[TokenManager]


def test_the_manager_is_for_the_provider(token_manager: Manager, oidc_provider: Provider) -> None:
    token = TokenManager.get_access_token(token_manager)
    answer = requests.get(oidc_provider.resource_url, headers={"Authorization": f"Bearer {token}"}, timeout=10)
    assert answer.status_code == 200
    assert oidc_provider.token_requests == 1


def test_the_example_of_the_page(token_manager: Manager, fault_proxy: FaultProxy, manual_clock: ManualClock) -> None:
    (example,) = [one.text for one in pages.blocks("oidc_actor/README.md") if "(token_manager, fault_proxy" in one.text]
    names: dict[str, Any] = {}
    exec(compile(example, "README.md", "exec"), names)
    names["test_my_program_survives_an_outage"](token_manager, fault_proxy, manual_clock)


def test_it_goes_through_the_proxy_where_one_is_asked_for(
    token_manager: Manager, oidc_provider: Provider, fault_proxy: FaultProxy
) -> None:
    TokenManager.get_access_token(token_manager)
    assert oidc_provider.issuer_url == fault_proxy.url
    assert fault_proxy.exchanges == 2


def test_and_otherwise_it_does_not(token_manager: Manager, oidc_provider: Provider) -> None:
    assert oidc_provider.issuer_url == oidc_provider.listen_url
    assert TokenManager.get_access_token(token_manager)


@pytest.mark.oidc_provider(token_lifetime_s=3600)
@pytest.mark.token_manager(refresh_buffer_seconds=100)
def test_it_goes_by_the_clock_where_one_is_asked_for(
    token_manager: Manager, oidc_provider: Provider, manual_clock: ManualClock
) -> None:
    first = TokenManager.get_access_token(token_manager)
    manual_clock.advance(3000)
    assert TokenManager.get_access_token(token_manager) == first
    manual_clock.advance(601)
    second = TokenManager.get_access_token(token_manager)
    assert second != first
    answers = [
        requests.get(oidc_provider.resource_url, headers={"Authorization": f"Bearer {token}"}, timeout=10).status_code
        for token in (first, second)
    ]
    assert answers == [401, 200]


@pytest.mark.oidc_provider(client_id="mine", token_lifetime_s=7)
@pytest.mark.token_manager(name="tests.marked")
def test_marks_hold_arguments(token_manager: Manager, oidc_provider: Provider) -> None:
    assert oidc_provider.client_id == "mine"
    assert TokenManager.get_token("tests.marked").expires_in == 7


@pytest.mark.oidc_provider(token_lifetime_s=8)
class TestMarks:
    @pytest.mark.oidc_provider(client_id="inner")
    def test_the_closest_counts_most(self, oidc_provider: Provider) -> None:
        assert (oidc_provider.client_id, oidc_provider.token_lifetime_s) == ("inner", 8)


def test_a_test_may_end_the_manager_itself(token_manager: Manager) -> None:
    stop(token_manager)


THEIR_PROGRAM = """
import pykka
import pytest
import supervision
from oidc_actor import ClientCredentials, TokenManager
from supervision import DynamicSupervisor, Supervisor, whereis
NOWHERE = {"issuer_url": "http://127.0.0.1:9", "auth": ClientCredentials("id", "secret")}
def program():
    "One supervisor above another, one dynamic, one manager without any, and one without a name."
    inner = Supervisor.child_spec([TokenManager.child_spec(name="a", **NOWHERE)], id="inner")
    Supervisor.start_link([inner], name="outer")
    tenants = DynamicSupervisor.start_link(name="tenants")
    DynamicSupervisor.start_child(tenants, TokenManager.child_spec(name="b", **NOWHERE))
    TokenManager.start_link(name="c", **NOWHERE)
    return TokenManager.start_link(**NOWHERE)
"""


def test_a_program_that_starts_its_own_managers_leaves_none(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\nusefixtures = stop_managers\n")
    (tmp_path / "test_theirs.py").write_text(
        THEIR_PROGRAM + "@pytest.mark.parametrize('time', range(3))\n"
        "def test_theirs(time):\n"
        "    program()\n"
        "def test_nothing_is_left():\n"
        "    assert pykka.ActorRegistry.get_all() == []\n"
        "def test_one_that_has_crashed_is_gone():\n"
        "    supervision.kill(program())\n"
        "    supervision.kill('c')\n"
        "def test_a_supervisor_that_has_ended_is_no_matter():\n"
        "    program()\n"
        "    Supervisor.stop('outer')\n"
    )
    run = pytest_run(tmp_path, "-q", "-W", "error")
    assert run.returncode == 0, run.stdout + run.stderr
    assert "6 passed" in run.stdout


def test_what_a_wider_fixture_has_started_runs_on_and_so_do_other_supervisors(tmp_path: Path) -> None:
    (tmp_path / "test_theirs.py").write_text(
        THEIR_PROGRAM + "pytestmark = pytest.mark.usefixtures('stop_managers')\n"
        "@pytest.fixture(scope='module', autouse=True)\n"
        "def whole_module():\n"
        "    program()\n"
        "def test_one():\n"
        "    TokenManager.start_link(name='d', **NOWHERE)\n"
        "    DynamicSupervisor.start_child('tenants', TokenManager.child_spec(name='e', **NOWHERE))\n"
        "    Supervisor.start_link([], name='theirs')\n"
        "def test_two():\n"
        "    there = [name for name in ('a', 'b', 'c', 'd', 'e', 'outer', 'tenants', 'theirs') if whereis(name)]\n"
        "    assert there == ['a', 'b', 'c', 'outer', 'tenants', 'theirs']\n"
    )
    run = pytest_run(tmp_path, "-q", "-W", "error")
    assert run.returncode == 0, run.stdout + run.stderr
    assert "2 passed" in run.stdout


def test_a_users_suite(tmp_path: Path) -> None:
    """As a user has it: a folder of its own, the plugin found by its entry point or named, strict marks."""
    (tmp_path / "test_theirs.py").write_text(
        "import pytest\n"
        "from oidc_actor import NoTokenError, TokenManager\n"
        "@pytest.mark.token_manager(min_interval_seconds=0.1)\n"
        "def test_outage(token_manager, fault_proxy):\n"
        "    first = TokenManager.get_access_token(token_manager)\n"
        "    fault_proxy.down()\n"
        "    with pytest.raises(NoTokenError):\n"
        "        TokenManager.force_refresh(token_manager, wait=True)\n"
        "    assert TokenManager.get_access_token(token_manager) == first\n"
    )
    run = pytest_run(tmp_path, "-q", "--strict-markers", "-W", "error")
    assert run.returncode == 0, run.stdout + run.stderr
    assert "1 passed" in run.stdout


def test_an_argument_without_its_name_is_a_mistake_of_the_suite(tmp_path: Path) -> None:
    (tmp_path / "test_theirs.py").write_text(
        "import pytest\n@pytest.mark.oidc_provider(60)\ndef test_theirs(oidc_provider):\n    pass\n"
    )
    run = pytest_run(tmp_path, "-q")
    assert run.returncode != 0
    assert "the mark oidc_provider: expected arguments by name only, got 1 without one" in run.stdout


def test_a_suite_that_does_not_use_it_imports_nothing_for_it(tmp_path: Path) -> None:
    (tmp_path / "test_theirs.py").write_text(
        f"import sys\ndef test_nothing():\n    assert not [name for name in {HEAVY} if name in sys.modules]\n"
    )
    run = pytest_run(tmp_path, "-q", "-p", "no:valkey")  # a plugin of another project's, which imports cryptography
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize("missing", ["authlib", "flask", "joserfc"])
def test_without_the_extra_a_suite_that_does_not_use_it_is_whole(tmp_path: Path, missing: str) -> None:
    (tmp_path / "conftest.py").write_text(f"import sys\nsys.modules[{missing!r}] = None\n")
    (tmp_path / "test_theirs.py").write_text(
        "def test_nothing():\n    pass\ndef test_proxy_and_clock_need_no_extra(manual_clock):\n    assert manual_clock() > 0\n"
    )
    run = pytest_run(tmp_path, "-q")
    assert run.returncode == 0, run.stdout + run.stderr


def test_without_the_extra_the_fixture_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text("import sys\nsys.modules['flask'] = None\n")
    (tmp_path / "test_theirs.py").write_text("def test_theirs(oidc_provider):\n    pass\n")
    run = pytest_run(tmp_path, "-q")
    assert run.returncode == 1
    assert 'needs flask, which is not installed: pip install "oidc-actor[testing]"' in run.stdout


def test_the_fixtures_are_listed_with_what_they_are(tmp_path: Path) -> None:
    listed = pytest_run(tmp_path, "--fixtures").stdout
    for name in ("oidc_provider", "fault_proxy", "manual_clock", "token_manager", "stop_managers"):
        assert f"\n{name} -- " in listed
    marks = pytest_run(tmp_path, "--markers").stdout
    assert "@pytest.mark.oidc_provider(" in marks
    assert "@pytest.mark.token_manager(" in marks


def pytest_run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run pytest in a project of its own; the entry point gives it the plugin."""
    command = [sys.executable, "-P", "-m", "pytest", "-p", "no:cacheprovider", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
