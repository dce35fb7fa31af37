"""Who else may use the socket and read the token files: what may be configured, and that nothing is wider for a moment."""

from __future__ import annotations

import grp
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from sidecar.sidecar import Sidecar
from sidecar.tables import FULL, manager, problems
from threads import eventually

from oidc_actor import ConfigError
from oidc_actor.sidecar import token_files
from oidc_actor.sidecar.listening import ServerConfig, listening
from oidc_actor.values.tokens import TokenResponse

OWN_GROUP = os.getgid()
NAMES = [one.gr_name for one in grp.getgrall()]


@pytest.fixture(params=[0o000, 0o077], ids=["umask 000", "umask 077"])
def umask(request) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


def server(*lines: str) -> str:
    return "\n".join(['[server]\nunix_socket = "s"', *lines, "[managers.m]", *FULL])


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


# --- the configuration ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "mode"), [('"0660"', 0o660), ('"660"', 0o660), ('"0600"', 0o600), ('"0777"', 0o777), ('"0666"', 0o666)]
)
def test_a_mode_of_the_socket(read, text: str, mode: int) -> None:
    assert read(server(f"socket_mode = {text}")).server.socket_mode == mode


@pytest.mark.parametrize(
    "text",
    ["432", "0o660", '"0o660"', '"660 "', '"1660"', '"08"', '"0698"', '"rw-rw----"', '""', "true", "[]", '"٠٦٦٠"'],
)
def test_what_is_no_mode(read, text: str) -> None:
    (found,) = problems(read, server(f"socket_mode = {text}"))
    assert found.startswith('server.socket_mode: expected a mode as octal text such as "0660", got ')
    (found,) = problems(read, manager(*FULL, 'token_file = "t"', f"token_file_mode = {text}"))
    assert found.startswith('managers.m.token_file_mode: expected a mode as octal text such as "0640", got ')


@pytest.mark.parametrize("text", ['"0060"', '"0460"', '"0260"', '"0000"'])
def test_a_socket_that_its_owner_cannot_use(read, text: str) -> None:
    (found,) = problems(read, server(f"socket_mode = {text}"))
    assert found.startswith("server.socket_mode: expected a mode in which the owner may read and write")


@pytest.mark.parametrize(("text", "mode"), [('"0640"', 0o640), ('"0440"', 0o440), ('"0644"', 0o644), ('"400"', 0o400)])
def test_a_mode_of_a_token_file(read, text: str, mode: int) -> None:
    assert read(manager(*FULL, 'token_file = "t"', f"token_file_mode = {text}")).managers["m"].token_file_mode == mode


@pytest.mark.parametrize("text", ['"0660"', '"0622"', '"0700"', '"0040"', '"0606"', '"0000"'])
def test_a_token_file_that_others_may_write_or_its_owner_not_read(read, text: str) -> None:
    (found,) = problems(read, manager(*FULL, 'token_file = "t"', f"token_file_mode = {text}"))
    assert found.startswith("managers.m.token_file_mode: expected a mode in which the owner may read and nobody else")


@pytest.mark.parametrize("form", ["{0}", '"{0}"', '"{1}"'])
def test_a_group_by_its_number_or_name(read, form: str) -> None:
    number = grp.getgrnam(NAMES[0]).gr_gid
    assert read(server(f"socket_group = {form.format(number, NAMES[0])}")).server.socket_group == number


@pytest.mark.parametrize(
    "text", ["-1", "4294967295", '"99999999999"', '"no such group"', '""', "true", "1.5", "[]", '"a\\u0000b"']
)
def test_what_is_no_group(read, text: str) -> None:
    (found,) = problems(read, server(f"socket_group = {text}"))
    assert found.startswith("server.socket_group: expected a group's name or number, got ")


def test_what_there_is_nothing_for(read) -> None:
    tcp = '[server]\ntcp = "127.0.0.1:0"\nsocket_mode = "0660"\nsocket_group = 0\n'
    assert problems(read, "\n".join([tcp, "[managers.m]", *FULL, 'token_file_mode = "0640"'])) == [
        'server.socket_mode: expected unix_socket = "<path>" beside it, got none',
        'server.socket_group: expected unix_socket = "<path>" beside it, got none',
        'managers.m.token_file_mode: expected token_file = "<path>" beside it, got none',
    ]


# --- the socket and the file ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [0o600, 0o660, 0o666])
@pytest.mark.usefixtures("umask")
def test_the_socket_is_never_wider_than_asked(tmp_path, monkeypatch, mode: int) -> None:
    path, seen = tmp_path / "s", []
    chmod, chown = Path.chmod, os.chown

    def watched(self: Path, wanted: int) -> None:
        seen.append((mode_of(self), self.stat().st_gid))
        chmod(self, wanted)

    def owned(name: Path, *rest: int, **more: bool) -> None:
        seen.append((mode_of(name), None))
        chown(name, *rest, **more)

    monkeypatch.setattr(Path, "chmod", watched)
    monkeypatch.setattr(os, "chown", owned)
    with listening(ServerConfig(path, socket_mode=mode, socket_group=OWN_GROUP)):
        assert mode_of(path) == mode
        assert path.stat().st_gid == OWN_GROUP
    assert seen == [(0, None), (0, OWN_GROUP)]  # no right before the group is right


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a_group_that_the_process_is_not_in(tmp_path) -> None:
    with listening(ServerConfig(tmp_path / "s", socket_mode=0o660, socket_group=12345)):
        assert (tmp_path / "s").stat().st_gid == 12345


def test_a_group_that_cannot_be_given(tmp_path, monkeypatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "chown", refused)
    config = ServerConfig(tmp_path / "s", socket_mode=0o660, socket_group=12345)
    with (
        pytest.raises(ConfigError, match=r"server\.socket_group: expected a group that this process is in"),
        listening(config),
    ):
        pass
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o440, 0o400, 0o644])
@pytest.mark.usefixtures("umask")
def test_a_token_file_is_never_wider_than_asked(tmp_path, monkeypatch, mode: int) -> None:
    seen, replace, fchmod = [], Path.replace, os.fchmod

    def replaced(self: Path, path: Path) -> None:
        seen.append(mode_of(self))
        replace(self, path)

    def changed(number: int, wanted: int) -> None:
        seen.append(stat.S_IMODE(os.fstat(number).st_mode))
        fchmod(number, wanted)

    monkeypatch.setattr(Path, "replace", replaced)
    monkeypatch.setattr(os, "fchmod", changed)
    for text in ("one", "other"):
        assert token_files.replace_file(tmp_path / "t", mode, TokenResponse(access_token=text)) is None
        assert (tmp_path / "t").read_text() == text
        assert mode_of(tmp_path / "t") == mode
    assert seen == [mode & 0o600, mode] * 2


def test_reloads_keep_and_change_them(tmp_path, manager_table) -> None:
    """The socket stays as it is; a file whose mode changes is never away, nor is its token."""
    config, path = tmp_path / "config.toml", tmp_path / "a.token"

    def write(socket_mode: str, file_mode: str, *lines: str) -> None:
        head = f'[server]\nunix_socket = "tokens.sock"\nsocket_mode = "{socket_mode}"\nsocket_group = {OWN_GROUP}\n'
        table = manager_table("a", 'token_file = "a.token"', f'token_file_mode = "{file_mode}"', *lines)
        config.write_text(head + table)

    write("0660", "0640")
    with Sidecar(tmp_path) as sidecar:
        token = sidecar.get("/token/a").token
        eventually(path.exists)
        assert (mode_of(sidecar.socket), mode_of(path)) == (0o660, 0o640)
        sidecar.hang_up()
        assert (mode_of(sidecar.socket), mode_of(path)) == (0o660, 0o640)
        assert "config_needs_restart" not in sidecar.log
        write("0600", "0600")
        sidecar.hang_up()
        assert path.read_text() == token
        eventually(lambda: mode_of(path) == 0o600)
        assert mode_of(sidecar.socket) == 0o660
        assert "server.socket_mode" in sidecar.log
        assert "server.socket_group" not in sidecar.log
        write("0660", "0600", 'scopes = "other"')
        sidecar.hang_up()
        eventually(lambda: path.read_text() != token)
        assert mode_of(path) == 0o600
        assert sidecar.terminate() == 0
        assert not sidecar.socket.exists()
        assert path.exists()
