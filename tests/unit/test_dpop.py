"""DPoP: what a proof says, which nonce it carries, whose key it is."""

import base64
import hashlib
import json
import pickle
import subprocess
import sys
import threading

import pytest
from fakes import Fixed, ScriptedTransport
from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey
from pki import KINDS, pem

from oidc_actor import TokenManager
from oidc_actor.adapters.authorization import note_nonce, present
from oidc_actor.credentials.dpop import LONGEST_NONCE, DPoPKey, nonce_of, read_nonce
from oidc_actor.credentials.grants import ClientCredentials, Password, TokenExchange, parse_auth
from oidc_actor.credentials.keys import _registry
from oidc_actor.endpoints.token_endpoint import TokenRequest, request_token
from oidc_actor.manager.options import check_options
from oidc_actor.reading.directory import locate
from oidc_actor.transport import Response
from oidc_actor.values.errors import ConfigError, SecretUnavailable, TokenRequestError
from oidc_actor.values.oidc_config import OIDCConfig
from oidc_actor.values.secrets import Secret, SecretFile
from supervision import Supervisor, kill, monitor, whereis

CONFIG = OIDCConfig(issuer="https://id.example", token_endpoint="https://id.example/token?x=y")
URL = "https://api.example/items?page=2#top"
NOW = 1_800_000_000.5


def opened(proof):
    head, body = (json.loads(base64.urlsafe_b64decode(part + "==")) for part in proof.split(".")[:2])
    return head, body


def made(key, *, url=URL, **options):
    return key.proof("get", url, **{"now_wall": NOW, "jti": "j", **options}).reveal()


def test_what_a_proof_says():
    key = DPoPKey()
    proof = made(key, access_token="the token")
    head, body = opened(proof)
    assert body == {
        "jti": "j", "htm": "GET", "htu": "https://api.example/items", "iat": int(NOW),
        "ath": base64.urlsafe_b64encode(hashlib.sha256(b"the token").digest()).decode().rstrip("="),
    }  # fmt: skip
    assert (head["typ"], head["alg"], sorted(head["jwk"])) == ("dpop+jwt", "ES256", ["crv", "kty", "x", "y"])
    public = ECKey.import_key(head["jwk"])
    assert public.thumbprint() == key.thumbprint()
    assert jwt.decode(proof, public).claims == body


@pytest.mark.parametrize("kind", KINDS)
def test_the_header_is_made_once_and_each_proof_is_signed(kind, monkeypatch):
    made_headers = []
    encode = jwt.encode
    monkeypatch.setattr(
        jwt, "encode", lambda header, *rest, **how: made_headers.append(header) or encode(header, *rest, **how)
    )
    key = DPoPKey(pem(KINDS[kind]()))
    proofs = [made(key, access_token=token, jti=jti) for token, jti in (("a", "1"), ("a", "2"), ("b", "3"), ("a", "4"))]
    assert len(made_headers) == 1
    heads, bodies = zip(*map(opened, proofs), strict=True)
    assert [head == heads[0] for head in heads] == [True] * 4
    assert [body["jti"] for body in bodies] == ["1", "2", "3", "4"]
    hashed = {
        name: base64.urlsafe_b64encode(hashlib.sha256(name.encode()).digest()).decode().rstrip("=") for name in "ab"
    }
    assert [body["ath"] for body in bodies] == [hashed[name] for name in "aaba"]
    if heads[0]["alg"] != "EdDSA":  # whose verification joserfc warns of
        public = {"EC": ECKey, "RSA": RSAKey}[heads[0]["jwk"]["kty"]].import_key(heads[0]["jwk"])
        assert [jwt.decode(proof, public, registry=_registry()).claims["jti"] for proof in proofs] == [
            "1",
            "2",
            "3",
            "4",
        ]


@pytest.mark.parametrize(
    ("url", "htu"),
    [
        ("https://API.example", "https://api.example/"),
        ("https://api.example:443/Items?x#y", "https://api.example/Items"),
        ("https://api.example:8443/", "https://api.example:8443/"),
        ("http://me:hunter2@localhost:80/a", "http://localhost/a"),
        ("wss://[::1]:9/socket", "https://[::1]:9/socket"),
    ],
)
def test_what_it_says_of_the_address(url, htu):
    assert opened(made(DPoPKey(), url=url))[1]["htu"] == htu


def test_nonces_are_kept_by_origin_and_only_the_newest():
    key = DPoPKey()
    assert key.note_nonce("https://API.example:443/else", "one")
    assert key.note_nonce(URL, "two")
    assert key.note_nonce("https://id.example/token", "three")
    proof = made(key)
    assert opened(proof)[1]["nonce"] == nonce_of(proof) == "two"
    assert nonce_of(made(key, nonce="asked for")) == "asked for"
    assert nonce_of(made(key)) == "two"


def test_the_nonces_of_very_many_origins_are_forgotten_before_they_fill_the_memory():
    key = DPoPKey()
    for number in range(1000):
        key.note_nonce(f"https://{number}.example", "n")
        key.note_nonce("https://0.example", "m")
    assert len(key._nonces) <= 256


@pytest.mark.parametrize("nonce", [None, "", "a b", "a\r\nb", "é", "x" * 1025])
def test_what_is_no_nonce_is_not_sent_back(nonce):
    key = DPoPKey()
    assert not key.note_nonce(URL, nonce)
    assert "nonce" not in opened(made(key))[1]


def test_a_key_in_a_file_is_read_once_at_the_first_use(tmp_path):
    file = tmp_path / "key"
    key = DPoPKey(SecretFile(file))
    with pytest.raises(SecretUnavailable, match="No such file"):
        made(key)
    file.write_text(pem(KINDS["RSA"]()))
    assert opened(made(key, accepted=("PS256",)))[0]["alg"] == "PS256"
    thumbprint = key.thumbprint()
    file.write_text(pem(KINDS["EC"]()))
    assert key.thumbprint() == thumbprint


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DPoPKey("hunter2"), "^dpop: private_key: expected a private key"),
        (lambda: ClientCredentials("id", dpop="hunter2"), "^dpop: expected True or a DPoPKey, got str"),
        (
            lambda: request_token(TokenRequest(None, CONFIG, ClientCredentials("id", dpop=True), timeout_s=1.0)),
            "expected a DPoPKey where",
        ),
    ],
)  # fmt: skip
def test_mistakes(make, message):
    with pytest.raises(ConfigError, match=message) as caught:
        make()
    assert "hunter2" not in str(caught.value)


def test_without_joserfc_it_says_so(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "joserfc", None)
    for make in (DPoPKey, lambda: ClientCredentials("id", dpop=True)):
        with pytest.raises(
            ConfigError, match=r'needs joserfc, which is not installed: pip install "oidc-actor\[jwt\]"'
        ):
            make()


def test_each_manager_gets_a_key_of_its_own_and_a_specification_keeps_it():
    auth = parse_auth({"type": "oidc_password", "username": "u", "password": "p", "client_id": "id", "dpop": True})
    assert auth == Password("u", "p", "id", dpop=True)
    one, two = (check_options({"auth": auth, "issuer_url": "https://id.example"}).auth for _ in range(2))
    assert isinstance(one.dpop, DPoPKey)
    assert one.dpop is not two.dpop
    assert one != two
    assert (one.password, one.client_id) == (auth.password, auth.client_id)
    spec = TokenManager.child_spec(auth=auth, issuer_url="https://id.example")
    again = check_options(spec.kwargs).auth
    assert again is spec.kwargs["auth"]
    assert ClientCredentials("id", dpop=False) == ClientCredentials("id")


def test_a_key_refuses_pickling():
    with pytest.raises(TypeError, match="cannot pickle"):
        pickle.dumps(DPoPKey())


class Provider:
    """Answers in turn: a nonce to ask for with ``use_dpop_nonce``, or a token."""

    def __init__(self, *nonces):
        self.nonces = list(nonces)
        self.proofs = []
        self.timeouts = []

    def __call__(self, request):
        self.proofs.append(opened(request.headers["DPoP"])[1])
        self.timeouts.append(request.timeout_s)
        if self.nonces:
            return Response(400, {"dpop-nonce": self.nonces.pop(0)}, '{"error": "use_dpop_nonce"}')
        body = {"access_token": "t", "token_type": "dpop", "expires_in": 60}
        return Response(200, {"DPoP-Nonce": "for-the-next"}, json.dumps(body))


def test_a_wanted_nonce_is_brought_within_the_same_request():
    provider = Provider("wanted")
    auth = ClientCredentials("id", "s", dpop=DPoPKey())
    token = request_token(TokenRequest(provider, CONFIG, auth, timeout_s=5.0)).token
    request_token(TokenRequest(provider, CONFIG, auth, timeout_s=5.0))
    assert token.token_type == "DPoP"
    assert [proof.get("nonce") for proof in provider.proofs] == [None, "wanted", "for-the-next"]
    assert len({proof["jti"] for proof in provider.proofs}) == 3
    assert {proof["htu"] for proof in provider.proofs} == {"https://id.example/token"}
    assert provider.timeouts[0] == 5.0 > provider.timeouts[1]


@pytest.mark.parametrize("nonces", [("one", "two", "three"), ("one", "one"), ("bad nonce",)])
def test_a_provider_that_is_never_content_ends_the_attempt_only(nonces):
    provider = Provider(*nonces)
    with pytest.raises(TokenRequestError, match="use_dpop_nonce") as caught:
        request_token(TokenRequest(provider, CONFIG, ClientCredentials("id", "s", dpop=DPoPKey()), timeout_s=5.0))
    assert caught.value.retryable
    assert len(provider.proofs) == min(len(nonces), 2)


def test_managers_that_share_a_key_are_each_told_the_nonce():
    key = DPoPKey()
    one, two = (Provider("wanted") for _ in range(2))

    def meanwhile(request):
        if not one.proofs:
            request_token(TokenRequest(two, CONFIG, auth, timeout_s=5.0))  # which learns the nonce before this one does
        return one(request)

    auth = ClientCredentials("id", "s", dpop=key)
    key.note_nonce(CONFIG.token_endpoint, "old")
    assert request_token(TokenRequest(meanwhile, CONFIG, auth, timeout_s=5.0)).token.token_type == "DPoP"
    assert [proof["nonce"] for proof in one.proofs + two.proofs] == ["old", "wanted"] * 2


def test_every_grant_and_every_refresh_carries_a_proof():
    provider = Provider()
    auth = TokenExchange("s", "id", dpop=DPoPKey())
    request_token(TokenRequest(provider, CONFIG, auth, timeout_s=5.0))
    request_token(TokenRequest(provider, CONFIG, auth, refresh_token=Secret("r"), timeout_s=5.0))
    assert len(provider.proofs) == 2


def test_what_a_manager_presents():
    transport = ScriptedTransport()
    transport.default = Provider("wanted")
    auth = ClientCredentials("id", "s", dpop=True)
    ref = TokenManager.start_link(auth=auth, oidc_config=CONFIG, transport=transport, rng=Fixed())
    try:
        token = TokenManager.get_token(ref)
        assert len(transport.posts) == 2
        assert note_nonce(ref, URL, "of-the-api")
        assert not note_nonce(ref, URL, None)
        headers = present(ref, token, "POST", URL)
        assert repr(headers) == f"{{'Authorization': {headers['Authorization']!r}, 'DPoP': {headers['DPoP']!r}}}"
        assert "eyJ" not in repr(headers)
        assert headers["Authorization"] == "DPoP t"
        head, body = opened(headers["DPoP"])
        assert (body["htm"], body["htu"], body["nonce"]) == ("POST", "https://api.example/items", "of-the-api")
        assert ECKey.import_key(head["jwk"]).thumbprint() == locate(ref).identity[0].dpop.thumbprint()
    finally:
        TokenManager.stop(ref)


def test_a_manager_of_bearer_tokens_presents_them_plainly():
    transport = ScriptedTransport()
    ref = TokenManager.start_link(
        auth=ClientCredentials("id", "s"), oidc_config=CONFIG, transport=transport, rng=Fixed()
    )
    try:
        token = TokenManager.get_token(ref)
        assert present(ref, token, "GET", URL) == {"Authorization": f"Bearer {token.access_token}"}
        assert not note_nonce(ref, URL, "x")
    finally:
        TokenManager.stop(ref)


def test_a_restarted_manager_has_the_token_and_the_key_that_it_is_bound_to():
    transport = ScriptedTransport()
    transport.default = Provider()
    spec = TokenManager.child_spec(
        auth=ClientCredentials("id", "s", dpop=True), oidc_config=CONFIG, transport=transport, rng=Fixed(), name="bound"
    )
    supervisor = Supervisor.start_link([spec])
    try:
        token = TokenManager.get_token("bound")
        proof = present("bound", token, "GET", URL)["DPoP"]
        died = threading.Event()
        monitor(whereis("bound"), lambda _: died.set())
        kill("bound")
        assert died.wait(10)
        assert TokenManager.get_token("bound") is token
        again = present("bound", token, "GET", URL)["DPoP"]
        assert opened(proof)[0]["jwk"] == opened(again)[0]["jwk"]
        assert len(transport.posts) == 1
    finally:
        Supervisor.stop(supervisor)


def test_nothing_of_it_is_imported_before_it_is_used():
    code = (
        "import sys; from oidc_actor import TokenManager, ClientCredentials, PrivateKey, DPoPKey\n"
        "ClientCredentials('id', 's'); assert not {'joserfc', 'cryptography'} & set(sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0


@pytest.mark.parametrize(
    ("field", "nonce"),
    [
        ("n1", "n1"),
        ("n1, n1", "n1"),
        ("n1,n1", "n1"),
        ("n1, n2,  n3", "n3"),
        ("n1, caf\u00e9", "n1"),
        ("with,comma", "with,comma"),
        ("with,comma, with,comma", "with,comma"),
        ("n1, ", "n1"),
        (",", ","),
        ("", None),
        (None, None),
        ("a b", None),
        ("x" * (LONGEST_NONCE + 1), None),
    ],
)
def test_a_nonce_that_came_more_than_once_is_the_last(field, nonce):
    assert read_nonce(field) == nonce
    key = DPoPKey()
    assert key.note_nonce("https://id.example/token", field) is (nonce is not None)


@pytest.mark.parametrize("field", ["wanted, wanted", "wanted,wanted", "other, wanted"])
def test_a_nonce_that_came_twice_is_brought(field):
    provider = Provider(field)
    request_token(TokenRequest(provider, CONFIG, ClientCredentials("id", "s", dpop=DPoPKey()), timeout_s=5.0))
    assert [proof.get("nonce") for proof in provider.proofs] == [None, "wanted"]
