"""A valid OIDC access token, always ready."""
