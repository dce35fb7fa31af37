"""HTTP by requests: through the proxies that the environment names."""

import os
import socket
import threading
from contextlib import closing

import pytest
import requests.utils
from raw_server import DEADLINE_S, SECRET, a_request, and_close, answers, failure, free_port, reply, silence

from oidc_actor.http import client, proxies
from oidc_actor.http.client import RequestsTransport
from oidc_actor.http.proxies import environ_proxy
from oidc_actor.values.urls import proxy_shown


def test_a_proxy_of_the_environment_is_used_but_never_for_loopback(serve, transport, monkeypatch):
    proxy, server = serve(answers(reply(b'"proxied"'))), serve(answers(reply(b'"direct"')))
    monkeypatch.setenv("HTTP_PROXY", proxy.url)
    assert transport(a_request("http://id.example")).body == b'"proxied"'
    assert proxy.requests[0][0].startswith(b"POST http://id.example/token HTTP/1.1\r\n")
    assert transport(a_request(server.url)).body == b'"direct"'
    assert len(proxy.requests) == 1
    with closing(RequestsTransport(trust_env=False)) as deaf:
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [])
        failure(deaf, a_request("http://id.example"))
    assert len(proxy.requests) == 1


def test_tls_through_a_proxy_is_verified_too(serve, certificate, transport, monkeypatch):
    server = serve(answers(reply(b'"tls"')), certificate.context)

    def tunnel(stream, _):
        stream.sendall(b"HTTP/1.1 200 Connected\r\n\r\n")
        with socket.create_connection(("127.0.0.1", server.port), DEADLINE_S) as upstream:
            pipe(stream, upstream)
        return False

    proxy = serve(tunnel)
    monkeypatch.setenv("HTTPS_PROXY", proxy.url)
    monkeypatch.setattr(client, "is_loopback", lambda host: False)
    with closing(RequestsTransport(certificate.path)) as trusting:
        assert trusting(a_request(server.url)).body == b'"tls"'
    assert proxy.requests[0][0].startswith(f"CONNECT 127.0.0.1:{server.port} ".encode())
    assert SECRET.encode() not in proxy.requests[0][0]
    error = failure(transport, a_request(server.url))
    assert "certificate not accepted" in str(error)
    assert not error.sent


def pipe(one, other):
    def forward(source, target):
        try:
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            return

    there = threading.Thread(target=forward, args=(one, other), daemon=True)
    there.start()
    forward(other, one)
    one.close()
    there.join(DEADLINE_S)


def test_a_proxy_s_password_is_not_shown(transport, monkeypatch):
    for scheme in ("http://", ""):
        port = free_port()
        monkeypatch.setenv("HTTPS_PROXY", f"{scheme}user:{SECRET}@127.0.0.1:{port}")
        error = failure(transport, a_request("https://id.example"))
        assert f"through the proxy {scheme}127.0.0.1:{port}: " in str(error)
        assert not scheme or str(error).endswith(
            ": connection refused"
        )  # without a scheme it is no address to requests
        assert not error.sent


def test_a_proxy_that_is_silent_is_named(serve, transport, monkeypatch):
    proxy = serve(silence)
    monkeypatch.setenv("HTTP_PROXY", proxy.url)
    error = failure(transport, a_request("http://id.example", timeout_s=0.3))
    assert f"through the proxy {proxy.url}: no complete answer within 0.3 s" in str(error)


@pytest.mark.parametrize(
    ("proxy", "shown"),
    [
        ("http://proxy.example:3128", "http://proxy.example:3128"),
        ("http://user:hunter2@proxy.example:3128/", "http://proxy.example:3128"),
        ("user:hunter2@proxy.example:3128", "proxy.example:3128"),
        ("http://user:hun/ter2@proxy.example", "http://proxy.example"),
        ("http://user:hun@ter2@proxy.example", "http://proxy.example"),
        ("http://user:hun?ter#2@[::1]:3128", "http://[::1]:3128"),
        ("http://proxy\n.example", "http://proxy.example"),
    ],
)
def test_how_a_proxy_is_named(proxy, shown):
    assert proxy_shown(proxy) == shown


@pytest.mark.parametrize(
    ("no_proxy", "exempt"),
    [
        ("::1", True),
        ("[::1]", True),
        ("[::1]:8443", True),
        ("[::1]:443", False),
        ("0:0:0:0:0:0:0:1", True),
        ("a.example, [::1]", True),
        ("a.example [::1]", True),
        ("::/127", True),
        ("[::]/127", True),
        ("*", True),
        ("::2", False),
        ("fd00::/8", False),
        ("1", False),
        ("127.0.0.1,10.0.0.0/8", False),
        ("[", False),
        ("", False),
    ],
)
def test_ipv6_addresses_that_go_past_the_proxy(monkeypatch, no_proxy, exempt):
    for name in ("https_proxy", "HTTPS_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("https_proxy", "http://proxy.example:3128")
    monkeypatch.setenv("no_proxy", no_proxy)
    assert environ_proxy("https://[::1]:8443/x") == (None if exempt else "http://proxy.example:3128")


def test_the_end_of_an_address_exempts_no_other(monkeypatch):
    monkeypatch.setenv("https_proxy", "http://proxy.example:3128")
    monkeypatch.setenv("no_proxy", "::1,fd00:1::/32")
    assert environ_proxy("https://[fd00::1]/x") == "http://proxy.example:3128"
    assert environ_proxy("https://[fd00:1:2::3]/x") is None


def test_the_environment_is_read_again_when_a_variable_has_changed_and_only_then(monkeypatch):
    asked = []

    def find(url):
        asked.append(url)
        return real(url)

    real = requests.utils.get_environ_proxies
    monkeypatch.setattr(requests.utils, "get_environ_proxies", find)
    for name in [one for one in os.environ if one.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    for number in range(3):
        assert environ_proxy(f"http://localhost:8080/{number}") is None
    assert asked == []
    monkeypatch.setenv("Http_Proxy", "http://first.example")  # urllib reads it in any letters
    assert [environ_proxy("http://localhost:8080/x") for _ in range(2)] == ["http://first.example"] * 2
    monkeypatch.setenv("http_proxy", "http://second.example")
    assert environ_proxy("http://localhost:8080/x") == "http://second.example"
    monkeypatch.setenv("no_proxy", "localhost:8080")
    assert environ_proxy("http://localhost:8080/x") is None
    assert (
        environ_proxy("http://me@localhost:8081/x") == environ_proxy("http://localhost:8081") == "http://second.example"
    )
    assert len(asked) == 4
    assert asked[0] == "http://localhost:8080"
    # Where the system's settings name proxies, too, they may change without a variable.
    monkeypatch.setattr(proxies, "_SYSTEM_NAMES_PROXIES", True)
    assert environ_proxy("http://localhost:8081") == environ_proxy("http://localhost:8081")
    assert len(asked) == 6


def test_a_variable_that_changes_during_the_search_leaves_no_wrong_answer(monkeypatch):
    def find(url):
        os.environ["http_proxy"] = "http://late.example"
        found = real(url)
        os.environ["http_proxy"] = "http://now.example"
        return found

    real = requests.utils.get_environ_proxies
    monkeypatch.setenv("http_proxy", "http://before.example")
    monkeypatch.setenv("no_proxy", "")
    with monkeypatch.context() as patch:
        patch.setattr(requests.utils, "get_environ_proxies", find)
        assert environ_proxy("http://localhost:8082/") == "http://late.example"
    os.environ["http_proxy"] = "http://before.example"
    assert environ_proxy("http://localhost:8082/") == "http://before.example"


def test_a_proxy_that_refuses(serve, transport, monkeypatch):
    proxy = serve(and_close(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"))
    monkeypatch.setenv("HTTPS_PROXY", proxy.url)
    error = failure(transport, a_request("https://id.example"))
    assert str(error).endswith(f"through the proxy {proxy.url}: it refused, HTTP 407")
    assert not error.sent  # what asks a proxy for a way is no request to the provider


def test_a_proxy_s_interim_responses_are_skipped(serve, transport, monkeypatch):
    proxy = serve(
        and_close(b"HTTP/1.1 102 Processing\r\nX: y\r\n\r\n" * 3 + b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n")
    )
    monkeypatch.setenv("HTTPS_PROXY", proxy.url)
    assert "it refused, HTTP 403" in str(failure(transport, a_request("https://id.example")))


def test_a_socks_proxy_needs_its_own_package(transport, monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", f"socks5://user:{SECRET}@127.0.0.1:{free_port()}")
    assert not failure(transport, a_request("https://id.example")).sent
