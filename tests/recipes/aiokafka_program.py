from aiokafka import AIOKafkaProducer
from aiokafka.abc import AbstractTokenProvider
from aiokafka.helpers import create_ssl_context

from oidc_actor import ClientCredentials, TokenManager

TokenManager.start_link(
    name="kafka.token", issuer_url="https://auth.example.com", auth=ClientCredentials("my-service", "s3cret")
)
read = TokenManager.source("kafka.token")


class Tokens(AbstractTokenProvider):
    async def token(self) -> str:  # for each connection to a broker
        return await read.aaccess_token()


def producer() -> AIOKafkaProducer:
    return AIOKafkaProducer(
        bootstrap_servers="kafka.example.com:9093",
        security_protocol="SASL_SSL",
        ssl_context=create_ssl_context(),
        sasl_mechanism="OAUTHBEARER",
        sasl_oauth_token_provider=Tokens(),
    )
