"""Ways through the proxies that the environment names, as requests has them."""

from __future__ import annotations

import ssl
from typing import Any

import requests
from requests.adapters import HTTPAdapter

from oidc_actor.http.sockets import POOL_CLASSES, clean_pool_class


def ways_through_proxies(context: ssl.SSLContext, *, hosts: int, connections: int) -> _Adapter:
    """Prepare; nothing is connected yet.

    Args:
        context: What connections are made with, also those to a proxy.
        hosts: To how many hosts connections are kept.
        connections: How many to each.
    """
    return _Adapter(context, hosts, connections)


class _Adapter(HTTPAdapter):
    """Requests' adapter with bounded connections and a TLS context of ours."""

    def __init__(self, context: ssl.SSLContext, hosts: int, connections: int) -> None:
        self._tls = context
        super().__init__(pool_connections=hosts, pool_maxsize=connections, max_retries=0)

    def way_through(self, url: str, proxy: str) -> tuple[Any, str]:
        """Find the connections to an address, and what the request's first line calls it there.

        Args:
            url: The address.
            proxy: The proxy's.
        """
        proxies = {"all": proxy}
        prepared = requests.Request("GET", url).prepare()
        pool = self.get_connection_with_tls_context(prepared, verify=True, proxies=proxies)
        self.cert_verify(pool, url, verify=True, cert=None)
        return pool, self.request_url(prepared, proxies)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Make what is not used: the ways that go through no proxy are the transport's."""
        super().init_poolmanager(*args, ssl_context=self._tls, **kwargs)

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        """Make what connects through a proxy."""
        if proxy.lower().startswith("socks"):
            manager = super().proxy_manager_for(proxy, ssl_context=self._tls, **kwargs)
            kinds = type(manager).pool_classes_by_scheme  # of the class: the manager may be one that was made before
            manager.pool_classes_by_scheme = {scheme: clean_pool_class(kind) for scheme, kind in kinds.items()}
            return manager
        manager = super().proxy_manager_for(proxy, ssl_context=self._tls, proxy_ssl_context=self._tls, **kwargs)
        manager.pool_classes_by_scheme = POOL_CLASSES
        return manager

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        """Leave the context as it is: requests would add certifi's certificates to it, also beside a ca_bundle."""
        conn.cert_reqs = "CERT_REQUIRED"
