"""Files that others name: read as a whole, or refused at once."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import certifi
import pytest
from fakes import AUTH
from threads import DEADLINE_S

from oidc_actor import ConfigError, OIDCConfig, SecretFile, TokenManager
from oidc_actor.credentials.keys import ClientCertificate, certificate_digest
from oidc_actor.http.client import RequestsTransport
from oidc_actor.http.sockets import tls_context
from oidc_actor.values.errors import SecretUnavailable
from oidc_actor.values.secrets import NOT_REGULAR, no_file, read_file

MOST = 100


def pipe(path: Path) -> None:
    os.mkfifo(path)


def endless(path: Path) -> None:
    path.symlink_to("/dev/zero")


def terminal(path: Path) -> None:
    path.symlink_to("/dev/tty")


def listening(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


ODD = pytest.mark.parametrize("make", [pipe, endless, terminal, listening, Path.mkdir])


def in_time(function: Callable[[], object]) -> object:
    """What it gives or raises; a failure where it waits for somebody."""
    found: list[object] = []

    def run() -> None:
        try:
            found.append(function())
        except Exception as error:  # it is looked at
            found.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(DEADLINE_S)
    assert found, "it waits"
    return found[0]


@ODD
def test_what_is_no_regular_file_is_refused_at_once(tmp_path, make) -> None:
    path = tmp_path / "odd"
    make(path)
    assert in_time(lambda: read_file(path, MOST)) in (NOT_REGULAR, "No such device or address")


def test_a_link_is_followed_and_a_loop_is_not(tmp_path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "loop").symlink_to("loop")
    assert read_file(tmp_path / "link", MOST) == b"content"
    assert isinstance(read_file(tmp_path / "loop", MOST), str)


def test_a_pipe_that_takes_the_files_place_while_it_is_opened(tmp_path, monkeypatch) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"content")
    opened = os.open

    def late(name, flags, *rest):
        path.unlink()
        os.mkfifo(path)
        return opened(name, flags, *rest)

    monkeypatch.setattr(os, "open", late)
    assert in_time(lambda: read_file(path, MOST)) == NOT_REGULAR


def test_the_longest_file(tmp_path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * MOST)
    assert read_file(path, MOST) == b"x" * MOST
    path.write_bytes(b"x" * (MOST + 1))
    assert read_file(path, MOST) == no_file(path, MOST) == f"longer than {MOST} bytes"


def test_a_huge_file_is_not_read(tmp_path) -> None:
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    assert read_file(path, MOST) == f"longer than {MOST} bytes"


def test_a_file_that_says_nothing_about_its_length() -> None:
    assert b"Linux" in read_file(Path("/proc/version"), 4096) if Path("/proc/version").exists() else True


@pytest.mark.parametrize("name", ["missing", "a\0b"])
def test_a_name_that_leads_nowhere(tmp_path, name: str) -> None:
    assert isinstance(read_file(tmp_path / name, MOST), str)


@ODD
def test_a_secret(tmp_path, make) -> None:
    path = tmp_path / "odd"
    make(path)
    assert isinstance(in_time(SecretFile(path).read), SecretUnavailable)


@ODD
def test_the_certificates_to_trust(tmp_path, make) -> None:
    path = tmp_path / "odd"
    make(path)
    if make is Path.mkdir:  # a directory of certificates is one of the forms
        return
    assert isinstance(in_time(lambda: RequestsTransport(path)), ConfigError)
    config = OIDCConfig(token_endpoint="https://auth.example.com/token")
    start = lambda: TokenManager.start_link(auth=AUTH, oidc_config=config, ca_bundle=path)  # noqa: E731
    found = in_time(start)
    assert isinstance(found, ConfigError)
    assert "ca_bundle: expected PEM certificates" in str(found)


@ODD
@pytest.mark.parametrize("place", ["cert_file", "key_file"])
def test_a_certificate_and_its_key(tmp_path, make, place: str) -> None:
    make(tmp_path / "odd")
    (tmp_path / "good").write_text("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n")
    names = {"cert_file": tmp_path / "good", "key_file": tmp_path / "good", place: tmp_path / "odd"}
    found = in_time(lambda: tls_context(certifi.where(), ClientCertificate(**names)))
    assert isinstance(found, ConfigError)
    assert NOT_REGULAR in str(found) or "No such device" in str(found)


@ODD
def test_a_keys_certificate(tmp_path, make) -> None:
    path = tmp_path / "odd"
    make(path)
    assert in_time(lambda: certificate_digest(path)) in (NOT_REGULAR, "No such device or address")
