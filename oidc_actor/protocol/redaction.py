"""Texts of the provider made fit to be shown: without the secrets of the exchange, without control characters, short.

Only what the provider wrote comes here, never a word of ours: the place that a redaction leaves in a text which the reader knows
tells the secret. For the same reason a provider's text is not shown at all where a secret can be guessed from such a place.
"""

from __future__ import annotations

import base64
from collections.abc import Collection, Iterable, Iterator

from oidc_actor.protocol.unescaping import Layer, bare, layers
from oidc_actor.values.secrets import Secret

MARK = "***"
LONGEST_TEXT = 500
"""How much of a provider's text is kept, in characters."""
WITHHELD = "(withheld: a secret is short)"
"""Stands for a provider's text beside a secret that `is_guessable`."""
TOO_DEEP = "(withheld: escaped too often)"
"""Stands for a provider's text that is escaped more often than is looked at."""

_SHORTEST = 7
_LONGEST_WORD = 11
_LOOKED_AT = 4096  # characters of a provider's text that may be shown, before they are redacted
_LONGEST_ESCAPE = 32  # how much longer than itself a secret may be when it is escaped


def is_guessable(secret: str) -> bool:
    """Tell whether a secret could be told from the place that it leaves in a text that is known.

    Args:
        secret: The secret's text.

    Returns:
        Whether it has fewer than 7 characters besides spaces and quotes, or is a word: up to 11 letters and nothing else.
    """
    is_word = secret.isascii() and secret.isalpha() and len(secret) <= _LONGEST_WORD
    return is_word or len(bare(secret)) < _SHORTEST


def redact(text: str, secrets: Iterable[Secret]) -> str:
    """Take secrets out of a text, however an answer escapes, breaks or quotes them.

    Args:
        text: The text.
        secrets: What must not be in it.

    Returns:
        The text with a mark in place of each; `TOO_DEEP` where it is escaped too often to say.
    """
    return _redacted(text, secrets, len(text))


def presentable(text: str, secrets: Collection[Secret]) -> str:
    """Make a provider's text fit for a log line: redacted first, so that no cut leaves half a secret.

    Args:
        text: The text.
        secrets: What must not be in it.

    Returns:
        One line of at most `LONGEST_TEXT` characters; `WITHHELD` beside a secret that could be guessed.
    """
    if any(is_guessable(secret.reveal()) for secret in secrets):
        return WITHHELD
    # Of a text of any length only as much is read as may be shown, and a secret that begins there may be long.
    reach = _LONGEST_ESCAPE * max((len(secret.reveal()) for secret in secrets), default=0)
    redacted = _redacted(text[: _LOOKED_AT + reach], secrets, _LOOKED_AT)
    if redacted == TOO_DEEP:
        return TOO_DEEP
    line = " ".join("".join(one if one.isprintable() else " " for one in redacted).split())
    return line if len(line) <= LONGEST_TEXT and len(text) <= _LOOKED_AT else line[:LONGEST_TEXT] + "..."


def _redacted(text: str, secrets: Iterable[Secret], shown: int) -> str:
    """Redact what begins within the first so many characters, and leave out what begins behind them."""
    needles = {layer.text for secret in secrets for form in _forms(secret.reveal()) for layer in layers(form) if layer}
    needles = {needle for needle in needles if needle.strip()}
    if not needles:
        return text[:shown]
    spans: list[tuple[int, int]] = []
    for layer in layers(text):
        if layer is None:
            return TOO_DEEP
        spans += (span for needle in needles for span in _places(layer, needle))
    pieces: list[str] = []
    done = 0
    for begin, end in sorted(spans, key=lambda span: (span[0], -span[1])):
        if done <= begin < shown:
            pieces += (text[done:begin], MARK)
        if begin < shown:
            done = max(done, end)
    return "".join([*pieces, text[done:shown]])


def _forms(secret: str) -> set[str]:
    encoded = secret.encode()
    padded = {base64.b64encode(encoded).decode(), base64.urlsafe_b64encode(encoded).decode()}
    return {secret} | padded | {one.rstrip("=") for one in padded}


def _places(layer: Layer, needle: str) -> Iterator[tuple[int, int]]:
    """Where a secret is, as places in the text that was given."""
    at = layer.text.find(needle)
    while at >= 0:
        yield layer.starts[at], layer.ends[at + len(needle) - 1]
        at = layer.text.find(needle, at + len(needle))
