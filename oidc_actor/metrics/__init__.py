"""Metrics and readiness of all managers of a process. Nothing here asks a manager anything: it looks at their cells.

`ready` needs nothing. The instruments of one table (`INSTRUMENTS`) come as OpenTelemetry metrics in `oidc_actor.metrics.otel`
(extra ``otel``) and as a Prometheus collector in `oidc_actor.metrics.prometheus` (extra ``prometheus``).
`oidc_actor.metrics.spans` has the spans of token requests; alerts.yaml beside this has rules for Prometheus.
"""

from __future__ import annotations

from oidc_actor.metrics.instruments import INSTRUMENTS, Instrument
from oidc_actor.metrics.readings import ready

__all__ = ["INSTRUMENTS", "Instrument", "ready"]
__dir__ = __all__.copy
