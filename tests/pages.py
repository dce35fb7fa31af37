"""The pages that users read: where they are, their sections, their blocks of code. A page is named by its path in a clone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import oidc_actor

ROOT = Path(__file__).parents[1]
PAGES = (
    "README.md",
    "oidc_actor/README.md",
    "oidc_actor/adapters/README.md",
    "oidc_actor/adapters/MCP.md",
    "oidc_actor/credentials/README.md",
    "oidc_actor/metrics/README.md",
    "oidc_actor/sharing/README.md",
    "oidc_actor/sidecar/README.md",
    "supervision/README.md",
    "supervision/EXISTING.md",
    "supervision/observer/README.md",
    "tests/README.md",
    "tests/bench/README.md",
    "tests/bench/PEERS.md",
    "tests/otp/README.md",
    "tests/pykka_suite/README.md",
)
HEADING = re.compile(r"^(#{1,6}) (.+)$", flags=re.MULTILINE)
FENCED = re.compile(r"^```(?P<language>\S*)\n(?P<text>.*?)^```$", flags=re.MULTILINE | re.DOTALL)
MARKER = re.compile(r"<!-- ([a-z-]+)(?:: (\S+))? -->\n\Z")


@dataclass(frozen=True, slots=True)
class Block:
    """A block of code, and the comment before it: `<!-- kind: target -->`."""

    page: str
    line: int
    language: str
    text: str
    kind: str
    target: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def place(name: str) -> Path:
    """Where a file of a clone is. The packages may be installed, and then bring their pages with them."""
    home = Path(oidc_actor.__file__).parents[1] if name.split("/")[0] in {"oidc_actor", "supervision"} else ROOT
    return home / name


def read(page: str) -> str:
    return place(page).read_text(encoding="utf-8")


def section(page: str, heading: str) -> str:
    """The text below a heading, to the next heading of its rank."""
    text = read(page)
    (found,) = [one for one in HEADING.finditer(text) if one[2] == heading]
    end = re.search(rf"^#{{1,{len(found[1])}}} ", text[found.end() :], flags=re.MULTILINE)
    return text[found.end() : found.end() + end.start() if end else None]


def blocks(page: str) -> list[Block]:
    text = read(page)
    found = []
    for one in FENCED.finditer(text):
        marker = MARKER.search(text[: one.start()])
        kind, target = (marker[1], marker[2] or "") if marker else ("", "")
        found.append(Block(page, text[: one.start()].count("\n") + 1, one["language"], one["text"], kind, target))
    return found


def anchors(text: str) -> list[str]:
    """The anchors that GitHub makes of a page's headings, in order."""
    names: list[str] = []
    for _, heading in HEADING.findall(FENCED.sub("", text)):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        name = re.sub(r"[^\w\- ]", "", words.lower()).replace(" ", "-")
        again = sum(1 for other in names if re.fullmatch(rf"{re.escape(name)}(-\d+)?", other))
        names.append(f"{name}-{again}" if again else name)
    return names


def sentences(page: str) -> Iterator[str]:
    """Its sentences, in paragraphs, lists and the cells of tables; a piece of code counts as one word."""
    text = re.sub(r"^#.*$|<!--.*?-->", "", FENCED.sub("\n\n", read(page)), flags=re.MULTILINE)
    for paragraph in re.split(r"\n\s*\n|\n(?=\s*(?:[-*|]|\d+\.) |\|)", text):
        for cell in paragraph.strip("| \n").split(" | "):
            plain = re.sub(r"\]\([^)]*\)", "]", re.sub(r"`[^`]*`", "`code`", " ".join(cell.split())))
            yield from re.split(r"(?<=[.;:?!])\s+", plain)
