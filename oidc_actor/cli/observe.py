"""What `check` does to find out: one look at each thing, kept with its answer and its time."""

from __future__ import annotations

import os
import socket
import ssl
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import certifi

from oidc_actor.protocol.bodies import read_object
from oidc_actor.protocol.dates import Skew, read_skew
from oidc_actor.transport import Request, Response, Transport

DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request that was answered.

    Attributes:
        response: The answer.
        took_s: How long it took.
        ended_wall: When it ended, in seconds since the epoch.
    """

    response: Response
    took_s: float
    ended_wall: float

    def skew(self) -> Skew | None:
        """How the server's clock goes against this machine's; `None` where it sent no `Date`."""
        return read_skew(self.response, ended_wall=self.ended_wall, took_s=self.took_s)


class Recorder:
    """A transport that remembers its last exchange.

    Args:
        transport: Does the work.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self.last: Exchange | None = None

    def __call__(self, request: Request, /) -> Response:
        """Perform the exchange; `last` is `None` after one that failed."""
        self.last = None
        began = time.monotonic()
        response = self._transport(request)
        self.last = Exchange(response, time.monotonic() - began, time.time())
        return response


def named_issuer(response: Response) -> object:
    """The `issuer` of a metadata document, whatever it is; `None` where there is no document."""
    found = read_object(response.body)
    return None if isinstance(found, str) else found.get("issuer")


@dataclass(frozen=True, slots=True)
class TlsFacts:
    """One handshake.

    Attributes:
        version: The protocol agreed upon; `None` where the handshake failed.
        days_left: Days until the certificate ends; `None` where that is not known.
        error: Why it failed; `None` where it did not.
        spoke_tls: Whether there is TLS at that address at all.
    """

    version: str | None
    days_left: float | None
    error: str | None
    spoke_tls: bool = True


def look_at_tls(url: str, ca_bundle: Path | None, timeout_s: float) -> TlsFacts | None:
    """Shake hands with a server, with the certificates that the token requests trust too.

    Args:
        url: Anything on that server.
        ca_bundle: PEM file of the CAs to trust; `None` for the usual ones.
        timeout_s: For the whole handshake.

    Returns:
        What was seen; `None` where no connection came about, which the other checks report.
    """
    parts = urlsplit(url)
    trusted = ca_bundle or os.environ.get("REQUESTS_CA_BUNDLE") or certifi.where()
    context = ssl.create_default_context(cafile=str(trusted))
    try:
        with (
            socket.create_connection((parts.hostname or "", parts.port or 443), timeout_s) as plain,
            context.wrap_socket(plain, server_hostname=parts.hostname) as secured,
        ):
            certificate = secured.getpeercert() or {}
            return TlsFacts(secured.version(), _days_left(certificate.get("notAfter")), None)
    except ssl.SSLCertVerificationError as error:
        return TlsFacts(None, None, f"the certificate is not accepted: {error.verify_message}")
    except ssl.SSLError as error:
        return TlsFacts(None, None, f"no TLS there ({error.reason or type(error).__name__})", spoke_tls=False)
    except OSError:
        return None


def _days_left(not_after: object) -> float | None:
    return (ssl.cert_time_to_seconds(not_after) - time.time()) / DAY_S if isinstance(not_after, str) else None
