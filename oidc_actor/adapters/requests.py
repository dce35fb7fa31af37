"""`OIDCAuth` for requests: ``session.auth = OIDCAuth("name")``, or ``auth=`` of one request."""

from __future__ import annotations

import functools
import ssl
from dataclasses import replace
from typing import Any, NoReturn

import requests
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase
from requests.exceptions import UnrewindableBodyError
from requests.utils import DEFAULT_CA_BUNDLE_PATH, rewind_body

from oidc_actor.adapters.certificates import ByCertificate, trusting
from oidc_actor.adapters.challenges import Tries, Unauthorized, refuses_proof
from oidc_actor.adapters.presenter import Authenticator
from oidc_actor.credentials.keys import ClientCertificate
from oidc_actor.http.sockets import check_ca_bundle
from oidc_actor.values.secrets import refuse_pickling

__all__ = ["CertificateAdapter", "OIDCAuth"]
__dir__ = __all__.copy

_OURS = ("Authorization", "DPoP")


class OIDCAuth(Authenticator, AuthBase):
    """Sends a manager's token with every request, and answers a 401 about it; see `oidc_actor.adapters`.

    A body of bytes or text is sent again, and a file that can be wound back to where it was; what a generator gave is
    gone. As with requests' own digest authentication, the 401 that was answered is in the ``history`` of the response.
    On a redirect requests keeps the header only within the origin (from port 80 of a host to its port 443 counts as that).

    What urllib3 sends again by itself (``max_retries=``) has the same proof (DPoP) as before, which a server that has seen it
    refuses; then the request is sent with a new one.
    """

    def __call__(self, r: requests.PreparedRequest) -> requests.PreparedRequest:
        """Put the token on a request; runs on the thread that sends it.

        Args:
            r: The request, ready but for this.

        Returns:
            The same request.

        Raises:
            ConfigError: The token could be read on the way.
            NoTokenError: There is none.
            ManagerNotRunning: The manager is not there.
            SecretUnavailable: The token's DPoP key cannot be read now.
        """
        if self._choose is not None:
            return self._of(r)(r)
        if self._presenter.destination(r.url or "") is not None:
            for name, value in self._presenter.fields(r.method or "", r.url or "").items():
                r.headers[name] = value  # several times as fast as its `update`
            r.register_hook("response", self._answered)  # type: ignore[no-untyped-call]  # the stubs lag
        return r

    def _answered(self, response: requests.Response, **options: Any) -> requests.Response:
        # requests calls this for every hop of a redirect too, because a hop's request is a copy with this hook.
        first, tries = response.request, Tries()
        while (again := self._next_try(response, tries)) is not None:
            response.close()
            answer: requests.Response = response.connection.send(again, **options)
            answer.history = [*response.history, response]
            answer.request = again
            response = answer
        if response.is_redirect:  # requests makes the next hop's request of the first try's, not of the last one's
            first.headers.update({name: value for name, value in response.request.headers.items() if name in _OURS})
            if "DPoP" in first.headers:
                self._prove_next_hop(first, response)
        return response

    def _next_try(self, response: requests.Response, tries: Tries) -> requests.PreparedRequest | None:
        request = response.request
        fields = self._presenter.again(self._hear(response), tries, lambda: _rewound(request))
        if fields is None:
            return None
        again = request.copy()
        again.headers.pop("DPoP", None)
        again.headers.update(fields)
        return again

    def _hear(self, response: requests.Response) -> Unauthorized | None:
        request, headers = response.request, response.headers
        method, url, status = request.method or "", request.url or "", response.status_code
        refused = self._presenter.hear(
            method, url, request.headers, status, headers, lambda name: [headers.get(name, "")]
        )
        if refused is not None and _was_repeated(response) and refuses_proof(refused.challenges):
            return replace(
                refused, proof=None
            )  # urllib3 has sent the proof before: the server may have taken it, and it is as good as none
        return refused

    def _prove_next_hop(self, first: requests.PreparedRequest, response: requests.Response) -> None:
        """Put a proof for a redirect's target on the request that requests copies, unless the token stays behind."""
        kept, history = first.headers.get("Authorization"), response.history
        del first.headers["DPoP"]
        with requests.Session() as session:
            session.trust_env = False
            hop: Any = next(session.resolve_redirects(response, first, yield_requests=True), None)  # what will be sent
        response.history = (
            history  # `resolve_redirects` has emptied it, and the caller's session takes cookies from it yet
        )
        if hop is None:
            return  # a redirect to nowhere, which is not followed
        if hop.headers.get("Authorization") == kept and self._presenter.destination(hop.url) is not None:
            first.headers.update(self._presenter.fields(hop.method, hop.url))


MOST_PROOFS = 3
"""Tries after which a proof that urllib3 has sent several times is no longer replaced."""


def _was_repeated(response: requests.Response) -> bool:
    """Whether urllib3 has sent one try several times, with the same proof; after some tries it is not asked any more."""
    repeated = getattr(getattr(response.raw, "retries", None), "history", ())
    return bool(repeated) and len(response.history) < MOST_PROOFS


def _rewound(request: requests.PreparedRequest) -> bool:
    """Wind the body back to where it was before it was sent; tells whether that could be done."""
    body: object = request.body  # the stubs know of no files
    if body is None or isinstance(body, str | bytes):
        return True
    try:
        rewind_body(request)
    except (UnrewindableBodyError, ValueError):  # the latter: the file is closed
        return False
    return True


class CertificateAdapter(HTTPAdapter):
    """Sends each request on a connection that shows the certificate which its token is bound to (RFC 8705).

    ``session.mount("https://", CertificateAdapter(certificate))``; see `oidc_actor.adapters.certificates`. What is trusted
    say the session's ``verify`` and the environment, as ever; its ``cert`` is not used. Any thread, as with requests' own.
    """

    def __init__(
        self,
        certificate: ClientCertificate,
        *,
        pool_connections: int = 10,
        pool_maxsize: int = 10,
        max_retries: Any = 0,
        pool_block: bool = False,
    ) -> None:
        """Keep; the files are read with the first request.

        Args:
            certificate: The client's certificate: the one that the manager's credentials have as ``client_certificate``.
            pool_connections: As of requests' own ``HTTPAdapter``, and so are the others; for each certificate.
            pool_maxsize: Connections to one host that are kept.
            max_retries: A number, or urllib3's ``Retry``.
            pool_block: Whether there are never more.

        Raises:
            ConfigError: ``certificate`` is none.
        """
        options = {"pool_connections": pool_connections, "pool_maxsize": pool_maxsize, "pool_block": pool_block}
        self._options: dict[str, Any] = {**options, "max_retries": max_retries}
        super().__init__(**self._options)
        self._certificate = certificate
        # By what is trusted: contexts that two of these shared would trust both. Each change is one operation.
        self._by: dict[str, ByCertificate[_ShowingAdapter]] = {DEFAULT_CA_BUNDLE_PATH: self._trusting(None)}

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: Any = True,
        cert: Any = None,
        proxies: Any = None,
    ) -> requests.Response:
        """Send one; called by requests.

        Args:
            request: The request, with its token.
            stream: As requests has it, and so are the others.
            timeout: Seconds.
            verify: What to trust; not ``False``.
            cert: Not used.
            proxies: By scheme.

        Raises:
            ConfigError: ``verify`` is ``False``, or holds no certificates.
            SecretUnavailable: There is no certificate yet.
        """
        trusted = DEFAULT_CA_BUNDLE_PATH if verify is True else verify
        by = self._by.get(trusted) if isinstance(trusted, str) else None
        if by is None:
            by = self._by.setdefault(str(trusted), self._trusting(check_ca_bundle(trusted, "verify")))
        found = by.of(request.headers.get("Authorization"))
        for one in by.left():
            one.close()
        response = found.send(request, stream, timeout, True, None, proxies)
        response.connection = self  # another try may need another certificate
        return response

    def close(self) -> None:
        """Close all connections. It stays usable."""
        for by in list(self._by.values()):
            for one in by.all():
                one.close()
        super().close()

    def _trusting(self, ca_bundle: str | None) -> ByCertificate[_ShowingAdapter]:
        make_context = functools.partial(trusting, ca_bundle or DEFAULT_CA_BUNDLE_PATH)
        return ByCertificate(self._certificate, make_context, functools.partial(_ShowingAdapter, **self._options))

    def __getstate__(self) -> NoReturn:
        refuse_pickling(self)

    def __repr__(self) -> str:
        return f"CertificateAdapter({str(self._certificate.cert_file)!r})"


class _ShowingAdapter(HTTPAdapter):
    """The connections of one certificate."""

    def __init__(self, context: ssl.SSLContext, **options: Any) -> None:
        self._context = context
        super().__init__(**options)

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, ssl_context=self._context, **options)

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        return super().proxy_manager_for(proxy, ssl_context=self._context, **options)

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        conn.cert_reqs = "CERT_REQUIRED"  # what is trusted the context knows; requests would add to it
