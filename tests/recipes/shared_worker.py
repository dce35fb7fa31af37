"""A worker that has one token together with all its like, through Redis or Valkey. Start as many as you want."""

import logging
import os
import signal
import sys
import threading

from oidc_actor import ClientCredentials, NoTokenError, SecretFile, TokenManager
from oidc_actor.sharing import RedisStore
from supervision import Supervisor

logging.basicConfig(level="INFO", format="%(message)s", stream=sys.stdout)
ended = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: ended.set())

supervisor = Supervisor.start_link(
    [
        TokenManager.child_spec(
            name="worker.token",
            issuer_url=os.environ["OIDC_ISSUER_URL"],
            auth=ClientCredentials(os.environ["OIDC_CLIENT_ID"], SecretFile(os.environ["OIDC_CLIENT_SECRET_FILE"])),
            store=RedisStore.from_url(
                os.environ["TOKEN_STORE"],
                namespace=os.environ["TOKEN_NAMESPACE"],
                keys=[SecretFile(os.environ["FLEET_KEY_FILE"]), SecretFile(os.environ["OTHER_FLEET_KEY_FILE"])],
            ),
        )
    ]
)

while not ended.wait(2.0):
    try:
        token = TokenManager.get_token("worker.token", timeout=2)
    except NoTokenError as error:
        print(error)
        continue
    health = TokenManager.health("worker.token")
    print(f"{health.sharing}, {health.token_requests} requests of mine: {token}", health.store_error or "", flush=True)
Supervisor.stop(supervisor)
