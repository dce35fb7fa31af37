"""A request that waits for a thread while its manager is stopped is not made any more."""

import threading

from fakes import form_of, minted
from managers import Start
from threads import DEADLINE_S, eventually

from oidc_actor import ClientCredentials, OIDCConfig, TokenManager
from oidc_actor.manager.workers import HTTP_WORKERS
from oidc_actor.transport import Request, Response

CONFIG = OIDCConfig(token_endpoint="https://auth.example.com/token")
MANAGERS = 40


def test_a_stopped_managers_request_is_never_sent(start: Start) -> None:
    go = threading.Event()
    asked: list[str] = []

    def transport(request: Request) -> Response:
        asked.append(form_of(request)["client_id"])
        assert go.wait(DEADLINE_S)
        return minted()

    def client(number: int) -> ClientCredentials:
        return ClientCredentials(f"client-{number}", "secret", client_auth="client_secret_post")

    managers = [start(auth=client(number), oidc_config=CONFIG, transport=transport) for number in range(MANAGERS)]
    for manager in managers:
        assert TokenManager.health(manager).refreshing
    eventually(lambda: len(asked) == HTTP_WORKERS.value.threads - HTTP_WORKERS.value.resting, "every thread's request")
    waiting = [number for number in range(MANAGERS) if f"client-{number}" not in asked]
    assert waiting
    for number in waiting:
        TokenManager.stop(managers[number])
    go.set()
    for number in set(range(MANAGERS)) - set(waiting):
        assert TokenManager.get_access_token(managers[number])
    eventually(lambda: not HTTP_WORKERS.value.busy, "the end of all work")
    assert not [number for number in waiting if f"client-{number}" in asked]
