"""Which requests are refused: the whole table."""

from __future__ import annotations

import pytest

from oidc_actor.sidecar.asgi import local_hosts, read_headers, refusal

HOSTS = local_hosts("127.0.0.1", 8391)
GOOD = {"host": "127.0.0.1:8391", "x-oidc-actor": "1"}


def judged(
    headers: dict[str, str] | list[tuple[str, str]], *, tcp: bool = True, for_a_token: bool = True
) -> str | None:
    pairs = headers.items() if isinstance(headers, dict) else headers
    read = read_headers([(name.encode(), value.encode()) for name, value in pairs])
    return refusal(read, HOSTS if tcp else None, for_a_token=for_a_token)


@pytest.mark.parametrize("host", ["127.0.0.1:8391", "localhost:8391", "LOCALHOST:8391", "[::1]:8391"])
def test_a_request_to_this_machine_with_the_header(host: str) -> None:
    assert judged({**GOOD, "host": host}) is None
    assert judged({**GOOD, "host": host, "x-oidc-actor": ""}) is None


@pytest.mark.parametrize(
    "host",
    [
        "evil.example:8391",
        "127.0.0.1",
        "localhost",
        "127.0.0.1:80",
        "127.0.0.1:8391.evil.example",
        "localhost.:8391",
        "",
    ],
)
@pytest.mark.parametrize("for_a_token", [True, False])
def test_a_host_that_is_not_this_listener(host: str, for_a_token: bool) -> None:
    assert "Host" in (judged({**GOOD, "host": host}, for_a_token=for_a_token) or "")


def test_no_host_and_two_hosts() -> None:
    assert "Host" in (judged({"x-oidc-actor": "1"}) or "")
    assert "Host" in (judged([("host", "127.0.0.1:8391"), ("host", "evil.example"), ("x-oidc-actor", "1")]) or "")


def test_a_token_needs_the_header_and_a_probe_does_not() -> None:
    without = {"host": "127.0.0.1:8391"}
    assert "X-OIDC-Actor" in (judged(without) or "")
    assert judged(without, for_a_token=False) is None


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},  # a page in a sandboxed frame, or after a redirect
        {"origin": "http://127.0.0.1:3000"},  # a page that another program on this machine serves
        {"origin": ""},
        *({"sec-fetch-site": site} for site in ("cross-site", "same-site", "same-origin", "none", "")),
    ],
)
@pytest.mark.parametrize("tcp", [True, False])
@pytest.mark.parametrize("for_a_token", [True, False])
def test_a_request_of_a_web_page(headers: dict[str, str], tcp: bool, for_a_token: bool) -> None:
    assert "web pages" in (judged({**GOOD, **headers}, tcp=tcp, for_a_token=for_a_token) or "")


@pytest.mark.parametrize("mode", ["cors", "no-cors", "navigate"])
@pytest.mark.parametrize("tcp", [True, False])
def test_a_fetch_mode_alone_is_no_page(mode: str, tcp: bool) -> None:
    assert judged({**GOOD, "sec-fetch-mode": mode}, tcp=tcp) is None


def test_a_unix_socket_needs_neither_host_nor_header() -> None:
    assert judged({}, tcp=False) is None
    assert judged({"host": "anything"}, tcp=False) is None


def test_port_80_may_be_left_out() -> None:
    assert {b"localhost", b"localhost:80", b"127.0.0.1"} <= local_hosts("127.0.0.1", 80)
    assert b"localhost" not in local_hosts("127.0.0.1", 81)
    assert b"[::1]:81" in local_hosts("::1", 81)
