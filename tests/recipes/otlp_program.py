import requests
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

from oidc_actor import ClientCredentials, TokenManager
from oidc_actor.adapters.requests import OIDCAuth

TokenManager.start_link(
    name="telemetry.token", issuer_url="https://auth.example.com", auth=ClientCredentials("my-service", "s3cret")
)
session = requests.Session()
session.auth = OIDCAuth("telemetry.token")
exporter = OTLPSpanExporter("https://telemetry.example.com/v1/traces", session=session)
