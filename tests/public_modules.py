"""The modules that programs import from: what is public is in their ``__all__``."""

MODULES = [
    "oidc_actor",
    "supervision",
    "supervision.observer",
    "oidc_actor.observing",
    *(f"oidc_actor.{name}" for name in ("oidc", "sharing", "streams", "transport", "testing", "metrics")),
    *(f"oidc_actor.metrics.{name}" for name in ("otel", "prometheus", "spans")),
    *(f"oidc_actor.adapters.{name}" for name in ("aiohttp", "grpc", "grpc_retry", "headers", "httpx", "httpx2")),
    *(
        f"oidc_actor.adapters.{name}"
        for name in ("requests", "weaviate", "google_auth", "azure_core", "redis", "otlp", "mcp")
    ),
]
