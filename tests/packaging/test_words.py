"""One word for each thing, the field's own: what words the code must not use, and what it says instead.

The words that it does use, and what they mean, are in the table of .github/design/layout.md 2.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
from house import PACKAGES, ROOT


@dataclass(frozen=True)
class Old:
    """A word that went.

    Attributes:
        pattern: The word as a regular expression, which is matched against lower case; names come as words, ``ClientProof``
            and ``client_proof`` as "client proof".
        say: What to say instead.
        but: What may be said although the word is in it, as a regular expression.
        because: Why that may be said.
        within: Only files whose path begins so.
        only_names: It is a good word in a sentence, only no name.
    """

    pattern: str
    say: str
    but: str = r"(?!)"
    because: str = ""
    within: str = ""
    only_names: bool = False


OLD = [
    # --- the manager and its machine
    Old(r"keepers?", "the manager's callbacks"),
    Old(r"runners?", "effect handler", r"has the runner", "a runner of GitHub's"),
    Old(
        r"flights?",
        "attempt",
        r"single flight|flights? joined|`+flight`+|flight: |^flight$",
        "the promise; the metric and the field of log events are public",
    ),
    Old(r"legs?", "request"),
    Old(r"(take|takes|taking|took|taken) off", "an attempt begins"),
    Old(r"land(s|ed|ing)?", "an attempt ends"),
    Old(r"journeys?|travellers?", "discovery, and its subscribers"),
    Old(r"outages?", "circuit breaker", only_names=True, within="oidc_actor/ma"),
    Old(r"probers?", "the manager that makes the half-open probe"),
    Old(r"admits?|admitted|admissions?", "allow"),
    Old(r"released", "the circuit breaker has closed", only_names=True, within="oidc_actor/ma"),
    Old(r"paces?", "rate limit", only_names=True, within="oidc_actor/ma"),
    Old(r"retract\w*|withdraw\w*|complain\w*", "reject", within="oidc_actor/"),
    Old(r"farewells?", "revocation on stop"),
    Old(r"nudge\w*|newcomers?", "check now; waiters arrived"),
    # --- requests and answers
    Old(
        r"exchang\w*",
        "request a token",
        r"tokens? exchanges?|^(wait for )?exchanges$",
        "RFC 8693's; FaultProxy's public names",
    ),
    Old(r"convers\w*", "send"),
    Old(r"turns?", "request", only_names=True, within="oidc_actor/e"),
    Old(r"means", "client authentication", only_names=True),
    Old(r"proving|client proofs?|proof tables?", "client authentication"),
    Old(r"wire", "token response, metadata, the connection"),
    Old(r"header times?", "HTTP dates, clock skew"),
    Old(r"finders?", "secret source"),
    Old(
        r"(token )?places|posts?",
        "secret references, token file paths, routes",
        r"post init",
        "dataclasses'",
        only_names=True,
        within="oidc_actor/sidecar",
    ),
    # --- supervision
    Old(r"life|lives|offspring", "process", only_names=True, within="supervision/"),
    Old(r"depart\w*", "leave; terminate_child"),
    Old(r"(?<!after in )parents?", "supervisor", only_names=True, within="supervision/"),  # but `os.register_at_fork`
    Old(r"tether\w*", "one-way link"),
    Old(r"alarms?", "timer"),
    Old(r"rosters?", "Pykka's registry"),
    Old(r"telling|audiences?", "exit notification", within="supervision/"),
    Old(r"foreign", "user callback", only_names=True, within="supervision/"),
    Old(r"prospects?|heirs?|given up", "succession, successor", within="supervision/"),
    Old(r"bystanders?", "a child that ends for a restart"),
    Old(r"settle[sd]?|see off|sees off|send away", "join, await exit, request exit", within="supervision/"),
    Old(r"launch\w*", "start handshake", within="supervision/"),
]


@dataclass(frozen=True)
class Said:
    """A name, a comment or a docstring: where it comes first, how often, and its words in lower case."""

    line: int
    count: int
    is_name: bool
    words: str


@cache
def said(path: Path) -> list[Said]:
    """All that a file says in names, comments and docstrings."""
    text = path.read_text()
    docstrings = {
        node.lineno
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    }
    names: dict[str, list[int]] = {}
    found = []
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.NAME:
            names.setdefault(token.string, []).append(token.start[0])
        elif token.type == tokenize.COMMENT or (token.type == tokenize.STRING and token.start[0] in docstrings):
            found.append(Said(token.start[0], 1, False, re.sub(r"\s*\n\s*", " ", words_of(token.string))))
    return found + [Said(lines[0], len(lines), True, words_of(name)) for name, lines in names.items()]


def words_of(text: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|_", " ", text).lower()


def uses(old: Old, path: Path) -> list[str]:
    """Where a file uses the word: line and text, once for each time."""
    word, otherwise = re.compile(rf"\b(?:{old.pattern})\b"), re.compile(old.but)
    found = []
    for one in said(path):
        if (one.is_name or not old.only_names) and word.search(one.words):
            times = one.count * len(word.findall(otherwise.sub(" ", one.words)))
            found += [f"{path.relative_to(ROOT)}:{one.line}: {one.words[:80]}"] * times
    return found


def files(within: str) -> list[Path]:
    paths = (path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py")))
    return [path for path in paths if path.relative_to(ROOT).as_posix().startswith(within)]


@pytest.mark.parametrize("old", OLD, ids=lambda old: old.pattern)
def test_an_old_word_stays_away(old: Old) -> None:
    found = [use for path in files(old.within) for use in uses(old, path)]
    assert not found, f"say {old.say}:\n" + "\n".join(found)


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("first_flight = 1", 1),
        ("class FirstFlight: pass", 1),
        ('"""What a\n    flight is."""', 1),
        ("x = 1  # flights", 1),
        ("x = 'flight'", 0),
        ("single_flight = 1", 0),
    ],
)
def test_where_a_word_is_looked_for(code: str, found: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.py"
    path.write_text(code)
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    (flight,) = (old for old in OLD if old.pattern == "flights?")
    assert len(uses(flight, path)) == found
