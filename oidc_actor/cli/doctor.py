"""What `check` looks at: the order of the checks, what each hands to the next, and the requests and handshakes that it makes.

A check that fails does not stop those that can still run.
"""

from __future__ import annotations

import os
import socket
import ssl
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

import certifi

from oidc_actor.cli import findings
from oidc_actor.cli.connection import Connection, in_options
from oidc_actor.cli.exit_status import advice_for
from oidc_actor.cli.findings import Finding, skipped
from oidc_actor.endpoints.other_endpoints import request_metadata
from oidc_actor.endpoints.token_endpoint import TokenRequest, request_token
from oidc_actor.machine.forecast import Plan
from oidc_actor.machine.state import Rules
from oidc_actor.protocol.metadata import discovery_url, parse_discovery
from oidc_actor.protocol.response_fields import read_claims, read_object, read_skew
from oidc_actor.transport import Request, Response, Transport
from oidc_actor.values.clock import Skew
from oidc_actor.values.errors import DiscoveryError, OIDCActorError, TokenRequestError
from oidc_actor.values.oidc_config import OIDCConfig
from oidc_actor.values.secrets import fingerprint
from oidc_actor.values.tokens import ParsedToken
from oidc_actor.values.urls import is_loopback


class Doctor:
    """Looks at one connection.

    Args:
        connection: Which provider, as whom.
        transport: Carries the requests.
        buffer_s: The `refresh_buffer_seconds` that the manager will have.
    """

    def __init__(self, connection: Connection, transport: Transport, buffer_s: float) -> None:
        self._connection = connection
        self._recorder = Recorder(transport)
        self._buffer_s = buffer_s
        self._config = connection.config

    def examine(self) -> Iterator[Finding]:
        """Make the checks one by one; each finding comes as soon as it is known."""
        yield from self._discovery()
        yield from self._tls()
        yield self._client_auth()
        yield from self._token()
        yield self._clock()

    def _discovery(self) -> Iterator[Finding]:
        issuer_url = self._connection.issuer_url
        if issuer_url is None:
            yield skipped("discovery", "the token endpoint was given")
            yield skipped("issuer", "the token endpoint was given")
            return
        insecure = self._connection.allow_insecure_http
        error: OIDCActorError | None = None
        try:
            self._config = request_metadata(
                self._recorder,
                issuer_url,
                timeout_s=self._connection.timeout_s,
                allow_insecure_http=insecure,
            )
        except OIDCActorError as caught:
            error = caught
        answer = self._recorder.last
        named = named_issuer(answer.response) if answer is not None else None
        if error is not None and answer is not None and isinstance(named, str) and named != issuer_url:
            # Go on with what is there, so that the other checks can still say something.
            self._config = _read_as(named, answer.response, allow_insecure_http=insecure)
            error = None
        if error is not None:
            yield Finding("discovery", "fail", in_options(error), advice_for(error))
            yield skipped("issuer", "no metadata")
            return
        took = f", {answer.took_s:.2f} s" if answer is not None else ""
        yield Finding("discovery", "pass", f"{discovery_url(issuer_url)}{took}")
        yield findings.judge_issuer(issuer_url, named)

    def _tls(self) -> Iterator[Finding]:
        urls = [self._connection.issuer_url, self._config.token_endpoint if self._config is not None else None]
        servers = {(parts.scheme, parts.netloc): url for url in urls if url for parts in [urlsplit(url)]}
        for (scheme, netloc), url in servers.items():
            shown, host = f"{scheme}://{netloc}", urlsplit(url).hostname or ""
            if scheme == "http":
                yield findings.judge_tls(shown, loopback=is_loopback(host))
                continue
            facts = look_at_tls(url, self._connection.ca_bundle, self._connection.timeout_s)
            if facts is None:
                yield skipped("tls", f"no connection to {shown}")
                continue
            yield findings.judge_tls(shown, loopback=False, **asdict(facts))

    def _client_auth(self) -> Finding:
        if self._config is None:
            return skipped("client auth", "no metadata")
        return findings.judge_client_auth(
            self._connection.method(self._config), self._config.token_endpoint_auth_methods_supported
        )

    def _token(self) -> Iterator[Finding]:
        later = ("lifetime", "outages", "claims")
        if self._config is None:
            yield from (skipped(check, "no token endpoint is known") for check in ("token", *later))
            return
        try:
            parsed = request_token(
                TokenRequest(self._recorder, self._config, self._connection.auth, timeout_s=self._connection.timeout_s)
            )
        except OIDCActorError as error:
            fix = self._other_method(error) or advice_for(error, self._connection.method(self._config))
            yield Finding("token", "fail", in_options(error), fix)
            yield from (skipped(check, "no token") for check in later)
            return
        answer = self._recorder.last
        yield _obtained(parsed, answer)
        yield findings.judge_lifetime(parsed.lifetime_s, parsed.lifetime_source, self._buffer_s)
        yield findings.judge_outages(self._plan(parsed, answer), parsed.lifetime_source == "default")
        yield from findings.judge_refresh_token(parsed.token.refresh_token is not None)
        audience = self._connection.auth.audience
        yield findings.judge_claims(
            read_claims(parsed.token.access_token),
            issuer=self._config.issuer,
            audience=(audience,) if isinstance(audience, str) else audience or (),
            expires_in_s=parsed.lifetime_s,
        )

    def _plan(self, parsed: ParsedToken, answer: TimedResponse | None) -> Plan:
        """What the manager will be like that is made with these options, as far as they say; the rest has its defaults."""
        return Plan(
            self._connection.auth,
            parsed.lifetime_s,
            self._buffer_s,
            timeout_s=self._connection.timeout_s,
            took_s=min(answer.took_s, parsed.lifetime_s / 4) if answer is not None else 0.1,
            refresh_token=parsed.token.refresh_token is not None,
            rules=Rules(discovers=self._connection.issuer_url is not None),
        )

    def _other_method(self, error: OIDCActorError) -> str | None:
        """Where the client was refused, say whether the other way to send the same secret would do."""
        auth, config = self._connection.auth, self._config
        if not isinstance(error, TokenRequestError) or error.error != "invalid_client" or auth.client_auth is not None:
            return None
        if config is None or auth.client_secret is None:
            return None
        offered = config.token_endpoint_auth_methods_supported
        chosen = auth.choose_client_auth(offered)
        other = "client_secret_post" if chosen == "client_secret_basic" else "client_secret_basic"
        try:
            request_token(
                TokenRequest(
                    self._recorder, config, replace(auth, client_auth=other), timeout_s=self._connection.timeout_s
                )
            )
        except OIDCActorError:
            return None
        return f"The secret is right, but this client has to send it another way: --client-auth {other}"

    def _clock(self) -> Finding:
        seen = [skew for answer in self._recorder.responses if (skew := answer.skew()) is not None]
        if not seen:
            return skipped(
                "clock", "the server sent no Date" if self._recorder.responses else "no answer to read the time from"
            )
        return findings.judge_clock(min(seen, key=lambda skew: skew.uncertainty_s))


def _read_as(issuer: str, response: Response, *, allow_insecure_http: bool) -> OIDCConfig | None:
    try:
        return parse_discovery(response, issuer, now_wall=time.time(), allow_insecure_http=allow_insecure_http)
    except DiscoveryError:
        return None


def _obtained(parsed: ParsedToken, answer: TimedResponse | None) -> Finding:
    took = f" in {answer.took_s:.2f} s" if answer is not None else ""
    scope = f", scope {parsed.token.scope!r}" if parsed.token.scope else ""
    name = fingerprint(parsed.token.access_token)
    return Finding("token", "pass", f"{parsed.token.token_type} token {name}{took}{scope}")


DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class TimedResponse:
    """What came back for one request, and when.

    Attributes:
        response: The response.
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
    """A transport that remembers what came back.

    Args:
        transport: Does the work.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self.last: TimedResponse | None = None
        self.responses: list[TimedResponse] = []

    def __call__(self, request: Request, /) -> Response:
        """Perform the request; `last` is `None` after one to which nothing came back."""
        self.last = None
        began = time.monotonic()
        response = self._transport(request)
        self.last = TimedResponse(response, time.monotonic() - began, time.time())
        self.responses.append(self.last)
        return response


def named_issuer(response: Response) -> object:
    """The `issuer` of a metadata document, of any type; `None` where there is no document."""
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
