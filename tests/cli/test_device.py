"""`oidc-actor token --device`: how long it waits, what it bears, what it keeps."""

from __future__ import annotations

import itertools
import json
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import parse_qs

import pytest

from oidc_actor.cli.connection import connect
from oidc_actor.cli.device import Kept, kept_for, log_in
from oidc_actor.cli.options import ConnectionOptions
from oidc_actor.transport import Response, TransportError
from oidc_actor.values.errors import ConfigError, TokenRequestError
from oidc_actor.values.oidc_config import OIDCConfig
from oidc_actor.values.secrets import Secret

CONFIG = OIDCConfig(
    token_endpoint="https://id.example/token", device_authorization_endpoint="https://id.example/device"
)
BEGUN = {
    "device_code": "the device code", "user_code": "ABCD", "verification_uri": "https://id.example/go", "expires_in": 30,
    "interval": 4,
}  # fmt: skip
TOKEN = {"access_token": "t", "expires_in": 60, "refresh_token": "r"}


class Provider:
    """Begins a flow, then answers in turn; the last answer stays."""

    def __init__(self, *answers, begun=BEGUN):
        self.begun = begun
        self.answers = list(answers)
        self.bodies = []

    def __call__(self, request):
        self.bodies.append(request.body.decode())
        if request.url.endswith("/device"):
            return Response(200, {}, json.dumps(self.begun))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        status = 400 if isinstance(answer, str) else 200
        return Response(status, {}, json.dumps({"error": answer} if status == 400 else answer))


@pytest.fixture(autouse=True)
def state(tmp_path, monkeypatch):
    monkeypatch.setenv("OIDC_ACTOR_STATE", str(tmp_path / "state"))


def connection(**options):
    given = {"token_endpoint": CONFIG.token_endpoint, "client_id": "me"} | options
    return connect(ConnectionOptions(**given), by_device=True)


def log(provider):
    waits = []
    return waits, lambda: log_in(connection(), CONFIG, provider, waits.append)


def test_it_waits_as_it_is_told_and_slows_down():
    provider = Provider("authorization_pending", "slow_down", "slow_down", TOKEN, begun=BEGUN | {"expires_in": 60})
    waits, run = log(provider)
    assert run().access_token == "t"
    assert waits == [4, 4, 9, 14]
    assert provider.bodies[0] == "client_id=me"
    assert "device_code=the+device+code" in provider.bodies[1]


def test_it_bears_an_outage_and_backs_off():
    waits, run = log(Provider(TransportError("no"), TransportError("no"), TOKEN))
    assert run().access_token == "t"
    assert waits == [4, 8, 16]


@pytest.mark.parametrize("answer", ["authorization_pending", "slow_down", TransportError("no")])
def test_it_ends_when_the_code_does(answer):
    waits, run = log(Provider(answer))
    with pytest.raises(TokenRequestError):
        run()
    assert sum(waits) == 30


@pytest.mark.parametrize("code", ["access_denied", "expired_token", "invalid_grant", "invalid_client"])
def test_it_ends_at_once_when_it_is_refused(code):
    waits, run = log(Provider(code))
    with pytest.raises(TokenRequestError, match=code):
        run()
    assert len(waits) == 1


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"device_code": None}, "expected a device_code"),
        ({"user_code": "\x1b[2J"}, "expected a user_code"),
        ({"user_code": 5}, "expected a user_code"),
        ({"verification_uri": "http://id.example"}, "verification_uri: expected https"),
        ({"verification_uri": None}, "verification_uri: expected an https URL"),
        ({"verification_uri_complete": "javascript:alert(1)"}, "verification_uri_complete: expected an https URL"),
        ({"expires_in": "soon"}, "expected a positive expires_in"),
    ],
)
def test_what_begins_no_flow(changes, problem):
    _, run = log(Provider(TOKEN, begun=BEGUN | changes))
    with pytest.raises(TokenRequestError, match=problem) as caught:
        run()
    assert "the device code" not in str(caught.value)


def test_the_interval_has_a_default(capsys):
    waits, run = log(Provider(TOKEN, begun={**BEGUN, "interval": None}))
    run()
    assert waits == [5]
    said = capsys.readouterr().err
    assert "open https://id.example/go\nand enter the code ABCD (within 1 min)" in said


def test_without_a_refresh_token_it_says_what_may_bring_one(capsys):
    _, run = log(Provider({"access_token": "t", "expires_in": 60}))
    run()
    assert "--scope offline_access" in capsys.readouterr().err


def test_a_kept_login_that_is_refused_begins_a_new_one_and_one_in_an_outage_does_not():
    kept_of = kept_for(connection())
    with kept_of.locked(1.0, print):
        kept_of.write(Secret("old"))
    _, run = log(Provider(TransportError("no")))
    with pytest.raises(TokenRequestError, match="no answer"):
        run()
    assert kept_of.read() == Secret("old")
    provider = Provider("invalid_grant", TOKEN)
    waits, run = log(provider)
    assert run().refresh_token == "r"
    assert waits == [4]
    assert "refresh_token=old" in provider.bodies[0]
    assert kept_of.read() == Secret("r")


def test_a_kept_login_that_was_granted_less_than_was_asked_for_is_of_use():
    """RFC 6749 section 6: what was not granted must not be asked for again, and no scope is what was granted."""
    options = {"scope": ["granted refused"], "audience": ["api"]}
    kept_of = kept_for(connection(**options))
    with kept_of.locked(1.0, print):
        kept_of.write(Secret("old"))
    provider = Provider("invalid_scope", TOKEN)
    log_in(connection(**options), CONFIG, provider, pytest.fail)
    asked, asked_less = (parse_qs(body) for body in provider.bodies)
    assert asked.pop("scope") == ["granted refused"]
    assert asked == asked_less
    assert kept_of.read() == Secret("r")


def test_logins_are_kept_apart():
    places = {kept_for(connection(**options))._path for options in ({}, {"client_id": "x"}, {"scope": ["a"]})}
    assert len(places) == 3


def test_a_second_command_waits_for_the_first_and_not_for_ever(tmp_path: Path):
    kept = Kept(tmp_path / "state" / "x.token")
    waits = []
    with (
        kept.locked(1.0, waits.append),
        pytest.raises(ConfigError, match="another oidc-actor uses the login"),
        kept.locked(1.0, waits.append),
    ):
        pass
    assert sum(waits) == pytest.approx(1.0, abs=0.1)


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("OIDC_ACTOR_STATE", str(tmp_path / "file" / "below"))
    _, run = log(Provider(TOKEN))
    with pytest.raises(ConfigError, match=r"cannot be kept in .*set OIDC_ACTOR_STATE"):
        run()


def test_a_login_that_cannot_be_kept_is_not_lost(capsys):
    path = kept_for(connection())._path
    path.mkdir(parents=True)  # something that no file can replace
    _, run = log(Provider(TOKEN))
    assert run().access_token == "t"
    assert "cannot be kept in" in capsys.readouterr().err
    assert [one.suffix for one in path.parent.iterdir() if one.is_file()] == [".lock"]  # nothing half-written


def test_a_token_that_was_renewed_and_cannot_be_kept_is_not_lost_either(capsys, monkeypatch):
    kept = kept_for(connection())
    with kept.locked(1.0, print):
        kept.write(Secret("old"))

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    waits, run = log(Provider(TOKEN))
    assert run().access_token == "t"
    assert waits == []
    said = capsys.readouterr().err
    assert "No space left on device" in said
    assert "old" not in said
    assert kept.read() == Secret("old")


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"x" * 2_000_000], ids=["empty", "no text", "too long"])
def test_a_kept_file_that_is_damaged_begins_a_new_login_and_is_replaced(content):
    path = kept_for(connection())._path
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    waits, run = log(Provider(TOKEN))
    assert run().access_token == "t"
    assert waits == [4]
    assert path.read_text() == "r"
    assert path.stat().st_mode & 0o777 == 0o600


def test_two_commands_at_once_redeem_each_refresh_token_once():
    kept = kept_for(connection())
    with kept.locked(1.0, print):
        kept.write(Secret("r0"))
    redeemed, numbers = [], itertools.count(1)

    def rotating(request):
        redeemed.append(parse_qs(request.body.decode())["refresh_token"][0])
        return Response(200, {}, json.dumps(TOKEN | {"refresh_token": f"r{next(numbers)}"}))

    with ThreadPoolExecutor(4) as pool:
        commands = [pool.submit(log_in, connection(), CONFIG, rotating, threading.Event().wait) for _ in range(8)]
        assert {command.result(20).access_token for command in commands} == {"t"}
    assert redeemed == [f"r{number}" for number in range(8)]
    assert kept.read() == Secret("r8")


def test_without_a_folder_of_its_own_it_is_xdgs(monkeypatch):
    monkeypatch.delenv("OIDC_ACTOR_STATE")
    monkeypatch.setenv("XDG_STATE_HOME", "/somewhere")
    assert str(kept_for(connection())._path).startswith("/somewhere/oidc-actor/")
    monkeypatch.delenv("XDG_STATE_HOME")
    assert os.path.join(".local", "state", "oidc-actor") in str(kept_for(connection())._path)


def test_a_user_without_a_home_is_told_what_to_set(monkeypatch):
    monkeypatch.delenv("OIDC_ACTOR_STATE")
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.setattr("os.path.expanduser", lambda path: path)  # which then finds none
    with pytest.raises(ConfigError, match="no home directory; set OIDC_ACTOR_STATE"):
        kept_for(connection())


def test_a_provider_without_the_flow():
    with pytest.raises(ConfigError, match="offers no device flow"):
        log_in(connection(), OIDCConfig(token_endpoint="https://id.example/token"), Provider(TOKEN), print)


def test_a_user_name_does_not_go_with_it(invoke):
    done = invoke(
        "token",
        "--device",
        "--username",
        "u",
        OIDC_PASSWORD="p",
        OIDC_CLIENT_ID="me",
        OIDC_ISSUER_URL="https://x.example",
    )
    assert done.exit_code == 2
    assert "expected one of --device and --username" in done.stderr
