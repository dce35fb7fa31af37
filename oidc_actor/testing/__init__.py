"""What this project tests itself with, for the tests of programs that use it (or any OAuth client).

A real authorization server on loopback that goes wrong when told to:

```python
from oidc_actor.testing import Provider

with Provider(token_lifetime_s=10) as provider:
    manager = TokenManager.start_link(
        issuer_url=provider.issuer_url,
        auth=ClientCredentials(provider.client_id, provider.client_secret),
    )
    provider.down()   # connections are refused; the manager's token lives on
    provider.up()     # on the same port
    provider.fail_next(3, status=429, headers={"Retry-After": "2"})
    assert provider.token_requests == 1
```

`FaultProxy` goes before any provider, and breaks connections; `ManualClock` is time that passes when a test says so. With
pytest all of them are fixtures: `oidc_provider`, `fault_proxy`, `manual_clock`, `token_manager`; and `stop_managers` ends what a
program under test has started (`oidc_actor.testing.plugin`).

`MemoryStore` is a shared store without a server, and `check_store` the contract of a store of one's own.

`Provider` needs the extra `testing`, the others nothing: `pip install "oidc-actor[testing]"`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from oidc_actor.testing.fault_proxy import FaultProxy
    from oidc_actor.testing.manual_clock import ManualClock
    from oidc_actor.testing.memory_store import MemoryStore
    from oidc_actor.testing.provider import Provider
    from oidc_actor.testing.script import Endpoint
    from oidc_actor.testing.store_contract import check_store

__all__ = ["Endpoint", "FaultProxy", "ManualClock", "MemoryStore", "Provider", "check_store"]

_HOMES = {
    "Endpoint": "script",
    "FaultProxy": "fault_proxy",
    "ManualClock": "manual_clock",
    "MemoryStore": "memory_store",
    "Provider": "provider",
    "check_store": "store_contract",
}


if not TYPE_CHECKING:  # which would take every name for one of ours

    def __getattr__(name: str) -> Any:
        # Imported at the first use: pytest loads the plugin beside this in every run of every project that has us installed.
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        try:
            value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
        except ModuleNotFoundError as error:
            missing = (error.name or "").partition(".")[0]
            problem = ModuleNotFoundError(
                f'oidc_actor.testing needs {missing}, which is not installed: pip install "oidc-actor[testing]"',
                name=missing,
            )
        else:
            globals()[name] = value
            return value
        raise problem


__dir__ = __all__.copy
