"""What can go wrong, as types that carry data: whose fault it is, whether a retry can help, and when."""

from __future__ import annotations

_NOT_ABOUT_THE_REFRESH_TOKEN = frozenset({"invalid_client", "temporarily_unavailable", "server_error", "slow_down"})


class OIDCActorError(Exception):
    """The root of every error this package raises on purpose."""

    @property
    def permanent(self) -> bool:
        """Whether something must change before a retry can succeed; what is unknown is transient."""
        return False


class ConfigError(OIDCActorError):
    """An option is wrong. Raised before anything starts; the message says what was expected, what came, and the fix.

    Attributes:
        option: The option to change, as a path from the outermost name: ``("issuer_url",)``, ``("auth", "client_id")``. Of two
            that exclude each other it is the one to drop. Empty where the error is about no option by name.
        problem: The message without the option's name, for a program that calls its options differently.
    """

    def __init__(self, problem: str = "", option: tuple[str, ...] = (), *, label: str | None = None) -> None:
        """Make the error.

        Args:
            problem: What was expected, what came, and the fix; shows no secret.
            option: As the attribute.
            label: How the message names the option; ``None`` for the names of its path.
        """
        self._label = ": ".join(option) if label is None else label
        super().__init__(f"{self._label}: {problem}" if self._label else problem)
        self.option = option
        self.problem = problem

    def within(self, outer: str, label: str | None = None) -> ConfigError:
        """Return the same error about an option that is itself part of another.

        Args:
            outer: The other option's name.
            label: How the message names it; ``None`` for its name.
        """
        labels = (outer if label is None else label, self._label)
        return ConfigError(self.problem, (outer, *self.option), label=": ".join(one for one in labels if one))


class NoTokenError(OIDCActorError):
    """No valid token could be had within the caller's deadline.

    Attributes:
        cause: The error of the last attempt, or ``None`` where none was made or it is still under way.
        retry_in_s: Seconds until the next attempt, or ``None`` where none is scheduled.
    """

    def __init__(self, message: str, *, cause: BaseException | None = None, retry_in_s: float | None = None) -> None:
        super().__init__(message)
        self.cause = cause
        self.retry_in_s = retry_in_s


class ProviderError(OIDCActorError):
    """A request to the provider failed; the common shape of `DiscoveryError` and `TokenRequestError`.

    Attributes:
        status: The HTTP status, or ``None`` where no response came.
        error: The OAuth error code (RFC 6749 section 5.2), or ``None`` where the body held none.
        error_description: The provider's text, redacted of every secret that was sent, or ``None``. Withheld where one of them
            is so short that its place in the text would tell it.
        retryable: Whether the same request may succeed later although nothing was changed.
        retry_after_s: Seconds the provider asked to wait (at most an hour), or ``None``.
        sent: Whether the provider may have seen the request; ``False`` where no connection was made.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        error: str | None = None,
        error_description: str | None = None,
        retryable: bool = True,
        retry_after_s: float | None = None,
        sent: bool = True,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.error = error
        self.error_description = error_description
        self.retryable = retryable
        self.retry_after_s = retry_after_s
        self.sent = sent

    @property
    def permanent(self) -> bool:
        """Whether something must change (a secret, a registration, a scope) before a retry can succeed."""
        return not self.retryable


class DiscoveryError(ProviderError):
    """The provider's metadata could not be had or cannot be trusted. Always retryable. It has `ProviderError`'s attributes."""


class TokenRequestError(ProviderError):
    """The token endpoint refused, answered nonsense, or could not be reached. It has `ProviderError`'s attributes."""


class SecretUnavailable(TokenRequestError):
    """A secret could not be read for a request (file missing, callable raised). Retryable; nothing was sent.

    Attributes:
        option: The option that names the secret, such as ``"client_secret"``; the message begins with it. Empty where none does.
    """

    def __init__(self, message: str, *, option: str = "", sent: bool = True) -> None:
        super().__init__(message, sent=sent)
        self.option = option


class IdentityProviderError(SecretUnavailable):
    """The first of the two steps of `IdentityAssertion` failed: the identity provider gave no statement to go on with.

    The authorization server, which the second step asks, has been sent nothing. It has `ProviderError`'s attributes, which speak
    of the identity provider here.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        error: str | None = None,
        error_description: str | None = None,
        retryable: bool = True,
        retry_after_s: float | None = None,
        sent: bool = True,
        option: str = "",
    ) -> None:
        super().__init__(message, option=option, sent=sent)
        self.status = status
        self.error = error
        self.error_description = error_description
        self.retryable = retryable
        self.retry_after_s = retry_after_s


class UnusableMetadata(TokenRequestError):
    """A member of the provider's metadata that a request needs cannot be used. Retryable; nothing was sent."""


class StoreError(OIDCActorError):
    """A store of shared tokens could not be asked, or what it answered cannot be read. Retryable; the text tells no secret.

    Attributes:
        sent: Whether the store may have carried out what it was asked.
    """

    def __init__(self, message: str, *, sent: bool = True) -> None:
        super().__init__(message)
        self.sent = sent


def refuses_refresh_token(error: BaseException) -> bool:
    """Say whether a failed refresh means that the refresh token is of no use, so that the full grant should follow.

    Args:
        error: What a request that redeemed a refresh token failed with.

    Returns:
        ``True`` where the provider responded, about the token or the grant; ``False`` where it was
        unreachable, overloaded, or does not know the client.
    """
    if not isinstance(error, ProviderError) or error.status is None:
        return False
    if error.status >= 500 or error.status in {408, 425, 429}:
        return False
    if error.error is not None:
        return error.error not in _NOT_ABOUT_THE_REFRESH_TOKEN
    return error.status in {400, 401, 403}
