"""A valid OIDC access token, always ready: a supervised token manager.

**Layers.** A folder is a layer: it imports only what is above it here (``tests/packaging/test_layering.py``)::

    values/          what every layer speaks: errors, secrets, tokens, URLs, the clock
    credentials/     who asks for a token, and for what: grants, client authentication, keys, DPoP        pure
    transport.py     the seam to HTTP: a function from a request to a response, which tests replace
    protocol/        OAuth's bytes as values, and back: metadata, token request, token response           pure
    http/            the transport over urllib3: connections, deadlines, TLS, and proxies by `requests`
    sharing/         one token for many processes: what a store of shared tokens is asked, and does
    machine/         what to do when: ``step(state, event, now, rng) -> (state, effects)``                pure
    endpoints/       one request to one endpoint of a provider, or one call of a function that brings a token
    oidc.py          discovery and tokens without a manager
    reading/         the cell: what readers see of a manager, and where they wait for it
    manager/         the actor: client functions, callbacks, effect handler, worker pools, issuers
    secret_sources/  secrets that are fetched or signed: a job's identity, another manager's token
    adapters/        the token in each HTTP and gRPC library
    pool/            managers by key, started when they are asked for
    streams.py       connections that outlive a token
    metrics/         OpenTelemetry, Prometheus, readiness
    observing.py     managers as the observer (``supervision.observer``) shows them
    sidecar/         tokens for other processes, over HTTP and in files
    testing/         what users' tests need, and ours: a provider, a clock, faults
    cli/             the command ``oidc-actor``

A request to the provider is made in ``endpoints/``; when the next attempt is due is decided in ``machine/schedule.py``, and
what a failure means in ``machine/failure_policy.py``. A new grant is a class in ``credentials/grants.py``, a new adapter a
file in ``adapters/``. ``.github/CONTRIBUTING.md`` has the recipes.

**A read while a token lives** enters one module, ``reading/token_source.py``: load the cell's snapshot, read the clock,
compare.

**A get_token that waits.** ``reading/waiting_reads.py`` puts a waiter into the manager's cell (``reading/cell.py``), and
sends the actor a message that says no more than that one is there. The callbacks (``manager/token_manager.py``) hand the
machine an event, and ``machine/transitions.py`` answers with a new state and with effects as values, which the effect
handler (``manager/effect_handler.py``) carries out. An attempt is due, so the first effect asks the issuer's circuit
breaker (``manager/issuers.py``); it allows the attempt, and the next effect is ``Fetch``: the handler gives the request to
a worker pool. On a worker's thread ``manager/provider_requests.py`` has ``endpoints/token_endpoint.py`` request the token,
in ``protocol/``'s words and through the transport, puts the result into the cell, and sends the actor a message that it is
ready. The machine says ``Publish``, and ``Reply`` to those that wait: the snapshot is swapped, and each waiter wakes on its
own thread or event loop.

**A rejected token (401), and a crash.** An adapter, or ``force_refresh(rejected=...)``, takes the token out of the cell
where it is the published one. The rest is the trip above, once for all who had that token. A crash touches no cell: readers
are served from it. The supervisor starts a successor, which takes the cell over, with the token, the waiters, the
subscriptions and the request under way. What the predecessor still does has no effect, because a cell takes only what its
owner writes. An orderly stop empties the cell and tells the waiters.

**A token that is shared.** With ``store=`` each attempt begins with a claim. ``machine/sharing.py`` says what is claimed, and
the effect handler gives the call to a worker pool. On a worker's thread ``manager/shared_store.py`` asks the store
(``sharing/redis_store.py`` or ``sharing/file_store.py``). The store decides in one step, by the rules of ``sharing/records.py``,
and answers with a value of ``sharing/store.py``. A newer token is opened (``sharing/sealing.py``), put into the cell and
published: no request is made. A grant brings a lease and the refresh token. The trip above goes on, and then
``machine/sharing.py`` has the new token shared. A look each two seconds tells what other processes have got.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from oidc_actor.credentials.dpop import DPoPKey
    from oidc_actor.credentials.grants import (
        ClientCredentials,
        IdentityAssertion,
        JWTBearer,
        Password,
        RefreshToken,
        TokenExchange,
    )
    from oidc_actor.credentials.keys import ClientCertificate, PrivateKey
    from oidc_actor.credentials.overlap import Overlap
    from oidc_actor.endpoints.custom import Custom, FetchContext
    from oidc_actor.machine.events import ForceRefresh, GetToken
    from oidc_actor.machine.failure_policy import RetryPolicy
    from oidc_actor.machine.health import Health
    from oidc_actor.manager.token_manager import TokenManager
    from oidc_actor.pool.members import PoolFull, UnknownKey
    from oidc_actor.pool.token_pool import TokenPool
    from oidc_actor.reading.directory import ManagerNotRunning, after_restore
    from oidc_actor.reading.token_source import TokenSource
    from oidc_actor.secret_sources.github_actions import GitHubActionsToken
    from oidc_actor.secret_sources.manager_token import ManagerToken
    from oidc_actor.secret_sources.metadata_servers import AzureMetadataToken, GoogleMetadataToken
    from oidc_actor.secret_sources.signed_assertion import SignedAssertion
    from oidc_actor.secret_sources.spiffe import SpiffeJWT
    from oidc_actor.secret_sources.workload_identity import WorkloadIdentity
    from oidc_actor.values.errors import (
        ConfigError,
        DiscoveryError,
        IdentityProviderError,
        NoTokenError,
        OIDCActorError,
        TokenRequestError,
    )
    from oidc_actor.values.oidc_config import OIDCConfig
    from oidc_actor.values.resource_metadata import ResourceMetadata
    from oidc_actor.values.secrets import SecretFile
    from oidc_actor.values.tokens import TokenResponse

    __version__: str

__all__ = [
    "AzureMetadataToken",
    "ClientCertificate",
    "ClientCredentials",
    "ConfigError",
    "Custom",
    "DPoPKey",
    "DiscoveryError",
    "FetchContext",
    "ForceRefresh",
    "GetToken",
    "GitHubActionsToken",
    "GoogleMetadataToken",
    "Health",
    "IdentityAssertion",
    "IdentityProviderError",
    "JWTBearer",
    "ManagerNotRunning",
    "ManagerToken",
    "NoTokenError",
    "OIDCActorError",
    "OIDCConfig",
    "Overlap",
    "Password",
    "PoolFull",
    "PrivateKey",
    "RefreshToken",
    "ResourceMetadata",
    "RetryPolicy",
    "SecretFile",
    "SignedAssertion",
    "SpiffeJWT",
    "TokenExchange",
    "TokenManager",
    "TokenPool",
    "TokenRequestError",
    "TokenResponse",
    "TokenSource",
    "UnknownKey",
    "WorkloadIdentity",
    "after_restore",
]

_HOMES = {
    "machine.failure_policy": ["RetryPolicy"],
    "credentials.keys": ["ClientCertificate", "PrivateKey"],
    "credentials.grants": [
        "ClientCredentials",
        "IdentityAssertion",
        "JWTBearer",
        "Password",
        "RefreshToken",
        "TokenExchange",
    ],
    "credentials.dpop": ["DPoPKey"],
    "credentials.overlap": ["Overlap"],
    "endpoints.custom": ["Custom", "FetchContext"],
    "values.errors": [
        "ConfigError",
        "DiscoveryError",
        "IdentityProviderError",
        "NoTokenError",
        "OIDCActorError",
        "TokenRequestError",
    ],
    "secret_sources.github_actions": ["GitHubActionsToken"],
    "machine.health": ["Health"],
    "manager.token_manager": ["TokenManager"],
    "secret_sources.manager_token": ["ManagerToken"],
    "machine.events": ["ForceRefresh", "GetToken"],
    "values.oidc_config": ["OIDCConfig"],
    "values.resource_metadata": ["ResourceMetadata"],
    "pool.members": ["PoolFull", "UnknownKey"],
    "pool.token_pool": ["TokenPool"],
    "reading.directory": ["ManagerNotRunning", "after_restore"],
    "values.secrets": ["SecretFile"],
    "secret_sources.signed_assertion": ["SignedAssertion"],
    "secret_sources.metadata_servers": ["AzureMetadataToken", "GoogleMetadataToken"],
    "secret_sources.spiffe": ["SpiffeJWT"],
    "secret_sources.workload_identity": ["WorkloadIdentity"],
    "reading.token_source": ["TokenSource"],
    "values.tokens": ["TokenResponse"],
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


if not TYPE_CHECKING:  # which would take every name for one of ours

    def __getattr__(name: str) -> Any:
        # Each name is imported at its first use: every pytest run of every project that has us installed imports this package,
        # for the plugin in `oidc_actor.testing`, and most of them use nothing of it.
        if name == "__version__":
            value = importlib.import_module("supervision").__version__
        elif name in _HOME_OF:
            value = getattr(importlib.import_module(f"{__name__}.{_HOME_OF[name]}"), name)
        else:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
