"""A loopback port that stays one's own while no server listens on it."""

from __future__ import annotations

import socket

HOST = "127.0.0.1"
BACKLOG = 512


class KeptPort:
    """A port of 127.0.0.1, held from construction to `close`.

    A socket that is bound with `SO_REUSEPORT` and never listens holds the port: with no other socket listening there
    the kernel refuses connections to it, and gives it to no other socket. Where that option is missing (Windows) the port
    is only remembered.

    Args:
        port: The port to use; 0 takes a free one.

    Raises:
        OSError: The port is taken.
    """

    def __init__(self, port: int = 0) -> None:
        self._held = _bind(port)
        self.number: int = self._held.getsockname()[1]
        if not hasattr(socket, "SO_REUSEPORT"):
            self._held.close()

    def listen(self) -> socket.socket:
        """A new socket that listens here; the caller closes it."""
        listening = _bind(self.number)
        listening.listen(BACKLOG)
        return listening

    def close(self) -> None:
        """Give the port back."""
        self._held.close()


def _bind(port: int) -> socket.socket:
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, "SO_REUSEPORT"):
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        bound.bind((HOST, port))
    except OSError:
        bound.close()
        raise
    return bound
