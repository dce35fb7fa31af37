"""The HTTP half: which path answers what, and where the script comes in."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import flask
from joserfc.jwk import KeySet

from oidc_actor.testing import dpop
from oidc_actor.testing.grants import ALGORITHM, TokenServer, new_keys, read_token
from oidc_actor.testing.listener import break_connection
from oidc_actor.testing.script import Canned, Endpoint, Policy, Script, Treatment
from oidc_actor.testing.state import GRANTS, Store

View: TypeAlias = Callable[[], flask.Response]

DISCOVERY_PATH = "/.well-known/openid-configuration"
REVOCATION_PATH = "/revoke"


def metadata(issuer: str, token_path: str, auth_methods: Sequence[str], scopes: Sequence[str] | None) -> dict[str, Any]:
    """The discovery document (OpenID Connect Discovery 1.0 section 3), without an authorization endpoint."""
    listed = {"scopes_supported": list(scopes)} if scopes is not None else {}
    return {
        "issuer": issuer,
        "token_endpoint": f"{issuer}{token_path}",
        "jwks_uri": f"{issuer}/jwks",
        "revocation_endpoint": f"{issuer}{REVOCATION_PATH}",
        "grant_types_supported": list(GRANTS),
        "token_endpoint_auth_methods_supported": list(auth_methods),
        "response_types_supported": [],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": [ALGORITHM],
        "dpop_signing_alg_values_supported": dpop.ALGORITHMS,
    } | listed


class Endpoints:
    """The Flask application of one provider.

    Args:
        issuer: Its issuer identifier, which is also the URL of its root; asked at each request.
        store: Clients, users and refresh tokens.
        policy: How tokens are given out, as of a request.
        script: How each request is treated, and the counters.
        pause: Waits as long as every answer takes and the given seconds more; `False` if the provider went down
            meanwhile. Called on a request's thread.
        clock: Seconds since the epoch.
        auth_methods: What the metadata offers.
        scopes: All the scopes there are; `None` accepts any.

    Attributes:
        token_path: Where the token endpoint is; a test may move it.
    """

    def __init__(
        self,
        issuer: Callable[[], str],
        store: Store,
        policy: Callable[[], Policy],
        script: Script,
        *,
        pause: Callable[[float], bool],
        clock: Callable[[], float],
        auth_methods: Sequence[str],
        scopes: Sequence[str] | None,
    ) -> None:
        self._issuer = issuer
        self._store = store
        self._script = script
        self._pause = pause
        self._clock = clock
        self._policy = policy
        self._auth_methods = auth_methods
        self._scopes = scopes
        self.token_path = "/token"  # noqa: S105 - a path
        self._keys: KeySet = new_keys()
        self._proofs = dpop.Proofs(clock)
        self.app = flask.Flask("oidc_actor.testing", static_folder=None, template_folder=None)
        self._tokens = TokenServer(
            self.app,
            store,
            keys=self._keys,
            issuer=issuer,
            clock=clock,
            scopes=scopes,
            proofs=self._proofs,
            on_issue=script.note_issued,
        )
        self._route(DISCOVERY_PATH, "discovery", self._metadata)
        self._route("/jwks", "jwks", lambda: flask.jsonify(self._keys.as_dict(private=False)))
        self._route("/resource", "resource", self._resource)
        self._route(REVOCATION_PATH, "revocation", self._revoke, "POST")
        self.app.add_url_rule("/<path:_>", "token", self._token, methods=["GET", "POST"])

    def _route(self, path: str, endpoint: Endpoint, view: View, method: str = "GET") -> None:
        self.app.add_url_rule(path, endpoint, lambda: self._answer(endpoint, view), methods=[method])

    def _token(self, _: str) -> flask.Response:
        if flask.request.path != self.token_path:
            flask.abort(404)
        if flask.request.method != "POST":
            flask.abort(405)
        return self._answer("token", self._tokens.create_token_response, flask.request.form.get("grant_type"))

    def _answer(self, endpoint: Endpoint, view: View, grant: str | None = None) -> flask.Response:
        treatment = self._script.arrive(endpoint, grant)
        flask.g.policy = replace(self._policy(), **treatment.policy)
        if not self._pause(treatment.delay_s):
            return _unsent()
        if treatment.canned is not None:
            return _scripted(treatment.canned)
        response = _changed(view(), treatment)
        return _unsent() if treatment.lost else response

    def _metadata(self) -> flask.Response:
        return flask.jsonify(metadata(self._issuer(), self.token_path, self._auth_methods, self._scopes))

    def _revoke(self) -> flask.Response:
        answer: flask.Response = self._tokens.create_endpoint_response("revocation")
        return answer

    def _resource(self) -> flask.Response:
        """What an API does with a token (RFC 6750 section 3, RFC 9449 section 7): its claims, or a 401 that says why not."""
        scheme, _, text = flask.request.headers.get("Authorization", "").partition(" ")
        known = scheme.lower() in {"bearer", "dpop"}
        claims = read_token(text, self._keys, issuer=self._issuer(), now_wall=self._clock()) if known else None
        if claims is None or self._store.is_revoked(text) or (scheme.lower() == "dpop") != ("cnf" in claims):
            return _refused("invalid_token", "DPoP" if scheme.lower() == "dpop" else "Bearer")
        if "cnf" in claims:
            proof, url = flask.request.headers.get("DPoP"), flask.request.base_url
            found = self._proofs.check(proof, method=flask.request.method, url=url, access_token=text)
            if found != claims["cnf"]["jkt"]:
                return _refused(found.error if isinstance(found, dpop.ProofRefused) else "invalid_token", "DPoP")
        return flask.jsonify(claims)


def _refused(error: str, scheme: str) -> flask.Response:
    refused = flask.jsonify(error=error)
    refused.status_code = 401
    refused.headers["WWW-Authenticate"] = f'{scheme} error="{error}"'
    return refused


def _scripted(canned: Canned) -> flask.Response:
    return flask.Response(canned.body, status=canned.status, headers=dict(canned.headers))


def _changed(response: flask.Response, treatment: Treatment) -> flask.Response:
    """The true answer with the treatment's changes in its JSON."""
    if treatment.changes or treatment.omit:
        members = {**response.get_json(), **treatment.changes}
        response.set_data(json.dumps({name: value for name, value in members.items() if name not in treatment.omit}))
    return response


def _unsent() -> flask.Response:
    """An answer that never arrives: its connection is broken first."""
    break_connection(flask.request.environ["werkzeug.socket"])
    return flask.Response(status=500)
