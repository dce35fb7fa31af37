"""Which certificate goes with which token, where tokens are bound to the client's (RFC 8705 section 3): for requests and httpx.

A bound token is good on a connection that shows its certificate, and on no other. When a certificate is renewed there are two of
them for a while, each with its token. So each has connections of its own, and a request's token decides:

1. A token that names its certificate (``cnf`` ``x5t#S256``, section 3.1) goes out with that one, if it has been seen here.
2. Any other token goes with the certificate that was in the files when the token was seen first.
3. A request without a token (a password's, too, which may be the same for years) goes with the newest one.

The files are looked at when a token is seen first, and never for one that is known.
"""

from __future__ import annotations

import functools
import hashlib
import ssl
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from oidc_actor.credentials.keys import ClientCertificate, digest_of
from oidc_actor.http.sockets import check_ca_bundle, load_certificate
from oidc_actor.protocol.response_fields import read_claims
from oidc_actor.values.errors import ConfigError, SecretUnavailable
from oidc_actor.values.secrets import MAX_SECRET_BYTES, holds_secrets, read_file
from supervision.runtime.lazy_imports import fork_waits

MOST_CERTIFICATES = 3
"""Certificates whose connections are kept; where a fourth comes those of the oldest are closed, whose tokens have long ended."""

MOST_TOKENS = 16
"""Tokens whose certificates are remembered."""

_OF_TOKENS = frozenset({"bearer", "dpop"})
"""The schemes of tokens."""

C = TypeVar("C")


@dataclass(frozen=True, slots=True, eq=False)
class Shown(Generic[C]):
    """A certificate, and the connections that show it."""

    thumbprint: str
    connections: C


class ByCertificate(Generic[C]):
    """The connections for each certificate that was in the files.

    Any thread. There is no lock, which a fork could find taken: two threads that see a new certificate at once both load it, and
    go on with the one that was kept first.
    """

    def __init__(
        self,
        certificate: ClientCertificate,
        make_context: Callable[[], ssl.SSLContext],
        connect: Callable[[ssl.SSLContext], C],
    ) -> None:
        """Keep; the files are read with the first request.

        Args:
            certificate: The files.
            make_context: Makes a context that trusts what is to be trusted.
            connect: Makes connections with one that shows a certificate.

        Raises:
            ConfigError: ``certificate`` is none.
        """
        given: object = certificate
        if not isinstance(given, ClientCertificate):
            got = type(given).__name__
            raise ConfigError(f"expected ClientCertificate(cert_file, key_file), got {got}", ("certificate",))
        self.certificate = certificate
        self._make_context = make_context
        self._connect = connect
        # By digest of the certificate's file, the oldest first: what is between it and the authority may be written after it.
        self._shown: dict[bytes, Shown[C]] = {}
        self._of_token: dict[bytes, Shown[C]] = {}  # by digest, the oldest first
        self._newest: tuple[object, Shown[C]] | None = None
        self._left: list[C] = []

    @holds_secrets
    def of(self, authorization: object) -> C:
        """Return the connections for a request.

        Args:
            authorization: Its header field ``Authorization``; without one it goes with the newest certificate.

        Raises:
            SecretUnavailable: No certificate can be loaded, and none has been before.
        """
        text = authorization.decode("latin-1") if isinstance(authorization, bytes) else authorization
        scheme, _, token = text.strip().partition(" ") if isinstance(text, str) else ("", "", "")
        if not token or scheme.lower() not in _OF_TOKENS:
            return self._look()[0].connections
        token = token.strip()
        digest = hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
        known = self._of_token.get(digest)
        if known is None:
            known = self._first_seen(token, digest)
        return known.connections

    def left(self) -> Iterator[C]:
        """Take the connections that are of no use any more, which are to be closed."""
        while self._left:
            try:
                yield self._left.pop()
            except IndexError:  # another thread was faster
                return

    def all(self) -> Iterator[C]:
        """Forget all connections, which are to be closed."""
        self._left += [one.connections for one in self._shown.values()]
        self._shown, self._of_token, self._newest = {}, {}, None
        return self.left()

    def _first_seen(self, token: str, digest: bytes) -> Shown[C]:
        newest, is_present = self._look()
        named = read_claims(token).get("cnf")
        thumbprint = named.get("x5t#S256") if isinstance(named, dict) else None
        if isinstance(thumbprint, str):
            found = next((one for one in [*self._shown.values()][::-1] if one.thumbprint == thumbprint), None)
            if found is None:  # its certificate is not here yet, or not any more: looked for again the next time
                return newest
        elif is_present:
            found = newest
        else:
            return newest
        self._of_token[digest] = found
        for one in list(self._of_token)[:-MOST_TOKENS]:
            self._of_token.pop(one, None)
        return found

    def _look(self) -> tuple[Shown[C], bool]:
        """The newest certificate that could be loaded, and whether that is the one in the files."""
        version, newest = self.certificate.version(), self._newest
        if newest is not None and newest[0] == version:
            return newest[1], True
        loaded = self._load()
        if isinstance(loaded, Shown):
            self._newest = version, loaded  # it may be newer than that: then it is loaded once more than needed
            return loaded, True
        if newest is None:
            raise SecretUnavailable(f"client_certificate: {loaded}", option="client_certificate", sent=False)
        return newest[1], False  # the files are just being replaced

    def _load(self) -> Shown[C] | str:
        """Load the certificate together with its name, which is no other's: the file was the same before and after."""
        path = self.certificate.cert_file
        before = read_file(path, MAX_SECRET_BYTES)
        if isinstance(before, str):
            return f"{str(path)!r}: {before}"
        digest = digest_of(before)
        if isinstance(digest, str):
            return f"{str(path)!r}: {digest}"
        chain = hashlib.sha256(before).digest()
        if (known := self._shown.get(chain)) is not None:
            return known
        with fork_waits():  # OpenSSL may hold locks of its own
            context = self._make_context()
            problem = load_certificate(context, self.certificate)
        if problem is not None:
            return problem
        if read_file(path, MAX_SECRET_BYTES) != before:
            return "it is being replaced"
        thumbprint = urlsafe_b64encode(digest).decode().rstrip("=")
        shown = self._shown.setdefault(chain, Shown(thumbprint, self._connect(context)))
        for old in list(self._shown)[:-MOST_CERTIFICATES]:
            if (gone := self._shown.pop(old, None)) is not None:
                self._left.append(gone.connections)
                for token in [one for one, of in list(self._of_token.items()) if of is gone]:
                    self._of_token.pop(token, None)
        return shown


# --- httpx and httpx2 -------------------------------------------------------------------------------------------------


class _Transports:
    """What the transports of both libraries share, for threads and for tasks."""

    _library: ClassVar[Any]

    def __init__(
        self,
        certificate: ClientCertificate,
        *,
        ca_bundle: str | Path | None = None,
        http2: bool = False,
        proxy: Any = None,
        retries: int = 0,
        limits: Any = None,
    ) -> None:
        """Keep; the files are read with the first request.

        Args:
            certificate: The client's certificate: the one that the manager's credentials have as ``client_certificate``.
            ca_bundle: File or directory of the certificates to trust, read with each new certificate of the client; ``None`` for
                those that the library trusts.
            http2: As of the library's own ``HTTPTransport``, and so are the others; for each certificate.
            proxy: An address; a client that is given a transport takes none from the environment.
            retries: How often a connection is tried again.
            limits: The library's ``Limits``; ``None`` for its own.

        Raises:
            ConfigError: ``certificate`` is none, or ``ca_bundle`` cannot be used.
        """
        options = {"http2": http2, "proxy": proxy, "retries": retries} | ({} if limits is None else {"limits": limits})
        make_context = self._library.create_ssl_context
        if ca_bundle is not None:
            make_context = functools.partial(trusting, check_ca_bundle(ca_bundle))
        self._by = ByCertificate(certificate, make_context, lambda context: self._made(verify=context, **options))

    def _made(self, **options: Any) -> Any:
        raise NotImplementedError

    def _of(self, request: Any) -> Any:
        return self._by.of(request.headers.get("Authorization"))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self._by.certificate.cert_file)!r})"


class Transport(_Transports):
    """Sends each request on a connection that shows the certificate which its token is bound to; see this module.

    Any thread, as with the library's own.
    """

    def _made(self, **options: Any) -> Any:
        return self._library.HTTPTransport(**options)

    def handle_request(self, request: Any) -> Any:
        """Send one; called by the library.

        Args:
            request: The library's request.

        Raises:
            SecretUnavailable: There is no certificate yet.
        """
        found = self._of(request)
        for one in self._by.left():
            one.close()
        return found.handle_request(request)

    def close(self) -> None:
        """Close all connections. It stays usable."""
        for one in self._by.all():
            one.close()


class AsyncTransport(_Transports):
    """`Transport` for tasks: under asyncio, and under trio where the library's own transport runs there."""

    def _made(self, **options: Any) -> Any:
        return self._library.AsyncHTTPTransport(**options)

    async def handle_async_request(self, request: Any) -> Any:
        """Send one; called by the library.

        Args:
            request: The library's request.

        Raises:
            SecretUnavailable: There is no certificate yet.
        """
        found = self._of(request)
        for one in self._by.left():
            await one.aclose()
        return await found.handle_async_request(request)

    async def aclose(self) -> None:
        """Close all connections. It stays usable."""
        for one in self._by.all():
            await one.aclose()


def trusting(ca_bundle: str) -> ssl.SSLContext:
    """Make a client's context.

    Args:
        ca_bundle: File or directory of the certificates to trust.
    """
    is_directory = Path(ca_bundle).is_dir()
    return ssl.create_default_context(
        cafile=None if is_directory else ca_bundle, capath=ca_bundle if is_directory else None
    )
