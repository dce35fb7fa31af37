"""A real authorization server on loopback, for the tests of programs that use `oidc_actor` (or any OAuth client).

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

It needs the extra `testing`: `pip install "oidc-actor[testing]"`.
"""

try:
    import authlib  # noqa: F401 - asked for here so that its absence has one clear answer
    import flask  # noqa: F401
    import joserfc  # noqa: F401
except ModuleNotFoundError as missing:
    raise ModuleNotFoundError(
        f'oidc_actor.testing needs {missing.name}, which is not installed: pip install "oidc-actor[testing]"',
        name=missing.name,
    ) from None

from oidc_actor.testing.provider import Provider
from oidc_actor.testing.script import Endpoint

__all__ = ["Endpoint", "Provider"]
