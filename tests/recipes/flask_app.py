"""A Flask program whose requests to another API carry a token: ``gunicorn -c gunicorn_conf.py flask_app:app``."""

import math
import os

import requests
from flask import Flask, Response, jsonify
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from oidc_actor import ClientCredentials, NoTokenError, TokenManager
from oidc_actor.adapters.requests import OIDCAuth
from oidc_actor.metrics import ready
from supervision import Supervisor

app = Flask(__name__)
# One for all requests, because it keeps what it learns of the API. A request waits 2 s at most where there is no token.
api_auth = OIDCAuth("api.token", timeout=2.0)

Supervisor.start_link(  # when this file is imported: in each worker, or with --preload once, before the fork
    [
        TokenManager.child_spec(
            name="api.token",
            issuer_url=os.environ["OIDC_ISSUER_URL"],
            auth=ClientCredentials(os.environ["OIDC_CLIENT_ID"], os.environ["OIDC_CLIENT_SECRET"]),
        )
    ],
    name="tokens",
)


@app.errorhandler(NoTokenError)
def no_token(error: NoTokenError) -> tuple[Response, int, dict[str, str]]:
    retry_after_s = 5 if error.retry_in_s is None else math.ceil(error.retry_in_s)
    return jsonify(error=str(error)), 503, {"Retry-After": str(retry_after_s)}


@app.get("/items")
def items() -> Response:
    response = requests.get(f"{os.environ['API_URL']}/resource", auth=api_auth, timeout=10)
    return jsonify(status=response.status_code, pid=os.getpid())  # after a 401 it was sent again, with a new token


@app.get("/livez")
def livez() -> Response:
    return jsonify(pid=os.getpid())


@app.get("/readyz")
def readyz() -> tuple[Response, int]:
    has_token = ready("api.token")
    return jsonify(token=has_token, pid=os.getpid()), 200 if has_token else 503


@app.get("/metrics")
def metrics() -> Response:
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]  # reads what all workers have written
    return Response(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)
