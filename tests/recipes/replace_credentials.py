from oidc_actor import ClientCredentials, NoTokenError, OIDCActorError, TokenManager


def replace_credentials(client_id: str, client_secret: str) -> bool:
    """Whether the new credentials are in force; where the provider refuses them, the old ones stay."""
    try:
        TokenManager.replace(
            "billing.token",
            issuer_url="https://auth.example.com",
            auth=ClientCredentials(client_id, client_secret),
        )
    except NoTokenError as error:
        refused = isinstance(error.cause, OIDCActorError) and error.cause.permanent
        return not refused  # after an outage they are in force, and are tried again
    return True
