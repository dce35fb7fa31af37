"""`oidc-actor token --device` against the certified npm `oidc-provider`'s own device flow, pages and refresh tokens."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urljoin

import pytest
import requests
from integration.node_provider import CLIENTS, USER, NodeProvider

from oidc_actor.cli.connection import connect
from oidc_actor.cli.device import log_in
from oidc_actor.cli.options import ConnectionOptions
from oidc_actor.http.client import RequestsTransport
from oidc_actor.oidc import discover, refresh_token
from oidc_actor.values.errors import TokenRequestError
from oidc_actor.values.tokens import TokenResponse

TIMEOUT_S = 10.0
MAX_STEPS = 12


class Person:
    """Reads what the command says while it waits, and does it in a browser at the third time of asking."""

    def __init__(self, capsys: pytest.CaptureFixture[str], *, confirm: bool = True) -> None:
        self._capsys = capsys
        self._confirm = confirm
        self.waits: list[float] = []

    def __call__(self, seconds: float) -> None:
        self.waits.append(seconds)
        if len(self.waits) == 3:
            said = self._capsys.readouterr().err
            found = re.search(r"^or open (\S+) and compare", said, re.MULTILINE)
            assert found is not None, said
            self._visit(found[1])

    def _visit(self, url: str) -> None:
        with requests.Session() as browser:
            answer = browser.get(url, timeout=TIMEOUT_S)
            for _ in range(MAX_STEPS):
                form = re.search(r'<form[^>]*action="([^"]+)"', answer.text)
                if form is None:
                    return
                fields = dict(re.findall(r'<input[^>]*name="(\w+)"[^>]*value="([^"]*)"', answer.text))
                if "prompt" in fields:
                    fields |= {"login": USER["name"], "password": "any"}
                elif "user_code" in fields:
                    fields["confirm" if self._confirm else "abort"] = "yes"
                answer = browser.post(urljoin(answer.url, form[1]), data=fields, timeout=TIMEOUT_S)
                if "abort" in fields:
                    return
        raise AssertionError(answer.text)


@pytest.fixture
def login(npm_provider: NodeProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OIDC_ACTOR_STATE", str(tmp_path / "state"))
    config, transport = discover(npm_provider.issuer_url), RequestsTransport()

    def run(pause, scope: str = "openid offline_access") -> TokenResponse:
        options = ConnectionOptions(
            issuer=npm_provider.issuer_url, client_id=str(CLIENTS["none"]["client_id"]), scope=[scope]
        )
        return log_in(connect(options, by_device=True), config, transport, pause)

    yield run
    transport.close()


def nobody_is_asked(seconds: float) -> None:
    raise AssertionError("it asks again")


def test_a_login_is_kept(login, capsys, tmp_path: Path) -> None:
    person = Person(capsys)
    first = login(person)
    assert person.waits[:3] == [5.0, 5.0, 5.0]
    assert first.refresh_token
    (kept,) = (tmp_path / "state").glob("*.token")
    assert kept.read_text() == first.refresh_token
    assert kept.stat().st_mode & 0o777 == 0o600
    second = login(nobody_is_asked)
    third = login(nobody_is_asked)
    assert len({first.refresh_token, second.refresh_token, third.refresh_token}) == 3
    assert kept.read_text() == third.refresh_token


def test_a_login_that_was_granted_less_than_was_asked_for(login, capsys) -> None:
    first = login(Person(capsys), "openid offline_access no-such-scope")
    assert first.scope == "openid offline_access"
    assert login(nobody_is_asked, "openid offline_access no-such-scope").refresh_token != first.refresh_token


def test_a_person_who_says_no(login, capsys) -> None:
    with pytest.raises(TokenRequestError) as caught:
        login(Person(capsys, confirm=False))
    assert (caught.value.error, caught.value.status) == ("access_denied", 400)


def test_a_login_that_was_revoked_is_asked_for_again(login, capsys, npm_provider: NodeProvider) -> None:
    first = login(Person(capsys))
    used = connect(ConnectionOptions(issuer=npm_provider.issuer_url, client_id="public-client"), by_device=True).auth
    refresh_token(discover(npm_provider.issuer_url), str(first.refresh_token), used)  # elsewhere: the kept one is spent
    again = Person(capsys)
    assert login(again).refresh_token
    assert len(again.waits) >= 3
