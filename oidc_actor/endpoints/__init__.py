"""One request to one endpoint of a provider: read the secrets, send, understand the response, all on the calling thread."""
