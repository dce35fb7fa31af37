"""A request and its response as values: the seam between this package and the library that moves the bytes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from oidc_actor.values.errors import OIDCActorError
from oidc_actor.values.secrets import Sealed, put

if TYPE_CHECKING:
    from oidc_actor.credentials.keys import ClientCertificate
from oidc_actor.values.urls import public_url

__all__ = ["MAX_BODY_BYTES", "Request", "Response", "Transport", "TransportError"]
__dir__ = __all__.copy

MAX_BODY_BYTES = 1024 * 1024
"""The longest response body that is believed, in bytes, after decompression.

A transport stops reading once it holds one byte more than that, and hands over what it has; the parser refuses a
body by its length, so that the status and the headers (`Retry-After`) of an oversized response still count.
"""


class TransportError(OIDCActorError):
    """No HTTP response came: unreachable, timed out, broken TLS. Always worth a retry.

    The message must hold nothing of the request but its method and address.

    Attributes:
        sent: Whether the provider may have seen the request; ``False`` where no connection was made.
    """

    sent: bool = True

    def __init__(self, message: str = "", *, sent: bool = True) -> None:
        """Say what went wrong.

        Args:
            message: What is logged and shown in `Health`.
            sent: Whether the provider may have seen the request.
        """
        super().__init__(message)
        self.sent = sent


class NoAnswer(TransportError):
    """A `TransportError` of this package's own transport: each of its words is ours, so that it is shown as it is."""


class UnusableCertificate(NoAnswer):
    """The client's certificate and key cannot be used together now, mostly because they are being replaced; nothing was sent."""


class Request(Sealed):
    """An HTTP request. Its ``repr`` shows the method and the address without the query, nothing else.

    Attributes:
        method: ``"GET"`` or ``"POST"``.
        url: Absolute URL.
        headers: Header fields; may hold credentials.
        body: The body's bytes; empty for none; may hold credentials.
        timeout_s: Seconds for the whole request, connecting and reading the last byte included.
        client_certificate: What to show in mutual TLS (RFC 8705); ``None`` for a connection without.
    """

    __slots__ = ("body", "client_certificate", "headers", "method", "timeout_s", "url")
    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes
    timeout_s: float
    client_certificate: ClientCertificate | None

    def __init__(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes = b"",
        timeout_s: float = 10.0,
        client_certificate: ClientCertificate | None = None,
    ) -> None:
        put(self, method=method, url=url, headers=dict(headers), body=body, timeout_s=timeout_s)
        put(self, client_certificate=client_certificate)

    def __repr__(self) -> str:
        return f"Request({self.method} {public_url(self.url)})"


class Response(Sealed):
    """An HTTP response as it came; nothing in it is trusted. Its ``repr`` shows the status and the body's size.

    Attributes:
        status: The HTTP status code.
        headers: Header fields; look them up with `header`, which ignores case.
        body: The body's bytes, decompressed; may hold tokens.
    """

    __slots__ = ("body", "headers", "status")
    status: int
    headers: Mapping[str, str]
    body: bytes

    def __init__(self, status: int, headers: Mapping[str, str] | None = None, body: bytes | str = b"") -> None:
        content = body.encode("utf-8", "surrogatepass") if isinstance(body, str) else body
        put(self, status=status, headers=dict(headers or {}), body=content)

    def header(self, name: str) -> str | None:
        """Look a header field up; upper and lower case are the same.

        Args:
            name: The field's name.

        Returns:
            Its value, or ``None`` where it is missing. The values of a field that came more than once are joined by commas
            (RFC 9110 section 5.3), as `headers` has them; what reads a field takes it apart.
        """
        wanted = name.lower()
        values = [value for key, value in self.headers.items() if key.lower() == wanted]
        return ", ".join(values) if values else None

    def __repr__(self) -> str:
        return f"Response({self.status}, {len(self.body)} bytes)"


class Transport(Protocol):
    """Anything that can perform one request: a function, or an object with ``__call__``."""

    def __call__(self, request: Request, /) -> Response:
        """Send one request, following no redirect.

        Args:
            request: What to send.

        Returns:
            The response, of any status.

        Raises:
            TransportError: Where no complete response came within ``request.timeout_s`` seconds.
        """
