from confluent_kafka import Producer

from oidc_actor import ClientCredentials, TokenManager

TokenManager.start_link(
    name="kafka.token", issuer_url="https://auth.example.com", auth=ClientCredentials("my-service", "s3cret")
)
read = TokenManager.source("kafka.token")


def give_token(_: str) -> tuple[str, float]:  # called at the start, and well before the end that it returns
    token = read.token()
    assert token.expires_at is not None
    return token.access_token, token.expires_at.timestamp()


def producer() -> Producer:
    return Producer(
        {
            "bootstrap.servers": "kafka.example.com:9093",
            "security.protocol": "SASL_SSL",
            "sasl.mechanisms": "OAUTHBEARER",
            "oauth_cb": give_token,
        }
    )
