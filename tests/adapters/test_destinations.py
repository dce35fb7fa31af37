"""Where a token may go."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oidc_actor import ConfigError
from oidc_actor.adapters.presenter import check_destination, read_origins
from oidc_actor.values.urls import SCHEMES, is_loopback, origin_of, place_of

ORIGINS = [
    ("https://api.example.com", "https://api.example.com:443"),
    ("https://API.example.com:443/v1?q=1#f", "https://api.example.com:443"),
    ("https://api.example.com:8443/", "https://api.example.com:8443"),
    ("http://api.example.com/", "http://api.example.com:80"),
    ("wss://api.example.com/socket", "https://api.example.com:443"),
    ("ws://localhost:8080/", "http://localhost:8080"),
    ("https://user:password@api.example.com/", "https://api.example.com:443"),
    ("http://[::1]:8080/", "http://::1:8080"),
    ("https://api.example.com@evil.example/", "https://evil.example:443"),
]


@pytest.mark.parametrize(("url", "origin"), ORIGINS)
def test_origin(url: str, origin: str) -> None:
    assert origin_of(url) == origin


PIECES = (
    "http", "https", "ws", "abcdefgh", ":", "/", "//", "?", "#", "@", "[", "]", "::1", "localhost", "a.example", ":8443",
    "\\", " ", "\t", "\n", "\x01", "%2f", "HTTPS://", "https://a.example", "http://127.0.0.1", "\u2100",
)  # fmt: skip


@given(st.lists(st.sampled_from(PIECES), min_size=1, max_size=8).map("".join))
def test_a_place_is_what_the_whole_address_says(url: str) -> None:
    """It is read from the address's beginning only, and kept."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        with pytest.raises(ValueError):  # noqa: PT011 - whatever it says
            place_of(url)
        return
    place = place_of(url)
    scheme = SCHEMES.get(parts.scheme, parts.scheme)
    assert (place.scheme, place.host, place.is_loopback) == (scheme, host, is_loopback(host))
    assert place.origin == f"{scheme}://{host}:{port or {'http': 80, 'https': 443}.get(scheme, 0)}"


@pytest.mark.parametrize(
    "url",
    ["https://api.example.com/", "wss://api.example.com/", "http://127.0.0.1:80/", "ws://[::1]/", "http://localhost/"],
)
def test_a_token_may_go_where_nobody_listens(url: str) -> None:
    check_destination(url, allow_insecure_http=False)


@pytest.mark.parametrize(
    "url",
    [
        "http://api.example.com/",
        "ws://api.example.com/",
        "http://localhost.example.com/",
        "http://10.0.0.1/",
        "ftp://a.example/",
    ],
)
def test_a_token_does_not_go_over_plain_http(url: str) -> None:
    with pytest.raises(ConfigError, match=r"expected an https address.*use https"):
        check_destination(url + "?code=hidden", allow_insecure_http=False)
    check_destination(url, allow_insecure_http=True)


def test_the_error_shows_no_query() -> None:
    with pytest.raises(ConfigError) as caught:
        check_destination("http://api.example.com/x?code=hidden", allow_insecure_http=False)
    assert "hidden" not in str(caught.value)


def test_plain_http_leaves_this_machine_through_no_proxy() -> None:
    check_destination("http://localhost:8080/", lambda url: None, allow_insecure_http=False)
    check_destination("https://localhost:8080/", lambda url: "http://proxy.example.com", allow_insecure_http=False)
    check_destination("http://localhost:8080/", lambda url: "http://proxy.example.com", allow_insecure_http=True)
    with pytest.raises(ConfigError, match=r"'http://localhost:8080/x' through a proxy.*put localhost in") as caught:
        check_destination(
            "http://localhost:8080/x?code=hidden",
            lambda url: "http://me:secret@proxy.example.com",
            allow_insecure_http=False,
        )
    assert "hidden" not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_origins_are_read() -> None:
    assert read_origins(None) is None
    assert read_origins(()) == frozenset()
    assert read_origins(["https://a.example/v1", "https://A.example"]) == {"https://a.example:443"}


@pytest.mark.parametrize(
    "origins",
    [
        "https://a.example",
        3,
        ["a.example"],
        ["https://"],
        [3],
        ["ftp://a"],
        ["https://a:x"],
        ["https://h\u00f6st.example"],
    ],
)
def test_what_are_no_origins_is_said(origins: object) -> None:
    with pytest.raises(ConfigError, match="origins: expected"):
        read_origins(origins)
