"""Which client asks for a token, and for what: grants, client authentication, keys, DPoP. Pure."""
