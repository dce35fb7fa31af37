"""Celery tasks whose requests to another API carry a token: ``celery -A celery_app worker``."""

import os
from typing import Any

import requests
from celery import Celery, Task
from celery.concurrency.thread import TaskPool as ThreadPool
from celery.signals import worker_init, worker_process_init, worker_process_shutdown

from oidc_actor import ClientCredentials, NoTokenError, TokenManager
from oidc_actor.adapters.requests import OIDCAuth
from supervision import Supervisor, whereis

app = Celery("celery_app", broker=os.environ["BROKER_URL"], backend=os.environ["RESULT_URL"])
api_auth = OIDCAuth("api.token", timeout=5.0)  # seconds that a task waits where there is no token


@worker_process_init.connect  # --pool=prefork: in each process that runs tasks, after its fork; --pool=solo: in the worker
def start_manager(**_: Any) -> None:
    Supervisor.start_link(
        [
            TokenManager.child_spec(
                name="api.token",
                issuer_url=os.environ["OIDC_ISSUER_URL"],
                auth=ClientCredentials(os.environ["OIDC_CLIENT_ID"], os.environ["OIDC_CLIENT_SECRET"]),
            )
        ],
        name="tokens",
    )


@worker_init.connect  # --pool=threads has no process of its own for tasks
def start_manager_for_threads(sender: Any, **_: Any) -> None:
    if issubclass(sender.pool_cls, ThreadPool):
        start_manager()


@worker_process_shutdown.connect
def stop_manager(**_: Any) -> None:
    if whereis("tokens") is not None:
        Supervisor.stop("tokens")


@app.task(bind=True, max_retries=100)
def fetch_items(self: Task) -> dict[str, int]:
    try:
        response = requests.get(f"{os.environ['API_URL']}/resource", auth=api_auth, timeout=10)
    except NoTokenError as error:  # the provider is down: this process takes other tasks, and this one comes again
        raise self.retry(exc=error, countdown=5 if error.retry_in_s is None else error.retry_in_s) from None
    return {"status": response.status_code, "pid": os.getpid()}
