"""An authorization-code flow with `oidc-provider`'s own login and consent pages, driven as a browser would."""

from __future__ import annotations

import re
import secrets
from urllib.parse import parse_qs, quote, urljoin, urlsplit

import requests
from integration.node_provider import CLIENTS, USER, NodeProvider

CALLBACK = "http://127.0.0.1/callback"
TIMEOUT_S = 10.0
MAX_STEPS = 12


def refresh_token_by_login(provider: NodeProvider, scope: str = "openid offline_access") -> str:
    """Log in, consent, and redeem the code as the basic client; the refresh token that comes of it."""
    client = CLIENTS["client_secret_basic"]
    state = secrets.token_hex(8)
    query = {
        "client_id": client["client_id"],
        "response_type": "code",
        "redirect_uri": CALLBACK,
        "scope": scope,
        "state": state,
        "prompt": "consent",
    }
    with requests.Session() as browser:
        answer = browser.get(f"{provider.issuer_url}/auth", params=query, allow_redirects=False, timeout=TIMEOUT_S)
        landed = _walk(browser, answer)
        arrived = parse_qs(urlsplit(landed).query)
        assert arrived["state"] == [state], landed
        form = {"grant_type": "authorization_code", "code": arrived["code"][0], "redirect_uri": CALLBACK}
        auth = (quote(str(client["client_id"]), safe=""), quote(str(client["client_secret"]), safe=""))
        token = browser.post(f"{provider.issuer_url}/token", data=form, auth=auth, timeout=TIMEOUT_S)
        assert token.status_code == 200, token.text
        return str(token.json()["refresh_token"])


def _walk(browser: requests.Session, answer: requests.Response) -> str:
    """Follow redirects and submit forms until the client's callback comes up; its URL."""
    for _ in range(MAX_STEPS):
        if answer.is_redirect:
            target = urljoin(answer.url, answer.headers["Location"])
            if target.startswith(CALLBACK):
                return target
            answer = browser.get(target, allow_redirects=False, timeout=TIMEOUT_S)
        else:
            form = re.search(r'<form[^>]*action="([^"]+)"', answer.text)
            assert form is not None, answer.text
            prompt = re.search(r'name="prompt" value="(\w+)"', answer.text)
            fields = {"prompt": prompt.group(1) if prompt else "", "login": USER["name"], "password": "any"}
            action = urljoin(answer.url, form.group(1))
            answer = browser.post(action, data=fields, allow_redirects=False, timeout=TIMEOUT_S)
    raise AssertionError(f"the login did not end within {MAX_STEPS} steps")
