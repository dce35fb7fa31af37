"""The parameters of a token request that a user may choose: scopes, audience, resource, and any further ones."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NoReturn, TypeAlias, TypeVar

from oidc_actor.values.errors import ConfigError
from oidc_actor.values.secrets import FrozenMapping, refuse_pickling

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
