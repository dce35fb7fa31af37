"""Celery tasks whose worker processes have one token: ``celery -A shared_celery_app worker``, on as many hosts as you want."""

import os
from typing import Any

import requests
from celery import Celery, Task
from celery.signals import worker_process_init, worker_process_shutdown

from oidc_actor import ClientCredentials, NoTokenError, SecretFile, TokenManager
from oidc_actor.adapters.requests import OIDCAuth
from oidc_actor.sharing import RedisStore
from supervision import Supervisor, whereis

app = Celery("shared_celery_app", broker=os.environ["BROKER_URL"], backend=os.environ["RESULT_URL"])
api_auth = OIDCAuth("api.token", timeout=5.0)


@worker_process_init.connect  # in each process that runs tasks, after its fork
def start_manager(**_: Any) -> None:
    Supervisor.start_link(
        [
            TokenManager.child_spec(
                name="api.token",
                issuer_url=os.environ["OIDC_ISSUER_URL"],
                auth=ClientCredentials(os.environ["OIDC_CLIENT_ID"], os.environ["OIDC_CLIENT_SECRET"]),
                store=RedisStore.from_url(
                    os.environ["TOKEN_STORE"],
                    namespace="prod",
                    keys=[SecretFile(os.environ["FLEET_KEY_FILE"])],
                ),
            )
        ],
        name="tokens",
    )


@worker_process_shutdown.connect
def stop_manager(**_: Any) -> None:
    if whereis("tokens") is not None:
        Supervisor.stop("tokens")


@app.task(bind=True, max_retries=100)
def fetch_items(self: Task) -> dict[str, int]:
    try:
        response = requests.get(f"{os.environ['API_URL']}/resource", auth=api_auth, timeout=10)
    except NoTokenError as error:
        raise self.retry(exc=error, countdown=5 if error.retry_in_s is None else error.retry_in_s) from None
    return {"status": response.status_code, "pid": os.getpid()}
