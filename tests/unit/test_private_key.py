"""Keys and what is signed with them: forms, algorithms, mistakes, and what an assertion claims."""

import base64
import builtins
import contextlib
import json
import pickle

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey
from pki import KINDS, Authority, pem

from oidc_actor.credentials.dpop import DPoPKey
from oidc_actor.credentials.grants import ClientCredentials, Password, RefreshToken, parse_auth
from oidc_actor.credentials.keys import ClientCertificate, PrivateKey
from oidc_actor.endpoints.token_endpoint import TokenRequest, read_secrets, request_token
from oidc_actor.manager.options import check_options
from oidc_actor.protocol.token_request import client_claims
from oidc_actor.transport import Response
from oidc_actor.values.errors import ConfigError, SecretUnavailable
from oidc_actor.values.oidc_config import OIDCConfig
from oidc_actor.values.secrets import SecretFile

PEMS = {kind: pem(make()) for kind, make in KINDS.items()}
READERS = {"RSA": RSAKey, "EC": ECKey, "OKP": OKPKey}
CONFIG = OIDCConfig(issuer="https://id.example", token_endpoint="https://id.example/token")
NOW = 1_800_000_000.0


def assertion(auth, config=CONFIG):
    found = read_secrets(config, auth, refresh_token=None, now_wall=NOW).client_assertion
    assert found is not None
    return found.reveal()


def header(text):
    head = text.split(".")[0]
    return json.loads(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4)))


@pytest.mark.parametrize(
    ("kind", "given", "accepted", "algorithm"),
    [
        ("RSA", None, None, "RS256"),
        ("RSA", None, ("PS256", "RS256"), "RS256"),
        ("RSA", None, ("ES256", "PS256"), "PS256"),
        ("RSA", None, ("ES256",), "RS256"),
        ("RSA", "PS256", ("RS256",), "PS256"),
        ("EC", None, ("RS256",), "ES256"),
        ("OKP", None, None, "EdDSA"),
        ("OKP", None, ("ES256", "Ed25519"), "Ed25519"),
        ("OKP", None, ("Ed25519", "EdDSA"), "EdDSA"),
    ],
)
def test_the_algorithm_fits_the_key_and_the_provider(kind, given, accepted, algorithm):
    signer = PrivateKey(PEMS[kind], algorithm=given, kid="k").signer(accepted)
    assert (signer.algorithm, signer.kid) == (algorithm, "k")
    signed = signer.sign({"a": 1})
    assert header(signed.reveal()) == {"alg": algorithm, "kid": "k", "typ": "JWT"}
    allowed = "Ed25519" if algorithm == "EdDSA" else algorithm
    if algorithm != "EdDSA":  # whose verification joserfc warns of
        assert jwt.decode(signed.reveal(), READERS[kind].import_key(PEMS[kind]), algorithms=[allowed]).claims == {
            "a": 1
        }


def test_a_jwk_brings_its_kid_and_its_algorithm():
    jwk = RSAKey.import_key(PEMS["RSA"], {"kid": "mine", "alg": "PS256", "use": "sig"}).as_dict(private=True)
    signer = PrivateKey(json.dumps(jwk)).signer(("RS256",))
    assert (signer.algorithm, signer.kid) == ("PS256", "mine")
    assert PrivateKey(json.dumps(jwk), kid="other", algorithm="RS256").signer().kid == "other"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PrivateKey("hunter2"), r"got a text that cannot be read \(ValueError\)$"),
        (lambda: PrivateKey("/run/hunter2"), r"the path of a file goes in as SecretFile\(path\)$"),
        (lambda: PrivateKey("hunter2.pem"), r"the path of a file goes in as SecretFile\(path\)$"),
        (lambda: PrivateKey('{"kty": "oct", "k": "aHVudGVyMg"}'), "got a JWK that cannot be read"),
        (lambda: PrivateKey('{"kty": ["hunter2"]}'), "got a JWK that cannot be read"),
        (lambda: PrivateKey(ECKey.import_key(PEMS["EC"]).as_pem(private=False).decode()), "got a public key"),
        (lambda: PrivateKey(ECKey.generate_key("P-384").as_pem(private=True).decode()), "got one on P-384"),
        (lambda: PrivateKey(PEMS["EC"], algorithm="RS256"), "expected a key for RS256, got one for ES256"),
        (
            lambda: PrivateKey(PEMS["EC"], algorithm="HS256"),
            "expected an algorithm of RS256, PS256, ES256, EdDSA, Ed25519, got",
        ),
        (lambda: PrivateKey(PEMS["EC"], kid=""), "expected kid as a non-empty text"),
        (lambda: PrivateKey(PEMS["EC"], certificate_file=5), "certificate_file as the path"),
        (lambda: PrivateKey(PEMS["EC"], password=5), "password: expected a non-empty text"),
        (lambda: PrivateKey(pem(KINDS["EC"](), "hunter2")), "got an encrypted one without a password"),
        (lambda: PrivateKey(pem(KINDS["EC"]()), password="hunter2"), "got one that is not encrypted, with a password"),
        (lambda: PrivateKey("hunter2", password="x"), "got a text that cannot be read or the wrong password"),
        (lambda: PrivateKey(pem(KINDS["EC"](), "x"), password="hunter2"), "or the wrong password"),
        (lambda: PrivateKey(5), "expected a non-empty text, a callable"),
    ],
)
def test_what_is_no_key(make, message):
    with pytest.raises(ConfigError, match=message) as caught:
        make()
    assert "hunter2" not in str(caught.value)
    assert caught.value.__context__ is None


def test_an_encrypted_key():
    assert PrivateKey(pem(KINDS["RSA"](), "opens it"), password=lambda: "opens it").signer().algorithm == "RS256"


def test_a_key_in_a_file_is_read_at_every_request_and_never_before(tmp_path):
    file = tmp_path / "key.pem"
    auth = ClientCredentials("id", private_key=SecretFile(file))
    with pytest.raises(SecretUnavailable, match=r"private_key cannot be read: .*No such file"):
        assertion(auth)
    file.write_text("half a key")
    with pytest.raises(SecretUnavailable, match=r"private_key: expected a private key of RSA.*cannot be read"):
        assertion(auth)
    file.write_text(PEMS["EC"])
    assert header(assertion(auth))["alg"] == "ES256"
    file.write_text(PEMS["RSA"])
    assert header(assertion(auth))["alg"] == "RS256"


def test_what_an_assertion_claims():
    auth = ClientCredentials("id", private_key=PEMS["EC"])
    one, two = (jwt.decode(assertion(auth), ECKey.import_key(PEMS["EC"])).claims for _ in range(2))
    assert one.pop("jti") != two.pop("jti")
    assert one == two == {
        "iss": "id", "sub": "id", "aud": "https://id.example", "iat": NOW, "exp": NOW + 60,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("chosen", "config", "audience"),
    [
        (None, CONFIG, "https://id.example"),
        ("issuer", CONFIG, "https://id.example"),
        ("token_endpoint", CONFIG, "https://id.example/token"),
        ("https://as.example/else", CONFIG, "https://as.example/else"),
        (None, OIDCConfig(token_endpoint="https://t"), "https://t"),
        ("issuer", OIDCConfig(token_endpoint="https://t"), "https://t"),
        (None, OIDCConfig(issuer="https://login.microsoftonline.com/t/v2.0",
                          token_endpoint="https://login.microsoftonline.com/t/oauth2/v2.0/token"),
         "https://login.microsoftonline.com/t/oauth2/v2.0/token"),
        ("issuer", OIDCConfig(issuer="https://login.microsoftonline.com/t/v2.0",
                              token_endpoint="https://login.microsoftonline.com/t/oauth2/v2.0/token"),
         "https://login.microsoftonline.com/t/v2.0"),
    ],
)  # fmt: skip
def test_the_audience(chosen, config, audience):
    auth = ClientCredentials("id", private_key=PEMS["EC"], assertion_audience=chosen)
    assert client_claims(auth, config, now_wall=NOW, jti="j")["aud"] == audience


def test_a_certificates_thumbprint_goes_into_the_header(tmp_path):
    cert_file, key_file = Authority(tmp_path).client("app")
    both = tmp_path / "both.pem"
    both.write_text(key_file.read_text() + cert_file.read_text())
    for file in (cert_file, str(both)):
        auth = ClientCredentials("id", private_key=PrivateKey(SecretFile(key_file), certificate_file=file))
        assert len(base64.urlsafe_b64decode(header(assertion(auth))["x5t#S256"] + "=")) == 32
    both.write_text("nothing")
    with pytest.raises(SecretUnavailable, match=r"certificate_file .*both\.pem.*expected a certificate as PEM"):
        assertion(auth)
    both.unlink()
    with pytest.raises(SecretUnavailable, match="No such file"):
        assertion(auth)


def test_a_foreign_assertion_is_sent_as_it_is_while_it_lives():
    def signed(**claims):
        return jwt.encode({"alg": "ES256"}, claims, ECKey.import_key(PEMS["EC"]))

    for text in ("opaque", signed(exp=NOW + 1), signed()):
        assert assertion(ClientCredentials("id", client_assertion=lambda text=text: text)) == text
    with pytest.raises(SecretUnavailable, match=r"client_assertion: .* got one that expired 30 s ago") as caught:
        assertion(ClientCredentials("id", client_assertion=lambda: signed(exp=NOW - 30)))
    assert caught.value.retryable
    assert not caught.value.sent


def test_a_client_secret_that_only_signs_is_not_sent():
    posts = []

    def transport(request):
        posts.append(request.body.decode())
        return Response(200, {}, '{"access_token": "t", "expires_in": 60}')

    auth = ClientCredentials("id", "hunter2-is-long-enough-to-sign", client_auth="client_secret_jwt")
    request_token(TokenRequest(transport, CONFIG, auth, timeout_s=1.0))
    assert "hunter2" not in posts[0]
    only = OIDCConfig(token_endpoint="https://t", token_endpoint_auth_methods_supported=("client_secret_jwt",))
    text = assertion(ClientCredentials("id", "hunter2-is-long-enough-to-sign"), only)
    assert header(text)["alg"] == "HS256"
    key = OctKey.import_key("hunter2-is-long-enough-to-sign")
    assert jwt.decode(text, key, algorithms=["HS256"]).claims["sub"] == "id"


@pytest.mark.parametrize("make", [PrivateKey, ClientCertificate])
def test_they_compare_by_value_and_refuse_pickling(make):
    one, same, other = make(SecretFile("a") if make is PrivateKey else "a"), None, None
    same, other = (make(SecretFile(name)) if make is PrivateKey else make(name) for name in "ab")
    assert one == same
    assert hash(one) == hash(same)
    assert one != other
    with pytest.raises(TypeError, match="cannot pickle"):
        pickle.dumps(one)


def test_the_files_of_all_of_them_are_watched(tmp_path):
    key = PrivateKey(SecretFile("k"), password=SecretFile("p"), certificate_file="c")
    certificate = ClientCertificate("cert", "key")
    auth = ClientCredentials("id", private_key=key, client_certificate=certificate)
    options = check_options({"auth": auth, "issuer_url": "https://id.example"})
    assert [str(file.path) for file in options.secret_files] == ["k", "p", "c", "cert", "key"]


def test_the_mapping_form():
    auth = parse_auth(
        {
            "type": "oidc_client_credentials",
            "client_id": "id",
            "private_key": {"key": SecretFile("k"), "kid": "1", "algorithm": "PS256"},
            "client_certificate": {"cert_file": "c", "key_file": "k"},
            "assertion_audience": "token_endpoint",
        }
    )
    assert auth == ClientCredentials(
        "id",
        private_key=PrivateKey(SecretFile("k"), kid="1", algorithm="PS256"),
        client_certificate=ClientCertificate("c", "k"),
        assertion_audience="token_endpoint",
    )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PrivateKey(SecretFile("k")), "^a private key needs joserfc, which is not installed: pip install"),
        (
            lambda: Password("u", "p", "id", "s", client_auth="client_secret_jwt"),
            "^client_auth: 'client_secret_jwt' needs joserfc, which is not installed: pip install",
        ),
        (
            lambda: RefreshToken("r", "id", private_key=lambda: "k"),
            "^a private key needs joserfc, which is not installed: pip install",
        ),
    ],
)
def test_without_joserfc_there_is_one_line_before_anything_starts(make, message, monkeypatch):
    real = builtins.__import__

    def missing(name, *args, **kwargs):
        if name.split(".")[0] == "joserfc":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ConfigError, match=message + r' "oidc-actor\[jwt\]"$'):
        make()


def test_without_joserfc_a_provider_that_takes_signatures_only_is_an_error_of_the_attempt(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "joserfc", None)
    only = OIDCConfig(token_endpoint="https://t", token_endpoint_auth_methods_supported=("client_secret_jwt",))
    with pytest.raises(SecretUnavailable, match="takes client_secret_jwt only, which needs joserfc"):
        assertion(ClientCredentials("id", "s"), only)


_KEY = ECKey.generate_key("P-256")
_JWK = _KEY.as_dict(private=True)
_PEM = _KEY.as_pem(private=True).decode()
_PADDED = [(json.dumps({**_JWK, "d": f"{_JWK['d']}="}), "and no = at the end")]
with contextlib.suppress(ValueError):  # joserfc before 1.7.2 reads it as it was meant
    ECKey.import_key({**_JWK, "d": f"{_JWK['d']}="})
    _PADDED = []


@pytest.mark.parametrize("text", [json.dumps(_JWK), _PEM])
def test_a_key_s_file_may_begin_with_a_byte_order_mark(tmp_path, text):
    (tmp_path / "key").write_text(text, encoding="utf-8-sig")
    assert PrivateKey(SecretFile(tmp_path / "key")).signer().algorithm == "ES256"


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        (_PEM.replace("\n", "\\n"), r"; it has \n written out where lines should end: replace each with a line break"),
        (json.dumps({"keys": [_JWK]}), "; it is a set of keys: give one of those in its 'keys'"),
        *_PADDED,
        (json.dumps({**_JWK, "x": f"+/{_JWK['x'][2:]}"}), "write - for +, _ for /"),
        ("{" * 100_000, ")"),
    ],
)
@pytest.mark.parametrize("kind", [PrivateKey, DPoPKey])
def test_a_key_that_was_mangled_on_its_way_says_how(kind, text, hint):
    with pytest.raises(ConfigError) as caught:
        kind(text)
    assert hint in str(caught.value)
    assert _JWK["d"][:8] not in str(caught.value)
