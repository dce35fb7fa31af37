"""Where metadata are looked for: OpenID's document, then RFC 8414's; and when the search ends."""

import json
import re
from urllib.parse import urlsplit

import pytest

from oidc_actor import DiscoveryError, oidc
from oidc_actor.endpoints.other_endpoints import request_metadata
from oidc_actor.protocol.metadata import discovery_urls
from oidc_actor.transport import MAX_BODY_BYTES, Response, TransportError

pytestmark = pytest.mark.P7

ISSUER = "https://id.example/tenant"
OPENID, INSERTED, APPENDED = (
    "https://id.example/tenant/.well-known/openid-configuration",
    "https://id.example/.well-known/oauth-authorization-server/tenant",
    "https://id.example/tenant/.well-known/oauth-authorization-server",
)
GOOD = {"issuer": ISSUER, "token_endpoint": f"{ISSUER}/token"}
ABSENT = Response(404, {}, "{}")


def answered(value, status=200, **headers):
    return Response(status, headers, value if isinstance(value, (str, bytes)) else json.dumps(value))


class Server:
    """Answers by address, 404 elsewhere, and knows what it was asked."""

    def __init__(self, answers):
        self.answers = {
            url: answer if isinstance(answer, Response) else answered(answer) for url, answer in answers.items()
        }
        self.asked = []

    def __call__(self, request, /):
        self.asked.append(request.url)
        return self.answers.get(request.url, ABSENT)


def refused(server):
    with pytest.raises(DiscoveryError) as caught:
        oidc.discover(ISSUER, transport=server)
    assert caught.value.retryable
    assert caught.value.__context__ is None
    return caught.value


@pytest.mark.parametrize(
    ("issuer_url", "urls"),
    [
        (ISSUER, [OPENID, INSERTED, APPENDED]),
        (f"{ISSUER}/", [OPENID, INSERTED, APPENDED]),
        *(
            (
                issuer,
                [
                    f"https://id.example{name}"
                    for name in ("/.well-known/openid-configuration", "/.well-known/oauth-authorization-server")
                ],
            )
            for issuer in ("https://id.example", "https://id.example/")
        ),
        (
            "https://id.example:8443/a;b/%2Fc/id.example",
            [
                "https://id.example:8443/a;b/%2Fc/id.example/.well-known/openid-configuration",
                "https://id.example:8443/.well-known/oauth-authorization-server/a;b/%2Fc/id.example",
                "https://id.example:8443/a;b/%2Fc/id.example/.well-known/oauth-authorization-server",
            ],
        ),
        (
            "https://[2001:db8::1]/x",
            [
                f"https://[2001:db8::1]{path}"
                for path in (
                    "/x/.well-known/openid-configuration",
                    "/.well-known/oauth-authorization-server/x",
                    "/x/.well-known/oauth-authorization-server",
                )
            ],
        ),
    ],
)
def test_where_documents_may_be(issuer_url, urls):
    assert discovery_urls(issuer_url) == urls
    assert discovery_urls(issuer_url, urls[-1]) == [urls[-1], *urls[:-1]]
    assert discovery_urls(issuer_url, "https://id.example/elsewhere") == urls


@pytest.mark.parametrize(
    ("found", "asked"), [(OPENID, [OPENID]), (INSERTED, [OPENID, INSERTED]), (APPENDED, [OPENID, INSERTED, APPENDED])]
)
def test_the_first_document_that_is_there_is_taken(found, asked):
    server = Server({found: GOOD})
    assert oidc.discover(ISSUER, transport=server).token_endpoint == f"{ISSUER}/token"
    assert server.asked == asked


@pytest.mark.parametrize(
    "absent",
    [
        *(answered({"error": "x"}, status) for status in (401, 403, 404, 405, 410)),
        answered("<html><title>Sign in</title></html>"),
        answered("<html>" + "x" * MAX_BODY_BYTES),
        answered(""),
        answered("null"),
        answered("", 204),
        answered("<html>moved</html>", 302, Location="https://id.example/login"),
        answered("Bad Request", 400),
        answered("", 404, **{"Retry-After": "0"}),
        answered("", 404, **{"Retry-After": "soon"}),
    ],
    ids=lambda answer: f"{answer.status} {answer.body[:10]!r}",
)
def test_where_openid_s_document_is_not_there_the_other_is_asked_for(absent):
    server = Server({OPENID: absent, INSERTED: GOOD})
    assert oidc.discover(ISSUER, transport=server).issuer == ISSUER
    assert server.asked == [OPENID, INSERTED]


@pytest.mark.parametrize(
    ("answer", "status", "wait_s"),
    [
        *((answered("<html>", status), status, None) for status in (408, 425, 429, 500, 501, 502, 503, 504)),
        (answered("<html>", 503, **{"Retry-After": "17"}), 503, 17.0),
        (answered("", 404, **{"Retry-After": "17"}), 404, 17.0),
        (answered({**GOOD, "issuer": "https://evil.example"}), 200, None),
        (answered({**GOOD, "issuer": f"{ISSUER}/"}), 200, None),
        (answered({**GOOD, "token_endpoint": None}), 200, None),
        (answered({"error": "invalid_request"}, 400), 400, None),
        (answered(GOOD, 201), 201, None),
    ],
)
@pytest.mark.parametrize("where", [OPENID, INSERTED, APPENDED])
def test_any_other_answer_ends_the_search(answer, status, wait_s, where):
    later = {OPENID: [INSERTED, APPENDED], INSERTED: [APPENDED], APPENDED: []}[where]
    server = Server({where: answer, **dict.fromkeys(later, GOOD)})
    error = refused(server)
    assert (error.status, error.retry_after_s) == (status, wait_s)
    assert server.asked[-1] == where
    assert re.search(f"at {where}( failed)?: HTTP {status}: ", str(error))


def test_no_answer_ends_the_search():
    def transport(request):
        asked.append(request.url)
        if request.url == OPENID:
            return ABSENT
        raise TransportError("connection refused", sent=False)

    asked = []
    error = refused(transport)
    assert (error.status, error.sent, asked) == (None, False, [OPENID, INSERTED])


def test_an_error_says_what_each_address_answered():
    error = refused(Server({OPENID: answered("<html>"), INSERTED: answered("", 403)}))
    assert str(error) == (
        f"discovery at {OPENID} failed: HTTP 200: expected JSON, got something else; "
        f"at {INSERTED}: HTTP 403: expected metadata, got none; at {APPENDED}: HTTP 404: expected metadata, got none"
    )
    assert error.status == 200


def test_the_document_that_was_found_before_is_asked_for_first():
    server = Server({INSERTED: GOOD})
    config, url = request_metadata(server, ISSUER, timeout_s=1.0)
    assert (config.issuer, url) == (ISSUER, INSERTED)
    assert request_metadata(server, ISSUER, timeout_s=1.0, first=url)[1] == INSERTED
    assert server.asked == [OPENID, INSERTED, INSERTED]
    server.answers = {APPENDED: answered(GOOD)}  # it has moved
    assert request_metadata(server, ISSUER, timeout_s=1.0, first=url)[1] == APPENDED
    assert server.asked[3:] == [INSERTED, OPENID, APPENDED]


def test_the_timeout_is_for_the_whole_search():
    left = []

    def transport(request):
        left.append(request.timeout_s)
        return ABSENT

    refused(transport)
    assert left[0] == 10.0
    assert left == sorted(left, reverse=True)
    assert len({urlsplit(url).path for url in discovery_urls(ISSUER)}) == len(left)
    with pytest.raises(DiscoveryError, match=r"openid-configuration failed: HTTP 404: expected metadata, got none$"):
        request_metadata(transport, ISSUER, timeout_s=1e-9)  # no time is left for a second request
    assert len(left) == 4
