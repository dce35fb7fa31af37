"""HTTP by requests: whose certificates are trusted."""

import ssl
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
from raw_server import a_request, answers, failure, reply
from urllib3.util.ssl_ import create_urllib3_context

from oidc_actor.http import client, sockets
from oidc_actor.http.client import RequestsTransport
from oidc_actor.values.errors import ConfigError


def test_a_named_ca_is_trusted(serve, certificate, transport):
    server = serve(answers(reply(b'{"a": 1}')), certificate.context)
    with closing(RequestsTransport(certificate.path)) as trusting:
        assert trusting(a_request(server.url)).body == b'{"a": 1}'
        assert trusting(a_request(server.url)).status == 200
    assert server.connections == 1


def test_threads_that_come_first_at_once_share_their_connections(
    serve, certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = threading.Barrier(2, timeout=10)
    make = client.tls_context

    def at_once(*arguments):
        both.wait()
        return make(*arguments)

    server = serve(answers(reply(), reply()), certificate.context)
    with closing(RequestsTransport(certificate.path)) as trusting, ThreadPoolExecutor(2) as pool:
        monkeypatch.setattr(client, "tls_context", at_once)
        first, second = pool.map(lambda _: trusting._adapter(None), range(2))
        assert first is second
        assert trusting(a_request(server.url)).status == trusting(a_request(server.url)).status == 200
    assert server.connections == 1


def test_the_certificates_to_trust_are_loaded_once(certificate, monkeypatch: pytest.MonkeyPatch) -> None:
    loads = []
    load = ssl.SSLContext.load_verify_locations
    with closing(RequestsTransport(certificate.path)) as trusting:
        monkeypatch.setattr(
            ssl.SSLContext, "load_verify_locations", lambda *at, **named: (loads.append(named), load(*at, **named))
        )
        trusting._adapter(None)
        trusting._adapter(None)
    assert loads == [{"cafile": str(certificate.path)}]


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
    assert "TLS failed: WRONG_VERSION_NUMBER; is it plain http at this port?" in str(error)
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


def test_the_keys_of_a_session_are_written_nowhere(serve, certificate, monkeypatch, tmp_path):
    keys = tmp_path / "keys"
    monkeypatch.setenv("SSLKEYLOGFILE", str(keys))
    server = serve(answers(reply()), certificate.context)
    with closing(RequestsTransport(certificate.path)) as trusting:
        assert trusting(a_request(server.url)).status == 200
    assert not keys.exists()


def test_a_context_is_as_strict_as_urllib3_s(certificate):
    ours, theirs = sockets.tls_context(str(certificate.path)), create_urllib3_context(cert_reqs=ssl.CERT_REQUIRED)
    for name in (
        "check_hostname", "hostname_checks_common_name", "maximum_version", "minimum_version", "options",
        "post_handshake_auth", "verify_flags", "verify_mode",
    ):  # fmt: skip
        assert getattr(ours, name) == getattr(theirs, name)
