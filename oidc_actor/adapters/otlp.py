"""A manager for OpenTelemetry's OTLP exporters, by environment variables alone.

```sh
OIDC_ACTOR_OTLP_MANAGER=telemetry.token                       # the manager's name
OTEL_PYTHON_EXPORTER_OTLP_HTTP_CREDENTIAL_PROVIDER=oidc_actor # for http/protobuf
OTEL_PYTHON_EXPORTER_OTLP_GRPC_CREDENTIAL_PROVIDER=oidc_actor_grpc
```

The exporters call these once, when they are made; the manager need not be there yet. In a program,
``OTLPSpanExporter(session=session)`` with ``session.auth = OIDCAuth("name")`` (`oidc_actor.adapters.requests`) does the same.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from oidc_actor.values.errors import ConfigError

if TYPE_CHECKING:
    import grpc
    import requests

__all__ = ["channel_credentials", "session"]
__dir__ = __all__.copy

MANAGER = "OIDC_ACTOR_OTLP_MANAGER"


def session() -> requests.Session:
    """Return a session for the exporters over HTTP; a 401 is answered with a new token.

    Raises:
        ConfigError: The environment names no manager.
    """
    import requests

    from oidc_actor.adapters.requests import OIDCAuth

    made = requests.Session()
    made.auth = OIDCAuth(_manager())
    return made


def channel_credentials() -> grpc.ChannelCredentials:
    """Return credentials for the exporters over gRPC with TLS; a refusal is the exporter's.

    Raises:
        ConfigError: The environment names no manager.
        ModuleNotFoundError: grpcio is not installed.
    """
    from oidc_actor.adapters.grpc import OIDCAuth  # first: it says what to install

    import grpc  # isort: skip

    call = grpc.metadata_call_credentials(OIDCAuth(_manager()))
    return grpc.composite_channel_credentials(grpc.ssl_channel_credentials(), call)


def _manager() -> str:
    name = os.environ.get(MANAGER)
    if not name:
        raise ConfigError(f"expected the name of a manager in the environment variable {MANAGER}, got none", (MANAGER,))
    return name
