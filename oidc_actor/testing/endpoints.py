"""The HTTP half: which path answers what, and where the script's faults come in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import flask
from joserfc.jwk import KeySet

from oidc_actor.testing.grants import Policy, TokenServer
from oidc_actor.testing.listener import break_connection
from oidc_actor.testing.script import Endpoint, Fault, Script
from oidc_actor.testing.signing import ALGORITHM, new_keys, read_token
from oidc_actor.testing.state import GRANTS, Store

DISCOVERY_PATH = "/.well-known/openid-configuration"


def metadata(issuer: str, auth_methods: Sequence[str], scopes: Sequence[str] | None) -> dict[str, Any]:
    """The discovery document (OpenID Connect Discovery 1.0 section 3), without an authorization endpoint."""
    listed = {"scopes_supported": list(scopes)} if scopes is not None else {}
    return {
        "issuer": issuer,
        "token_endpoint": f"{issuer}/token",
        "jwks_uri": f"{issuer}/jwks",
        "grant_types_supported": list(GRANTS),
        "token_endpoint_auth_methods_supported": list(auth_methods),
        "response_types_supported": [],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": [ALGORITHM],
    } | listed


class Endpoints:
    """The Flask application of one provider.

    Args:
        issuer: Its issuer identifier, which is also the URL of its root.
        store: Clients, users and refresh tokens.
        policy: How tokens are given out.
        script: Faults and counters.
        pause: Waits that many seconds; `False` if the provider went down meanwhile. Called on a request's thread.
        clock: Seconds since the epoch.
        auth_methods: What the metadata offers.
        scopes: All the scopes there are; `None` accepts any.
    """

    def __init__(
        self,
        issuer: str,
        store: Store,
        policy: Policy,
        script: Script,
        *,
        pause: Callable[[], bool],
        clock: Callable[[], float],
        auth_methods: Sequence[str],
        scopes: Sequence[str] | None,
    ) -> None:
        self._issuer = issuer
        self._script = script
        self._pause = pause
        self._clock = clock
        self._metadata = metadata(issuer, auth_methods, scopes)
        self._keys: KeySet = new_keys()
        self.app = flask.Flask("oidc_actor.testing", static_folder=None, template_folder=None)
        self._tokens = TokenServer(
            self.app,
            store,
            policy,
            keys=self._keys,
            issuer=issuer,
            clock=clock,
            scopes=scopes,
            on_issue=script.note_issued,
        )
        self._route(DISCOVERY_PATH, "discovery", lambda: flask.jsonify(self._metadata))
        self._route("/token", "token", self._tokens.create_token_response, "POST")
        self._route("/jwks", "jwks", lambda: flask.jsonify(self._keys.as_dict(private=False)))
        self._route("/resource", "resource", self._resource)

    def _route(self, path: str, endpoint: Endpoint, answer: Callable[[], flask.Response], method: str = "GET") -> None:
        def view() -> flask.Response:
            grant = flask.request.form.get("grant_type") if endpoint == "token" else None
            fault = self._script.arrive(endpoint, grant)
            if not self._pause():
                return _unsent()
            if fault is None:
                return answer()
            if fault.lost:
                answer()
                return _unsent()
            return _scripted(fault)

        self.app.add_url_rule(path, endpoint, view, methods=[method])

    def _resource(self) -> flask.Response:
        """What an API does with a token (RFC 6750 section 3): its claims, or 401 `invalid_token`."""
        scheme, _, text = flask.request.headers.get("Authorization", "").partition(" ")
        known = scheme.lower() == "bearer"
        claims = read_token(text, self._keys, issuer=self._issuer, now_wall=self._clock()) if known else None
        if claims is not None:
            return flask.jsonify(claims)
        refused = flask.jsonify(error="invalid_token")
        refused.status_code = 401
        refused.headers["WWW-Authenticate"] = 'Bearer error="invalid_token"'
        return refused


def _scripted(fault: Fault) -> flask.Response:
    return flask.Response(fault.body, status=fault.status, headers=dict(fault.headers))


def _unsent() -> flask.Response:
    """An answer that never arrives: its connection is broken first."""
    break_connection(flask.request.environ["werkzeug.socket"])
    return flask.Response(status=500)
