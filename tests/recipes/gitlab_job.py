import os

from oidc_actor import Custom, FetchContext, SecretFile, TokenManager, TokenRequestError, TokenResponse

FILE = os.environ.get("ID_TOKEN_FILE")


def fetch(context: FetchContext) -> TokenResponse:
    """The job's identity, as `id_tokens:` puts it into a variable; or a file that something else keeps fresh."""
    token = TokenResponse.new(SecretFile(FILE).read().reveal() if FILE else os.environ["VAULT_ID_TOKEN"])
    if not FILE and context.previous and token.access_token == context.previous.access_token:
        raise TokenRequestError(
            "the variable still holds the same token, and no other comes in this job", retryable=False
        )
    return token  # how long it lives is read from its `exp`


TokenManager.start_link(name="job", auth=Custom(fetch))
