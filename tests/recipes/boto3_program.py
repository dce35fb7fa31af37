import boto3
import botocore.session
from botocore.credentials import (
    AssumeRoleWithWebIdentityCredentialFetcher,
    CredentialProvider,
    DeferredRefreshableCredentials,
)

from oidc_actor import ClientCredentials, TokenManager

TokenManager.start_link(
    name="aws.token", issuer_url="https://auth.example.com", auth=ClientCredentials("my-service", "s3cret")
)
core = botocore.session.get_session()
fetcher = AssumeRoleWithWebIdentityCredentialFetcher(
    core.create_client,
    web_identity_token_loader=TokenManager.source("aws.token"),  # read whenever AWS's own credentials are renewed
    role_arn="arn:aws:iam::123456789012:role/my-service",
)


class WebIdentity(CredentialProvider):
    METHOD = "oidc-actor"

    def load(self) -> DeferredRefreshableCredentials:
        return DeferredRefreshableCredentials(fetcher.fetch_credentials, self.METHOD)


core.get_component("credential_provider").insert_before("env", WebIdentity())
session = boto3.Session(botocore_session=core)
