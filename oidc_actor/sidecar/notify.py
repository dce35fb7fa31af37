"""Tells systemd how the service is doing (sd_notify(3)): one datagram, where there is somebody to tell."""

from __future__ import annotations

import os
import socket
import time

from oidc_actor.sidecar.events import log

_TIMEOUT_S = 1.0


def notify(*states: str) -> None:
    """Send states such as ``READY=1``; without ``NOTIFY_SOCKET`` in the environment it does nothing."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):  # an abstract one
        address = f"\0{address[1:]}"
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.settimeout(_TIMEOUT_S)
            channel.sendto("\n".join(states).encode(), address)
    except OSError as error:
        log("notify_failed", error=error.strerror or type(error).__name__)


def reloading() -> None:
    """Say that a reload begins; ``READY=1`` ends it (Type=notify-reload)."""
    notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")


def watchdog_interval_s() -> float | None:
    """Seconds between two signs of life that systemd asks for, half of its patience; ``None`` where it asks for none."""
    patience, pid = os.environ.get("WATCHDOG_USEC", ""), os.environ.get("WATCHDOG_PID", "")
    if not patience.isdecimal() or int(patience) == 0 or pid not in ("", str(os.getpid())):
        return None
    return int(patience) / 2e6
