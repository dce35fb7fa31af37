"""HTTP over urllib3, as strict as a token endpoint deserves; through a proxy by requests' rules, imported for that alone.

No redirect is followed; no cookie is kept; neither ``.netrc`` nor a URL ever adds credentials; TLS is always verified;
one deadline bounds the whole request; a body ends at `MAX_BODY_BYTES`, decompressed. From the environment come the
proxies (``HTTPS_PROXY``, ``NO_PROXY``), never for loopback, and the certificates (``REQUESTS_CA_BUNDLE``,
``CURL_CA_BUNDLE``) where no ``ca_bundle`` is given; ``SSLKEYLOGFILE`` is ignored.
"""

from __future__ import annotations

import encodings.idna  # noqa: F401 - else the first look-up of a host imports it, on a thread (see `supervision.runtime.lazy_imports`)
import http.client
import os
import re
import socket
import ssl
from collections.abc import Iterable, Iterator, Mapping
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import certifi
import urllib3
from urllib3.util import parse_url

from oidc_actor.credentials.keys import ClientCertificate
from oidc_actor.http.proxies import environ_proxy
from oidc_actor.http.responses import BadResponse, decoded
from oidc_actor.http.sockets import POOL_CLASSES, bounded, check_ca_bundle, tls_context
from oidc_actor.transport import MAX_BODY_BYTES, NoAnswer, Request, Response, UnusableCertificate
from oidc_actor.values.errors import ConfigError
from oidc_actor.values.secrets import SecretFile, holds_secrets
from oidc_actor.values.urls import is_loopback, proxy_shown, public_url
from supervision.runtime.lazy_imports import fork_waits

USER_AGENT = "oidc-actor"
_OURS = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity"}
_HOSTS = 128
_CONNECTIONS_PER_HOST = 32
_CERTIFICATES = 64  # clients' certificates whose connections are kept
_NOT_TLS = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE")  # OpenSSL's words for an answer that is no TLS, by release
_CA_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
_NO_RETRIES = urllib3.Retry(0, read=False)
_REFUSED_TUNNEL = r"Tunnel connection failed: (\d{3})"  # http.client's words
_Key: TypeAlias = tuple[int, ClientCertificate | None, object, object]


class RequestsTransport:
    """A `oidc_actor.transport.Transport` over urllib3.

    One object serves any number of threads, and keeps connections alive between them. A forked child gets connections
    of its own.
    """

    def __init__(self, ca_bundle: str | Path | None = None, *, trust_env: bool = True) -> None:
        """Prepare; nothing is connected yet.

        Args:
            ca_bundle: File or directory of the certificates to trust, instead of all others; ``None`` for those named
                in the environment, or else certifi's. Read again when it changes.
            trust_env: Whether the environment may name proxies and certificates.

        Raises:
            ConfigError: Where ``ca_bundle`` holds no certificates. There is no value that turns verification off.
        """
        self._trust_env = trust_env
        self._ca_bundle = None if ca_bundle is None else check_ca_bundle(ca_bundle)
        # By process: sockets that a fork duplicated stay the parent's, and are never closed in the child, which would
        # write into the parent's TLS sessions. By certificate, as its files and those to trust were: a connection stays that of
        # the client whose certificate opened it.
        #
        # There is no lock. A thread looks for its adapter; where there is none it makes one and hands it to `setdefault`, which
        # keeps the first: of two threads that make one at once both go on with the same, and the other one has no connection
        # yet. Then the thread discards the adapters whose files have changed. Another thread that is sending through one of these
        # is not disturbed: its connection is in use, and is closed when its request is over.
        self._adapters: dict[_Key, _Adapter] = {}
        self._plain: dict[int, _Adapter] = {}  # by process, without TLS

    @holds_secrets
    def __call__(self, request: Request, /) -> Response:
        """Send one request on the calling thread.

        Args:
            request: What to send.

        Returns:
            The response, of any status. A body over `MAX_BODY_BYTES` is cut one byte beyond.

        Raises:
            TransportError: Where no complete response came. Its text has the method, the address and the kind of failure.
        """
        proxy = None
        with bounded(request.timeout_s) as progress:
            try:
                proxy = self._proxy(request.url)
                return self._send(request, proxy)
            except Exception as error:  # noqa: BLE001 - all that urllib3 and requests raise is one thing here: no answer
                problem = _describe(error, request.timeout_s, proxy)
                for one in _chain(error):
                    # urllib3's frames refer to the error: together they would stay until a garbage collection.
                    one.__traceback__ = None
                if isinstance(error, ConfigError) and error.option == ("client_certificate",):
                    raise UnusableCertificate(problem, sent=False) from None
                raise NoAnswer(f"{request.method} {public_url(request.url)}: {problem}", sent=progress.sent) from None

    def close(self) -> None:
        """Close idle connections. The object stays usable."""
        self._discard(key for key in list(self._adapters) if key[0] == os.getpid())
        plain = self._plain.pop(os.getpid(), None)
        if plain is not None:
            plain.close()

    def __repr__(self) -> str:
        return f"RequestsTransport(ca_bundle={self._ca_bundle!r})"

    def _send(self, request: Request, proxy: str | None) -> Response:
        is_plain = proxy is None and urlsplit(request.url).scheme == "http"
        adapter = self._plain_adapter() if is_plain else self._adapter(request.client_certificate)
        pool, target = adapter.way_to(request.url, proxy)
        # Sent without a session: nothing is merged in, neither cookies nor netrc. No variable has what it sends.
        received = pool.urlopen(
            request.method.upper(),
            target,
            body=request.body or None,
            headers=_headers(request.headers),
            retries=_NO_RETRIES,
            redirect=False,
            assert_same_host=False,
            timeout=urllib3.Timeout(total=request.timeout_s),
        )
        response = Response(received.status, received.headers, received.body)
        codings = response.header("Content-Encoding")
        if codings is None:
            return response
        return Response(response.status, response.headers, decoded(response.body, codings, limit=MAX_BODY_BYTES + 1))

    def _plain_adapter(self) -> _Adapter:
        # To load the certificates to trust takes longer than all else of a first request: not where none is looked at.
        adapter = self._plain.get(os.getpid())
        return self._plain.setdefault(os.getpid(), _Adapter(None)) if adapter is None else adapter

    def _adapter(self, certificate: ClientCertificate | None) -> _Adapter:
        name, bundle = self._trusted()
        shown, trusted = None if certificate is None else certificate.version(), _file(bundle).version()
        key = (os.getpid(), certificate, shown, trusted)
        adapter = self._adapters.get(key)
        if adapter is None and trusted is None:  # the bundle is just being replaced: what it said still holds
            adapter = next((one for seen, one in list(self._adapters.items()) if seen[:3] == key[:3]), None)
        if adapter is None:
            adapter = self._adapters.setdefault(key, _Adapter(_context(bundle, name, certificate)))
            known = list(self._adapters)
            self._discard(one for one in known if one[:2] == key[:2] and one != key)  # their files have changed
            self._discard(known[1:-_CERTIFICATES])
        return adapter

    def _discard(self, keys: Iterable[_Key]) -> None:
        for key in keys:
            adapter = self._adapters.pop(key, None)
            if adapter is not None:
                adapter.close()

    def _trusted(self) -> tuple[str, str]:
        """What names the certificates to trust, and their path."""
        if self._ca_bundle is not None:
            return "ca_bundle", self._ca_bundle
        for name in _CA_VARIABLES if self._trust_env else ():
            if path := os.environ.get(name):
                return name, path
        return "certifi", certifi.where()

    def _proxy(self, url: str) -> str | None:
        # What is sent in the clear because it stays on this machine must not leave it through a proxy.
        if not self._trust_env or is_loopback(urlsplit(url).hostname or ""):
            return None
        return environ_proxy(url)


_file = lru_cache(maxsize=16)(SecretFile)  # of certificates, looked at before each request: a path is slow to make


def shared_transport(ca_bundle: str | Path | None = None) -> RequestsTransport:
    """Give the transport that all managers of this process share, so that they share connections.

    Args:
        ca_bundle: As of `RequestsTransport`.

    Returns:
        The same object for the same argument.

    Raises:
        ConfigError: Where ``ca_bundle`` holds no certificates.
    """
    return _shared(str(ca_bundle) if isinstance(ca_bundle, Path) else ca_bundle)


@cache
def unproxied_transport() -> RequestsTransport:
    """Give the transport that all share who must ask no proxy."""
    return RequestsTransport(trust_env=False)


@cache
def _shared(ca_bundle: str | None) -> RequestsTransport:
    return RequestsTransport(ca_bundle)


class _Adapter:
    """Bounded connections to all hosts, and one TLS context that trusts what it was made with, only."""

    def __init__(self, context: ssl.SSLContext | None) -> None:
        self._tls = context  # `None` where all addresses are plain
        self._direct = urllib3.PoolManager(_HOSTS, maxsize=_CONNECTIONS_PER_HOST)
        self._direct.pool_classes_by_scheme = POOL_CLASSES
        self._proxied: Any = None
        self._ways: dict[tuple[str, str | None], tuple[Any, str]] = {}  # each change is one operation

    def way_to(self, url: str, proxy: str | None) -> tuple[Any, str]:
        """Find the connections to an address, and what the request's first line calls it there.

        That takes as long as half a request does, so it is kept: a token endpoint is asked again and again.
        """
        found = self._ways.get((url, proxy))
        if found is None:
            found = self._direct_way(url) if proxy is None else self._way_through(url, proxy)
            if len(self._ways) >= _HOSTS:
                self._ways.clear()
            self._ways[url, proxy] = found
        return found

    def close(self) -> None:
        """Close all connections."""
        self._ways.clear()
        self._direct.clear()
        if self._proxied is not None:
            self._proxied.close()

    def _direct_way(self, url: str) -> tuple[Any, str]:
        parts = parse_url(url)
        given = {} if self._tls is None else {"ssl_context": self._tls, "cert_reqs": "CERT_REQUIRED"}
        pool = self._direct.connection_from_host(parts.host, parts.port, parts.scheme, pool_kwargs=given)
        return pool, parts.request_uri

    def _way_through(self, url: str, proxy: str) -> tuple[Any, str]:
        if self._proxied is None:
            assert self._tls is not None
            with fork_waits():
                from oidc_actor.http.proxied import ways_through_proxies
            self._proxied = ways_through_proxies(self._tls, hosts=_HOSTS, connections=_CONNECTIONS_PER_HOST)
        way: tuple[Any, str] = self._proxied.way_through(url, proxy)
        return way


def _headers(given: Mapping[str, str]) -> dict[str, str]:
    """What is given wins over ours, in letters of any case; but for the length, which is that of the body."""
    wanted = {name: value for name, value in given.items() if name.lower() != "content-length"}
    known = {name.lower() for name in wanted}
    return {name: value for name, value in _OURS.items() if name.lower() not in known} | wanted


def _context(bundle: str, name: str, certificate: ClientCertificate | None) -> ssl.SSLContext:
    try:
        return tls_context(bundle, certificate)
    except OSError:
        check_ca_bundle(bundle, name)  # says what is wrong with it; at every connection it would double the work
        raise


def _describe(error: BaseException, timeout_s: float, proxy: str | None) -> str:
    """Name the kind of a failure. No text of the exception itself: it may quote a proxy's password or the request."""
    if isinstance(error, ConfigError):
        return str(error)
    through = f"through the proxy {proxy_shown(proxy)}: " if proxy else ""
    for one in _chain(error):
        problem = _known(one, timeout_s)
        if problem is not None:
            return through + problem
    refused = next((found for one in _chain(error) if (found := re.match(_REFUSED_TUNNEL, str(one)))), None)
    if refused is not None:
        return f"{through}it refused, HTTP {refused[1]}"
    return through + (
        "no connection"
        if any(isinstance(one, urllib3.exceptions.ProxyError) for one in _chain(error))
        else f"failed with {type(error).__name__}"
    )


def _known(error: BaseException, timeout_s: float) -> str | None:
    match error:
        case ssl.SSLCertVerificationError():
            return f"certificate not accepted: {error.verify_message}; {_certificate_fix(error.verify_message)}"
        case ssl.SSLError():
            hint = "; is it plain http at this port?" if error.reason in _NOT_TLS else ""
            return f"TLS failed: {error.reason or type(error).__name__}{hint}"
        case urllib3.exceptions.NewConnectionError():  # a timeout too, by inheritance
            return "no connection"
        case TimeoutError() | urllib3.exceptions.TimeoutError():
            return f"no complete answer within {timeout_s:g} s"
        case socket.gaierror():
            return "the host name cannot be resolved"
        case http.client.RemoteDisconnected():
            return "the connection was closed without an answer"
        case BadResponse():
            return str(error)
        case http.client.HTTPException():
            return f"the answer is not HTTP ({type(error).__name__})"
        case OSError(errno=int()):
            return (error.strerror or type(error).__name__).lower()
        case _:
            return None


def _certificate_fix(problem: str) -> str:
    """What mends a certificate, by OpenSSL's words: no CA that is trusted mends a wrong name or a wrong time."""
    if "mismatch" in problem:  # of a host's name or an address
        return "use the name that it is for"
    if "expired" in problem or "not yet valid" in problem:
        return "have it renewed, or set this machine's clock"
    return "name the provider's CA with ca_bundle"


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Walk from the innermost cause outwards; urllib3 and requests keep it in attributes and arguments."""
    found: list[BaseException] = []
    waiting: list[Any] = [error]
    while waiting:
        one = waiting.pop()
        if isinstance(one, BaseException) and one not in found:
            found.append(one)
            waiting += [*one.args, getattr(one, "reason", None), one.__context__, one.__cause__]
    return reversed(found)
