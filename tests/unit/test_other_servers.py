"""Servers that are no OpenID providers: JSON bodies, header fields, names of bearer tokens, and members of their own."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from fakes import ScriptedTransport, minted, refused

from oidc_actor import ClientCredentials, ConfigError, OIDCConfig, SecretFile, TokenRequestError, TokenResponse, oidc
from oidc_actor.credentials.grants import DeviceCode, parse_auth
from oidc_actor.manager.options import check_options
from oidc_actor.manager.shared_store import record_key
from oidc_actor.sharing.sealing import Sealer, read_token, token_content
from oidc_actor.transport import Request
from oidc_actor.values.secrets import Secret

CONFIG = OIDCConfig(token_endpoint="https://id.example/token", revocation_endpoint="https://id.example/revoke")


def got(auth: ClientCredentials, transport: ScriptedTransport) -> TokenResponse:
    return oidc.get_token(CONFIG, auth, transport=transport)


def sent(auth: ClientCredentials) -> Request:
    transport = ScriptedTransport()
    got(auth, transport)
    return transport.requests[0]


# --- names of a bearer token ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["BearerToken", "bearertoken", "mac", "urn:example:bearer", "JWT"])
def test_a_bearer_token_of_another_name_is_a_bearer_token(name: str) -> None:
    auth = ClientCredentials("id", "a-secret", accept_token_types=("BearerToken", name))
    assert got(auth, ScriptedTransport(minted(token_type=name.upper()))).token_type == "Bearer"
    assert got(auth, ScriptedTransport(minted())).token_type == "Bearer"
    with pytest.raises(TokenRequestError, match="got 'Basic'; accept_token_types"):
        got(auth, ScriptedTransport(minted(token_type="Basic")))


def test_without_it_another_name_is_refused() -> None:
    with pytest.raises(TokenRequestError, match="expected the token_type Bearer or DPoP, got 'BearerToken'"):
        got(ClientCredentials("id", "a-secret"), ScriptedTransport(minted(token_type="BearerToken")))


def test_a_token_bound_to_a_key_stays_one() -> None:
    auth = ClientCredentials("id", "a-secret", accept_token_types=["BearerToken"])
    assert got(auth, ScriptedTransport(minted(token_type="dpop"))).token_type == "DPoP"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("BearerToken", "accept_token_types: expected a list of names, .*got one text"),
        (5, "accept_token_types: expected a list of names, .*got int"),
        ([5], "accept_token_types: expected a text, got int"),
        ([""], "accept_token_types: expected a non-empty text"),
        (["a\nb"], "accept_token_types: expected a text without control characters"),
        (["DPOP"], "accept_token_types: 'DPOP' is no other name of a bearer token; .*with dpop"),
        (["N_A"], "accept_token_types: 'N_A' is no other name .*requested_token_type"),
    ],
)
def test_what_is_no_list_of_names(value: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        ClientCredentials("id", "a-secret", accept_token_types=value)
    assert caught.value.option == ("accept_token_types",)


# --- a body of JSON ---------------------------------------------------------------------------------------------------


def test_a_body_of_json() -> None:
    auth = ClientCredentials(
        "id", "sécret", "a b", audience=["x", "y"], resource="https://r", extra={"tenant": "7"}, body="json",
        client_auth="client_secret_post",
    )  # fmt: skip
    request = sent(auth)
    assert request.headers["Content-Type"] == "application/json"
    assert json.loads(request.body) == {
        "grant_type": "client_credentials", "scope": "a b", "audience": ["x", "y"], "resource": "https://r",
        "tenant": "7", "client_id": "id", "client_secret": "sécret",
    }  # fmt: skip


def test_the_client_authenticates_as_ever_where_the_body_is_json() -> None:
    request = sent(ClientCredentials("id", "a-secret", body="json"))
    assert request.headers["Authorization"].startswith("Basic ")
    assert json.loads(request.body) == {"grant_type": "client_credentials"}


def test_a_body_is_a_form_or_json() -> None:
    assert ClientCredentials("id", body="form") == ClientCredentials("id")
    assert "body" not in repr(ClientCredentials("id"))
    assert "body='json'" in repr(ClientCredentials("id", body="json"))
    with pytest.raises(ConfigError, match="body: expected 'form' or 'json', got 'xml'"):
        ClientCredentials("id", body="xml")  # type: ignore[arg-type]


# --- header fields ----------------------------------------------------------------------------------------------------


def test_header_fields_are_sent_with_each_request_and_read_anew(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("first-of-the-file\n")
    numbers = iter(["first-of-the-call", "second-of-the-call"])
    headers = {"X-Api-Key": SecretFile(file), "X-Nonce": lambda: next(numbers), "api-version": "7", "accept": "text/x"}
    auth = ClientCredentials("id", "a-secret", request_headers=headers)
    transport = ScriptedTransport()
    got(auth, transport)
    file.write_text("second-of-the-file\n")
    oidc.revoke_token(CONFIG, "token", auth, transport=transport)
    names = ("X-Api-Key", "X-Nonce", "api-version", "accept", "Accept")
    assert [[request.headers.get(name) for name in names] for request in transport.requests] == [
        ["first-of-the-file", "first-of-the-call", "7", "text/x", None],
        ["second-of-the-file", "second-of-the-call", "7", "text/x", None],
    ]
    assert auth.sources[-2].files == (SecretFile(file),)  # whose change wakes a manager


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (["X"], "request_headers: expected a mapping from names of header fields to texts, got list"),
        ({5: "x"}, "request_headers: expected names of header fields"),
        ({"X Y": "x"}, "request_headers: expected names of header fields"),
        ({"X": 5}, "request_headers: X: expected a non-empty text, a callable or SecretFile"),
        ({"X": ""}, "request_headers: X: expected a non-empty text"),
        ({"X": "hunter2\r\nHost: x"}, "request_headers: X: expected visible ASCII characters .*, got another text"),
        ({"X": " hunter2"}, "request_headers: X: expected visible ASCII characters"),
        ({"X": "é"}, "request_headers: X: expected visible ASCII characters"),
        ({"X-A": "1", "x-a": "2"}, "request_headers: expected each header field once, got 'x-a' twice"),
        ({"authorization": "hunter2"}, "request_headers: 'authorization' cannot be set: .*client_auth, or Custom"),
        ({"Content-Type": "x"}, "request_headers: 'Content-Type' cannot be set: .*use body"),
        ({"DPoP": "x"}, "request_headers: 'DPoP' cannot be set"),
        *(
            ({name: "x"}, f"request_headers: '{name}' cannot be set")
            for name in ("Host", "Content-Length", "Transfer-Encoding", "Connection", "Proxy-Authorization", "Expect")
        ),
    ],
)
def test_what_are_no_header_fields(value: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        ClientCredentials("id", "a-secret", request_headers=value)
    assert caught.value.option[0] == "request_headers"
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("value", ["a\r\nHost: x", "é", " a"])
def test_a_source_that_gives_what_no_field_can_hold_fails_that_request(value: str) -> None:
    transport = ScriptedTransport()
    with pytest.raises(TokenRequestError, match="request_headers: X cannot be sent: expected visible") as caught:
        got(ClientCredentials("id", "a-secret", request_headers={"X": lambda: value}), transport)
    assert caught.value.retryable
    assert not caught.value.sent
    assert not transport.requests


def test_what_is_in_a_header_field_is_never_shown() -> None:
    headers = {"X-Key": "k3y-of-the-gateway", "X-Call": lambda: "k4y-of-the-call", "X-Version": "7"}
    auth = ClientCredentials("id", "a-secret", request_headers=headers)
    assert "request_headers=RequestHeaders(X-Call, X-Key, X-Version)" in repr(auth)
    for value in (auth.request_headers, auth):
        with pytest.raises(TypeError, match="cannot pickle"):
            pickle.dumps(value)
    told = "no k3y-of-the-gateway, no k4y-of-the-call, but 7"
    with pytest.raises(TokenRequestError, match=r"no .*, no .*, but 7") as caught:
        got(auth, ScriptedTransport(refused("invalid_request", description=told)))
    assert "k3y" not in str(caught.value)
    assert "k4y" not in str(caught.value)
    same = ClientCredentials("id", "a-secret", request_headers=dict(headers))
    assert (auth, hash(auth)) == (same, hash(same))
    assert auth != ClientCredentials("id", "a-secret", request_headers={"X-Key": "another"})


def test_a_device_flow_and_the_mapping_form_have_them_too() -> None:
    auth = parse_auth(
        {
            "type": "oidc_client_credentials",
            "client_id": "id",
            "body": "json",
            "request_headers": {"X": "7"},
            "accept_token_types": ["JWT"],
        }
    )
    code = DeviceCode(Secret("c"), auth)
    for one in (auth, code):
        assert (one.body, dict(one.request_headers or {}), one.accept_token_types) == (
            "json",
            {"X": Secret("7")},
            ("JWT",),
        )


def test_members_of_a_fleet_with_other_header_fields_share_no_token() -> None:
    def key(**given: Any) -> str:
        auth = ClientCredentials("id", "a-secret", **given)
        return record_key(check_options({"auth": auth, "oidc_config": CONFIG}), None)

    keys = [key(), *(key(request_headers=one) for one in ({"X-T": "1"}, {"X-T": "2"}, {"X-T": lambda: "3"}))]
    assert len(set(keys)) == 4
    assert key(request_headers={"x-t": "1"}) == keys[1]
    assert key(accept_token_types=("JWT",), body="json") == keys[0]


# --- members of their own ---------------------------------------------------------------------------------------------

MEMBERS = {"instance_url": "https://eu1.example", "issued_token_type": "urn:x", "roles": ["a", {"deep": [1, None]}]}


def test_the_other_members_of_an_answer() -> None:
    token = got(ClientCredentials("id", "a-secret"), ScriptedTransport(minted(scope="a", refresh_token="r", **MEMBERS)))
    assert token.extra["instance_url"] == "https://eu1.example"
    assert token.extra["roles"] == ("a", {"deep": (1, None)})
    assert set(token.extra) == set(MEMBERS)
    assert token.with_refresh_token("s").extra == token.extra
    assert not got(ClientCredentials("id"), ScriptedTransport(minted())).extra


def test_the_members_cannot_be_changed_printed_or_pickled() -> None:
    token = TokenResponse("text", extra={"key": "hunter2", "inner": {"key": "hunter2"}})
    assert isinstance(token.extra, Mapping)
    for change in (
        lambda: token.extra.__setitem__("key", "x"),  # type: ignore[attr-defined]
        lambda: setattr(token, "extra", {}),
        lambda: token.extra["inner"].__setitem__("key", "x"),
    ):
        with pytest.raises((AttributeError, TypeError)):
            change()
    for value in (token, token.extra, token.extra["inner"]):
        assert "hunter2" not in f"{value} {value!r} {value:>5}"
        with pytest.raises(TypeError, match="cannot pickle"):
            pickle.dumps(value)
        assert copy.deepcopy(value) is value
    given = {"key": ["a"]}
    token = TokenResponse("text", extra=given)
    given["key"].append("b")
    assert token.extra == {"key": ("a",)}
    assert (token, hash(token)) == (TokenResponse("text", issued_at=token.issued_at, extra={"key": ["a"]}), hash(token))
    assert token != TokenResponse("text", issued_at=token.issued_at)


@pytest.mark.parametrize("value", [5, [("a", 1)], {5: "a"}, {"a": object()}, {"a": {"b": {1, 2}}}, {"a": {5: 6}}])
def test_what_are_no_members(value: Any) -> None:
    with pytest.raises(ConfigError, match="extra: expected a mapping from texts to what JSON can say"):
        TokenResponse.new("text", extra=value)


def test_members_that_are_too_deep_are_left_out() -> None:
    def nested(levels: int) -> bytes:
        return b'{"access_token":"t","near":{"a":[1]},"far":' + b'[{"a":' * levels + b"1" + b"}]" * levels + b"}"

    for levels in (20, 400):
        transport = ScriptedTransport(minted())
        transport.script[0] = type(minted())(200, {}, nested(levels))
        assert dict(got(ClientCredentials("id"), transport).extra)["near"] == {"a": (1,)}
    loop: dict[str, Any] = {}
    loop["a"] = loop
    with pytest.raises(ConfigError, match="at most 32 levels deep"):
        TokenResponse.new("text", extra=loop)


def test_a_fleet_keeps_the_members_sealed_with_the_token() -> None:
    token = got(ClientCredentials("id"), ScriptedTransport(minted("text", **MEMBERS)))
    sealer = Sealer((Secret("aHVudGVyMi10aGUtc2VjcmV0LWh1bnRlcjItdGhlLXM="),))
    sealed = sealer.seal(token_content(token, 300.0), "key")
    assert "eu1" not in sealed.reveal()
    content = sealer.open(sealed, "key")
    assert content is not None
    found = read_token(content, 200.0, 0.0)
    assert found is not None
    assert found.token.extra == token.extra
    assert read_token({**content, "extra": "nonsense"}, 200.0, 0.0) is None
    assert "extra" not in token_content(TokenResponse("text"), 300.0)


def test_a_new_token() -> None:
    token = TokenResponse.new("text", expires_in=60, refresh_token="r", scope="a b", extra={"x": 1})
    assert (token.access_token, token.token_type, token.expires_in) == ("text", "Bearer", 60)
    assert (token.refresh_token, token.scope, token.extra, token.id_token) == ("r", "a b", {"x": 1}, None)
    assert not token.expired()
    with pytest.raises(ConfigError, match="expires_in: expected a finite number"):
        TokenResponse.new("text", expires_in="60")  # type: ignore[arg-type]
