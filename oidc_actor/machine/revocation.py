"""What is left to do when a manager has come to an orderly end: the provider takes its tokens back. Pure."""

from __future__ import annotations

from typing import TypeAlias

from oidc_actor.machine.effects import Revoke
from oidc_actor.machine.state import Rules, State
from oidc_actor.protocol.metadata import OIDCConfig
from oidc_actor.protocol.token_request import TokenTypeHint
from oidc_actor.values.secrets import Secret
from oidc_actor.values.tokens import TokenResponse

_Found: TypeAlias = tuple[Secret | None, TokenResponse | None]


def farewell(state: State, now: float, late: TokenResponse | None = None) -> list[Revoke]:
    """Say what is left to do once a manager has come to an orderly end and nobody reads its token any more.

    Args:
        state: What it knew.
        now: Reading of its clock.
        late: A token that had arrived and that it had not taken yet.

    Returns:
        What to do. A token that was given to a forked child is the parent's to revoke, and a refresh token that the user
        configured is the user's.
    """
    found: list[_Found] = []
    if not state.borrowed:
        found.append((state.refresh_token, state.token if state.expires_at > now else None))
    if late is not None:
        found.append((_refresh_token_of(late), late))
    return _revocation(state.rules, state.flights, state.oidc_config, found)


def farewell_to_late(rules: Rules, flight: int, config: OIDCConfig, late: TokenResponse) -> list[Revoke]:
    """Say what is left to do with a token that arrives when its manager has come to an orderly end.

    Args:
        rules: The manager's.
        flight: Number of the flight that brought it.
        config: The provider's metadata.
        late: The token. The refresh token with it is new, or the one that was redeemed for it.

    Returns:
        What to do.
    """
    return _revocation(rules, flight, config, [(_refresh_token_of(late), late)])


def _revocation(rules: Rules, flight: int, config: OIDCConfig | None, found: list[_Found]) -> list[Revoke]:
    if not rules.revokes:
        return []
    refresh_tokens = [] if rules.own_refresh_token else [one for one, _ in found if one is not None]
    # First what new access tokens could be had with; one that does not rotate was found twice.
    tokens: list[tuple[TokenTypeHint, Secret]] = [("refresh_token", one) for one in dict.fromkeys(refresh_tokens)]
    tokens += [("access_token", Secret(one.access_token)) for _, one in found if one is not None]
    return [Revoke(flight, config, tuple(tokens))] if tokens else []


def _refresh_token_of(token: TokenResponse) -> Secret | None:
    return None if token.refresh_token is None else Secret(token.refresh_token)
