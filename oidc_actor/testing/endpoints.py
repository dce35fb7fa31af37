"""The HTTP half: which path answers what, and where the script comes in."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias

import flask

from oidc_actor.testing import dpop, mutual_tls
from oidc_actor.testing.accounts import GRANTS
from oidc_actor.testing.authorization_server import ALGORITHM, Realm, TokenServer, read_token
from oidc_actor.testing.listener import break_connection
from oidc_actor.testing.script import Endpoint, Treatment
from oidc_actor.testing.statements import SIGNED

View: TypeAlias = Callable[[], flask.Response]

OPENID, OAUTH, RESOURCE = "openid-configuration", "oauth-authorization-server", "oauth-protected-resource"
"""The documents, by their names below `/.well-known/`."""

REVOCATION_PATH = "/revoke"
RESOURCE_PATH = "/resource"


class Endpoints:
    """The Flask application of one provider.

    Args:
        realm: The provider.

    Attributes:
        token_path: Where the token endpoint is; a test may move it.
    """

    def __init__(self, realm: Realm) -> None:
        self._realm = realm
        self.token_path = "/token"  # noqa: S105 - a path
        self.app = flask.Flask("oidc_actor.testing", static_folder=None, template_folder=None)
        self._tokens = TokenServer(self.app, realm)
        path = realm.path
        if OPENID in realm.documents:
            self._route(f"{path}/.well-known/{OPENID}", "discovery", self._metadata)
        if OAUTH in realm.documents:  # RFC 8414 section 3.1: the path comes after
            self._route(f"/.well-known/{OAUTH}{path}", "discovery", self._metadata)
        self._route(f"/.well-known/{RESOURCE}{path}{RESOURCE_PATH}", "resource_metadata", self._resource_metadata)
        self._route(f"{path}/jwks", "jwks", lambda: flask.jsonify(self._realm.keys.as_dict(private=False)))
        self._route(f"{path}{RESOURCE_PATH}", "resource", self._resource)
        self._route(f"{path}{REVOCATION_PATH}", "revocation", self._revoke, "POST")
        self.app.add_url_rule("/<path:_>", "token", self._token, methods=["GET", "POST"])

    def _route(self, path: str, endpoint: Endpoint, view: View, method: str = "GET") -> None:
        self.app.add_url_rule(path, path, lambda: self._answer(endpoint, view), methods=[method])

    def _token(self, _: str) -> flask.Response:
        if flask.request.path != self._realm.path + self.token_path:
            flask.abort(404)
        if flask.request.method != "POST":
            flask.abort(405)
        return self._answer("token", self._tokens.create_token_response, flask.request.form.get("grant_type"))

    def _answer(self, endpoint: Endpoint, view: View, grant: str | None = None) -> flask.Response:
        treatment = self._realm.script.arrive(endpoint, grant)
        flask.g.policy = replace(self._realm.policy(), **treatment.policy)
        if not self._realm.pause(treatment.delay_s):
            return _unsent()
        if treatment.canned is not None:
            canned = treatment.canned
            return flask.Response(canned.body, status=canned.status, headers=dict(canned.headers))
        response = _changed(view(), treatment)
        return _unsent() if treatment.lost else response

    def _metadata(self) -> flask.Response:
        """Either document (OpenID Connect Discovery 1.0 section 3, RFC 8414 section 2), without an authorization endpoint."""
        issuer, scopes, further = self._realm.issuer(), self._realm.scopes, self._realm.accounts.further_methods()
        listed = {"scopes_supported": list(scopes)} if scopes is not None else {}
        if any(one.endswith("_jwt") for one in further):
            listed["token_endpoint_auth_signing_alg_values_supported"] = [*SIGNED, "HS256"]
        return flask.jsonify(
            issuer=issuer,
            token_endpoint=f"{issuer}{self.token_path}",
            jwks_uri=f"{issuer}/jwks",
            revocation_endpoint=f"{issuer}{REVOCATION_PATH}",
            grant_types_supported=list(GRANTS),
            authorization_grant_profiles_supported=["urn:ietf:params:oauth:grant-profile:id-jag"],
            token_endpoint_auth_methods_supported=list(dict.fromkeys([*self._realm.auth_methods, *further])),
            response_types_supported=[],
            subject_types_supported=["public"],
            id_token_signing_alg_values_supported=[ALGORITHM],
            dpop_signing_alg_values_supported=dpop.ALGORITHMS,
            tls_client_certificate_bound_access_tokens=self._realm.binds_to_certificates,
            **listed,
        )

    def _resource_metadata(self) -> flask.Response:
        """The document of the API (RFC 9728 section 2)."""
        issuer, scopes = self._realm.issuer(), self._realm.scopes
        return flask.jsonify(
            resource=f"{issuer}{RESOURCE_PATH}",
            authorization_servers=[issuer],
            bearer_methods_supported=["header"],
            dpop_signing_alg_values_supported=dpop.ALGORITHMS,
            **({"scopes_supported": list(scopes)} if scopes is not None else {}),
        )

    def _revoke(self) -> flask.Response:
        answer: flask.Response = self._tokens.create_endpoint_response("revocation")
        return answer

    def _resource(self) -> flask.Response:
        """What an API does with a token (RFC 6750 3, RFC 8705 3, RFC 9449 7): its claims, or a 401 that says why not."""
        scheme, _, text = flask.request.headers.get("Authorization", "").partition(" ")
        known = scheme.lower() in {"bearer", "dpop"}
        claims = (
            read_token(text, self._realm.keys, issuer=self._realm.issuer(), now_wall=self._realm.clock())
            if known
            else None
        )
        bound = {} if claims is None else claims.get("cnf", {})
        is_good = claims is not None and not self._realm.accounts.is_revoked(text)
        if not is_good or (scheme.lower() == "dpop") != ("jkt" in bound):
            return self._refused("invalid_token", "DPoP" if scheme.lower() == "dpop" else "Bearer")
        if "x5t#S256" in bound and bound["x5t#S256"] != mutual_tls.shown_thumbprint():  # RFC 8705 section 3
            return self._refused("invalid_token", "Bearer")
        if "jkt" in bound:
            proof, url = flask.request.headers.get("DPoP"), flask.request.base_url
            found = self._realm.proofs.check(proof, method=flask.request.method, url=url, access_token=text)
            if found != bound["jkt"]:
                return self._refused(found.error if isinstance(found, dpop.ProofRefused) else "invalid_token", "DPoP")
        return flask.jsonify(claims)

    def _refused(self, error: str, scheme: str) -> flask.Response:
        """A 401 that says where the API's metadata are (RFC 9728 section 5.1)."""
        root = self._realm.issuer().removesuffix(self._realm.path)
        where = f"{root}/.well-known/{RESOURCE}{self._realm.path}{RESOURCE_PATH}"
        refused = flask.jsonify(error=error)
        refused.status_code = 401
        refused.headers["WWW-Authenticate"] = f'{scheme} error="{error}", resource_metadata="{where}"'
        return refused


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
