"""A provider to try a shared token with: it counts the requests for tokens, which live for 30 seconds."""

import threading

from oidc_actor.testing import Provider

with Provider(client_id="worker", client_secret="s3cret", token_lifetime_s=30, port=8765) as provider:
    print(f"{provider.issuer_url} is up", flush=True)
    seen = 0
    while True:
        threading.Event().wait(0.2)
        if provider.token_requests != seen:
            seen = provider.token_requests
            print(f"requests for a token: {seen}", flush=True)
