"""Every function, option and type of the original has its counterpart here, and means the same."""

import pytest
from fakes import AUTH, ISSUER, Fixed, ScriptedTransport, form_of
from managers import Start
from threads import eventually

import supervision
from oidc_actor import (
    ClientCredentials,
    ForceRefresh,
    GetToken,
    NoTokenError,
    OIDCConfig,
    Password,
    TokenManager,
    TokenResponse,
    oidc,
)
from oidc_actor.reading.directory import locate
from supervision import Supervisor, whereis

CONFIG = OIDCConfig(issuer=ISSUER, token_endpoint=f"{ISSUER}/token")


# --- functions --------------------------------------------------------------------------------------------------------------


def test_start_link(start: Start) -> None:
    ref = start(name="my_app.weaviate")
    assert ref.is_alive()
    assert whereis("my_app.weaviate") is ref


def test_start_is_no_way_to_start_one() -> None:
    with pytest.raises(TypeError, match=r"TokenManager.start: use TokenManager.start_link\(\*\*options\)"):
        TokenManager.start(auth=AUTH, issuer_url=ISSUER)


def test_child_spec(transport) -> None:
    Supervisor.start_link([TokenManager.child_spec(auth=AUTH, issuer_url=ISSUER, name="m", transport=transport)])
    assert TokenManager.get_access_token("m") == "t1"


def test_get_token(start: Start) -> None:
    token = TokenManager.get_token(start())
    assert isinstance(token, TokenResponse)
    assert (token.access_token, token.token_type, token.expires_in) == ("t1", "Bearer", 300)


def test_get_token_before_the_first_is_no_token_at_once_in_the_mailbox_form(start: Start, transport) -> None:
    with transport.held_back():
        ref = start()
        with pytest.raises(NoTokenError):  # the original's {:error, :no_token}
            supervision.call(ref, GetToken())


def test_get_access_token(start: Start) -> None:
    assert TokenManager.get_access_token(start()) == "t1"


def test_force_refresh(start: Start, clock) -> None:
    ref = start()
    TokenManager.get_token(ref)
    clock.advance(10)
    assert TokenManager.force_refresh(ref) is None
    eventually(lambda: TokenManager.get_access_token(ref) == "t2")
    clock.advance(10)
    ref.tell(ForceRefresh())
    eventually(lambda: TokenManager.get_access_token(ref) == "t3")


@pytest.mark.parametrize("function", ["discover", "get_token", "refresh_token", "parse_scopes"])
def test_the_oidc_modules_functions(function: str) -> None:
    assert callable(getattr(oidc, function))


# --- options ----------------------------------------------------------------------------------------------------------------


def test_oidc_config(start: Start, transport) -> None:
    ref = start(oidc_config=CONFIG)
    assert TokenManager.get_access_token(ref) == "t1"
    assert transport.gets == []


def test_issuer_url(start: Start, transport) -> None:
    TokenManager.get_token(start(issuer_url=ISSUER))
    assert [request.url for request in transport.gets] == [f"{ISSUER}/.well-known/openid-configuration"]


@pytest.mark.parametrize("scopes", [["a", "b"], "a b", "a,b", ("a", "b")])
def test_auth_client_credentials_in_the_originals_form(scopes, start: Start, transport) -> None:
    auth = {"type": "oidc_client_credentials", "client_id": "id", "client_secret": "secret", "scopes": scopes}
    TokenManager.get_token(start(auth=auth))
    assert form_of(transport.posts[0]) == {"grant_type": "client_credentials", "scope": "a b"}


def test_auth_password_in_the_originals_form(start: Start, transport) -> None:
    auth = {
        "type": "oidc_password",
        "username": "user",
        "password": "pass",
        "client_id": "id",
        "client_secret": "secret",
        "scopes": ["a"],
    }
    TokenManager.get_token(start(auth=auth))
    sent = form_of(transport.posts[0])
    assert sent == {"grant_type": "password", "username": "user", "password": "pass", "scope": "a"}


def test_name(start: Start) -> None:
    start(name="m")
    assert TokenManager.get_access_token("m") == "t1"


def test_without_a_name_it_is_reached_by_its_ref(start: Start) -> None:
    assert TokenManager.get_access_token(start()) == "t1"


@pytest.mark.parametrize(("buffer", "refresh_in"), [(60, 240), (10, 290), (0, 300), (1000, 150)])
def test_refresh_buffer_seconds(buffer: float, refresh_in: float, start: Start) -> None:
    ref = start(refresh_buffer_seconds=buffer)
    TokenManager.get_token(ref)
    assert TokenManager.health(ref).refresh_in_s == refresh_in


def test_refresh_buffer_seconds_is_60_by_default(start: Start) -> None:
    ref = start()
    TokenManager.get_token(ref)
    assert TokenManager.health(ref).refresh_in_s == 240


# --- types ------------------------------------------------------------------------------------------------------------------


def test_the_states_fields(start: Start, clock) -> None:
    ref = start(oidc_config=CONFIG)
    token = TokenManager.get_token(ref)
    state = locate(ref).state
    assert state.oidc_config is CONFIG
    assert state.auth == AUTH
    assert state.token is token
    assert state.refresh_buffer_seconds == 60
    assert state.refresh_timer == clock() + 240


def test_token_response_and_oidc_config(start: Start) -> None:
    token = TokenManager.get_token(start())
    for field in ("access_token", "token_type", "expires_in", "refresh_token", "id_token", "scope", "issued_at"):
        assert hasattr(token, field)
    assert not token.expired()
    assert token.expiring_soon(301)
    for field in ("issuer", "token_endpoint", "authorization_endpoint", "userinfo_endpoint", "jwks_uri"):
        assert getattr(OIDCConfig(), field) is None


# --- behaviour --------------------------------------------------------------------------------------------------------------


def test_a_refresh_token_is_used_and_falls_back_to_the_grant(start: Start, clock) -> None:
    from fakes import minted, refused

    transport = ScriptedTransport(minted("a", refresh_token="r"), refused("invalid_grant"), minted("b"))
    ref = start(transport=transport, auth=Password("user", "pass", "id"), rng=Fixed(0))
    TokenManager.get_token(ref)
    clock.advance(240)
    eventually(lambda: TokenManager.get_access_token(ref) == "b")
    assert [form["grant_type"] for form in transport.forms] == ["password", "refresh_token", "password"]


def test_credentials_are_values() -> None:
    assert ClientCredentials("id", "secret") == ClientCredentials("id", "secret")
