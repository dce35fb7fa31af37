"""Opens the sockets: bound by us and not by the HTTP server, so that no peer can connect before the mode is right."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

from oidc_actor.sidecar.config_reader import PRIVATE
from oidc_actor.values.errors import ConfigError
from supervision.frozen import dataclass

BACKLOG = 2048
"""Connections that wait in the kernel to be accepted."""

_PROBE_S = 1.0


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """Where the sidecar listens, and how long it waits.

    Attributes:
        unix_socket: Path of the Unix socket, or ``None`` for none.
        tcp: Loopback host and port, or ``None`` for none; port 0 takes a free one.
        wait_seconds: Longest wait of a request for a token that is not there yet.
        drain_seconds: Longest wait for requests under way once told to stop.
        socket_mode: Mode of the Unix socket.
        socket_group: Number of the group that it belongs to, or ``None`` for the process's own.
        observer: Whether ``/observer/`` shows the managers to people.
    """

    unix_socket: Path | None = None
    tcp: tuple[str, int] | None = None
    wait_seconds: float = 5.0
    drain_seconds: float = 10.0
    socket_mode: int = PRIVATE
    socket_group: int | None = None
    observer: bool = False


@contextlib.contextmanager
def listening(server: ServerConfig) -> Iterator[list[socket.socket]]:
    """Listen where the configuration says. At the end of the block the sockets are closed and the Unix socket's file is removed.

    Raises:
        ConfigError: An address cannot be had; the text names the key.
    """
    with contextlib.ExitStack() as stack:
        sockets = []
        if server.unix_socket is not None:
            sockets.append(stack.enter_context(_unix(server.unix_socket, server.socket_mode, server.socket_group)))
            identity = _identity(server.unix_socket)
            stack.callback(_remove, server.unix_socket, identity)
        if server.tcp is not None:
            sockets.append(stack.enter_context(_tcp(*server.tcp)))
        yield sockets


def address_of(listener: socket.socket) -> str:
    """The listener's address, for people."""
    name = listener.getsockname()
    if isinstance(name, str):
        return f"unix:{name}"
    host, port = name[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _unix(path: Path, mode: int, group: int | None) -> socket.socket:
    _clear(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with contextlib.suppress(OSError):  # Linux makes the file with this mode: with no rights, until `chmod`
            os.fchmod(listener.fileno(), 0)
        listener.bind(str(path))
    except OSError as error:
        listener.close()
        raise ConfigError(
            f"server.unix_socket: expected a path (107 bytes at most) in a directory that exists and may be written, "
            f"got {str(path)!r}: {error.strerror or error}"
        ) from None
    try:
        if group is not None:
            os.chown(path, -1, group, follow_symlinks=False)  # before the mode, which may be meant for this group only
        path.chmod(mode)  # before `listen`: until then no peer can connect
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        path.unlink(missing_ok=True)
        key = "unix_socket" if group is None else "socket_group"
        raise ConfigError(
            f"server.{key}: expected a group that this process is in, or root, got {group} for {str(path)!r}: "
            f"{error.strerror or error}"
        ) from None
    return listener


def _clear(path: Path) -> None:
    """Remove the socket that a crashed sidecar left; a socket on which a process listens, and any other file, is not touched."""
    try:
        mode = path.lstat().st_mode
    except OSError:
        return
    if not stat.S_ISSOCK(mode):
        raise ConfigError(f"server.unix_socket: expected a free path, got {str(path)!r}, which is no socket; remove it")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_PROBE_S)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise ConfigError(f"server.unix_socket: {str(path)!r}: {error.strerror or error}") from None
        else:
            raise ConfigError(f"server.unix_socket: another process listens on {str(path)!r}; stop it first")


def _tcp(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise ConfigError(f"server.tcp: cannot listen on {host}:{port}: {error.strerror or error}") from None
    return listener


def _identity(path: Path) -> tuple[int, int]:
    found = path.lstat()
    return found.st_dev, found.st_ino


def _remove(path: Path, identity: tuple[int, int]) -> None:
    with contextlib.suppress(OSError):  # it is gone
        if _identity(path) == identity:
            os.unlink(path)
