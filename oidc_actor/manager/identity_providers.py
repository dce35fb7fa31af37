"""The first step of an `IdentityAssertion` for a manager: its identity provider, which other managers may ask too.

All of it runs on the worker's thread that is at the manager's token request. The identity provider is an `Issuer` like any other,
with metadata and a circuit breaker that all who ask it share. So a ``Retry-After`` of its own binds those that ask it, and no
manager of the authorization server's. While it is known to be down it is not asked, and the attempt ends at once: the manager is
told, as any other, when it answers again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from oidc_actor.credentials.grants import IdentityAssertion
from oidc_actor.endpoints.identity_provider import in_first_step, name_of, request_statement
from oidc_actor.endpoints.other_endpoints import request_metadata
from oidc_actor.endpoints.token_endpoint import TokenRequest
from oidc_actor.machine.effects import Fetch
from oidc_actor.machine.events import Denied
from oidc_actor.machine.failure_policy import UNREACHABLE_TRIES, may_have_moved, retry_after_s
from oidc_actor.manager.issuers import Issuer, Sending, join
from oidc_actor.manager.log import RequestOutcome, outcome_of
from oidc_actor.manager.options import Options
from oidc_actor.reading.cell import Cell
from oidc_actor.values.errors import DiscoveryError, ProviderError, TokenRequestError
from oidc_actor.values.oidc_config import OIDCConfig
from oidc_actor.values.secrets import Secret, holds_secrets

Measure = Callable[[str, RequestOutcome, float], None]
"""Notes a request that was sent: to which issuer, how it ended, and the seconds that it took."""


class IdentityProvider:
    """The identity provider of one manager."""

    __slots__ = ("doubtful", "issuer", "name", "options")

    def __init__(self, options: Options, auth: IdentityAssertion) -> None:
        """Join those that ask it.

        Args:
            options: The manager's.
            auth: Its credentials.
        """
        provider = auth.identity_provider
        self.name = name_of(provider)
        issuer_url, config = (provider, None) if isinstance(provider, str) else (None, provider)
        # Whom the statement names is known once the authorization server is; here it is of no importance.
        self.options = replace(options, auth=auth.token_exchange(self.name), issuer_url=issuer_url, oidc_config=config)
        self.issuer: Issuer = join(self.options)
        self.doubtful: OIDCConfig | None = None  # metadata by which it could not be asked; read and set by workers

    def first_step(
        self,
        auth: IdentityAssertion,
        cell: Cell,
        effect: Fetch,
        server: OIDCConfig,
        started: Callable[[float], None],
        measure: Measure,
    ) -> FirstStep:
        """Prepare the first step of one token request; the arguments are as of `FirstStep`."""
        return FirstStep(self, auth, cell, effect, server, started, measure)


@dataclass(slots=True)
class FirstStep:
    """The first step of one token request. To call it is to get a statement, once for each time that the second step is sent.

    Attributes:
        provider: The identity provider.
        auth: The manager's credentials.
        cell: The manager's.
        effect: The request that it is a part of.
        server: The authorization server's metadata.
        started: Called before a request is sent, with the reading of the clock; it raises where the manager wants it no more.
        measure: Notes each token request.
        retry_at: Reading of the clock when the identity provider may be asked again, once it has failed; ``None`` where its
            breaker does not say.
    """

    provider: IdentityProvider
    auth: IdentityAssertion
    cell: Cell
    effect: Fetch
    server: OIDCConfig
    started: Callable[[float], None] = field(repr=False)
    measure: Measure = field(repr=False)
    retry_at: float | None = None
    _may_probe: bool = False

    @holds_secrets
    def __call__(self) -> Secret:
        """Get a statement.

        Raises:
            IdentityProviderError: There is none.
        """
        self.retry_at = None
        try:
            self._check_allowed()
            return self._asked(self._metadata())
        except ProviderError as error:
            raise in_first_step(self.provider.name, error) from None
        finally:
            if self._may_probe:  # it was allowed to ask, and has not come to it
                self.provider.issuer.circuit.release_probe(self.cell)

    def _check_allowed(self) -> None:
        """See that the identity provider may be asked now; it does not hear of an attempt that is of no use."""
        circuit, options = self.provider.issuer.circuit, self.provider.options
        answer = circuit.allow(self.cell, options, haste=self.effect.haste)
        if not isinstance(answer, Denied):
            self._may_probe = True
            return
        wait_s = max(0.0, answer.until - options.clock())
        if answer.by_provider:
            raise TokenRequestError("it asked to wait", retry_after_s=wait_s, sent=False)
        self.retry_at = answer.until
        raise TokenRequestError("it is known to be down", sent=False)

    def _metadata(self) -> OIDCConfig:
        """What it says of itself. One manager asks at a time, and the others have what that brought, or know that it failed."""
        provider, options = self.provider, self.provider.options
        if options.oidc_config is not None:
            return options.oidc_config
        issuer, doubtful = provider.issuer, provider.doubtful
        with issuer.discovering(options.timeout_seconds) as is_first:
            known = issuer.known_config(doubtful, options.clock())
            if known is not None:
                return known
            if not is_first:  # another may have found it down meanwhile
                self._check_allowed()
            try:
                return self._discovered()
            except DiscoveryError as error:
                if doubtful is None or retry_after_s(error):
                    raise
                return doubtful  # the older ones serve

    def _discovered(self) -> OIDCConfig:
        provider, options = self.provider, self.provider.options
        assert options.issuer_url is not None
        sending = Sending(provider.issuer, lambda at: None)
        sending.begin()
        try:
            found, url = request_metadata(
                sending,
                options.issuer_url,
                timeout_s=options.timeout_seconds,
                allow_insecure_http=options.allow_insecure_http,
                first=provider.issuer.metadata_url,
            )
        except DiscoveryError as error:
            self._failed(error, among=(self.cell,))
            raise
        self._answered()
        provider.issuer.keep_config(found, sending.at, url)
        provider.doubtful = None
        return found

    def _asked(self, config: OIDCConfig) -> Secret:
        provider, options = self.provider, self.provider.options
        sending = Sending(provider.issuer, self.started)
        asked = TokenRequest(
            sending,
            config,
            self.auth.token_exchange(self.server.issuer),
            timeout_s=options.timeout_seconds,
            sending=sending.begin,
            tries_one=self.effect.probes,
        )
        try:
            statement = request_statement(asked)
        except ProviderError as error:
            if sending.is_sent:  # else it is about a secret, or the manager wants it no more
                self.measure(provider.issuer.name, outcome_of(error), options.clock() - sending.at)
                self._failed(error)
                provider.doubtful = config if may_have_moved(error, UNREACHABLE_TRIES) else None
            raise
        self.measure(provider.issuer.name, "success", options.clock() - sending.at)
        self._answered()
        return statement

    def _answered(self) -> None:
        self._may_probe = False
        self.provider.issuer.circuit.record_answer()

    def _failed(self, error: ProviderError, among: tuple[Cell, ...] = ()) -> None:
        self._may_probe = False
        circuit, options = self.provider.issuer.circuit, self.provider.options
        self.retry_at = circuit.record_failure(self.cell, options, error, early=self.effect.early, among=among)
        if self.cell.closed:  # it has stopped meanwhile, and the others must not wait for its next attempt
            circuit.leave(self.cell)
