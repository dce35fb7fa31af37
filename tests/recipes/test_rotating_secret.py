"""A secret is rotated from end to end: with an overlap window, without one, by a mounted volume, and what goes wrong."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pasted import RECIPES, TIMEOUT_S, pasted
from threads import DEADLINE_S, eventually

from oidc_actor import ClientCredentials, NoTokenError, TokenManager
from oidc_actor.testing import Provider
from oidc_actor.testing.accounts import Client

pytestmark = pytest.mark.usefixtures("stop_managers")

NAME = "billing.token"
OLD, NEW = "the-old-secret", "the-new-secret"


class TwoSecrets(Client):
    """A client in its overlap window: the provider takes either secret."""

    def check_client_secret(self, client_secret: str) -> bool:
        return client_secret in {OLD, NEW}


@pytest.fixture
def provider() -> Iterator[Provider]:
    with Provider(client_id="my-service", client_secret=OLD, token_lifetime_s=300) as running:
        yield running


@pytest.fixture
def mounted(tmp_path: Path) -> Path:
    """A secret as Kubernetes mounts it: a link to a file in a folder that is itself a link, which is swapped."""
    volume = tmp_path / "billing"
    (volume / "..1").mkdir(parents=True)
    (volume / "..1" / "client-secret").write_text(OLD + "\n")
    (volume / "..data").symlink_to("..1")
    (volume / "client-secret").symlink_to("..data/client-secret")
    return volume / "client-secret"


@pytest.fixture
def program(provider: Provider, mounted: Path) -> None:
    """The recipe, with its first token; an attempt need not wait until 1 s after the one before."""
    text = pasted(
        "rotating_secret.py",
        provider,
        path=f"/var/run/secrets/billing/client-secret=>{mounted}",
        pace="auth=ClientCredentials=>min_interval_seconds=0.01, auth=ClientCredentials",
    )
    exec(compile(text, "rotating_secret.py", "exec"), {})
    TokenManager.get_token(NAME)


def swap(path: Path, secret: str) -> None:
    """As the kubelet does: a new folder, then one rename of the link to it."""
    volume = path.parent
    (volume / "..2").mkdir()
    (volume / "..2" / "client-secret").write_text(secret + "\n")
    (volume / "..data.new").symlink_to("..2")
    os.replace(volume / "..data.new", volume / "..data")


def replace(path: Path, secret: str) -> None:
    """By the recipe, which is run as its page says."""
    command = [sys.executable, str(RECIPES / "replace_secret.py"), str(path)]
    subprocess.run(command, input=secret + "\n", text=True, timeout=TIMEOUT_S, check=True)


WAYS: dict[str, Callable[[Path, str], None]] = {"a mounted volume": swap, "a file": replace}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_with_an_overlap_window_no_request_fails(way: Any, program: None, provider: Provider, mounted: Path) -> None:
    first = TokenManager.get_access_token(NAME)
    provider._accounts.put_client(TwoSecrets("my-service", OLD, ("client_secret_basic",)))  # 1: both are valid
    way(mounted, NEW)  # 2
    TokenManager.force_refresh(NAME, wait=True)  # 3: or wait for one token's lifetime
    provider.client_secret = NEW  # 4: the old one is deleted
    TokenManager.force_refresh(NAME, wait=True)
    health = TokenManager.health(NAME)
    assert (health.refreshes, health.consecutive_failures, health.last_error) == (3, 0, None)
    assert TokenManager.get_access_token(NAME) != first


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_without_one_the_file_is_noticed_by_a_manager_that_was_refused(
    way: Any, program: None, provider: Provider, mounted: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = TokenManager.get_access_token(NAME)
    provider.client_secret = NEW
    with caplog.at_level("INFO", "oidc_actor"):
        with pytest.raises(NoTokenError, match="invalid_client"):
            TokenManager.force_refresh(NAME, wait=True)
        assert TokenManager.get_access_token(NAME) == first  # readers are served meanwhile
        assert TokenManager.health(NAME).blocked
        way(mounted, NEW)
        eventually(lambda: TokenManager.health(NAME).refreshes == 2, "a token by the new secret")
    said = [
        record.event for record in caplog.records if record.event in {"blocked", "secret_changed", "token_obtained"}
    ]
    assert said == ["blocked", "secret_changed", "token_obtained"]
    assert not TokenManager.health(NAME).blocked


def test_a_file_that_is_missing_for_a_moment_is_waited_for(program: None, provider: Provider, mounted: Path) -> None:
    os.rename(mounted.parent / "..data", mounted.parent / "..gone")
    with pytest.raises(NoTokenError, match=r"client_secret cannot be read: .*No such file"):
        TokenManager.force_refresh(NAME, wait=True)
    assert TokenManager.get_access_token(NAME)
    assert not TokenManager.health(NAME).blocked
    os.rename(mounted.parent / "..gone", mounted.parent / "..data")
    eventually(lambda: TokenManager.health(NAME).refreshes == 2, "a token")


def test_a_callable_is_asked_for_each_request(provider: Provider) -> None:
    vault = {"client-secret": OLD}
    auth = ClientCredentials("my-service", lambda: vault["client-secret"])
    TokenManager.start_link(name=NAME, issuer_url=provider.issuer_url, auth=auth, min_interval_seconds=0.01)
    TokenManager.get_token(NAME)
    provider.client_secret = vault["client-secret"] = NEW
    TokenManager.force_refresh(NAME, wait=True)
    assert TokenManager.health(NAME).refreshes == 2


def test_the_new_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "client-secret"
    path.write_text(OLD)
    replace(path, NEW)
    assert (path.read_text(), path.stat().st_mode & 0o777) == (NEW, 0o600)
    assert [one.name for one in tmp_path.iterdir()] == ["client-secret"]


def test_a_command_tries_a_new_secret_before_it_is_put_in_place(provider: Provider, tmp_path: Path) -> None:
    tried = tmp_path / "new-secret"
    environment = {**os.environ, "OIDC_ISSUER_URL": provider.issuer_url, "OIDC_CLIENT_ID": "my-service"}

    def check() -> int:
        command = [sys.executable, "-m", "oidc_actor.cli", "token", "--client-secret-file", str(tried)]
        return subprocess.run(
            command, env=environment, capture_output=True, timeout=DEADLINE_S * 3, check=False
        ).returncode

    tried.write_text("mistyped")
    assert check() == 3
    tried.write_text(OLD)
    assert check() == 0


def test_other_credentials_for_the_running_manager(provider: Provider, program: None) -> None:
    provider.add_client("another-service", NEW)
    names: dict[str, Any] = {}
    exec(compile(pasted("replace_credentials.py", provider), "replace_credentials.py", "exec"), names)
    old = TokenManager.get_access_token(NAME)
    assert not names["replace_credentials"]("another-service", "wrong")
    assert TokenManager.get_access_token(NAME) == old
    assert names["replace_credentials"]("another-service", NEW)
    assert TokenManager.get_access_token(NAME) != old
