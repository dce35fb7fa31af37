"""RFC 9728: where a resource's metadata are, which can be trusted, and that they choose nothing."""

import json

import pytest

from oidc_actor import ConfigError, DiscoveryError, ResourceMetadata, oidc
from oidc_actor.endpoints.other_endpoints import request_resource_metadata
from oidc_actor.protocol.metadata import resource_metadata_urls
from oidc_actor.transport import Response, TransportError

RESOURCE, ISSUER = "https://api.example/mcp", "https://id.example"
INSERTED, ROOT = (f"https://api.example/.well-known/oauth-protected-resource{path}" for path in ("/mcp", ""))
GOOD = {"resource": RESOURCE, "authorization_servers": [ISSUER]}


class Server:
    """Answers by address, 404 elsewhere, and knows what it was asked."""

    def __init__(self, **answers):
        self.answers = {INSERTED: answers.get("inserted"), ROOT: answers.get("root")}
        self.asked = []

    def __call__(self, request, /):
        self.asked.append((request.method, request.url))
        answer = self.answers.get(request.url)
        if isinstance(answer, Exception):
            raise answer
        if answer is None or isinstance(answer, Response):
            return answer or Response(404, {}, "")
        return Response(200, {}, answer if isinstance(answer, str) else json.dumps(answer))


def discovered(server, issuer_url=ISSUER):
    return request_resource_metadata(server, RESOURCE, timeout_s=1.0, issuer_url=issuer_url)[0]


def refused(server, issuer_url=ISSUER):
    with pytest.raises(DiscoveryError) as caught:
        discovered(server, issuer_url)
    assert caught.value.retryable
    return caught.value


@pytest.mark.parametrize(
    ("resource_url", "paths"),
    [
        ("https://api.example", [""]),
        ("https://api.example/", [""]),
        ("https://api.example/mcp", ["/mcp", ""]),
        ("https://api.example/mcp/", ["/mcp/", "/mcp", ""]),
        ("https://api.example/a/b?k=v", ["/a/b?k=v", ""]),
        ("https://api.example?k=v", ["?k=v", ""]),
        ("https://api.example/?k=v", ["?k=v", ""]),
    ],
)
def test_where_they_may_be(resource_url, paths):
    well_known = "https://api.example/.well-known/oauth-protected-resource"
    assert resource_metadata_urls(resource_url) == [well_known + path for path in paths]


def test_they_are_read():
    full = GOOD | {
        "scopes_supported": ["read"],
        "bearer_methods_supported": ["header"],
        "resource_name": "The API",
        "dpop_bound_access_tokens_required": True,
        "tls_client_certificate_bound_access_tokens": False,
        "dpop_signing_alg_values_supported": ["ES256"],
        "jwks_uri": "https://api.example/jwks",
    }
    server = Server(inserted=full)
    assert oidc.discover_resource(RESOURCE, transport=server) == ResourceMetadata(
        RESOURCE,
        (ISSUER,),
        ("read",),
        ("header",),
        "The API",
        tls_client_certificate_bound_access_tokens=False,
        dpop_bound_access_tokens_required=True,
        dpop_signing_alg_values_supported=("ES256",),
    )
    assert server.asked == [("GET", INSERTED)]


def test_only_members_that_are_used_are_judged():
    odd = {"scopes_supported": "read", "bearer_methods_supported": [1], "resource_name": 5}
    odd |= {"dpop_bound_access_tokens_required": "yes", "jwks_uri": 5}
    assert discovered(Server(inserted=GOOD | odd)) == ResourceMetadata(RESOURCE, (ISSUER,))
    twice = f'{json.dumps(GOOD)[:-1]}, "resource_name": "a", "resource_name": "b"}}'
    assert discovered(Server(inserted=twice)).resource_name is None


def test_a_server_with_one_resource_may_have_them_at_its_root():
    server = Server(root=GOOD)
    assert discovered(server).resource == RESOURCE
    assert [url for _, url in server.asked] == [INSERTED, ROOT]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"resource": f"{RESOURCE}/"}, r"expected the resource 'https://api.example/mcp', byte for byte .* got '"),
        ({"resource": "https://evil.example/mcp"}, "byte for byte"),
        ({"resource": None}, "resource: expected a text, got none"),
        ({"resource": [RESOURCE]}, "resource: expected a text, got list"),
        (
            {"authorization_servers": ["https://evil.example"]},
            f"expected the issuer '{ISSUER}' among them, got https://ev",
        ),
        ({"authorization_servers": [f"{ISSUER}/tenant", ISSUER.upper()]}, "among them"),
        ({"authorization_servers": []}, "among them, got none"),
        ({"authorization_servers": None}, "among them, got none"),
        ({"authorization_servers": ISSUER}, "among them, got none"),
        ({"authorization_servers": [ISSUER, 5]}, "among them, got none"),
    ],
)
def test_metadata_of_another_resource_or_for_another_issuer_are_refused(changes, message):
    server = Server(inserted=GOOD | changes, root=GOOD)
    with pytest.raises(DiscoveryError, match=message) as caught:
        discovered(server)
    assert caught.value.status == 200
    assert f"discovery of the resource {RESOURCE} at {INSERTED} failed: HTTP 200: " in str(caught.value)
    assert len(server.asked) == 1  # it is no reason to look further


def test_the_slash_of_an_empty_path_is_no_difference_between_issuers():
    assert discovered(Server(inserted=GOOD | {"authorization_servers": [f"{ISSUER}/"]}))
    assert discovered(Server(inserted=GOOD), f"{ISSUER}/")
    assert "among them" in str(refused(Server(inserted=GOOD), f"{ISSUER}/x/"))


@pytest.mark.parametrize(
    ("answer", "status", "asked"),
    [
        (Response(503, {"Retry-After": "7"}, ""), 503, 1),
        (Response(429, {}, "{}"), 429, 1),
        (TransportError("connection refused", sent=False), None, 1),
        (Response(401, {"WWW-Authenticate": "Bearer"}, ""), 401, 2),
        (Response(302, {}, ""), 302, 2),
        ("<html>", 200, 2),
    ],
)
def test_a_resource_that_has_none(answer, status, asked):
    server = Server(inserted=answer)
    error = refused(server)
    assert (error.status, len(server.asked)) == (status, asked)


def test_a_hostile_resource_makes_one_short_line():
    servers = ["https://x\n\x1b[31m" + "y" * 10_000] * 50
    error = refused(Server(inserted=GOOD | {"authorization_servers": servers}))
    assert str(error).isprintable()
    assert len(str(error)) < 1000


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://api.example/mcp", "expected https, got plain http"),
        ("https://api.example/mcp#part", "without a fragment"),
        ("https://u:hunter2@api.example", "without user information"),
        ("api.example", "expected an https URL"),
        (5, "got int"),
        (INSERTED, "expected the resource, got the address of its metadata"),
    ],
)
def test_a_wrong_address_is_refused_before_anything_is_sent(url, message):
    server = Server()
    with pytest.raises(ConfigError, match=f"resource_url: .*{message}") as caught:
        oidc.discover_resource(url, transport=server)
    assert caught.value.option == ("resource_url",)
    assert server.asked == []
    assert "hunter2" not in str(caught.value)
