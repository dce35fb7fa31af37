"""A fork does not happen in the middle of an import, or of OpenSSL's set-up, that another thread makes at its first use."""

import json
import os
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable
from urllib.parse import urlsplit

import certifi
import pytest
from manager.test_fork import in_child
from threads import DEADLINE_S

from oidc_actor import ConfigError, TokenManager
from oidc_actor.credentials.grants import parse_auth
from oidc_actor.http import sockets
from oidc_actor.testing import Provider
from supervision.runtime import lazy_imports as imports
from supervision.runtime.lazy_imports import fork_waits

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork"),
    pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning"),
]

order: list[str] = []
about_to_fork = threading.Event()
# The hooks before a fork run in the reverse order of their registration: this one before that of
# `supervision.runtime.lazy_imports`.
os.register_at_fork(before=about_to_fork.set)


def test_a_fork_waits_for_the_import_under_way() -> None:
    order.clear()
    about_to_fork.clear()
    begun = threading.Event()

    def import_slowly() -> None:
        with fork_waits():
            begun.set()
            assert about_to_fork.wait(DEADLINE_S)
            order.append("imported")

    def check() -> None:
        with fork_waits():
            assert order == ["imported"]

    thread = threading.Thread(target=import_slowly)
    thread.start()
    assert begun.wait(DEADLINE_S)
    in_child(check)
    thread.join(DEADLINE_S)
    assert not thread.is_alive()
    with fork_waits():
        pass


MISTYPED: list[Callable[[], object]] = [
    lambda: TokenManager.start_link(isuer_url="https://id.example.com"),
    lambda: parse_auth({"type": "oidc_client_credentials", "client_idd": "c"}),
]


@pytest.mark.parametrize("mistype", MISTYPED, ids=["option", "auth"])
def test_a_fork_waits_for_what_a_hint_needs(mistype: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> None:
    order.clear()
    about_to_fork.clear()
    begun = threading.Event()

    class Slow:
        """Finds nothing, and takes its time."""

        @staticmethod
        def find_spec(name: str, path: object = None, target: object = None) -> None:
            if name == "difflib":
                begun.set()
                assert about_to_fork.wait(DEADLINE_S)
                order.append("imported")

    def misspell() -> None:
        with pytest.raises(ConfigError, match="did you mean"):
            mistype()

    def check() -> None:
        assert order == ["imported"]
        misspell()

    monkeypatch.delitem(sys.modules, "difflib", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Slow, *sys.meta_path])
    thread = threading.Thread(target=misspell)
    thread.start()
    assert begun.wait(DEADLINE_S)
    in_child(check)
    thread.join(DEADLINE_S)
    assert not thread.is_alive()


def test_a_fork_waits_for_the_tls_context_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first one sets up OpenSSL, whose locks a forked child would find held for ever."""
    order.clear()
    about_to_fork.clear()
    begun = threading.Event()
    make = sockets._context

    def make_slowly() -> ssl.SSLContext:
        begun.set()
        assert about_to_fork.wait(DEADLINE_S)
        order.append("made")
        return make()

    def check() -> None:
        assert order == ["made"]

    monkeypatch.setattr(sockets, "_context", make_slowly)
    thread = threading.Thread(target=sockets.tls_context, args=(certifi.where(),))
    thread.start()
    assert begun.wait(DEADLINE_S)
    in_child(check)
    thread.join(DEADLINE_S)
    assert not thread.is_alive()


@pytest.mark.oidc_provider(tls=True)
def test_a_fork_waits_for_the_step_of_a_handshake_under_way(
    oidc_provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    order.clear()
    about_to_fork.clear()
    begun = threading.Event()
    step = ssl.SSLSocket.do_handshake
    context = sockets.tls_context(str(oidc_provider.ca_bundle))

    def step_slowly(self: ssl.SSLSocket, block: bool = False) -> None:
        begun.set()
        assert about_to_fork.wait(DEADLINE_S)
        order.append("stepped")
        step(self, block)

    def connect() -> None:
        with sockets.bounded(DEADLINE_S), socket.create_connection(address_of(oidc_provider)) as plain:
            context.wrap_socket(plain, server_hostname="127.0.0.1").close()
        order.append("shaken")

    def check() -> None:
        assert order[:1] == ["stepped"]

    monkeypatch.setattr(ssl.SSLSocket, "do_handshake", step_slowly)
    thread = threading.Thread(target=connect)
    thread.start()
    assert begun.wait(DEADLINE_S)
    in_child(check)
    thread.join(DEADLINE_S)
    assert order[-1] == "shaken"


def address_of(provider: Provider) -> tuple[str, int]:
    return "127.0.0.1", urlsplit(provider.listen_url).port or 0


def test_a_fork_does_not_wait_for_the_peer_of_a_handshake() -> None:
    """Such a peer may take a request's whole time."""
    ended: list[str] = []
    context = sockets.tls_context(certifi.where())
    with socket.create_server(("127.0.0.1", 0)) as server:

        def connect() -> None:
            with sockets.bounded(DEADLINE_S), socket.create_connection(server.getsockname()) as plain:
                try:
                    context.wrap_socket(plain, server_hostname="127.0.0.1")
                except OSError as error:
                    ended.append(type(error).__name__)

        thread = threading.Thread(target=connect)
        thread.start()
        peer, _ = server.accept()
        with peer:
            assert peer.recv(1), "the first step has ended, or is about to"
            in_child(lambda: None)
            assert not ended
        thread.join(DEADLINE_S)
    assert ended == ["ConnectionResetError"]


def test_a_handshake_ends_in_time() -> None:
    context = sockets.tls_context(certifi.where())
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as plain,
        sockets.bounded(0.05),
        pytest.raises(TimeoutError),
    ):
        context.wrap_socket(plain, server_hostname="127.0.0.1")


def test_a_fork_in_the_middle_of_ones_own_import_goes_on() -> None:
    def check() -> None:
        with fork_waits():
            pass

    with fork_waits():
        in_child(check)
    in_child(check)


def test_a_fork_that_has_not_waited_long_enough_takes_nothing_from_one_that_has(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(imports, "LONGEST_IMPORT_S", 0.01)
    imports._before_fork()
    other = threading.Thread(target=lambda: (imports._before_fork(), imports._after_fork()))
    other.start()
    other.join(DEADLINE_S)
    imports._after_fork()
    free = threading.Event()

    def use() -> None:
        with fork_waits():
            free.set()

    threading.Thread(target=use, daemon=True).start()
    assert free.wait(DEADLINE_S)


def test_imports_nest() -> None:
    with fork_waits(), fork_waits():
        pass


IMPORTS_OF_ITS_OWN = """
import json, sys, threading
from oidc_actor import ClientCredentials, TokenManager
import oidc_actor.http.client

found = []

class Finder:
    def find_spec(self, name, path=None, target=None):
        if threading.current_thread() is not threading.main_thread():
            found.append(name)

sys.meta_path.insert(0, Finder())
url, secret, ca_bundle = sys.argv[1:]
TokenManager.start_link(name="a", issuer_url=url, auth=ClientCredentials("test-client", secret), ca_bundle=ca_bundle)
TokenManager.get_token("a", timeout=20)
TokenManager.stop("a")
print(json.dumps(found))
"""


@pytest.mark.oidc_provider(tls=True)
def test_what_a_worker_imports_is_imported_with_the_client(oidc_provider: Provider) -> None:
    """Codecs count: the first use of one is an import too, which no fork would wait for."""
    oidc_provider.fail_next(status=503, headers={"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"})
    oidc_provider.fail_next(status=400, error="temporarily_unavailable", error_description="no")
    arguments = [oidc_provider.issuer_url, oidc_provider.client_secret, str(oidc_provider.ca_bundle)]
    done = subprocess.run(
        [sys.executable, "-c", IMPORTS_OF_ITS_OWN, *arguments], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == []
