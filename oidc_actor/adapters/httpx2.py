"""`OIDCAuth` for httpx2, httpx's successor: ``httpx2.Client(auth=OIDCAuth("name"))``, and so for ``httpx2.AsyncClient``."""

from __future__ import annotations

from typing import Any, ClassVar

from oidc_actor.adapters import certificates
from oidc_actor.adapters.httpx_flow import AuthFlow, OneRequest
from oidc_actor.values.lazy_imports import not_installed

try:
    import httpx2
except ModuleNotFoundError as missing:
    raise not_installed(__name__, "httpx2", missing) from None

__all__ = ["AsyncCertificateTransport", "CertificateTransport", "OIDCAuth"]
__dir__ = __all__.copy


class _OneRequest(OneRequest, httpx2.Headers):
    _plain = httpx2.Headers


class OIDCAuth(AuthFlow, httpx2.Auth):
    """httpx2's `AuthFlow`: its arguments and what it does are described there."""

    _in_memory = httpx2.ByteStream
    _one_request = _OneRequest


class CertificateTransport(certificates.Transport, httpx2.BaseTransport):
    """httpx2's `certificates.Transport`: ``httpx2.Client(auth=OIDCAuth(...), transport=CertificateTransport(certificate))``."""

    _library: ClassVar[Any] = httpx2


class AsyncCertificateTransport(certificates.AsyncTransport, httpx2.AsyncBaseTransport):
    """The same for ``httpx2.AsyncClient``."""

    _library: ClassVar[Any] = httpx2
