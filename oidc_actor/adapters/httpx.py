"""`OIDCAuth` for httpx: ``httpx.Client(auth=OIDCAuth("name"))``, and the same for ``httpx.AsyncClient``."""

from __future__ import annotations

from typing import Any, ClassVar

from oidc_actor.adapters import certificates
from oidc_actor.adapters.httpx_flow import AuthFlow, OneRequest
from oidc_actor.values.lazy_imports import not_installed

try:
    import httpx
except ModuleNotFoundError as missing:
    raise not_installed(__name__, "httpx", missing) from None

__all__ = ["AsyncCertificateTransport", "CertificateTransport", "OIDCAuth"]
__dir__ = __all__.copy


class _OneRequest(OneRequest, httpx.Headers):
    _plain = httpx.Headers


class OIDCAuth(AuthFlow, httpx.Auth):
    """httpx's `AuthFlow`: its arguments and what it does are described there."""

    _in_memory = httpx.ByteStream
    _one_request = _OneRequest


class CertificateTransport(certificates.Transport, httpx.BaseTransport):
    """httpx's `certificates.Transport`: ``httpx.Client(auth=OIDCAuth(...), transport=CertificateTransport(certificate))``."""

    _library: ClassVar[Any] = httpx


class AsyncCertificateTransport(certificates.AsyncTransport, httpx.AsyncBaseTransport):
    """The same for ``httpx.AsyncClient``."""

    _library: ClassVar[Any] = httpx
