"""HTTP by requests against real sockets: one deadline, no redirect, no credentials but ours, nothing in any log."""

import gc
import gzip
import http.client
import json
import logging
import os
import socket
import ssl
import threading
import zlib
from contextlib import closing
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from oidc_actor import client
from oidc_actor.client import RequestsTransport, shared_transport
from oidc_actor.errors import ConfigError
from oidc_actor.exchanges import sockets, tls
from oidc_actor.transport import MAX_BODY_BYTES, Request, Response, TransportError

SECRET = "hunter2-the-secret"
DEADLINE_S = 20.0


class Server:
    """Answers each request of each connection with what ``answer(connection, request)`` sends; counts both."""

    def __init__(self, answer, tls=None):
        self.answer, self.tls = answer, tls
        self.connections, self.requests = 0, []
        self.over = threading.Event()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        self.threads = [threading.Thread(target=self._accept, daemon=True)]
        self.threads[0].start()

    def close(self):
        self.over.set()
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for thread in self.threads:
            thread.join(DEADLINE_S)
            assert not thread.is_alive()

    def _accept(self):
        while not self.over.is_set():
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            self.threads.append(threading.Thread(target=self._serve, args=(connection,), daemon=True))
            self.threads[-1].start()

    def _serve(self, connection):
        connection.settimeout(DEADLINE_S)
        try:
            with connection if self.tls is None else self.tls.wrap_socket(connection, server_side=True) as stream:
                while (request := read_request(stream)) is not None:
                    self.requests.append(request)
                    if self.answer(stream, request) is False:
                        return
        except (OSError, ssl.SSLError):
            connection.close()


def read_request(stream):
    data = b""
    while b"\r\n\r\n" not in data:
        more = stream.recv(65536)
        if not more:
            return None
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
    while len(body) < int(fields.get(b"content-length", 0)):
        body += stream.recv(65536)
    return head, body


def reply(body=b"{}", *, status="200 OK", fields=()):
    head = "".join(f"{field}\r\n" for field in (f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *fields))
    return head.encode("latin-1") + b"\r\n" + body


def answers(*replies):
    """Send the replies one after another; the last one for ever."""
    left = list(replies)
    return lambda stream, _: stream.sendall(left.pop(0) if len(left) > 1 else left[0])


@pytest.fixture
def serve():
    servers = []

    def start(answer, tls=None):
        servers.append(Server(answer, tls))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def transport(monkeypatch):
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    with closing(RequestsTransport()) as made:
        yield made


def a_request(url, *, timeout_s=DEADLINE_S, path="/token"):
    headers = {"Authorization": f"Basic {SECRET}", "Content-Type": "application/x-www-form-urlencoded"}
    return Request("POST", url + path, headers, f"client_secret={SECRET}".encode(), timeout_s)


def failure(transport, request):
    with pytest.raises(TransportError) as caught:
        transport(request)
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    return caught.value


def test_what_is_sent_and_what_comes_back(serve, transport):
    server = serve(answers(reply(b'{"a": 1}', status="401 No", fields=("X-One: 1", "X-One: 2"))))
    response = transport(a_request(server.url))
    assert isinstance(response, Response)
    assert (response.status, response.body, response.header("x-one")) == (401, b'{"a": 1}', "1, 2")
    head, body = server.requests[0]
    assert head.startswith(b"POST /token HTTP/1.1\r\n")
    assert body == f"client_secret={SECRET}".encode()
    fields = {line.lower() for line in head.split(b"\r\n")}
    assert {b"accept-encoding: identity", b"user-agent: oidc-actor"} <= fields
    assert f"authorization: basic {SECRET}".encode() in fields


def test_a_get_has_no_body(serve, transport):
    server = serve(answers(reply()))
    assert transport(Request("GET", server.url + "/x?y=z", {}, b"", DEADLINE_S)).status == 200
    head, body = server.requests[0]
    assert head.startswith(b"GET /x?y=z HTTP/1.1\r\n")
    assert b"content-length" not in head.lower()
    assert body == b""


def test_connections_are_kept_and_cookies_are_not(serve, transport):
    server = serve(answers(reply(fields=("Set-Cookie: a=b; Path=/",))))
    for _ in range(3):
        transport(a_request(server.url))
    assert server.connections == 1
    assert not any(b"cookie" in head.lower() for head, _ in server.requests)


def test_a_connection_that_rested_too_long_is_not_used_again(serve, transport, monkeypatch):
    server = serve(answers(reply()))
    transport(a_request(server.url))
    monkeypatch.setattr(sockets, "IDLE_LIMIT_S", -1.0)
    transport(a_request(server.url))
    assert server.connections == 2


def test_a_redirect_is_an_answer(serve, transport):
    other = serve(answers(reply()))
    server = serve(answers(reply(status="307 Temporary Redirect", fields=(f"Location: {other.url}/token",))))
    assert transport(a_request(server.url)).status == 307
    assert other.requests == []


def test_netrc_never_adds_credentials(serve, transport, tmp_path, monkeypatch):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login intruder password intruder\n")
    monkeypatch.setenv("NETRC", str(netrc))
    server = serve(answers(reply()))
    transport(Request("POST", server.url, {}, b"a=b", DEADLINE_S))
    assert b"authorization" not in server.requests[0][0].lower()


def test_a_body_ends_one_byte_beyond_the_limit(serve, transport):
    server = serve(answers(reply(b"x" * (3 * MAX_BODY_BYTES), status="503 Busy", fields=("Retry-After: 7",))))
    response = transport(a_request(server.url))
    assert len(response.body) == MAX_BODY_BYTES + 1
    assert (response.status, response.header("Retry-After")) == (503, "7")
    transport(a_request(server.url))
    assert server.connections == 2  # what is left of the first answer is nobody's second


@pytest.mark.parametrize("size", [0, 1, MAX_BODY_BYTES])
def test_a_body_within_the_limit_is_whole(serve, transport, size):
    assert len(transport(a_request(serve(answers(reply(b"x" * size))).url)).body) == size


def raw_deflate(body):
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(body) + packer.flush()


@pytest.mark.parametrize(
    ("name", "pack"), [("gzip", gzip.compress), ("X-GZIP", gzip.compress), ("deflate", zlib.compress)]
)
def test_a_compression_nobody_asked_for_is_undone_within_the_limit(serve, transport, name, pack):
    body = b'{"a": 1}'
    bomb = pack(b"\0" * (200 * MAX_BODY_BYTES))
    assert len(bomb) < MAX_BODY_BYTES
    replies = [
        reply(pack(body), fields=(f"Content-Encoding: {name}",)),
        reply(bomb, fields=(f"Content-Encoding: {name}",)),
    ]
    server = serve(answers(*replies))
    assert transport(a_request(server.url)).body == body
    assert len(transport(a_request(server.url)).body) == MAX_BODY_BYTES + 1


@pytest.mark.parametrize("name", ["gzip", "br", "nonsense", ""])
def test_a_compression_that_cannot_be_undone_is_left_to_the_parser(serve, transport, name):
    server = serve(answers(reply(b"not compressed", fields=(f"Content-Encoding: {name}",))))
    assert transport(a_request(server.url)).body == b"not compressed"


def test_a_chunked_answer(serve, transport):
    server = serve(answers(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n{} \r\n2\r\n{}\r\n0\r\n\r\n"))
    assert transport(a_request(server.url)).body == b"{} {}"


def and_close(data):
    def answer(stream, _):
        stream.sendall(data)
        return False

    return answer


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "closed without an answer"),
        (b"garbage\r\n\r\n", "not HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{}", "cut off"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{}", "cut off"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n", "cut off|not HTTP"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n", "not HTTP"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000 + b"\r\n\r\n", "not HTTP"),
    ],
)
def test_broken_answers(serve, transport, data, problem):
    error = failure(transport, a_request(serve(and_close(data)).url))
    assert any(one in str(error) for one in problem.split("|")), str(error)
    assert "POST http://127.0.0.1:" in str(error)
    assert error.sent


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def test_nobody_listens(transport):
    error = failure(transport, a_request(f"http://127.0.0.1:{free_port()}"))
    assert "connection refused" in str(error)
    assert not error.sent


def test_an_unknown_name(transport, monkeypatch):
    def unknown(*_, **__):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    error = failure(transport, a_request("https://id.example"))
    assert "cannot be resolved" in str(error)
    assert not error.sent


def test_a_dead_first_address_leaves_the_others_their_chance(serve, transport, monkeypatch):
    server = serve(answers(reply()))
    real = socket.getaddrinfo("127.0.0.1", server.port, type=socket.SOCK_STREAM)
    dead = [(*real[0][:4], ("127.0.0.1", free_port()))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: dead + real)
    assert transport(a_request(server.url)).status == 200


def test_a_failed_attempt_leaves_nothing_for_the_garbage_collector(serve, transport, monkeypatch):
    server = serve(answers(reply()))
    real = socket.getaddrinfo("127.0.0.1", server.port, type=socket.SOCK_STREAM)
    dead = [(*real[0][:4], ("127.0.0.1", free_port()))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: dead + real)

    def open_sockets() -> list[sockets.BoundedSocket]:
        return [one for one in gc.get_objects() if isinstance(one, sockets.BoundedSocket) and one.fileno() >= 0]

    gc.disable()
    try:
        others = open_sockets()  # kept alive by the transport that the rest of the suite shares
        transport(a_request(server.url))
        transport.close()
        assert not [one for one in open_sockets() if not any(one is other for other in others)]
    finally:
        gc.enable()


# One deadline


def drip(data):
    """Send a byte at a time, each well within a read timeout, for longer than any test waits."""

    def answer(stream, _):
        pause = threading.Event()
        for byte in data:
            stream.sendall(bytes([byte]))
            pause.wait(0.02)
        return False

    return answer


def silence(stream, _):
    stream.recv(1)  # until the client goes
    return False


@pytest.mark.parametrize(
    "answer",
    [
        silence,
        drip(b"HTTP/1.1 200 OK\r\nX: " + b"y" * 1000),
        drip(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + b"y" * 1000),
        drip(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\ny\r\n" * 200),
    ],
    ids=["silence", "head", "body", "chunks"],
)
@pytest.mark.parametrize("over_tls", [False, True])
def test_one_deadline_bounds_the_whole_exchange(serve, transport, answer, over_tls, certificate):
    server = serve(answer, certificate.context if over_tls else None)
    with closing(RequestsTransport(certificate.path)) as trusting:
        started = sockets.monotonic()
        error = failure(trusting, a_request(server.url, timeout_s=0.4))
        assert sockets.monotonic() - started < 2.0
    assert "no complete answer within 0.4 s" in str(error)
    assert error.sent


def test_a_handshake_is_part_of_the_exchange(transport):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        error = failure(transport, a_request(f"https://127.0.0.1:{listener.getsockname()[1]}", timeout_s=0.3))
    assert "no complete answer within 0.3 s" in str(error)
    assert not error.sent


def test_a_deadline_does_not_outlive_its_exchange(serve, transport):
    server = serve(silence)
    failure(transport, a_request(server.url, timeout_s=0.1))
    good = serve(answers(reply()))
    assert transport(a_request(good.url)).status == 200
    with sockets.BoundedSocket() as outside:
        sockets._bound(outside)
        assert outside.gettimeout() is None


# TLS


class Certificate:
    def __init__(self, directory, name="127.0.0.1"):
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now = datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(name))]), critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
            .add_extension(
                x509.KeyUsage(True, False, False, False, False, True, True, False, False),
                critical=True,
            )
            .sign(key, hashes.SHA256())
        )
        self.path = directory / f"{name}.pem"
        self.path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        private = directory / f"{name}.key"
        private.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(self.path, private)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    return Certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def foreign_certificate(tmp_path_factory):
    return Certificate(tmp_path_factory.mktemp("foreign"), "127.0.0.2")


def test_a_named_ca_is_trusted(serve, certificate, transport):
    server = serve(answers(reply(b'{"a": 1}')), certificate.context)
    with closing(RequestsTransport(certificate.path)) as trusting:
        assert trusting(a_request(server.url)).body == b'{"a": 1}'
        assert trusting(a_request(server.url)).status == 200
    assert server.connections == 1


def test_an_unknown_ca_is_not_trusted(serve, certificate, transport):
    server = serve(answers(reply()), certificate.context)
    error = failure(transport, a_request(server.url))
    assert "certificate not accepted" in str(error)
    assert "ca_bundle" in str(error)
    assert not error.sent
    assert server.requests == []


def test_a_named_ca_replaces_all_others(serve, certificate, foreign_certificate):
    server = serve(answers(reply()), certificate.context)
    with closing(RequestsTransport(foreign_certificate.path)) as other:
        assert "certificate not accepted" in str(failure(other, a_request(server.url)))


def test_a_certificate_must_name_the_host(serve, foreign_certificate):
    server = serve(answers(reply()), foreign_certificate.context)
    with closing(RequestsTransport(foreign_certificate.path)) as trusting:
        error = failure(trusting, a_request(server.url))
    assert "certificate not accepted" in str(error)
    assert server.requests == []


class Plain:
    """In place of a TLS context: answers the greeting in plain HTTP, as such servers do."""

    def wrap_socket(self, connection, *, server_side):
        connection.recv(65536)
        connection.sendall(reply(status="400 Bad Request"))
        return connection


def test_plain_http_behind_an_https_address(serve, transport):
    server = serve(answers(reply()), Plain())
    error = failure(transport, a_request(server.url.replace("http:", "https:")))
    assert "TLS failed: WRONG_VERSION_NUMBER" in str(error)
    assert not error.sent


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_the_environment_may_name_a_ca(serve, certificate, transport, monkeypatch, variable):
    monkeypatch.setenv(variable, str(certificate.path))
    server = serve(answers(reply()), certificate.context)
    assert transport(a_request(server.url)).status == 200
    with closing(RequestsTransport(trust_env=False)) as deaf:
        assert "certificate not accepted" in str(failure(deaf, a_request(server.url)))


def test_an_explicit_ca_goes_before_the_environment_s(serve, certificate, foreign_certificate, transport, monkeypatch):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(foreign_certificate.path))
    server = serve(answers(reply()), certificate.context)
    with closing(RequestsTransport(certificate.path)) as trusting:
        assert trusting(a_request(server.url)).status == 200


def test_a_ca_that_the_environment_names_wrongly_is_an_error_not_a_shrug(serve, certificate, transport, monkeypatch):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere/ca.pem")
    error = failure(transport, a_request(serve(answers(reply()), certificate.context).url))
    assert "REQUESTS_CA_BUNDLE" in str(error)
    assert "/nowhere/ca.pem" in str(error)
    assert not error.sent


@pytest.mark.parametrize("ca_bundle", [False, True, 0, b"/x", ["x"]])
def test_verification_cannot_be_turned_off(ca_bundle):
    with pytest.raises(ConfigError, match="TLS verification cannot be turned off"):
        RequestsTransport(ca_bundle)


def test_a_ca_bundle_is_checked_before_anything_starts(tmp_path):
    with pytest.raises(ConfigError, match="ca_bundle: expected PEM certificates in '/nowhere', got: No such file"):
        RequestsTransport("/nowhere")
    (tmp_path / "bad.pem").write_text("nonsense")
    with pytest.raises(ConfigError, match=r"ca_bundle: expected PEM certificates in .*bad\.pem"):
        RequestsTransport(tmp_path / "bad.pem")
    assert RequestsTransport(tmp_path)  # a directory, whose files OpenSSL looks up when it needs them


# Proxies


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


# Silence


def test_no_library_s_debug_output_shows_what_was_exchanged(serve, transport, monkeypatch, caplog, capfd):
    monkeypatch.setattr(http.client.HTTPConnection, "debuglevel", 5)
    caplog.set_level(logging.DEBUG)
    token = "received-" + SECRET
    body = json.dumps({"access_token": token}).encode()
    server = serve(answers(reply(body, fields=(f"X-Echo: {SECRET}",)), reply(body, fields=(f"odd header {SECRET}",))))
    for _ in range(2):
        assert transport(a_request(server.url)).status == 200
    failure(transport, a_request(f"http://127.0.0.1:{free_port()}"))
    seen = "".join(caplog.messages) + caplog.text + "".join(capfd.readouterr())
    assert "urllib3" in seen
    assert SECRET not in seen


def test_its_own_repr_says_little():
    assert repr(RequestsTransport()) == "RequestsTransport(ca_bundle=None)"


# Sharing


def test_threads_share_a_transport(serve, transport):
    server = serve(answers(reply()))
    outcomes = []
    threads = [
        threading.Thread(target=lambda: outcomes.append(transport(a_request(server.url)).status)) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE_S)
    assert outcomes == [200] * 8


def test_one_transport_serves_the_process(certificate):
    assert shared_transport() is shared_transport(None)
    assert shared_transport(str(certificate.path)) is shared_transport(certificate.path) is not shared_transport()


def test_a_forked_child_never_uses_its_parent_s_connections(serve, transport, monkeypatch):
    server = serve(answers(reply()))
    transport(a_request(server.url))
    with monkeypatch.context() as child:
        child.setattr(os, "getpid", lambda: -1)
        transport(a_request(server.url))
        assert server.connections == 2
        transport.close()
    transport(a_request(server.url))
    assert server.connections == 2


def test_a_closed_transport_stays_usable(serve, transport):
    server = serve(answers(reply()))
    transport(a_request(server.url))
    transport.close()
    transport.close()
    assert transport(a_request(server.url)).status == 200
    assert server.connections == 2


@pytest.mark.parametrize(
    "operation",
    [lambda sock: sock.recv(1), lambda sock: sock.recv_into(bytearray(1)), lambda sock: sock.sendall(b"x")],
    ids=["recv", "recv_into", "sendall"],
)
@pytest.mark.parametrize("over_tls", [False, True])
def test_every_operation_of_a_socket_observes_the_deadline(serve, certificate, operation, over_tls):
    server = serve(silence, certificate.context if over_tls else None)
    with sockets.exchange(DEADLINE_S):
        sock = sockets._connect("127.0.0.1", server.port, [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)])
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        if over_tls:
            sock = tls.tls_context(str(certificate.path)).wrap_socket(sock, server_hostname="127.0.0.1")
    with sock, sockets.exchange(0.0), pytest.raises(TimeoutError, match="the exchange is over"):
        operation(sock)


def test_a_name_without_an_address(transport, monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [])
    error = failure(transport, a_request("https://id.example"))
    assert str(error).endswith("/token: no connection")
    assert not error.sent


def test_a_socks_proxy_needs_its_own_package(transport, monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", f"socks5://user:{SECRET}@127.0.0.1:{free_port()}")
    assert not failure(transport, a_request("https://id.example")).sent
