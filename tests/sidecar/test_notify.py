"""systemd's protocol: datagrams to a socket that the environment names."""

from __future__ import annotations

import logging
import os
import socket

import pytest

from oidc_actor.sidecar.service import notify, reloading, watchdog_interval_s


@pytest.fixture(params=["path", "abstract"])
def told(request, tmp_path, monkeypatch):
    channel = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    channel.settimeout(10)
    path = str(tmp_path / "notify")
    channel.bind(path if request.param == "path" else f"\0{path}")
    monkeypatch.setenv("NOTIFY_SOCKET", path if request.param == "path" else f"@{path}")
    yield lambda: channel.recv(4096).decode()
    channel.close()


def test_states_come_as_lines_of_one_datagram(told) -> None:
    notify("READY=1", "STATUS=well")
    assert told() == "READY=1\nSTATUS=well"


def test_a_reload_says_when_it_began(told) -> None:
    reloading()
    first, second = told().splitlines()
    assert first == "RELOADING=1"
    assert second.startswith("MONOTONIC_USEC=")


def test_without_systemd_nothing_happens(monkeypatch, caplog) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notify("READY=1")
    assert not caplog.records


def test_a_socket_that_is_gone_is_logged(monkeypatch, tmp_path, caplog) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "gone"))
    with caplog.at_level(logging.WARNING, "oidc_actor.run"):
        notify("READY=1")
    assert [record.event for record in caplog.records] == ["notify_failed"]


@pytest.mark.parametrize(
    ("patience", "pid", "interval_s"),
    [("2000000", "", 1.0), ("2000000", str(os.getpid()), 1.0), ("2000000", "1", None), ("", "", None), ("0", "", None)],
)
def test_the_watchdog_is_fed_twice_in_its_time(monkeypatch, patience: str, pid: str, interval_s: float | None) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", patience)
    monkeypatch.setenv("WATCHDOG_PID", pid)
    assert watchdog_interval_s() == interval_s
