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
from oidc_actor.cli.connection import Connection, Login, in_options
from oidc_actor.cli.device import Kept
from oidc_actor.cli.exit_status import advice_for
from oidc_actor.cli.findings import Finding, skipped
from oidc_actor.credentials.credentials import Credentials
from oidc_actor.credentials.dpop import DPoPKey
from oidc_actor.credentials.grants import ClientCredentials
from oidc_actor.endpoints.other_endpoints import request_metadata, request_resource_metadata
from oidc_actor.endpoints.token_endpoint import TokenRequest, request_token
from oidc_actor.machine.forecast import Plan
from oidc_actor.machine.state import Rules
from oidc_actor.protocol.metadata import parse_discovery
from oidc_actor.protocol.response_fields import read_claims, read_object, read_skew
from oidc_actor.secret_sources.workload_identity import WorkloadIdentity
from oidc_actor.transport import Request, Response, Transport
from oidc_actor.values.clock import Skew
from oidc_actor.values.errors import DiscoveryError, OIDCActorError, TokenRequestError
from oidc_actor.values.oidc_config import OIDCConfig
from oidc_actor.values.secrets import Secret, fingerprint, holds_secrets, resolve_secret
from oidc_actor.values.tokens import ParsedToken
from oidc_actor.values.urls import is_loopback


class Doctor:
    """Looks at one connection.

    Args:
        connection: Which provider, as whom.
        transport: Carries the requests.
        buffer_s: The `refresh_buffer_seconds` that the manager will have.
        login: The refresh token's file, where one is redeemed.
        redeems: Whether a token is asked for; not where members that share a store may have redeemed the refresh token.
    """

    def __init__(
        self,
        connection: Connection,
        transport: Transport,
        buffer_s: float,
        login: Login | None = None,
        *,
        redeems: bool = True,
    ) -> None:
        self._login = login
        self._redeems = redeems
        self._connection = connection
        self._recorder = Recorder(transport)
        self._buffer_s = buffer_s
        self._config = connection.config

    def examine(self) -> Iterator[Finding]:
        """Make the checks one by one; each finding comes as soon as it is known."""
        yield from self._discovery()
        yield from self._resource()
        yield from self._tls()
        yield from self._identity()
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
            self._config, _ = request_metadata(
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
            fix = _of_address(issuer_url, error, answer) or advice_for(error)
            yield Finding("discovery", "fail", in_options(error), fix)
            yield skipped("issuer", "no metadata")
            return
        if answer is not None:
            *absent, found = self._recorder.responses
            yield findings.judge_discovery(found.url, answer.took_s, [(one.url, one.response.status) for one in absent])
        yield findings.judge_issuer(issuer_url, named)

    def _resource(self) -> Iterator[Finding]:
        """What the resource says of itself, where one was named."""
        resource_url, issuer_url, auth = (
            self._connection.resource_url,
            self._connection.issuer_url,
            self._connection.auth,
        )
        if resource_url is None or issuer_url is None:
            return
        before = len(self._recorder.responses)
        try:
            found, url = request_resource_metadata(
                self._recorder, resource_url, timeout_s=self._connection.timeout_s, issuer_url=issuer_url
            )
        except OIDCActorError as error:
            said = {} if self._recorder.last is None else read_object(self._recorder.last.response.body)
            fix = findings.advice_for_resource(resource_url, issuer_url, {} if isinstance(said, str) else said)
            yield Finding("resource", "fail", in_options(error), fix or advice_for(error))
            return
        absent = [(one.url, one.response.status) for one in self._recorder.responses[before:-1]]
        proves = auth.dpop is not None, auth.client_certificate is not None
        yield findings.judge_resource(found, url, absent, *proves)

    def _tls(self) -> Iterator[Finding]:
        urls = [self._connection.issuer_url, self._config.token_endpoint if self._config is not None else None]
        servers = {(parts.scheme, parts.netloc): url for url in urls if url for parts in [urlsplit(url)]}
        for (scheme, netloc), url in servers.items():
            shown, host = f"{scheme}://{netloc}", urlsplit(url).hostname or ""
            is_unanswered, timeout_s = not self._recorder.responses, self._connection.timeout_s
            if scheme == "http":
                is_tls = is_unanswered and speaks_tls(url, timeout_s)
                yield findings.judge_tls(shown, loopback=is_loopback(host), is_tls_by_http=is_tls)
                continue
            facts = look_at_tls(url, self._connection.ca_bundle, timeout_s, waits=is_unanswered)
            if facts is None:
                yield skipped("tls", f"no connection to {shown}")
                continue
            yield findings.judge_tls(shown, loopback=False, **asdict(facts))

    @holds_secrets
    def _identity(self) -> list[Finding]:
        """What gives this program its identity, where that was to be found out, and what it says."""
        source = self._connection.auth.client_assertion
        if not isinstance(source, WorkloadIdentity):
            return []
        found = source.fetch()
        if isinstance(found, str):
            fix = "The place gives no identity to this program now: look at its permission, its service account or its mount."
            return [Finding("identity", "fail", f"found {found}", fix)]
        return [findings.judge_identity(source.found, read_claims(found.reveal()))]

    def _client_auth(self) -> Finding:
        if self._config is None:
            return skipped("client auth", "no metadata")
        return findings.judge_client_auth(
            self._connection.method(self._config),
            self._config.token_endpoint_auth_methods_supported,
            self._signed(),
        )

    def _signed(self) -> str | None:
        """What the private key signs with, as the provider must have it registered; `None` where nothing is signed."""
        key, config = self._connection.auth.private_key, self._config
        if key is None or config is None:
            return None
        try:
            signer = key.signer(config.token_endpoint_auth_signing_alg_values_supported)
        except OIDCActorError:
            return None  # the token request says why
        return f"{signer.algorithm}, kid {signer.kid or 'none'}, thumbprint of the public key (RFC 7638) {signer.thumbprint()}"

    def _token(self) -> Iterator[Finding]:
        later = ("lifetime", "outages", "claims")
        if self._config is None:
            yield from (skipped(check, "no token endpoint is known") for check in ("token", *later))
            return
        if not self._redeems:
            because = (
                "the members that share the store redeem this refresh token, and redeemed twice it would be revoked"
            )
            yield from (skipped(check, because) for check in ("token", *later))
            return
        try:
            parsed = request_token(
                TokenRequest(self._recorder, self._config, self._connection.auth, timeout_s=self._connection.timeout_s)
            )
        except OIDCActorError as error:
            answer = self._recorder.last  # before the tries that follow
            fix = self._what_is_taken(error) or _of_page(answer) or self._advice(error)
            yield Finding("token", "fail", in_options(error), fix)
            yield from (skipped(check, "no token") for check in later)
            return
        answer = self._recorder.last
        kept = list(self._kept(parsed.token.refresh_token))  # at once: the one that was redeemed is of no use any more
        yield _obtained(parsed, answer)
        yield findings.judge_lifetime(parsed.lifetime_s, parsed.lifetime_source, self._buffer_s)
        yield findings.judge_outages(
            plan_of(self._connection, parsed, answer, self._buffer_s), parsed.lifetime_source == "default"
        )
        yield from findings.judge_refresh_token(parsed.token.refresh_token is not None)
        yield from kept
        audience = self._connection.auth.audience
        yield findings.judge_claims(
            read_claims(parsed.token.access_token),
            issuer=self._config.issuer,
            audience=(audience,) if isinstance(audience, str) else audience or (),
            expires_in_s=parsed.lifetime_s,
        )

    def _kept(self, refresh_token: str | None) -> Iterator[Finding]:
        """Keep the refresh token that came in place of the one that was redeemed."""
        problem = (
            None
            if self._login is None or refresh_token is None
            else Kept(self._login.path).write(Secret(refresh_token))
        )
        if problem is not None:
            yield Finding("refresh token", "fail", problem, "The one in the file may be redeemed: log in anew.")

    def _advice(self, error: OIDCActorError) -> str | None:
        auth, signed = self._connection.auth, self._signed()
        if signed is None or not isinstance(error, TokenRequestError) or error.error != "invalid_client":
            return advice_for(error, self._connection.method(self._config), auth.grant_type)
        skew = self._skew()
        if skew is not None and not skew.is_tolerable:
            return (
                f"Set this machine's clock first: it is {abs(skew.ahead_s):.0f} s off, and a signed assertion that is out of "
                "time is refused."
            )
        return (
            f"Compare what this client has registered at the provider (its JWKS) with what was sent: {signed}. The public key "
            "of this private key, its kid (--key-id) and the algorithm must be those; then check the client id."
        )

    def _what_is_taken(self, error: OIDCActorError) -> str | None:
        """Where the client was refused, try what a person would try next, a request each, and name what the provider took."""
        auth = self._connection.auth
        if not isinstance(error, TokenRequestError) or auth.grant_type == "refresh_token":
            return None  # a refresh token is redeemed once
        if auth.client_secret is not None and error.error in _FOR_WANT_OF_A_SECRET and (fix := self._cleaned_secret()):
            return fix
        if auth.client_secret is not None and error.error == "invalid_client":
            return self._other_method()
        # A user's password is not tried again and again: accounts are locked for that.
        may_want_dpop = error.error in _FOR_WANT_OF_DPOP and auth.dpop is None and isinstance(auth, ClientCredentials)
        if may_want_dpop and self._takes(replace(auth, dpop=DPoPKey())):
            return "This client has to prove that it holds a key (DPoP): --dpop here, dpop=True for its credentials in a program."
        return None

    @holds_secrets
    def _cleaned_secret(self) -> str | None:
        """Whether the secret would do without what stands around it."""
        auth = self._connection.auth
        assert auth.client_secret is not None
        try:
            given = resolve_secret(auth.client_secret).reveal()
        except OIDCActorError:
            return None
        bare = given.strip(_WHITE)
        for what, cleaned in (("white space", bare), ("quotes", bare.strip("\"'"))):
            if cleaned not in ("", given) and self._takes(replace(auth, client_secret=Secret(cleaned))):
                return f"Take the {what} around the secret away ({self._connection.secret_from}): the provider takes it without."
        return None

    def _other_method(self) -> str | None:
        """Whether the other way to send the same secret would do."""
        auth = self._connection.auth
        if auth.client_auth is not None or self._config is None:
            return None
        chosen = auth.choose_client_auth(self._config.token_endpoint_auth_methods_supported)
        other = "client_secret_post" if chosen == "client_secret_basic" else "client_secret_basic"
        if not self._takes(replace(auth, client_auth=other)):
            return None
        return f"The secret is right, but this client has to send it another way: --client-auth {other}"

    def _takes(self, auth: Credentials) -> bool:
        """Whether the provider gives a token for these credentials."""
        assert self._config is not None
        try:
            request_token(TokenRequest(self._recorder, self._config, auth, timeout_s=self._connection.timeout_s))
        except OIDCActorError:
            return False
        return True

    def _skew(self) -> Skew | None:
        seen = [skew for answer in self._recorder.responses if (skew := answer.skew()) is not None]
        return min(seen, key=lambda skew: skew.uncertainty_s) if seen else None

    def _clock(self) -> Finding:
        skew = self._skew()
        if skew is None:
            answered = bool(self._recorder.responses)
            return skipped("clock", "the server sent no Date" if answered else "no answer to read the time from")
        return findings.judge_clock(skew)


def plan_of(connection: Connection, parsed: ParsedToken, answer: TimedResponse | None, buffer_s: float) -> Plan:
    """What the manager will be like that is made with these options, as far as they say; the rest has its defaults.

    Args:
        connection: Which provider, as whom.
        parsed: The token that it gave.
        answer: The answer with it; `None` where it was not timed.
        buffer_s: The manager's `refresh_buffer_seconds`.
    """
    return Plan(
        connection.auth,
        parsed.lifetime_s,
        buffer_s,
        timeout_s=connection.timeout_s,
        took_s=min(answer.took_s, parsed.lifetime_s / 4) if answer is not None else 0.1,
        refresh_token=parsed.token.refresh_token is not None,
        rules=rules_of(connection),
    )


def rules_of(connection: Connection) -> Rules:
    """What these options say of a manager that does not change."""
    return Rules(
        discovers=connection.issuer_url is not None,
        own_refresh_token=connection.auth.grant_type == "refresh_token",
    )


_FOR_WANT_OF_A_SECRET = frozenset({"invalid_client", "invalid_request", "unauthorized_client"})
_FOR_WANT_OF_DPOP = frozenset({"invalid_dpop_proof", "use_dpop_nonce", "invalid_grant", "invalid_request"})
_OF_TOKEN_ENDPOINTS = frozenset({"token", "tokens", "access_token"})
_WHITE = " \t\r\n\v\f\u00a0\u200b\u2060\ufeff"  # what editors, and copies from a page, leave around a text


def _of_address(issuer_url: str, error: OIDCActorError, answer: TimedResponse | None) -> str | None:
    """What to do where the issuer's address is another one of the provider, or of no provider."""
    last = urlsplit(issuer_url).path.rstrip("/").rpartition("/")[2]
    if last in _OF_TOKEN_ENDPOINTS and isinstance(error, DiscoveryError) and error.status in {400, 401, 404, 405}:
        return f"This looks like a token endpoint: give it as --token-endpoint {issuer_url}, or give the issuer."
    return _of_page(answer)


def _of_page(answer: TimedResponse | None) -> str | None:
    """What to do where a web page came in place of JSON; with an error's status it is the error's page."""
    if answer is None or answer.response.status >= 300 or not answer.response.body.lstrip().startswith(b"<"):
        return None
    return (
        "A web page (HTML) answered in place of the provider: check the address, and whether the sign-in page of a proxy or a "
        "firewall stands in the way."
    )


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
        url: What was asked.
        response: The response.
        took_s: How long it took.
        ended_wall: When it ended, in seconds since the epoch.
    """

    url: str
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
        self.last = TimedResponse(request.url, response, time.monotonic() - began, time.time())
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
        wants_certificate: Whether the server refuses a client that shows no certificate.
    """

    version: str | None
    days_left: float | None
    error: str | None
    spoke_tls: bool = True
    wants_certificate: bool = False


def look_at_tls(url: str, ca_bundle: Path | None, timeout_s: float, *, waits: bool = False) -> TlsFacts | None:
    """Shake hands with a server, with the certificates that the token requests trust too.

    Args:
        url: Anything on that server.
        ca_bundle: PEM file of the CAs to trust; `None` for the usual ones.
        timeout_s: For the whole handshake.
        waits: Whether to wait a moment for what the server says after it. In TLS 1.3 a server refuses a client without a
            certificate only then.

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
            wants = waits and _is_ended(secured, min(timeout_s, 1.0))
            return TlsFacts(secured.version(), _days_left(certificate.get("notAfter")), None, wants_certificate=wants)
    except ssl.SSLCertVerificationError as error:
        return TlsFacts(None, None, f"the certificate is not accepted: {error.verify_message}")
    except ssl.SSLError as error:
        if "ALERT_HANDSHAKE_FAILURE" in str(error.reason) or "CERTIFICATE_REQUIRED" in str(error.reason):
            return TlsFacts(None, None, None, wants_certificate=True)
        return TlsFacts(None, None, f"no TLS there ({error.reason or type(error).__name__})", spoke_tls=False)
    except OSError:
        return None


def _is_ended(secured: ssl.SSLSocket, timeout_s: float) -> bool:
    """Whether the server ends the connection before anything was asked."""
    secured.settimeout(timeout_s)
    try:
        return not secured.recv(1)
    except TimeoutError:
        return False
    except OSError:
        return True


def speaks_tls(url: str, timeout_s: float) -> bool:
    """Whether the server of a plain http URL shakes hands by TLS; with which certificate is another question."""
    parts = urlsplit(url)
    context = ssl.create_default_context()
    try:
        with (
            socket.create_connection((parts.hostname or "", parts.port or 80), timeout_s) as plain,
            context.wrap_socket(plain, server_hostname=parts.hostname),
        ):
            return True
    except ssl.SSLCertVerificationError:
        return True
    except OSError:
        return False


def _days_left(not_after: object) -> float | None:
    return (ssl.cert_time_to_seconds(not_after) - time.time()) / DAY_S if isinstance(not_after, str) else None
