"""The parameters of a token request that a user may choose: scopes, audience, resource, and any further ones."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal, NoReturn, TypeAlias, TypeVar

from oidc_actor.values.errors import ConfigError
from oidc_actor.values.secrets import (
    FrozenMapping,
    Sealed,
    Secret,
    StoredSecret,
    put,
    refuse_pickling,
    store_secret,
)
from supervision.frozen import dataclass

Scopes: TypeAlias = str | Iterable[str] | None
Repeatable: TypeAlias = str | tuple[str, ...] | None
Built = TypeVar("Built")

PROTOCOL_PARAMETERS = frozenset(
    {
        "grant_type", "client_id", "client_secret", "client_assertion", "client_assertion_type", "username", "password",
        "refresh_token", "scope", "audience", "resource", "assertion", "code", "code_verifier", "redirect_uri",
        "device_code", "subject_token", "subject_token_type", "actor_token", "actor_token_type",
        "requested_token_type",
    }
)  # fmt: skip
"""Parameters that an option of their own sets, so that ``extra`` may not."""

TOKEN_TYPE = "urn:ietf:params:oauth:token-type:"  # noqa: S105 - a name
"""What the names of RFC 8693's token types begin with."""

_SCOPE_TOKEN = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")  # RFC 6749, appendix A.4
_SEPARATORS = re.compile(r"[\s,]+")


class ExtraParameters(FrozenMapping):
    """Further request parameters, which may be secrets. The ``repr`` shows their names only; pickling is refused."""

    __slots__ = ()

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        refuse_pickling(self)

    def __repr__(self) -> str:
        return f"ExtraParameters({', '.join(sorted(self))})"


class RequestHeaders(Sealed, Mapping[str, StoredSecret]):
    """Further header fields of a request, which may be secrets. The ``repr`` shows their names only; pickling is refused."""

    __slots__ = ("_items",)
    _items: dict[str, StoredSecret]

    def __init__(self, items: Mapping[str, StoredSecret]) -> None:
        put(self, _items=dict(items))

    @property
    def fetched(self) -> tuple[StoredSecret, ...]:
        """Where the values come from that are no texts."""
        return tuple(value for value in self._items.values() if not isinstance(value, Secret))

    @property
    def texts(self) -> tuple[Secret, ...]:
        """The values that are texts, which need not be secrets."""
        return tuple(value for value in self._items.values() if isinstance(value, Secret))

    def __getitem__(self, name: str) -> StoredSecret:
        return self._items[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __hash__(self) -> int:
        return hash(frozenset(self._items.items()))

    def __repr__(self) -> str:
        return f"RequestHeaders({', '.join(sorted(self))})"


MOST_STEP_UP = 4096
"""Characters of a challenge that is believed, and of all that is wanted by challenges: it goes into each request for a token."""


@dataclass(frozen=True, slots=True)
class StepUp:
    """What a resource server wants of a token besides: the field calls it step-up authorization or authentication.

    Attributes:
        scopes: Scopes that the token needs as well (``insufficient_scope``, RFC 6750 section 3.1).
        claims: Claims that it needs, as JSON: OpenID Connect's parameter ``claims`` (``insufficient_claims``, by which Microsoft
            Entra ID does continuous access evaluation); ``None`` for none.
        acr_values: How the user must have logged in, separated by spaces (RFC 9470 section 3); ``None`` to say nothing.
        max_age: Seconds that this may be past; ``None`` to say nothing.
    """

    scopes: tuple[str, ...] = ()
    claims: str | None = None
    acr_values: str | None = None
    max_age: int | None = None

    def union(self, other: StepUp | None) -> StepUp:
        """Return both together: all scopes, each once; of anything else the newer."""
        if other is None:
            return self
        return StepUp(
            tuple(dict.fromkeys((*self.scopes, *other.scopes))),
            self.claims if other.claims is None else other.claims,
            self.acr_values if other.acr_values is None else other.acr_values,
            self.max_age if other.max_age is None else other.max_age,
        )

    def covers(self, other: StepUp) -> bool:
        """Whether there is nothing in the other one that is not in this one."""
        return self.union(other) == self

    @property
    def length(self) -> int:
        """Characters of all that is wanted."""
        return len(" ".join((*self.scopes, self.claims or "", self.acr_values or "")))

    def names(self) -> str:
        """Name what is wanted, for people: the scopes, and which of the others."""
        others = [name for name in ("claims", "acr_values", "max_age") if getattr(self, name) is not None]
        return " ".join((*self.scopes, *others))

    def parameters(self, extra: Mapping[str, str]) -> dict[str, str]:
        """Return the further request parameters that ask for it, all but the scopes, with those that the user chose."""
        found = dict(extra)
        if self.claims is not None:
            found["claims"] = _merged(extra.get("claims"), self.claims)
        if self.acr_values is not None:
            found["acr_values"] = self.acr_values
        if self.max_age is not None:
            found["max_age"] = str(self.max_age)
        return found


def _merged(chosen: str | None, wanted: str) -> str:
    """Both objects in one, as a client that names its capabilities needs them; what is wanted wins."""
    try:
        first, second = json.loads(chosen or "{}"), json.loads(wanted)
    except ValueError:  # the user's own text is no JSON
        return wanted
    return json.dumps(_deep(first, second), separators=(",", ":"))


def _deep(first: Any, second: Any) -> Any:
    if not isinstance(first, dict) or not isinstance(second, dict):
        return second
    return {**first, **{name: _deep(first.get(name), one) for name, one in second.items()}}


def read_claims_parameter(text: str) -> str | None:
    """Read the claims of a challenge.

    Args:
        text: A JSON object, plain or in base64, with either alphabet, as Microsoft's services send it.

    Returns:
        It in one form; ``None`` where it cannot be read.
    """
    try:
        plain = (
            text
            if text.lstrip().startswith("{")
            else base64.b64decode(text.replace("-", "+").replace("_", "/") + "=" * (-len(text) % 4), validate=True)
        )
        found = json.loads(plain)
    except (ValueError, RecursionError):
        return None
    return json.dumps(found, separators=(",", ":"), sort_keys=True) if isinstance(found, dict) and found else None


def parse_scopes(value: Scopes) -> tuple[str, ...]:
    """Bring scopes into one form.

    Args:
        value: A string separated by spaces or commas, an iterable of scopes, or ``None`` for none.

    Returns:
        The scopes in their order; a set's are sorted.

    Raises:
        ConfigError: Where it is neither, or a scope has a character that RFC 6749 (appendix A.4) does not allow.

    Example:
        >>> parse_scopes("openid, profile email")
        ('openid', 'profile', 'email')
    """
    if value is None:
        return ()
    if isinstance(value, str):
        found = tuple(scope for scope in _SEPARATORS.split(value) if scope)
    elif isinstance(value, (set, frozenset)):
        found = tuple(sorted(value, key=str))
    else:
        found = _texts(value, "scopes", "a list or a string separated by spaces")
    for scope in found:
        if not isinstance(scope, str) or _SCOPE_TOKEN.fullmatch(scope) is None:
            raise ConfigError(
                f"expected texts without spaces, quotes and control characters, got {scope!r}; "
                "several scopes go in as a list or as one string separated by spaces",
                ("scopes",),
            )
    return found


def read_repeatable(value: object, name: str) -> Repeatable:
    """Check a parameter that may be sent more than once (RFC 8707, RFC 8693).

    Args:
        value: A text, an iterable of texts, or ``None``.
        name: The parameter's name.

    Returns:
        A text as it is, an iterable as a tuple, ``None`` for nothing.

    Raises:
        ConfigError: Where it is none of these, or a text is empty or has control characters.
    """
    if value is None:
        return None
    if isinstance(value, str):
        return read_text(value, name)
    return tuple(read_text(one, name) for one in _texts(value, name, "a text or a list of texts")) or None


def read_text(value: object, name: str) -> str:
    """Check a text that goes into a request and may be shown.

    Args:
        value: The candidate.
        name: What it is.

    Returns:
        The text.

    Raises:
        ConfigError: Where it is no text, blank, or has control characters or lone surrogates.
    """
    problem = _text_problem(value)
    if problem is not None:
        raise ConfigError(problem, (name,))
    return str(value)


def _text_problem(value: object) -> str | None:
    if not isinstance(value, str):
        return f"expected a text, got {type(value).__name__}"
    if not value.strip():
        return f"expected a non-empty text, got {value!r}"
    if any(ord(character) < 0x20 or character == "\x7f" or "\ud800" <= character <= "\udfff" for character in value):
        return f"expected a text without control characters, got {value!r}"
    return None


def read_token_type(value: object, name: str) -> str | None:
    """Check a token type (RFC 8693 section 3).

    Args:
        value: A URI, or the last part of one of the RFC's own, such as ``"id_token"``; ``None`` to say nothing.
        name: The parameter's name.

    Returns:
        The URI.

    Raises:
        ConfigError: Where it is neither.
    """
    if value is None:
        return None
    text = read_text(value, name)
    return text if ":" in text else TOKEN_TYPE + text


def read_extra(value: object) -> ExtraParameters | None:
    """Check further request parameters.

    Args:
        value: A mapping from names to texts, or ``None``.

    Returns:
        The parameters, ``None`` where there are none.

    Raises:
        ConfigError: Where it is no such mapping, or names a parameter of the protocol. The message shows no value.
    """
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise ConfigError(f"expected a mapping from parameter names to texts, got {type(value).__name__}", ("extra",))
    for name, text in value.items():
        problem = _text_problem(name)
        if problem is not None:
            raise ConfigError(f"a parameter's name: {problem}", ("extra",))
        if name in PROTOCOL_PARAMETERS:
            raise ConfigError(f"{name!r} belongs to the protocol; use the option made for it", ("extra",))
        if not isinstance(text, str) or any("\ud800" <= character <= "\udfff" for character in text):
            raise ConfigError(f"expected a text for {name!r}, got {type(text).__name__}", ("extra",))
    return ExtraParameters(value) if value else None


_FIELD_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 section 5.6.2
_OWN_FIELDS = {
    "authorization": "the client's authentication writes it; use client_auth, or Custom for another scheme",
    "dpop": "the proof writes it; use dpop",
    "content-type": "the body's form writes it; use body",
    **dict.fromkeys(("content-length", "content-encoding", "accept-encoding", "transfer-encoding"), "HTTP writes it"),
    **dict.fromkeys(("host", "connection", "keep-alive", "te", "trailer", "upgrade", "expect"), "HTTP writes it"),
    **dict.fromkeys(
        ("proxy-authorization", "proxy-connection"), "it is for a proxy, whose address may hold credentials"
    ),
}
"""Header fields that may not be set, each with the reason."""


def read_request_headers(value: object) -> RequestHeaders | None:
    """Check further header fields. Reads and calls nothing.

    Args:
        value: A mapping from names to texts or sources of secrets, or ``None``.

    Returns:
        The fields, ``None`` where there are none.

    Raises:
        ConfigError: Where it is no such mapping, or names a field that is not the user's. The message shows no value.
    """
    if value is None:
        return None
    if not isinstance(value, Mapping):
        problem = f"expected a mapping from names of header fields to texts, got {type(value).__name__}"
        raise ConfigError(problem, ("request_headers",))
    found: dict[str, StoredSecret] = {}
    for name, text in value.items():
        if not isinstance(name, str) or _FIELD_NAME.fullmatch(name) is None:
            problem = "expected names of header fields: letters, digits and hyphens, got another"
            raise ConfigError(problem, ("request_headers",))
        if name.lower() in _OWN_FIELDS:
            raise ConfigError(f"{name!r} cannot be set: {_OWN_FIELDS[name.lower()]}", ("request_headers",))
        if name.lower() in {one.lower() for one in found}:
            raise ConfigError(f"expected each header field once, got {name!r} twice", ("request_headers",))
        try:
            source = store_secret(text, name)
        except ConfigError as error:
            raise error.within("request_headers") from None
        if isinstance(source, Secret) and not is_field_value(source):
            raise ConfigError(f"{WHAT_A_FIELD_HOLDS}, got another text", ("request_headers", name))
        found[name] = source
    return RequestHeaders(found) if found else None


WHAT_A_FIELD_HOLDS = "expected visible ASCII characters with no space at the ends"


def is_field_value(secret: Secret) -> bool:
    """Tell whether a text may stand in a header field (RFC 9110 section 5.5): anything else could begin another field."""
    text = secret.reveal()
    return text.isascii() and text.isprintable() and text == text.strip()


def read_bearer_names(value: object) -> tuple[str, ...]:
    """Check the names by which a provider calls a bearer token.

    Args:
        value: An iterable of names, or ``None`` for none.

    Raises:
        ConfigError: Where it is none, a name is no text, or is that of a token which is no bearer token.
    """
    if value is None:
        return ()
    option, expected = "accept_token_types", 'a list of names, such as ("BearerToken",)'
    if isinstance(value, str):
        raise ConfigError(f"expected {expected}, got one text; put it into a tuple", (option,))
    names = tuple(read_text(one, option) for one in _texts(value, option, expected))
    for name in names:
        if name.lower() in _NOT_BEARER:
            raise ConfigError(f"{name!r} is no other name of a bearer token; {_NOT_BEARER[name.lower()]}", (option,))
    return names


_NOT_BEARER = {
    "dpop": "a DPoP token is of no use as one: give the credentials a key with dpop",
    "n_a": "it says that the token is no access token (RFC 8693 section 2.2.1): use requested_token_type",
}


def read_body(value: object) -> Literal["form", "json"]:
    """Check how parameters are sent.

    Args:
        value: ``"form"``, ``"json"``, or ``None`` for a form.

    Raises:
        ConfigError: Where it is something else.
    """
    if value is None or value == "form":
        return "form"
    if value == "json":
        return "json"
    raise ConfigError(f"expected 'form' or 'json', got {value!r}", ("body",))


def from_mapping(
    kind: Callable[..., Built], value: Mapping[Any, Any], name: str, needed: str, known: Iterable[str]
) -> Built:
    """Build an option's value from a mapping, which is how a configuration file writes it.

    Args:
        kind: What to build; it takes ``needed`` first, the others by name.
        value: The mapping.
        name: The option, for the error's message.
        needed: The one argument that must be there.
        known: All arguments.

    Raises:
        ConfigError: Where a name is unknown or missing. The message shows no value.
    """
    unknown = sorted(str(one) for one in value if one not in known)
    if unknown or needed not in value:
        got = f"got {', '.join(unknown)}" if unknown else f"{needed} is missing"
        raise ConfigError(f"expected a mapping with {', '.join(known)}; {got}", (name,))
    return kind(value[needed], **{one: value[one] for one in value if one != needed})


def _texts(value: object, name: str, expected: str) -> tuple[Any, ...]:
    if not isinstance(value, Iterable) or isinstance(value, (bytes, bytearray, Mapping)):
        raise ConfigError(f"expected {expected}, got {type(value).__name__}", (name,))
    return tuple(value)
