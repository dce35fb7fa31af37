"""Sidecars that share a store: each a process, with a real provider and a real server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from fleet.servers import Server, redis_server
from sidecar.sidecar import Sidecar
from threads import eventually

from oidc_actor.sharing.sealing import new_key
from oidc_actor.testing import Provider


@pytest.fixture
def server() -> Iterator[Server]:
    with redis_server() as running:
        yield running


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "fleet-key"
    path.write_text(f"{new_key()}\n")
    return path


class Node:
    """One sidecar's directory."""

    def __init__(self, folder: Path, provider: Provider) -> None:
        self.folder, self.provider = folder, provider
        folder.mkdir()
        (folder / "secret").write_text(provider.client_secret)
        self.sidecar = Sidecar(folder)

    def configure(self, *store: str, manager: str = "") -> None:
        lines = [
            '[server]\nunix_socket = "tokens.sock"',
            *(["[store]", *store] if store else []),
            f'[managers.a]\nissuer_url = "{self.provider.issuer_url}"\nclient_id = "{self.provider.client_id}"',
            'client_secret = { file = "secret" }',
            manager,
        ]
        self.sidecar.config.write_text("\n".join(lines))

    def token(self) -> str:
        return self.sidecar.get("/token/a").token

    def sharing(self) -> object:
        return self.sidecar.get("/readyz").json.get("sharing")


def on_redis(server: Server, *keys: Path) -> tuple[str, ...]:
    listed = ", ".join(f'{{ file = "{key}" }}' for key in keys)
    return f'redis = "{server.url}"', 'namespace = "test"', f"keys = [{listed}]"


def test_two_sidecars_make_one_request_and_one_store_that_ends_takes_nothing_from_readers(
    provider: Provider, server: Server, tmp_path: Path, key: Path
) -> None:
    nodes = [Node(tmp_path / name, provider) for name in ("one", "two")]
    with ExitStack() as running:
        for node in nodes:
            node.configure(*on_redis(server, key))
            running.enter_context(node.sidecar)
        tokens = {node.token() for node in nodes}
        assert len(tokens) == 1
        assert provider.token_requests == 1
        assert [node.sharing() for node in nodes] == [{"a": "shared"}] * 2
        server.kill()
        for node in nodes:
            eventually(lambda node=node: node.sharing() == {"a": "alone"}, "the loss to show")
            assert node.token() in tokens
        assert provider.token_requests == 1
        server.start()
        for node in nodes:
            eventually(lambda node=node: node.sharing() == {"a": "shared"}, "the return to show")
        assert {node.token() for node in nodes} == tokens
        assert provider.token_requests == 1
        metrics = "".join(node.sidecar.get("/metrics").body.decode() for node in nodes)
        assert (
            sum(
                float(line.split()[-1])
                for line in metrics.splitlines()
                if line.startswith("oidc_actor_store_adoptions_total")
            )
            >= 1
        )


def test_a_reload_with_the_same_store_keeps_managers_and_a_rotation_of_keys_costs_no_request(
    provider: Provider, server: Server, tmp_path: Path, key: Path
) -> None:
    node = Node(tmp_path / "one", provider)
    node.configure(*on_redis(server, key))
    new = tmp_path / "new-key"
    new.write_text(new_key())
    with node.sidecar:
        token = node.token()
        node.sidecar.hang_up()
        assert "kept=1" in node.sidecar.log
        for keys in ((key, new), (new, key)):
            before = node.sidecar.log.count("replaced=1")
            node.configure(*on_redis(server, *keys))
            node.sidecar.hang_up()
            assert node.sidecar.log.count("replaced=1") == before + 1
            eventually(lambda: node.sharing() == {"a": "shared"}, "the successor to share")
            assert node.token() == token
        assert provider.token_requests == 1
        node.configure(*on_redis(server, new, key), manager="store = false")
        node.sidecar.hang_up()
        eventually(lambda: provider.token_requests == 2, "a token of its own")
        eventually(lambda: node.sharing() is None, "a manager without a store to serve")


def test_a_wrong_store_is_refused_by_a_reload_and_all_goes_on(
    provider: Provider, server: Server, tmp_path: Path, key: Path
) -> None:
    node = Node(tmp_path / "one", provider)
    node.configure(*on_redis(server, key))
    with node.sidecar:
        token = node.token()
        node.configure(f'redis = "{server.url}"', 'namespace = "test"', "keys = []")
        node.sidecar.hang_up()
        assert "config_refused" in node.sidecar.log
        assert "store.keys: expected a list" in node.sidecar.log
        assert (node.token(), node.sharing()) == (token, {"a": "shared"})


def test_a_password_that_changes_in_its_file_is_read_anew(
    provider: Provider, server: Server, tmp_path: Path, key: Path
) -> None:
    server.say("CONFIG", "SET", "requirepass", "first")
    address = tmp_path / "url"
    address.write_text(f"redis://:first@127.0.0.1:{server.port}/0\n")
    node = Node(tmp_path / "one", provider)
    node.configure(f'redis = {{ file = "{address}" }}', 'namespace = "test"', f'keys = [{{ file = "{key}" }}]')
    with node.sidecar:
        token = node.token()
        eventually(lambda: node.sharing() == {"a": "shared"}, "the token to be shared")
        server.kill()
        server.options = ("--requirepass", "second")
        eventually(lambda: node.sharing() == {"a": "alone"}, "the loss to show")
        server.start()
        address.write_text(f"redis://:second@127.0.0.1:{server.port}/0\n")
        eventually(lambda: node.sharing() == {"a": "shared"}, "the new password to do")
        assert node.token() == token
        assert "first" not in node.sidecar.log
        assert "second" not in node.sidecar.log.replace("seconds", "")


def test_two_sidecars_of_one_host_share_a_directory(provider: Provider, tmp_path: Path) -> None:
    nodes = [Node(tmp_path / name, provider) for name in ("one", "two")]
    with ExitStack() as running:
        for node in nodes:
            node.configure(f'directory = "{tmp_path / "tokens"}"', 'namespace = "test"')
            running.enter_context(node.sidecar)
        assert len({node.token() for node in nodes}) == 1
        assert provider.token_requests == 1
