import boto3

from oidc_actor import Custom, FetchContext, TokenManager, TokenResponse

HOST, PORT, USER = "orders.abcdefghijkl.eu-central-1.rds.amazonaws.com", 5432, "orders"
rds = boto3.client("rds", region_name="eu-central-1")


def fetch(context: FetchContext) -> TokenResponse:
    """A signed address is the password. It is made here, without a request, and is good for 15 minutes."""
    password = rds.generate_db_auth_token(DBHostname=HOST, Port=PORT, DBUsername=USER)
    return TokenResponse.new(password, expires_in=900)


TokenManager.start_link(name="orders.password", auth=Custom(fetch, identity=f"{USER}@{HOST}"))
password = TokenManager.source("orders.password")  # a callable: what a pool takes as its `password`
