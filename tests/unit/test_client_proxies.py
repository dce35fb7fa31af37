"""HTTP by requests: through the proxies that the environment names."""

import socket
import threading
from contextlib import closing

from raw_server import DEADLINE_S, SECRET, a_request, and_close, answers, failure, free_port, reply

from oidc_actor import client
from oidc_actor.client import RequestsTransport


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
    assert "certificate not accepted" in str(failure(transport, a_request(server.url)))


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
    monkeypatch.setenv("HTTPS_PROXY", f"http://user:{SECRET}@127.0.0.1:{free_port()}")
    error = failure(transport, a_request("https://id.example"))
    assert "through the proxy: connection refused" in str(error)
    assert not error.sent


def test_a_proxy_that_refuses(serve, transport, monkeypatch):
    proxy = serve(and_close(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"))
    monkeypatch.setenv("HTTPS_PROXY", proxy.url)
    assert "through the proxy" in str(failure(transport, a_request("https://id.example")))


def test_a_socks_proxy_needs_its_own_package(transport, monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", f"socks5://user:{SECRET}@127.0.0.1:{free_port()}")
    assert not failure(transport, a_request("https://id.example")).sent
