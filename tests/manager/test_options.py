"""Every option is checked before anything starts."""

import sys
import traceback

import pytest
from fakes import AUTH, ISSUER, ScriptedTransport
from pykka import ActorRegistry

from oidc_actor import ClientCredentials, ConfigError, OIDCConfig, RetryPolicy, TokenManager
from supervision import ChildSpec

CONFIG = OIDCConfig(token_endpoint="https://auth.example.com/token")
GOOD = {"auth": AUTH, "issuer_url": ISSUER}
ENTRIES = [TokenManager.start_link, TokenManager.child_spec]

BAD = [
    ({"issuer_url": None}, "neither"),
    ({"oidc_config": CONFIG}, "both"),
    ({"auth": None}, "auth"),
    ({"auth": "id:secret"}, "auth"),
    ({"auth": {"type": "magic"}}, "magic"),
    ({"auth": {"client_id": "id"}}, "type"),
    ({"auth": {"type": "oidc_client_credentials", "client_id": ""}}, "client_id"),
    ({"auth": {"type": "oidc_client_credentials", "client_id": "id", "client_secret": 5}}, "client_secret"),
    ({"auth": {"type": "oidc_client_credentials", "client_id": "id", "client_auth": "telepathy"}}, "client_auth"),
    ({"refresh_buffer_seconds": -1}, "refresh_buffer_seconds"),
    ({"refresh_buffer_seconds": "60"}, "refresh_buffer_seconds"),
    ({"refresh_buffer_seconds": float("nan")}, "refresh_buffer_seconds"),
    ({"refresh_buffer_seconds": True}, "refresh_buffer_seconds"),
    ({"issuer_url": "auth.example.com"}, "issuer_url"),
    ({"issuer_url": "http://auth.example.com"}, "issuer_url"),
    ({"issuer_url": "ftp://auth.example.com"}, "issuer_url"),
    ({"issuer_url": 5}, "issuer_url"),
    ({"issuer_url": None, "oidc_config": OIDCConfig()}, "token_endpoint"),
    ({"issuer_url": None, "oidc_config": OIDCConfig(token_endpoint="http://auth.example.com/token")}, "token_endpoint"),
    ({"issuer_url": None, "oidc_config": {"token_endpoint": "https://auth.example.com/token"}}, "oidc_config"),
    ({"name": ""}, "name"),
    ({"name": 5}, "name"),
    ({"transport": "http"}, "transport"),
    ({"clock": 5}, "clock"),
    ({"rng": 5}, "rng"),
    ({"retry": 5}, "retry"),
    ({"min_interval_seconds": -1}, "min_interval_seconds"),
    ({"default_lifetime_seconds": 0}, "default_lifetime_seconds"),
    ({"timeout_seconds": 0}, "timeout_seconds"),
    ({"timeout_seconds": float("inf")}, "timeout_seconds"),
    ({"timeout_seconds": 10**400}, "timeout_seconds"),  # a float cannot hold it
    ({"min_interval_seconds": 10**400}, "min_interval_seconds"),
    ({"timeout_seconds": sys.maxsize}, "timeout_seconds"),
    ({"refresh_buffer_seconds": 10**400}, "refresh_buffer_seconds"),
    ({"default_lifetime_seconds": 10**400}, "default_lifetime_seconds"),
    ({"allow_insecure_http": "yes"}, "allow_insecure_http"),
    ({"ca_bundle": "/nowhere/at/all.pem"}, "ca_bundle"),
    ({"ca_bundle": 5}, "ca_bundle"),
    ({"ca_bundle": False}, "ca_bundle"),
    ({"refresh_buffer": 60}, "refresh_buffer_seconds"),
    ({"issuer": ISSUER}, "issuer_url"),
    ({"zzzz": 1}, "zzzz"),
]


@pytest.mark.parametrize("entry", ENTRIES, ids=["start_link", "child_spec"])
@pytest.mark.parametrize(("options", "named"), BAD, ids=[f"{list(options)}-{named}" for options, named in BAD])
def test_a_bad_option_is_named_before_anything_starts(entry, options, named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        entry(**(GOOD | options))
    assert ActorRegistry.get_all() == []


@pytest.mark.parametrize("entry", ENTRIES, ids=["start_link", "child_spec"])
def test_auth_is_needed(entry) -> None:
    with pytest.raises(ConfigError, match="auth"):
        entry(issuer_url=ISSUER)


def test_an_unknown_option_is_named_with_its_nearest_neighbour() -> None:
    with pytest.raises(ConfigError, match=r"'timeout_second'.*'timeout_seconds'"):
        TokenManager.start_link(**GOOD, timeout_second=5)


@pytest.mark.P9
@pytest.mark.parametrize("entry", ENTRIES, ids=["start_link", "child_spec"])
@pytest.mark.parametrize("more", [{}, {"name": ""}, {"zzz": 1}, {"issuer_url": None}])
def test_no_traceback_of_a_bad_option_holds_a_secret(entry, more) -> None:
    options = {"refresh_buffer_seconds": -1, "issuer_url": ISSUER} | more
    secret = "-".join(["raw", "text"])
    with pytest.raises(ConfigError) as caught:
        entry(auth={"type": "oidc_client_credentials", "client_id": "id", "client_secret": secret}, **options)
    shown = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    ours = [frame for frame in shown.stack if "oidc_actor" in frame.filename]
    assert ours
    assert secret not in str([frame.locals for frame in ours])


def test_plain_http_is_for_loopback_or_by_permission() -> None:
    for options in (
        {"issuer_url": "http://127.0.0.1:1"},
        {"issuer_url": "http://localhost:1"},
        {"issuer_url": "http://auth.example.com", "allow_insecure_http": True},
    ):
        assert isinstance(TokenManager.child_spec(auth=AUTH, **options), ChildSpec)


def test_every_option_is_accepted() -> None:
    ref = TokenManager.start_link(
        auth=AUTH,
        oidc_config=CONFIG,
        name="m",
        refresh_buffer_seconds=0,
        allow_insecure_http=False,
        transport=ScriptedTransport(),
        retry=RetryPolicy(initial_s=1, maximum_s=2),
        min_interval_seconds=0,
        default_lifetime_seconds=100,
        timeout_seconds=3,
    )
    assert TokenManager.get_access_token(ref) == "t1"


def test_positional_arguments_are_a_type_error() -> None:
    with pytest.raises(TypeError):
        TokenManager.start_link(AUTH)


def test_none_means_the_default() -> None:
    spec = TokenManager.child_spec(auth=ClientCredentials("id"), issuer_url=ISSUER, oidc_config=None, ca_bundle=None)
    assert spec.id == "TokenManager"
