from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests

from oidc_actor.testing import Provider

ASK_TIMEOUT_S = 10.0


@pytest.fixture
def provider() -> Iterator[Provider]:
    with Provider() as running:
        yield running


@pytest.fixture
def ask(provider: Provider) -> Callable[..., requests.Response]:
    """Ask the token endpoint as the first client, by client_secret_basic."""

    def ask_token(grant_type: str = "client_credentials", **form: Any) -> requests.Response:
        auth = form.pop("auth", (provider.client_id, provider.client_secret))
        return requests.post(
            provider.token_endpoint, data={"grant_type": grant_type, **form}, auth=auth, timeout=ASK_TIMEOUT_S
        )

    return ask_token
