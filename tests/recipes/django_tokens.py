"""A Django project's tokens: ``requests.get(url, auth=django_tokens.auth())`` in views, commands and the shell."""

import math
import os
import threading
from collections.abc import Callable

import requests
from django.http import HttpRequest, HttpResponse, JsonResponse

from oidc_actor import ClientCredentials, NoTokenError, TokenManager
from oidc_actor.adapters.requests import OIDCAuth
from oidc_actor.metrics import ready
from supervision import Supervisor, whereis

_starting = threading.Lock()
# One for all requests, because it keeps what it learns of the API. A request waits 2 s at most where there is no token.
_auth = OIDCAuth("api.token", timeout=2.0)


def auth() -> OIDCAuth:
    """What sends requests with the token of this process's manager. The first call starts that; it waits for nothing."""
    with _starting:
        if whereis("tokens") is None:
            Supervisor.start_link(
                [
                    TokenManager.child_spec(
                        name="api.token",
                        issuer_url=os.environ["OIDC_ISSUER_URL"],
                        auth=ClientCredentials(os.environ["OIDC_CLIENT_ID"], os.environ["OIDC_CLIENT_SECRET"]),
                    )
                ],
                name="tokens",
            )
    return _auth


class NoTokenMiddleware:
    """Answers 503 where a view had no token."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self._get_response(request)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        if not isinstance(exception, NoTokenError):
            return None
        retry_after_s = 5 if exception.retry_in_s is None else math.ceil(exception.retry_in_s)
        return JsonResponse({"detail": str(exception)}, status=503, headers={"Retry-After": str(retry_after_s)})


def items(request: HttpRequest) -> HttpResponse:
    response = requests.get(f"{os.environ['API_URL']}/resource", auth=auth(), timeout=10)
    return JsonResponse({"status": response.status_code, "pid": os.getpid()})


def livez(request: HttpRequest) -> HttpResponse:
    return JsonResponse({"pid": os.getpid()})


def readyz(request: HttpRequest) -> HttpResponse:
    auth()  # the first probe starts the manager, so that the first request need not wait for its token
    has_token = ready("api.token")
    return JsonResponse({"token": has_token, "pid": os.getpid()}, status=200 if has_token else 503)
