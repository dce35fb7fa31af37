"""A text without its escapes, in whatever language they were written, beside the places that each character came from.

One reading takes back one layer: JSON's escapes, Python's, percent escapes, XML's and HTML's. A text that was escaped several
times is read several times, until nothing is left to take back. So a secret is searched for, not the many forms of it.
"""

from __future__ import annotations

import html
import re
import sys
from array import array
from collections.abc import Callable, Iterator

from oidc_actor.values.sealed import Sealed, put

MOST_LAYERS = 16
"""How often a text is read. Each reading is linear in the text's length."""

_HEX = "[0-9A-Fa-f]"
_END = r"(?: ; | (?! [\s\\%&] ) )"  # of an entity; browsers need no semicolon, but a line may have been broken before the rest
_ESCAPE = re.compile(
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
    return _replaced(layer, _ESCAPE, _meaning)


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


def _meaning(found: re.Match[str]) -> str:
    kind, text = str(found.lastgroup), str(found[str(found.lastgroup)])
    match kind:
        case "named":
            return html.unescape(text)
        case "plain":
            return " " if text in "abefnrtv" else text
        case "utf8":
            return text.encode("latin-1").decode("utf-8", "replace")
        case "pair":
            return text.encode("utf-16", "surrogatepass").decode("utf-16")
        case _:
            point = int(text, {"decimal": 10, "octal": 8}.get(kind, 16))
            return chr(point) if point <= sys.maxunicode else found[0]
