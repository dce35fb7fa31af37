"""Credentials: valid once they exist, equal by value, never printed."""

import copy
import dataclasses
import pickle
from functools import partial
from typing import Any

import pytest

from oidc_actor.credentials.credentials import METHODS
from oidc_actor.credentials.grants import ClientCredentials, Password, RefreshToken
from oidc_actor.credentials.keys import ClientCertificate
from oidc_actor.values.errors import ConfigError
from oidc_actor.values.secrets import Secret, SecretFile, resolve_secret

SECRET = "hunter2"
EXAMPLES = [
    lambda **more: ClientCredentials("id", SECRET, ["a", "b"], **more),
    lambda **more: Password("user", SECRET, "id", SECRET, "a b", **more),
    lambda **more: RefreshToken(SECRET, "id", SECRET, "a,b", **more),
]
every_kind = pytest.mark.parametrize("make", EXAMPLES, ids=["client_credentials", "password", "refresh_token"])


def test_the_pinned_order_of_arguments():
    one = ClientCredentials("id", "s", ("a",))
    assert (one.client_id, one.client_secret, one.scopes) == ("id", Secret("s"), ("a",))
    two = Password("u", "p", "id", "s", ("a",))
    assert (two.username, two.password, two.client_id, two.client_secret) == ("u", Secret("p"), "id", Secret("s"))
    three = RefreshToken("r", "id", "s", ("a",))
    assert (three.refresh_token, three.client_id, three.client_secret) == (Secret("r"), "id", Secret("s"))
    assert [one.grant_type, two.grant_type, three.grant_type] == ["client_credentials", "password", "refresh_token"]
    assert [one.grant_secret, two.grant_secret, three.grant_secret] == [None, Secret("p"), Secret("r")]


def test_what_may_be_left_out():
    one = ClientCredentials("id")
    assert (one.client_secret, one.scopes, one.audience, one.resource) == (None, (), None, None)
    assert (one.extra, one.client_auth) == (None, None)
    assert Password("u", "p").client_id is None


@every_kind
def test_credentials_compare_by_value(make):
    assert make() == make()
    assert hash(make()) == hash(make())
    assert make(audience="x") != make()
    assert make(extra={"a": "1"}) == make(extra={"a": "1"})
    assert hash(make(extra={"a": "1", "b": "2"})) == hash(make(extra={"b": "2", "a": "1"}))
    assert make(extra={"a": "1"}) != make(extra={"a": "2"})
    assert make() != "other"


def test_a_grant_is_part_of_the_value():
    assert ClientCredentials("id", "s") != RefreshToken("s", "id", "s")


@every_kind
def test_nothing_prints_or_dumps_credentials(make):
    made = make(extra={"otp": "value-" + SECRET})
    shown = [
        repr(made),
        str(made),
        f"{made}",
        repr([made]),
        repr(dataclasses.asdict(made)),
        repr(dataclasses.astuple(made)),
    ]
    assert not any(SECRET in one for one in shown)
    assert "'id'" in repr(made)
    assert "otp" in repr(made)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError, match="holds secrets"):
            pickle.dumps(made, protocol)
    assert copy.copy(made) is made
    assert copy.deepcopy(made) is made


@every_kind
def test_credentials_are_frozen(make):
    with pytest.raises(dataclasses.FrozenInstanceError):
        make().client_id = "other"
    with pytest.raises((AttributeError, TypeError)):
        make().anything = 1


def test_credentials_can_be_changed_into_others():
    changed = dataclasses.replace(Password("u", SECRET, "id"), scopes="c", client_id="other")
    assert (changed.scopes, changed.client_id, changed.password) == (("c",), "other", Secret(SECRET))


def test_where_a_secret_may_come_from(tmp_path):
    path = tmp_path / "secret"
    path.write_text("from the file\n")

    def read(text):
        return text

    file = ClientCredentials("id", SecretFile(path))
    call = ClientCredentials("id", partial(read, SECRET))
    assert resolve_secret(file.client_secret).reveal() == "from the file"
    assert resolve_secret(call.client_secret).reveal() == SECRET
    assert SECRET not in repr(call)
    assert SECRET not in repr(dataclasses.asdict(call))
    assert "secret" in repr(file)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ClientCredentials(""), "client_id: expected a non-empty text"),
        (lambda: ClientCredentials("  "), "client_id: expected a non-empty text"),
        (lambda: ClientCredentials(None), "client_id: expected a text, got NoneType"),
        (lambda: ClientCredentials("a\nb"), "client_id: expected a text without control characters"),
        (lambda: ClientCredentials("\ud800"), "client_id: expected a text without control characters"),
        (lambda: ClientCredentials("id", ""), "client_secret: expected a non-empty text"),
        (lambda: ClientCredentials("id", 5), "client_secret: expected a non-empty text, a callable or SecretFile"),
        (lambda: ClientCredentials("id", b"hunter2"), "client_secret: .* got bytes"),
        (lambda: ClientCredentials("id", "hunter2\ud800"), "client_secret: .* UTF-8"),
        (lambda: ClientCredentials("id", scopes=5), "scopes: expected a list or a string"),
        (lambda: ClientCredentials("id", audience=""), "audience: expected a non-empty text"),
        (lambda: ClientCredentials("id", resource=["a", 5]), "resource: expected a text, got int"),
        (lambda: ClientCredentials("id", resource={"a": 1}), "resource: expected a text or a list"),
        (lambda: ClientCredentials("id", extra="a=b"), "extra: expected a mapping"),
        (lambda: ClientCredentials("id", extra={"a": 5}), "extra: expected a text for 'a'"),
        (lambda: ClientCredentials("id", extra={"": "x"}), "extra: a parameter's name: expected a non-empty"),
        (lambda: ClientCredentials("id", extra={"scope": "x"}), "extra: 'scope' belongs to the protocol"),
        (lambda: ClientCredentials("id", extra={"client_secret": "hunter2"}), "belongs to the protocol"),
        (lambda: ClientCredentials("id", client_auth="basic"), "client_auth: expected one of client_secret_basic"),
        (lambda: ClientCredentials("id", client_auth=5), "client_auth: expected one of"),
        (lambda: ClientCredentials("id", client_auth="client_secret_post"), "needs a client_secret"),
        (lambda: ClientCredentials("id", "hunter2", client_auth="none"), "'none' never sends a client_secret"),
        (lambda: Password("", "hunter2"), "username: expected a non-empty text"),
        (lambda: Password("u", ""), "password: expected a non-empty text"),
        (lambda: Password("u", None), "password: expected a non-empty text"),
        (lambda: Password("u", "hunter2", ""), "client_id: expected a non-empty text"),
        (lambda: Password("u", "hunter2", client_secret="hunter2"), "client_secret: expected a client_id beside it"),
        (lambda: RefreshToken("", "id"), "refresh_token: expected a non-empty text"),
        (lambda: RefreshToken("hunter2", ""), "client_id: expected a non-empty text"),
        (lambda: RefreshToken("hunter2", None), "client_id: expected a text"),
    ],
)
def test_what_makes_no_credentials(make, message):
    with pytest.raises(ConfigError, match=message) as caught:
        make()
    assert SECRET not in str(caught.value)
    assert caught.value.__context__ is None


@pytest.mark.parametrize("method", ["private_key_jwt", "tls_client_auth", "self_signed_tls_client_auth"])
@every_kind
def test_a_method_without_its_parameters_is_refused(make, method):
    with pytest.raises(ConfigError, match=f"'{method}' needs a "):
        make(client_auth=method)


def test_every_method_is_accepted_with_its_parameters():
    parameters = {
        "client_secret_basic": {"client_secret": "s"},
        "client_secret_post": {"client_secret": "s"},
        "client_secret_jwt": {"client_secret": "s"},
        "private_key_jwt": {"client_assertion": lambda: "x"},
        "tls_client_auth": {"client_certificate": ClientCertificate("c.pem")},
        "self_signed_tls_client_auth": {"client_certificate": {"cert_file": "c.pem", "key_file": "k.pem"}},
        "none": {},
    }
    assert set(parameters) == set(METHODS)
    for method, held in parameters.items():
        assert ClientCredentials("id", client_auth=method, **held).client_auth == method


CERTIFICATE: dict[str, Any] = {"client_certificate": ClientCertificate("c.pem")}
WITH_SECRET: dict[str, Any] = {"client_id": "id", "client_secret": "s"}
WITH_KEY: dict[str, Any] = {"client_id": "id", "client_assertion": lambda: "a"}
WITH_CERTIFICATE = {"client_id": "id", **CERTIFICATE}


@pytest.mark.parametrize(
    ("chosen", "held", "supported", "method"),
    [
        (None, WITH_SECRET, None, "client_secret_basic"),
        (None, WITH_SECRET, (), "client_secret_basic"),
        (None, WITH_SECRET, ("client_secret_post", "client_secret_basic"), "client_secret_basic"),
        (None, WITH_SECRET, ("client_secret_jwt", "client_secret_post"), "client_secret_post"),
        (None, WITH_SECRET, ("private_key_jwt", "client_secret_jwt"), "client_secret_jwt"),
        (None, WITH_SECRET, ("private_key_jwt",), "client_secret_basic"),
        (None, {**WITH_SECRET, **CERTIFICATE}, ("tls_client_auth",), "client_secret_basic"),
        (None, WITH_KEY, ("client_secret_basic",), "private_key_jwt"),
        (None, {**WITH_KEY, **CERTIFICATE}, ("tls_client_auth",), "private_key_jwt"),
        (None, WITH_CERTIFICATE, None, "tls_client_auth"),
        (None, WITH_CERTIFICATE, ("self_signed_tls_client_auth", "tls_client_auth"), "tls_client_auth"),
        (None, WITH_CERTIFICATE, ("self_signed_tls_client_auth",), "self_signed_tls_client_auth"),
        (None, {"client_id": "id"}, ("client_secret_basic",), "none"),
        (None, {}, None, "none"),
        ("client_secret_post", WITH_SECRET, ("client_secret_basic",), "client_secret_post"),
        ("none", WITH_CERTIFICATE, ("tls_client_auth",), "none"),
    ],
)
def test_the_choice_of_a_method(chosen, held, supported, method):
    assert Password("u", "p", client_auth=chosen, **held).choose_client_auth(supported) == method


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"client_secret": "s", "client_assertion": "a"},
            "expected one of client_secret and private_key or client_ass",
        ),
        ({"client_assertion": "a", "client_auth": "none"}, "'none' never sends a private_key or client_assertion"),
        ({"client_assertion": "a", "client_auth": "client_secret_jwt"}, "'client_secret_jwt' needs a client_secret"),
        ({"client_assertion": 5}, "client_assertion: expected a non-empty text, a callable or SecretFile"),
        ({"assertion_audience": ""}, "assertion_audience: expected a non-empty text"),
        (
            {"client_certificate": "c.pem"},
            r"client_certificate: expected ClientCertificate\(cert_file, key_file\), got str",
        ),
        (
            {"client_certificate": {"key_file": "k"}},
            "client_certificate: expected a mapping with .*; cert_file is missing",
        ),
        ({"client_certificate": {"cert_file": "c", "kei": "k"}}, "with cert_file, key_file, password; got kei"),
        ({"client_certificate": {"cert_file": 5}}, "expected cert_file as the path of a PEM file, got int"),
        ({"private_key": {"kid": "k"}}, "private_key: expected a mapping with .*; key is missing"),
        ({"private_key": 5}, "private_key: key: expected a non-empty text, a callable"),
        (
            {"private_key": "hunter2"},
            "private_key: expected a private key of RSA, P-256 or Ed25519, as PEM or JWK, got",
        ),
        ({"private_key": "{"}, "got a JWK that cannot be read"),
    ],
)
def test_parameters_that_do_not_fit_are_refused(options, message):
    with pytest.raises(ConfigError, match=message) as caught:
        ClientCredentials("id", **options)
    assert "hunter2" not in str(caught.value)


def test_parameters_need_a_client():
    for parameters in ({"client_assertion": "a"}, {"client_certificate": ClientCertificate("c")}):
        with pytest.raises(ConfigError, match="expected a client_id beside it"):
            Password("u", "p", **parameters)


@every_kind
def test_an_unknown_option_is_a_type_error_that_names_it(make):
    with pytest.raises(TypeError, match="got an unexpected keyword argument 'client_key'"):
        make(client_key="x")
