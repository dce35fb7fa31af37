"""Metadata as the servers of the world have them: their shapes, their addresses, and what they answer elsewhere.

The shapes are from the vendors' own pages and issue trackers; the servers here are played. All of it goes over real HTTP.
"""

import gzip
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from oidc_actor import ClientCredentials, ConfigError, DiscoveryError, OIDCConfig, TokenManager, oidc
from oidc_actor.testing.plugin import stop_managers  # noqa: F401

OPENID, OAUTH = "/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"
Answer = tuple[int, bytes, Mapping[str, str]]

JSON = {"Content-Type": "application/json"}
PAGE = (200, b"<!doctype html><title>Sign in</title>" + b"<div></div>" * 50, {"Content-Type": "text/html"})
SPRING_LOGIN = (302, b"", {"Location": "https://id.example/login"})
CLOUDFLARE = (403, b"<html>Just a moment...</html>", {"Content-Type": "text/html", "Server": "cloudflare"})
API_GATEWAY = (403, b'{"message":"Missing Authentication Token"}', JSON)
S3 = (403, b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', {"Content-Type": "application/xml"})
KEYCLOAK_404 = (404, b'{"error":"Realm does not exist"}', JSON)
BEARER_401 = (401, b'{"error":"unauthorized"}', {**JSON, "WWW-Authenticate": "Bearer"})
NGINX_405 = (405, b"<html>Not Allowed</html>", {})
GONE = (410, b"", {})


@dataclass
class Vendor:
    """A server: where its document is, what else is in it, and what it answers at any other address."""

    path: str
    where: str
    members: Mapping[str, Any] = field(default_factory=dict)
    elsewhere: Answer = KEYCLOAK_404
    slash: str = ""
    asks: int = 1
    encode: Callable[[bytes], bytes] = bytes
    headers: Mapping[str, str] = field(default_factory=lambda: JSON)


def gzipped(body: bytes) -> bytes:
    return gzip.compress(body)


def with_mark(body: bytes) -> bytes:
    return b"\xef\xbb\xbf" + body


COGNITO = {"id_token_signing_alg_values_supported": ["RS256"], "subject_types_supported": ["public"]}
AUTH0 = {
    "mfa_challenge_endpoint": "{issuer}mfa/challenge",
    "device_authorization_endpoint": "{issuer}oauth/device/code",
}
AUTH0 |= {
    "scopes_supported": ["openid"],
    "global_token_revocation_endpoint": None,
    "request_uri_parameter_supported": False,
}
KEYCLOAK = {
    "mtls_endpoint_aliases": {"token_endpoint": "{issuer}/protocol/openid-connect/token", "registration_endpoint": "x"},
    "token_endpoint_auth_methods_supported": ["private_key_jwt", "client_secret_basic", "client_secret_post"],
    "frontchannel_logout_supported": True,
}
ENTRA = {
    "tenant_region_scope": None,
    "cloud_instance_name": "microsoftonline.com",
    "kerberos_endpoint": "{issuer}/kerberos",
}
ENTRA |= {"rbac_url": "https://pas.windows.net", "request_uri_parameter_supported": False}
GITHUB = {"authorization_endpoint": "{issuer}/authorize", "code_challenge_methods_supported": ["S256"]}
HYDRA = {"jwks_uri": "{issuer}.well-known/jwks.json", "credentials_supported_draft_00": [{"format": "jwt_vc_json"}]}
VENDORS = {
    "Keycloak": Vendor("/realms/a", f"/realms/a{OPENID}", KEYCLOAK),
    "Keycloak, OAuth only by a proxy's rules": Vendor("/realms/a", f"{OAUTH}/realms/a", KEYCLOAK, CLOUDFLARE, asks=2),
    "Okta's custom server": Vendor("/oauth2/default", f"/oauth2/default{OPENID}"),
    "Okta's custom server, OAuth's document": Vendor("/oauth2/aus1", f"/oauth2/aus1{OAUTH}", asks=3),
    "Auth0": Vendor("", OPENID, AUTH0, slash="/"),
    "Entra": Vendor("/6d2c/v2.0", f"/6d2c/v2.0{OPENID}", ENTRA),
    "GitHub": Vendor("/login/oauth", f"{OAUTH}/login/oauth", GITHUB, (404, b"<html>Not Found</html>", {}), asks=2),
    "GitHub Enterprise in private mode": Vendor("/login/oauth", f"{OAUTH}/login/oauth", GITHUB, SPRING_LOGIN, asks=2),
    "Hydra": Vendor("", OPENID, HYDRA, slash="/"),
    "Hydra, OAuth only": Vendor("", OAUTH, HYDRA, (404, b"404 page not found\n", {}), slash="/", asks=2),
    "Cognito": Vendor("/eu-1_Pool", f"/eu-1_Pool{OPENID}", COGNITO, API_GATEWAY),
    "Spring, by its login": Vendor("", OAUTH, {}, SPRING_LOGIN, asks=2),
    "Spring, by its 401": Vendor("/issuer1", f"{OAUTH}/issuer1", {}, BEARER_401, asks=2),
    "a page for everything": Vendor("/api/auth", f"/api/auth{OAUTH}", {}, PAGE, asks=3),
    "files in a bucket": Vendor("", OAUTH, {}, S3, asks=2),
    "a server that knows POST": Vendor("", OAUTH, {}, NGINX_405, asks=2),
    "one that has moved on": Vendor("/v1", f"{OAUTH}/v1", {}, GONE, asks=2),
    "compressed": Vendor(
        "",
        OAUTH,
        {},
        (200, gzipped(PAGE[1]), {"Content-Encoding": "gzip"}),
        asks=2,
        encode=gzipped,
        headers={"Content-Encoding": "gzip"},
    ),
    "with a byte order mark, as text": Vendor(
        "", OAUTH, {}, encode=with_mark, headers={"Content-Type": "text/plain; charset=utf-8"}, asks=2
    ),
}


class Played:
    """One vendor's server on loopback."""

    def __init__(self, vendor: Vendor) -> None:
        self.asked: list[str] = []
        played = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                played.asked.append(self.path)
                is_there = self.path == vendor.where
                self.answer(*(200, vendor.encode(played.document), vendor.headers) if is_there else vendor.elsewhere)

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                self.answer(200, b'{"access_token": "t", "token_type": "bearer", "expires_in": 300}', JSON)

            def answer(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.origin = f"http://127.0.0.1:{self.server.server_port}"
        self.issuer = self.origin + vendor.path + vendor.slash
        told = {"issuer": "{issuer}", "token_endpoint": f"{self.origin}{vendor.path}/token", **vendor.members}
        self.document = json.dumps(told).replace("{issuer}", self.issuer).encode()
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join(10)


@pytest.fixture
def played(request: pytest.FixtureRequest) -> Iterator[Played]:
    running = Played(VENDORS[request.param])
    yield running
    running.close()


@pytest.mark.P7
@pytest.mark.parametrize("played", VENDORS, indirect=True)
def test_a_vendor_s_server_is_found(played: Played, request: pytest.FixtureRequest, stop_managers: object) -> None:  # noqa: F811
    vendor = VENDORS[request.node.callspec.params["played"]]
    config = oidc.discover(played.issuer)
    assert (config.issuer, config.token_endpoint) == (played.issuer, f"{played.origin}{vendor.path}/token")
    assert (len(played.asked), played.asked[-1]) == (vendor.asks, vendor.where)
    ref = TokenManager.start_link(issuer_url=played.issuer, auth=ClientCredentials("id", "secret"))
    assert TokenManager.get_access_token(ref) == "t"


@pytest.mark.parametrize(
    ("vendor", "message"),
    [
        # Entra's address for any tenant names none; GitHub Actions' issuer gives no tokens to clients.
        (
            Vendor(
                "/common/v2.0",
                f"/common/v2.0{OPENID}",
                {"issuer": "https://login.microsoftonline.com/{{tenantid}}/v2.0"},
            ),
            "byte for byte .*tenantid",
        ),
        (Vendor("", OPENID, {"token_endpoint": None}), "token_endpoint: expected an https URL, got none"),
        # The root's document at each path, as some libraries serve it.
        (
            Vendor("/mcp", f"{OAUTH}/mcp", {"issuer": "https://id.example"}),
            "expected the issuer .*/mcp', byte for byte",
        ),
        (
            Vendor("", OPENID, {"token_endpoint": "https://bücher.example/token"}),
            "token_endpoint: expected an https URL, got one with non-ASCII",
        ),
        (Vendor("", "/nowhere", {}, PAGE), "HTTP 200: expected JSON, got something else; at "),
        (
            Vendor("", "/nowhere", {}, SPRING_LOGIN),
            "HTTP 302: expected metadata, got a redirect, which is never followed",
        ),
    ],
)
def test_a_document_that_cannot_be_used_is_said_to_be_so(vendor: Vendor, message: str) -> None:
    server = Played(vendor)
    try:
        with pytest.raises(DiscoveryError, match=message):
            oidc.discover(server.issuer)
    finally:
        server.close()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("https://bücher.example", "write a host's name as xn--"),
        ("https://id.example/straße", "in percent escapes"),
        ("https://id.example?tenant=a", "without a query"),
        ("https://id.example#a", "without a fragment"),
        (f"https://id.example{OAUTH}/tenant", "expected the issuer, got the address of its metadata"),
        (f"https://id.example/tenant{OAUTH}", "leave '/.well-known/oauth-authorization-server' out"),
        ("https://id.example/.well-known/oauth-protected-resource", "the address of a resource's metadata"),
    ],
)
def test_an_issuer_that_cannot_be_one_is_refused_with_the_fix(url: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        oidc.discover(url)


def test_a_server_without_any_document_is_configured_by_hand() -> None:
    server = Played(Vendor("", "/nowhere", {}, PAGE))
    try:
        config = OIDCConfig.from_metadata({"token_endpoint": f"{server.origin}/token"})
        assert oidc.get_token(config, ClientCredentials("id", "secret")).access_token == "t"
    finally:
        server.close()
