"""Mutual TLS: the certificate that is shown, again once its files change; the mistakes that can be made with it."""

import socket
import ssl
import threading

import pytest
from pki import Authority

from oidc_actor.credentials.grants import ClientCredentials
from oidc_actor.credentials.keys import ClientCertificate
from oidc_actor.endpoints.token_endpoint import TokenRequest, request_token
from oidc_actor.http.client import _CERTIFICATES, RequestsTransport
from oidc_actor.protocol.token_request import SentSecrets, build_token_request
from oidc_actor.transport import Request, TransportError
from oidc_actor.values.errors import SecretUnavailable
from oidc_actor.values.oidc_config import OIDCConfig

DEADLINE_S = 10.0


class Server:
    """Answers each connection's one request with the name in the client's certificate, or ``nobody``."""

    def __init__(self, authority):
        files = authority.server()
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(files["cert"], files["key"])
        self._context.load_verify_locations(files["ca"])
        self._context.verify_mode = ssl.CERT_OPTIONAL
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"https://127.0.0.1:{self._listener.getsockname()[1]}/token"
        self.connections = 0
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self):
        while True:
            try:
                plain, _ = self._listener.accept()
            except OSError:
                return
            plain.settimeout(DEADLINE_S)
            try:
                with self._context.wrap_socket(plain, server_side=True) as connection:
                    self.connections += 1
                    subject = dict(part[0] for part in (connection.getpeercert() or {}).get("subject", ()))
                    name = subject.get("commonName", "nobody").encode()
                    received = b""
                    while not received.endswith(
                        b"\r\n\r\nx"
                    ):  # what is left unread at the end would reset the connection
                        received += connection.recv(65536) or b"\r\n\r\nx"
                    connection.sendall(
                        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(name) + name
                    )
            except OSError:
                continue

    def close(self):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(DEADLINE_S)
        assert not self._thread.is_alive()


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path)


@pytest.fixture
def server(authority):
    server = Server(authority)
    yield server
    server.close()


@pytest.fixture
def transport(authority):
    transport = RequestsTransport(authority.ca)
    yield transport
    transport.close()


def shown(transport, server, certificate):
    return transport(Request("POST", server.url, {}, b"x", DEADLINE_S, certificate)).body.decode()


def test_each_request_shows_its_own_certificate(authority, server, transport):
    one, two = (ClientCertificate(*authority.client(name)) for name in ("one", "two"))
    assert [shown(transport, server, each) for each in (one, None, two, one)] == ["one", "nobody", "two", "one"]


def test_a_replaced_certificate_is_shown_at_the_next_request(authority, server, transport):
    certificate = ClientCertificate(*authority.client("one"))
    assert shown(transport, server, certificate) == "one"
    for new, old in zip(authority.client("two"), (certificate.cert_file, certificate.key_file), strict=True):
        new.replace(old)
    assert shown(transport, server, certificate) == "two"
    assert len(transport._adapters) == 1


def test_a_replaced_bundle_is_trusted_at_the_next_request(authority, server, tmp_path):
    bundle = tmp_path / "bundle.pem"
    (tmp_path / "others").mkdir()
    bundle.write_bytes(Authority(tmp_path / "others").ca.read_bytes())
    transport = RequestsTransport(bundle)
    with pytest.raises(TransportError, match="certificate not accepted"):
        shown(transport, server, None)
    (tmp_path / "new.pem").write_bytes(authority.ca.read_bytes())
    (tmp_path / "new.pem").replace(bundle)
    assert shown(transport, server, None) == "nobody"
    assert len(transport._adapters) == 1
    bundle.write_text("half a certificate")
    with pytest.raises(TransportError, match="ca_bundle: expected PEM certificates in"):
        shown(transport, server, None)
    bundle.unlink()
    assert shown(transport, server, None) == "nobody"
    transport.close()


def test_the_key_may_be_in_the_certificates_file(authority, server, transport):
    cert_file, key_file = authority.client("one")
    cert_file.write_text(cert_file.read_text() + key_file.read_text())
    assert shown(transport, server, ClientCertificate(cert_file)) == "one"


def test_no_more_than_a_few_certificates_keep_connections(authority, server, transport):
    cert_file, key_file = authority.client("one")
    for number in range(_CERTIFICATES + 3):
        copy = cert_file.with_name(f"{number}.pem")
        copy.write_bytes(cert_file.read_bytes())
        transport._adapter(ClientCertificate(copy, key_file))
    assert len(transport._adapters) == _CERTIFICATES + 1
    assert shown(transport, server, ClientCertificate(copy, key_file)) == "one"


@pytest.mark.parametrize("mistake", ["another key", "no password", "wrong password", "no file", "no certificate"])
def test_a_certificate_that_cannot_be_used_is_named_and_nothing_is_sent(authority, server, transport, mistake, capfd):
    cert_file, key_file = authority.client("one", password="hunter2" if "password" in mistake else None)
    password = "not-hunter2" if mistake == "wrong password" else None
    if mistake == "another key":
        key_file = authority.client("two")[1]
    if mistake == "no file":
        key_file.unlink()
    if mistake == "no certificate":
        cert_file.write_text("nothing")
    with pytest.raises(
        TransportError, match=r"client_certificate: expected a PEM .* got: .*one\.(cert|key)\.pem"
    ) as caught:
        shown(transport, server, ClientCertificate(cert_file, key_file, password=password))
    assert not caught.value.sent
    assert "hunter2" not in str(caught.value)
    assert server.connections == 0
    assert capfd.readouterr() == ("", "")  # OpenSSL has not asked for a password


def test_a_missing_file_is_known_before_anything_is_sent(tmp_path):
    auth = ClientCredentials("id", client_certificate=ClientCertificate(tmp_path / "c.pem"))
    with pytest.raises(SecretUnavailable, match=r"client_certificate cannot be read: '.*c\.pem': no such file"):
        request_token(TokenRequest(None, OIDCConfig(token_endpoint="https://t"), auth, timeout_s=1.0))


@pytest.mark.parametrize(
    ("aliases", "url"),
    [(None, "https://t/x"), ({}, "https://t/x"), ({"token_endpoint": "https://m/x"}, "https://m/x")],
)
def test_the_alias_is_asked_with_a_certificate_only(aliases, url):
    config = OIDCConfig(token_endpoint="https://t/x", mtls_endpoint_aliases=aliases)
    auth = ClientCredentials("id", client_certificate=ClientCertificate("c"))
    request = build_token_request(config, auth, SentSecrets(), timeout_s=1.0)
    assert (request.url, request.client_certificate) == (url, auth.client_certificate)
    assert b"client_id=id" in request.body
    plain = build_token_request(config, ClientCredentials("id"), SentSecrets(), timeout_s=1.0)
    assert (plain.url, plain.client_certificate) == ("https://t/x", None)
