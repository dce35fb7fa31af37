"""Texts of the provider made fit to be shown: without the secrets of the request, without control characters, short.

Only what the provider wrote comes here, never a word of ours: the place that a redaction leaves in a text which the reader knows
tells the secret. For the same reason a provider's text is not shown at all where a secret can be guessed from such a place.

A secret is searched for in the text without its escapes, with a note of where each character came from (`layers`). One reading
takes back one layer of JSON's, Python's, percent, XML's and HTML's escapes.
"""

from __future__ import annotations

import base64
import re
import sys
from array import array
from collections.abc import Callable, Collection, Iterable, Iterator
from functools import cache

from oidc_actor.values.secrets import Sealed, Secret, put
from supervision.runtime.lazy_imports import fork_waits

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
    redacted = redact(text[: _LOOKED_AT + reach], secrets, _LOOKED_AT)
    if redacted == TOO_DEEP:
        return TOO_DEEP
    line = " ".join("".join(one if one.isprintable() else " " for one in redacted).split())
    return line if len(line) <= LONGEST_TEXT and len(text) <= _LOOKED_AT else line[:LONGEST_TEXT] + "..."


def redact(text: str, secrets: Iterable[Secret], shown: int | None = None) -> str:
    """Take secrets out of a text, however a response escapes, breaks or quotes them.

    Args:
        text: The text.
        secrets: What must not be in it.
        shown: How many characters are looked at; what begins behind them is left out. ``None`` for all.

    Returns:
        The text with a mark in place of each; `TOO_DEEP` where it is escaped too often to say.
    """
    shown = len(text) if shown is None else shown
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


MOST_LAYERS = 16
"""How often a text is read. Each reading is linear in the text's length."""

_HEX = "[0-9A-Fa-f]"

_END = r"(?: ; | (?! [\s\\%&] ) )"  # of an entity; browsers need no semicolon, but a line may have been broken before the rest


@cache
def _escapes() -> re.Pattern[str]:
    """What languages and formats write for a character; compiled at the first error that is shown."""
    return re.compile(
        rf"""
      (?: \\u+ | %u ) (?P<unit> {_HEX}{{4}} )                  # JSON, Java, JavaScript's escape()
    | \\U (?P<point> {_HEX}{{8}} )                             # Python
    | (?: \\x | % ) (?P<byte> {_HEX}{{2}} )                    # Python, URLs
    | \\[ux] \{{ 0* (?P<braced> {_HEX}{{1,6}} ) \}}            # JavaScript, PHP, Perl
    | &\#[xX] 0* (?P<entity> {_HEX}{{1,6}}+ ) {_END}
    | &\# 0* (?P<decimal> [0-9]{{1,7}}+ ) {_END}
    | \\ (?P<octal> [0-3][0-7]{{2}} )
    | (?P<named> & [A-Za-z][A-Za-z0-9]{{1,31}}+ {_END} )
    | \\ (?P<plain> . )
    # What is left where UTF-8 was escaped byte by byte, or a character beyond U+FFFF half by half.
    | (?P<utf8> [\xc2-\xdf][\x80-\xbf] | [\xe0-\xef][\x80-\xbf]{{2}} | [\xf0-\xf4][\x80-\xbf]{{3}} )
    | (?P<pair> [\ud800-\udbff][\udc00-\udfff] )
    """,
        re.VERBOSE | re.DOTALL,
    )


_BREAK = re.compile(r"[ \t\r\n]+")

_DROPPED = re.compile(r"""[\s+\\"'`\x00-\x1f\x7f-\x9f\xad\u200b-\u200f\u2028-\u202e\u2060-\u2064\ufeff]+""")
"""What a template, a form or a language's quotes put in, take away or change: spaces of all kinds, and quotes."""


class Layer(Sealed):
    """A text as one reading left it. It may be a secret, and has no printable form.

    Attributes:
        text: The text.
        starts: For each of its characters, where it begins in the text that was given.
        ends: For each of its characters, where it ends there.
    """

    __slots__ = ("ends", "starts", "text")
    text: str
    starts: array[int]
    ends: array[int]

    def __init__(self, text: str, starts: array[int], ends: array[int]) -> None:
        put(self, text=text, starts=starts, ends=ends)

    def __repr__(self) -> str:
        return f"Layer({len(self.text)} characters)"


def layers(text: str) -> Iterator[Layer | None]:
    """Read a text, layer by layer, twice: with the line breaks between its escapes, and without those that are within one.

    Args:
        text: The text.

    Yields:
        The text as it is; after each layer; without spaces and quotes; and after each layer that only came out then. ``None``
        comes last where there are more than `MOST_LAYERS`.
    """
    for steps in ((_unescaped, _stripped), (_joined, _unescaped, _stripped)):
        layer = Layer(text, array("l", range(len(text))), array("l", range(1, len(text) + 1)))
        yield layer
        for _ in range(MOST_LAYERS):
            following = next((done for step in steps if (done := step(layer)) is not None), None)
            if following is None:
                break
            yield (layer := following)
        else:
            yield None


def bare(text: str) -> str:
    """Return what is left of a text when all of it is taken back."""
    *_, last = (layer for layer in layers(text) if layer is not None)
    return last.text


def _unescaped(layer: Layer) -> Layer | None:
    return _replaced(layer, _escapes(), _meaning)


def _joined(layer: Layer) -> Layer | None:
    return _replaced(layer, _BREAK, lambda found: "")


def _stripped(layer: Layer) -> Layer | None:
    return _replaced(layer, _DROPPED, lambda found: "")


def _replaced(layer: Layer, pattern: re.Pattern[str], meaning: Callable[[re.Match[str]], str]) -> Layer | None:
    """Put a meaning in the place of each match; ``None`` where that changes nothing."""
    pieces: list[str] = []
    starts, ends = array("l"), array("l")
    done = 0
    for found in pattern.finditer(layer.text):
        meant, (begin, end) = meaning(found), found.span()
        if meant == found[0]:
            continue
        pieces += (layer.text[done:begin], meant)
        starts += layer.starts[done:begin] + array("l", [layer.starts[begin]] * len(meant))
        ends += layer.ends[done:begin] + array("l", [layer.ends[end - 1]] * len(meant))
        done = end
    if not pieces:
        return None
    pieces.append(layer.text[done:])
    return Layer("".join(pieces), starts + layer.starts[done:], ends + layer.ends[done:])


def _entity(text: str) -> str:
    # Its table takes longer to load than this module, for an error's text with a named entity alone.
    with fork_waits():
        import html
    return html.unescape(text)


def _meaning(found: re.Match[str]) -> str:
    kind, text = str(found.lastgroup), str(found[str(found.lastgroup)])
    match kind:
        case "named":
            return _entity(text)
        case "plain":
            return " " if text in "abefnrtv" else text
        case "utf8":
            return text.encode("latin-1").decode("utf-8", "replace")
        case "pair":
            return text.encode("utf-16", "surrogatepass").decode("utf-16")
        case _:
            point = int(text, {"decimal": 10, "octal": 8}.get(kind, 16))
            return chr(point) if point <= sys.maxunicode else found[0]
