"""What all credentials have in common: their fields, how these are checked, and that nothing prints them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Self

from oidc_actor.client_auth import check_client_auth
from oidc_actor.errors import ConfigError
from oidc_actor.parameters import ExtraParameters, Repeatable, parse_scopes, read_extra, read_repeatable, read_text
from oidc_actor.sealed import put, refuse_pickling
from oidc_actor.secrets import StoredSecret, store_secret


@dataclass(frozen=True, slots=True, init=False, repr=False)
class Credentials:
    """What all credentials have in common. Compares by value; refuses pickling.

    Attributes:
        client_id: The client's identifier; ``None`` where the provider needs none (password grant only).
        client_secret: Where the client's secret comes from; ``None`` for a public client.
        scopes: The scopes to ask for; empty for the provider's default.
        audience: Who the token is for (RFC 8693 section 2.1, widely used elsewhere); ``None`` to say nothing.
        resource: Where the token is used (RFC 8707); ``None`` to say nothing.
        extra: Further parameters of the token request; ``None`` for none.
        client_auth: The client authentication method (RFC 8414 section 2); ``None`` chooses from the metadata.
    """

    grant_type: ClassVar[str]
    client_id: str | None
    client_secret: StoredSecret | None
    scopes: tuple[str, ...]
    audience: Repeatable
    resource: Repeatable
    extra: ExtraParameters | None
    client_auth: str | None

    @property
    def grant_secret(self) -> StoredSecret | None:
        """The secret that the full grant itself sends, besides the client's; ``None`` where there is none."""
        return None

    def __repr__(self) -> str:
        shown = [(field.name, getattr(self, field.name, None)) for field in fields(self)]  # under construction, too
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in shown if value)})"

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def __reduce_ex__(self, protocol: object) -> Any:
        refuse_pickling(self)

    def __reduce__(self) -> Any:
        refuse_pickling(self)


_READERS: Mapping[str, Callable[[Any, str], object]] = {
    "client_id": read_text,
    "username": read_text,
    "client_secret": store_secret,
    "password": store_secret,
    "refresh_token": store_secret,
    "scopes": lambda value, _: parse_scopes(value),
    "audience": read_repeatable,
    "resource": read_repeatable,
    "extra": lambda value, _: read_extra(value),
}


def fill_fields(credentials: Credentials, client_auth: object, **options: object) -> str | None:
    """Check the options and set them as fields of credentials under construction.

    Args:
        credentials: The object under construction.
        client_auth: The chosen method or ``None``.
        **options: The other options as they were given, secrets included.

    Returns:
        What is wrong, or ``None``. It raises nothing, because its frame and its caller's hold secrets.
    """
    has_id, has_secret = options["client_id"] is not None, options["client_secret"] is not None
    optional = {"client_secret", "client_id"} if credentials.grant_type == "password" else {"client_secret"}
    try:
        for name, value in options.items():
            absent = value is None and name in optional
            put(credentials, **{name: None if absent else _READERS[name](value, name)})
        put(credentials, client_auth=check_client_auth(client_auth, has_client_id=has_id, has_secret=has_secret))
    except ConfigError as error:
        return str(error)
    return None


def refuse(problem: str | None) -> None:
    """Raise what `fill_fields` found, from frames that hold no secret any more.

    Args:
        problem: What is wrong, or ``None``.

    Raises:
        ConfigError: Where something is.
    """
    if problem is not None:
        raise ConfigError(problem)
