"""Fixtures of the tests of the transport: servers of their own, and certificates for them."""

from contextlib import closing

import pytest
from raw_server import Certificate, Server

from oidc_actor.http.client import RequestsTransport


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


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    return Certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def foreign_certificate(tmp_path_factory):
    return Certificate(tmp_path_factory.mktemp("foreign"), "127.0.0.2")
