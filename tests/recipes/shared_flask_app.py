"""A Flask program whose workers have one token: ``gunicorn --preload --workers 3 shared_flask_app:app``."""

import os

import requests
from flask import Flask, Response, jsonify

from oidc_actor import ClientCredentials, NoTokenError, TokenManager
from oidc_actor.adapters.requests import OIDCAuth
from oidc_actor.sharing import FileStore
from supervision import Supervisor

app = Flask(__name__)
api_auth = OIDCAuth("api.token", timeout=2.0)

Supervisor.start_link(
    [
        TokenManager.child_spec(
            name="api.token",
            issuer_url=os.environ["OIDC_ISSUER_URL"],
            auth=ClientCredentials(os.environ["OIDC_CLIENT_ID"], os.environ["OIDC_CLIENT_SECRET"]),
            store=FileStore(os.environ["TOKEN_FOLDER"], namespace="prod"),
        )
    ]
)


@app.errorhandler(NoTokenError)
def no_token(error: NoTokenError) -> tuple[Response, int]:
    return jsonify(error=str(error)), 503


@app.get("/items")
def items() -> Response:
    response = requests.get(f"{os.environ['API_URL']}/resource", auth=api_auth, timeout=10)
    return jsonify(status=response.status_code, pid=os.getpid())


@app.get("/sharing")
def sharing() -> Response:
    health = TokenManager.health("api.token")
    return jsonify(sharing=health.sharing, store_error=health.store_error, refreshes=health.refreshes, pid=os.getpid())
