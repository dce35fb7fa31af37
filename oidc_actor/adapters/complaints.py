"""How often a refusal is worth a new token: once, until the one who refused accepts a token again. Pure."""

from __future__ import annotations

from oidc_actor.secrets import fingerprint

_MOST_PLACES = 256


class Complaints:
    """Remembers which origins have refused a token and have accepted none since.

    A hundred threads that were refused the same token complain about the same token, so each of them may. But an origin that
    refuses what came in its place as well (a wrong audience, a clock that is off) would cost the provider a request for each
    call, for ever. One object serves any number of threads: each method is one operation on a dictionary, or harmless when
    two threads interleave (a complaint too many).
    """

    __slots__ = ("_refused",)

    def __init__(self) -> None:
        self._refused: dict[str, str] = {}  # by origin, the fingerprint of what was replaced for it

    def admit(self, origin: str, sent: str) -> bool:
        """Tell whether to complain about a token.

        Args:
            origin: Who refused it.
            sent: The header's value that had it.

        Returns:
            ``False`` where the origin has refused another token before and accepted none since.
        """
        if len(self._refused) >= _MOST_PLACES:
            self._refused.clear()
        mark = fingerprint(sent)
        return self._refused.setdefault(origin, mark) == mark

    @property
    def any(self) -> bool:
        """Whether any origin has, so that what is accepted is worth noting."""
        return bool(self._refused)

    def accepted(self, origin: str) -> None:
        """Note that an origin has accepted a token."""
        self._refused.pop(origin, None)
