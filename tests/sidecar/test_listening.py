"""The sockets: who may connect, and whose file is removed."""

from __future__ import annotations

import socket
import stat
from pathlib import Path

import pytest

from oidc_actor import ConfigError
from oidc_actor.sidecar.listening import ServerConfig, address_of, listening


def connected(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        return client.connect_ex(str(path)) == 0


def test_the_socket_is_for_its_owner_alone_and_goes_with_the_process(tmp_path) -> None:
    path = tmp_path / "s"
    with listening(ServerConfig(path)) as (listener,):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert connected(path)
        assert address_of(listener) == f"unix:{path}"
    assert not path.exists()


def test_what_a_crash_left_is_replaced(tmp_path) -> None:
    path = tmp_path / "s"
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(path))
    left.close()
    with listening(ServerConfig(path)):
        assert connected(path)


def test_a_living_socket_is_left_alone(tmp_path) -> None:
    path = tmp_path / "s"
    with listening(ServerConfig(path)):
        with pytest.raises(ConfigError, match="another process listens on"), listening(ServerConfig(path)):
            pass
        assert connected(path)


def test_a_file_is_left_alone(tmp_path) -> None:
    path = tmp_path / "s"
    path.write_text("important")
    with pytest.raises(ConfigError, match="which is no socket; remove it"), listening(ServerConfig(path)):
        pass
    assert path.read_text() == "important"


@pytest.mark.parametrize("name", ["missing/s", "s" * 200])
def test_a_path_that_does_not_do(tmp_path, name: str) -> None:
    with (
        pytest.raises(ConfigError, match=r"server\.unix_socket: expected a path"),
        listening(ServerConfig(tmp_path / name)),
    ):
        pass


def test_a_successors_file_is_not_removed(tmp_path) -> None:
    path = tmp_path / "s"
    with listening(ServerConfig(path)):
        path.unlink()
        path.write_text("a successor's")
    assert path.exists()


def test_tcp_and_a_port_that_is_taken(tmp_path) -> None:
    with listening(ServerConfig(tmp_path / "s", ("127.0.0.1", 0))) as (_, listener):
        port = listener.getsockname()[1]
        assert address_of(listener) == f"http://127.0.0.1:{port}"
        with (
            pytest.raises(ConfigError, match=rf"server\.tcp: cannot listen on 127\.0\.0\.1:{port}: "),
            listening(ServerConfig(tmp_path / "t", ("127.0.0.1", port))),
        ):
            pass
        assert not (tmp_path / "t").exists()
