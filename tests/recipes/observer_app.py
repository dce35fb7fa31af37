"""A FastAPI program with the observer at /observer/, behind a password: ``uvicorn observer_app:app``."""

import base64
import os
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI

from oidc_actor import ClientCredentials, TokenManager
from oidc_actor.observing import managers
from supervision import Supervisor
from supervision.observer import Observer

observer = Observer("program", parts=[managers()])
LOGIN = f"operator:{os.environ['OBSERVER_PASSWORD']}"


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    tokens = TokenManager.child_spec(
        name="api.token",
        issuer_url=os.environ["OIDC_ISSUER_URL"],
        auth=ClientCredentials(os.environ["OIDC_CLIENT_ID"], os.environ["OIDC_CLIENT_SECRET"]),
    )
    supervisor = Supervisor.start_link([tokens], name="program")
    try:
        yield
    finally:
        Supervisor.stop(supervisor)


async def for_operators(scope: dict[str, Any], receive: Any, send: Any) -> None:
    expected = b"Basic " + base64.b64encode(LOGIN.encode())
    given = dict(scope["headers"]).get(b"authorization", b"")
    if scope["type"] == "http" and secrets.compare_digest(given, expected):
        await observer(scope, receive, send)
        return
    headers = [(b"www-authenticate", b'Basic realm="operators"')]
    await send({"type": "http.response.start", "status": 401, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


app = FastAPI(lifespan=lifespan)
app.mount("/observer", for_operators)


@app.get("/livez")
async def livez() -> dict[str, int]:
    return {"pid": os.getpid()}
