"""A FastAPI program whose requests to another API carry a token: ``uvicorn fastapi_app:app --workers 2``."""

import math
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import httpx
from fastapi import Depends, FastAPI, Request, Response
from fastapi.responses import JSONResponse

from oidc_actor import ClientCredentials, NoTokenError, TokenManager
from oidc_actor.adapters.headers import aheaders
from oidc_actor.adapters.httpx import OIDCAuth
from oidc_actor.metrics import ready
from supervision import Supervisor


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
    supervisor = Supervisor.start_link(
        [
            TokenManager.child_spec(
                name="api.token",
                issuer_url=os.environ["OIDC_ISSUER_URL"],
                auth=ClientCredentials(os.environ["OIDC_CLIENT_ID"], os.environ["OIDC_CLIENT_SECRET"]),
            )
        ]
    )
    try:
        api_auth = OIDCAuth("api.token", timeout=2.0)  # seconds that a request waits where there is no token
        async with httpx.AsyncClient(base_url=os.environ["API_URL"], auth=api_auth) as client:
            yield {"client": client}  # becomes request.state.client
    finally:
        Supervisor.stop(supervisor)


app = FastAPI(lifespan=lifespan)


def api(request: Request) -> httpx.AsyncClient:
    client: httpx.AsyncClient = request.state.client
    return client


async def api_headers() -> dict[str, str]:
    return await aheaders("api.token", timeout=2.0)


@app.exception_handler(NoTokenError)
async def no_token(request: Request, error: NoTokenError) -> JSONResponse:
    retry_after_s = 5 if error.retry_in_s is None else math.ceil(error.retry_in_s)
    return JSONResponse({"detail": str(error)}, status_code=503, headers={"Retry-After": str(retry_after_s)})


@app.get("/items")
async def items(client: Annotated[httpx.AsyncClient, Depends(api)]) -> dict[str, int]:
    response = await client.get("/resource")  # with the token; after a 401 once more with a new one
    return {"status": response.status_code, "pid": os.getpid()}


@app.get("/items-with-headers")  # for a client that has no adapter here: it has to answer a 401 itself
async def items_with_headers(headers: Annotated[dict[str, str], Depends(api_headers)]) -> dict[str, int]:
    async with httpx.AsyncClient(base_url=os.environ["API_URL"], headers=headers) as client:
        response = await client.get("/resource")
    return {"status": response.status_code, "pid": os.getpid()}


@app.get("/livez")
async def livez() -> dict[str, int]:
    return {"pid": os.getpid()}


@app.get("/readyz")
async def readyz(response: Response) -> dict[str, bool]:
    has_token = ready("api.token")
    response.status_code = 200 if has_token else 503
    return {"token": has_token}
