import weaviate
from weaviate.connect import ConnectionParams

from oidc_actor import ClientCredentials, TokenManager
from oidc_actor.adapters.weaviate import authenticated

TokenManager.start_link(
    name="weaviate.token",
    issuer_url="https://auth.example.com",  # the issuer that the cluster is configured with
    auth=ClientCredentials("my-service", "s3cret"),
)
client = weaviate.WeaviateClient(ConnectionParams.from_url("https://weaviate.example.com", grpc_port=50051))
with authenticated(client, "weaviate.token"):  # connects; no credentials of its own, no thread of its own
    articles = client.collections.use("Article")  # REST and gRPC calls, over any number of tokens
    print(articles.query.fetch_objects(limit=1).objects)
