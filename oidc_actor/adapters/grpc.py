"""`OIDCAuth` for gRPC: call credentials that are never stale.

```python
credentials = grpc.composite_channel_credentials(
    grpc.ssl_channel_credentials(), grpc.metadata_call_credentials(OIDCAuth("name"))
)
channel = grpc.secure_channel("api.example.com:443", credentials)  # or grpc.aio.secure_channel
```

gRPC sends call credentials over secure channels only; for a plain connection on this machine there is
`grpc.local_channel_credentials`. They are not told what becomes of a call: `oidc_actor.adapters.grpc_retry` has
interceptors that answer ``UNAUTHENTICATED``.

There is no DPoP for gRPC: RFC 9449 is of HTTP requests, and no server of gRPC looks for a proof. The token of a manager whose
credentials have ``dpop=`` is not sent.
"""

from __future__ import annotations

import time

from oidc_actor.adapters.presenter import Presenter
from oidc_actor.manager.workers import WorkerPool
from oidc_actor.reading.token_source import ServerOrSource
from oidc_actor.values.errors import NoTokenError, OIDCActorError
from oidc_actor.values.lazy_imports import not_installed
from supervision import SupervisionError
from supervision.runtime.per_process import PerProcess

try:
    import grpc
except ModuleNotFoundError as missing:
    raise not_installed(__name__, "grpc", missing) from None

__all__ = ["OIDCAuth"]
__dir__ = __all__.copy

_WAITERS = PerProcess(lambda: WorkerPool("oidc-actor-grpc", threads=16, per_lane=1))
"""Waits for tokens, so that gRPC's threads never do. Each plugin is a lane of its own, and takes one thread at a time: calls that
wait for the same token follow each other on it, and when the first has its token the others find theirs at once."""


class OIDCAuth(grpc.AuthMetadataPlugin):
    """Gives each call the manager's token; see `oidc_actor.adapters`. It serves the channels of `grpc` and of `grpc.aio`.

    gRPC calls it on a thread of its own, which it never blocks: with a token at hand it answers at once, otherwise later
    from another thread. A call that gets no token fails with ``UNAVAILABLE`` and the reason in its details; so does every
    call where the token is bound to a key (DPoP), which is of no use here.
    """

    def __init__(self, server: ServerOrSource, *, timeout: float = 5.0) -> None:
        """Choose the manager, which need not be there yet.

        Args:
            server: Its ref or name.
            timeout: Seconds a call waits for a token where there is none, within the call's own timeout.

        Raises:
            ConfigError: The timeout is wrong.
            TypeError: ``server`` is neither a ref nor a name.
        """
        self._presenter = Presenter(server, timeout=timeout)
        self._timeout_s = timeout

    def __repr__(self) -> str:
        return self._presenter.shown_as("OIDCAuth")

    def __call__(self, context: grpc.AuthMetadataContext, callback: grpc.AuthMetadataPluginCallback) -> None:
        """Give one call its metadata, now or later.

        Args:
            context: What is called; not looked at.
            callback: Called once, with the metadata or an error, on this thread or another.
        """
        # On a thread of gRPC's, which others may need for their calls: so it looks for a token without waiting, and what has
        # to wait does so on a thread of the pool. Its deadline counts from here, not from when such a thread is free.
        ends_at = time.monotonic() + self._timeout_s
        if self._answer(callback, 0.0, give_up=self._timeout_s == 0):
            return
        try:
            _WAITERS.value.submit(self, lambda: self._wait(callback, ends_at))
        except RuntimeError as error:  # the process has no thread left, or is going down
            callback((), error)

    def _wait(self, callback: grpc.AuthMetadataPluginCallback, ends_at: float) -> None:
        self._answer(callback, max(0.0, ends_at - time.monotonic()), give_up=True)

    def _answer(self, callback: grpc.AuthMetadataPluginCallback, timeout_s: float, *, give_up: bool) -> bool:
        try:
            header = self._presenter.bearer(timeout_s)
        except (OIDCActorError, SupervisionError, TypeError) as error:  # a `TypeError`: it is no manager's name
            if isinstance(error, NoTokenError) and not give_up:
                return False
            callback((), error)
        else:
            callback((("authorization", header),), None)
        return True
