"""The clients of vendors, each with its real library: waits, rotation, outage and 401 are as those of the plain HTTP clients."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from urllib.parse import parse_qs

import pytest
from adapters.api import Api, Gatekeeper
from adapters.clients import CLIENTS, PAGES, AsyncAzure, Azure, Client
from adapters.held_manager import Held
from threads import eventually, run

from oidc_actor.adapters.azure_core import OIDCCredential
from oidc_actor.adapters.presenter import Presenter
from oidc_actor.testing import Provider


@pytest.fixture(params=CLIENTS, ids=lambda kind: kind.__name__)
def client(request: pytest.FixtureRequest, http: Api, cold: Held) -> Iterator[Client]:
    http.pages = PAGES
    made: Client = request.param(http, None, cold.name)
    yield made
    made.close()


def test_the_first_call_waits_and_a_refresh_is_seen_by_the_next(
    client: Client, cold: Held, http: Api, provider: Provider
) -> None:
    def let_go() -> None:
        eventually(lambda: cold.waiting == 1, "the call that waits")
        cold.gate.release()

    with run(let_go):
        assert client.post() == 200
    first = cold.wait_for_token()
    assert client.post() == 200
    cold.clock.advance(5)
    second = cold.refresh()
    assert client.post() == 200
    assert http.tokens == [first, first, second]
    assert provider.token_requests == 2


@pytest.mark.P1
def test_an_outage_is_not_noticed_while_a_token_lives(client: Client, settled: Held, provider: Provider) -> None:
    provider.down()
    settled.clock.advance(560)  # beyond the refresh point
    assert client.post() == 200
    assert client.tokens == [settled.token]


def test_a_401_is_mended_with_one_request_for_a_token(
    client: Client, settled: Held, http: Api, provider: Provider, gatekeeper: Gatekeeper
) -> None:
    refused = settled.token
    gatekeeper.revoke(refused)
    assert client.post() == 200
    assert http.tokens == [refused, settled.token]
    assert http.seen[0].body == http.seen[1].body
    assert provider.token_requests == 2


def test_a_401_that_cannot_be_mended_is_handed_on(
    client: Client, settled: Held, provider: Provider, gatekeeper: Gatekeeper
) -> None:
    gatekeeper.revoke(settled.token)
    provider.fail_next(None, status=400, error="invalid_client")
    assert client.post() == 401


def test_without_a_token_the_program_gets_the_reason(
    client: Client, cold: Held, http: Api, provider: Provider, caplog: pytest.LogCaptureFixture
) -> None:
    provider.fail_next(None, status=400, error="invalid_client", error_description="who is that?")
    cold.gate.release()
    told = ""
    try:
        client.post()  # each library has an error of its own around ours; the exporter logs it
    except Exception as error:
        told = "".join(traceback.format_exception(error))
    assert "who is that?" in told + "".join(one.message for one in caplog.records if one.name != "oidc_actor")
    assert http.tokens == []


@pytest.mark.parametrize("kind", [Azure, AsyncAzure], ids=lambda kind: kind.__name__)
def test_azure_has_a_token_asked_for_with_the_claims(
    kind: type[Client], settled: Held, http: Api, provider: Provider, gatekeeper: Gatekeeper
) -> None:
    made = kind(http, None, settled.name)  # type: ignore[arg-type]
    gatekeeper.revoke(settled.token)
    assert made.post() == 200
    made.close()
    assert parse_qs(settled.gate.sent[-1].body.decode())["claims"] == ['{"a":1}']


@pytest.mark.parametrize("claims", [None, ""])
def test_azures_caller_that_names_no_claims_complains_of_no_token(
    claims: str | None, settled: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    complaints: list[object] = []
    monkeypatch.setattr(Presenter, "successor", lambda *given, **_: complaints.append(given))
    credential = OIDCCredential(settled.name)
    assert credential.get_token("scope").token == credential.get_token("scope", claims=claims).token == settled.token
    assert complaints == []
