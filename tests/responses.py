"""Answers as a provider sends them, and what the parser makes of each."""

import base64
import json

import pytest

from oidc_actor.protocol.metadata import parse_discovery
from oidc_actor.protocol.token_response import parse_token
from oidc_actor.transport import Response
from oidc_actor.values.errors import TokenRequestError

NOW = 1_800_000_000.0
ISSUER = "https://id.example"
METADATA = {"issuer": ISSUER, "token_endpoint": "https://id.example/token"}
TOKEN = {"access_token": "at", "token_type": "Bearer", "expires_in": 3600}


def as_body(value):
    return value if isinstance(value, (bytes, str)) else json.dumps(value)


def discovered(value, *, status=200, issuer_url=ISSUER, headers=None, **options):
    return parse_discovery(Response(status, headers or {}, as_body(value)), issuer_url, now_wall=NOW, **options)


def parsed(value, *, status=200, headers=None, **options):
    return parse_token(Response(status, headers or {}, as_body(value)), now_wall=NOW, **options)


def refused(value, **options):
    with pytest.raises(TokenRequestError) as caught:
        parsed(value, **options)
    return caught.value


def jwt(**claims):
    def part(value):
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    return f"{part({'alg': 'none'})}.{part(claims)}.signature"
