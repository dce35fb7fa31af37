"""One token per key for many processes: stores that managers share, as ``TokenManager.start_link(store=...)``.

`FileStore` is for the processes of one host, `RedisStore` for those of many; a store of one's own implements `TokenStore`, and
`oidc_actor.testing.check_store` checks it. Sealing needs the extra ``fleet``, Redis and Valkey the extra ``redis``.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from oidc_actor.sharing.file_store import FileStore
    from oidc_actor.sharing.redis_store import RedisStore
    from oidc_actor.sharing.store import TokenStore
    from oidc_actor.values.errors import StoreError

__all__ = ["FileStore", "RedisStore", "StoreError", "TokenStore"]

_HOMES = {
    "FileStore": "oidc_actor.sharing.file_store",
    "RedisStore": "oidc_actor.sharing.redis_store",
    "StoreError": "oidc_actor.values.errors",
    "TokenStore": "oidc_actor.sharing.store",
}

if not TYPE_CHECKING:  # which would take every name for one of ours

    def __getattr__(name: str) -> Any:
        # Imported at the first use: a manager without a store needs none of it.
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(importlib.import_module(_HOMES[name]), name)
        return value


__dir__ = __all__.copy
