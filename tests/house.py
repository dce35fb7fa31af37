"""Draw how the code is laid out, and how many rooms an event crosses: ``python tests/house.py [--layers | --trips | --files]``.

The layers come from the imports, as text. A trip is a story that a sentence can tell, played in this process with every
call on every thread traced; a file counts where one of its functions was entered.
"""

from __future__ import annotations

import argparse
import ast
import sys
import textwrap
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import Any

TESTS = Path(__file__).parent
ROOT = TESTS.parent
if not (ROOT / "supervision").is_dir():  # the tests run against an installed package
    ROOT = Path(str(find_spec("supervision").origin)).parents[1]  # type: ignore[union-attr]
PACKAGES = ("supervision", "oidc_actor")
DEADLINE_S = 10.0


# --- the imports ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Module:
    """One file.

    Attributes:
        name: Its dotted name; a package's is that of its folder.
        lines: How many lines it has.
        code: How many of them are code: neither blank, nor a comment, nor part of a docstring.
        imports: Modules of ours that it imports, at whatever place; not those for type checkers only.
        foreign: Modules of others that it imports.
    """

    name: str
    lines: int
    code: int
    imports: frozenset[str] = field(default_factory=frozenset)
    foreign: frozenset[str] = field(default_factory=frozenset)


@cache
def modules() -> dict[str, Module]:
    """Every module of both packages, by its name."""
    paths = {dotted(path): path for package in PACKAGES for path in (ROOT / package).rglob("*.py")}
    found = {}
    for name, path in paths.items():
        tree = ast.parse(path.read_text())
        imported = set(_imported(tree)) - {name}
        ours = {one for one in imported if one in paths}
        foreign = {one for one in imported - ours if one.split(".")[0] not in PACKAGES}
        lines = path.read_text().splitlines()
        found[name] = Module(name, len(lines), count_code(path), frozenset(ours), frozenset(foreign))
    return found


def room(name: str) -> str:
    """What a module belongs to: a folder of a package with all below it; a file beside those is a room of its own."""
    parts = name.split(".")
    return ".".join(parts[:2]) if (ROOT / Path(*parts[:2])).is_dir() else name


def dotted(path: Path) -> str:
    """The dotted name of a file of ours."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def count_code(path: Path) -> int:
    """Lines of code: neither blank, nor a comment, nor part of a docstring."""
    text = path.read_text()
    prose: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            prose |= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    lines = enumerate(text.splitlines(), 1)
    return sum(1 for number, line in lines if number not in prose and line.strip() and not line.strip().startswith("#"))


def _imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        match node:
            case ast.Import():
                yield from (alias.name for alias in node.names)
            case ast.ImportFrom(module=str(module), names=[_, *_]):
                names = [f"{module}.{alias.name}" for alias in node.names]
                inner = [name for name in names if name in _all_names()]
                yield from inner or [module]
            case ast.If() if "TYPE_CHECKING" in ast.dump(node.test):
                for statement in ast.walk(node):
                    if isinstance(statement, (ast.Import, ast.ImportFrom)):
                        statement.names = []


@cache
def _all_names() -> frozenset[str]:
    return frozenset(dotted(path) for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def rooms() -> dict[str, set[str]]:
    """Each room, and the rooms that its modules import."""
    found: dict[str, set[str]] = defaultdict(set)
    for module in modules().values():
        found[room(module.name)] |= {room(name) for name in module.imports} - {room(module.name)}
    return dict(found)


def knots(arrows: dict[str, set[str]]) -> list[set[str]]:
    """Sets of nodes that reach each other: what is in a circle."""
    reached = {node: _reach(node, arrows) for node in arrows}
    found: list[set[str]] = []
    for node in sorted(arrows):
        knot = {other for other in reached[node] if node in reached.get(other, ())}
        if knot and knot not in found:
            found.append(knot)
    return found


def _reach(node: str, arrows: dict[str, set[str]]) -> set[str]:
    seen: set[str] = set()
    waiting = [node]
    while waiting:
        for other in arrows.get(waiting.pop(), ()):
            if other not in seen:
                seen.add(other)
                waiting.append(other)
    return seen


def floors(arrows: dict[str, set[str]]) -> dict[str, int]:
    """On which floor each node is: one above the highest that it imports. All of a circle are on one floor."""
    knotted = {node: frozenset(knot) for knot in knots(arrows) for node in knot}
    together = {node: knotted.get(node, frozenset([node])) for node in arrows}

    @cache
    def floor(nodes: frozenset[str]) -> int:
        below = {together.get(other, frozenset([other])) for node in nodes for other in arrows.get(node, ())} - {nodes}
        return 1 + max((floor(one) for one in below), default=0)

    return {node: floor(together[node]) for node in arrows}


def longest_chain() -> list[str]:
    """The longest way along imports, without going round in a circle."""
    arrows = {name: set(module.imports) for name, module in modules().items()}
    knotted = {node: frozenset(knot) for knot in knots(arrows) for node in knot}

    @cache
    def chain(name: str) -> tuple[str, ...]:
        below = [chain(one) for one in sorted(arrows[name]) if one not in knotted.get(name, ())]
        return (name, *max(below, key=len, default=()))

    return list(max((chain(name) for name in arrows), key=len))


# --- the trips --------------------------------------------------------------------------------------------------------


class Trace:
    """What was entered, on all threads, from one moment on."""

    def __init__(self) -> None:
        self.files: set[Path] = set()
        self.crossings = 0  # calls from a function of ours in one folder to one in another
        self.is_on = False

    def install(self) -> None:
        """Trace this thread and all that start later."""
        threading.setprofile(self._called)
        sys.setprofile(self._called)

    def _called(self, frame: FrameType, event: str, _: Any) -> None:
        if event != "call" or not self.is_on or frame.f_code.co_name == "<module>":
            return
        entered = _of_ours(frame)
        if entered is None:
            return
        self.files.add(entered)
        caller = frame.f_back
        came_from = None if caller is None else _of_ours(caller)
        if came_from is not None and came_from.parent != entered.parent:
            self.crossings += 1


_MAKES_VALUES = {ROOT / "supervision" / "frozen.py"}
"""The comparisons of values, which count as little as those of `dataclasses`."""


@cache
def _path_of_ours(name: str) -> Path | None:
    path = Path(name)
    return path if any((ROOT / package) in path.parents for package in PACKAGES) and path not in _MAKES_VALUES else None


def _of_ours(frame: FrameType) -> Path | None:
    return _path_of_ours(frame.f_code.co_filename)


@dataclass(frozen=True)
class Trip:
    """One story: the files that it entered, and how often it crossed from folder to folder."""

    story: str
    entered: tuple[str, ...]  # from the folder of the packages
    crossings: int

    @property
    def folders(self) -> int:
        return len({Path(name).parent for name in self.entered})

    @property
    def lines(self) -> int:
        return sum(len((ROOT / name).read_text().splitlines()) for name in self.entered)


def play(trace: Trace, story: str, tell: Callable[[], object], until: Callable[[], bool] | None = None) -> Trip:
    """Tell a story and see what it enters, also on other threads until nothing of it is left."""
    trace.files, trace.crossings, trace.is_on = set(), 0, True
    try:
        tell()
        ends_at = time.monotonic() + DEADLINE_S
        while until is not None and not until():
            if time.monotonic() > ends_at:
                raise TimeoutError(f"{story}: it has not come to its end within {DEADLINE_S:g} s")
            threading.Event().wait(0.01)
    finally:
        trace.is_on = False
    return Trip(story, tuple(sorted(str(path.relative_to(ROOT)) for path in trace.files)), trace.crossings)


def trips() -> list[Trip]:
    """The stories of the first page, each played once, after everything has been imported."""
    sys.path[:0] = [str(ROOT), str(TESTS)]
    from fakes import AUTH, ISSUER, ScriptedTransport

    import supervision
    from oidc_actor import TokenManager
    from oidc_actor.testing import MemoryStore
    from supervision import Server, Supervisor

    class Echo(Server):
        def on_receive(self, message: object) -> object:
            return message

    options: dict[str, Any] = {"auth": AUTH, "issuer_url": ISSUER, "min_interval_seconds": 0}

    def rehearse() -> None:  # what is imported at the first use is imported before anything counts
        ref = TokenManager.start_link(**options, transport=ScriptedTransport())
        token = TokenManager.get_access_token(ref)
        TokenManager.force_refresh(ref, rejected=token, wait=True)
        TokenManager.stop(ref)

    trace = Trace()
    trace.install()
    rehearse()
    found = []
    spec = TokenManager.child_spec(**options, name="trip", transport=ScriptedTransport())

    def start_and_wait() -> None:
        Supervisor.start_link([spec], name="trips")
        TokenManager.get_token("trip")

    found.append(play(trace, "a manager starts under a supervisor, and get_token waits", start_and_wait))
    read = TokenManager.source("trip")
    read()
    found.append(play(trace, "a read while a token lives", read))
    TokenManager.start_link(**options, name="shared", transport=ScriptedTransport(), store=MemoryStore())
    shared = TokenManager.source("shared")
    shared()
    found.append(play(trace, "a read while a shared token lives", shared))
    TokenManager.stop("shared")
    token = read()
    reject = lambda: TokenManager.force_refresh("trip", rejected=token, wait=True)  # noqa: E731
    found.append(play(trace, "a rejected token (401)", reject))
    first = supervision.whereis("trip")
    assert first is not None

    def is_back() -> bool:
        ref = supervision.whereis("trip")
        return ref is not None and ref is not first and TokenManager.health("trip").ready

    found.append(play(trace, "kill, restart, adopt", lambda: supervision.kill(first), is_back))
    gate = threading.Event()
    scripted = ScriptedTransport()
    held = TokenManager.start_link(**options, transport=lambda request: gate.wait(DEADLINE_S) and scripted(request))

    def wait() -> None:
        threading.Timer(0.05, gate.set).start()
        TokenManager.get_token(held)

    found.append(play(trace, "get_token waits for the request under way", wait))
    TokenManager.stop(held)
    Supervisor.stop("trips")

    def serve() -> None:
        ref = Echo.start_link()
        assert supervision.call(ref, "hello") == "hello"
        supervision.stop(ref)

    found.append(play(trace, "a bare Server: start, call, stop", serve))
    sys.setprofile(None)
    threading.setprofile(None)
    return found


# --- what is printed --------------------------------------------------------------------------------------------------


WIDTH = 120


def print_layers() -> None:
    """One line a room, the highest floor first; then circles and the longest chain of imports."""
    arrows = rooms()
    levels = floors(arrows)
    print("A folder or a file of a package's root is a room; it stands one floor above the highest that it imports.\n")
    print(
        f"{'floor':>5}  {'room':30} {'files':>5} {'lines':>6} {'code':>6}  imports (without the name of its own package)"
    )
    for name in sorted(arrows, key=lambda one: (-levels[one], one)):
        inside = [module for module in modules().values() if room(module.name) == name]
        start = f"{levels[name]:>5}  {name:30} {len(inside):>5} {_lines(inside):>6} {_code(inside):>6}  "
        below = " ".join(_near(one, name) for one in sorted(arrows[name]))
        print(textwrap.fill(start + below, WIDTH, subsequent_indent=" " * len(start), break_on_hyphens=False))
    print()
    for package in (*PACKAGES, ""):
        inside = [module for module in modules().values() if module.name.startswith(package)]
        print(f"{package or 'both':12} {len(inside):>4} modules {_lines(inside):>6} lines {_code(inside):>6} of code")
    print(f"{sum(len(one) for one in arrows.values())} arrows between {len(arrows)} rooms")
    for knot in knots(arrows):
        print(f"circle: {', '.join(sorted(knot))}")
    chain = longest_chain()
    print(textwrap.fill(f"longest chain of imports, {len(chain)} modules: {' > '.join(chain)}", WIDTH), "\n", sep="")


def _lines(inside: list[Module]) -> int:
    return sum(one.lines for one in inside)


def _code(inside: list[Module]) -> int:
    return sum(one.code for one in inside)


def _near(other: str, name: str) -> str:
    package = name.split(".")[0] + "."
    return other.removeprefix(package)


def print_trips(with_files: bool) -> None:
    """One line a story, and a line for each folder in which it entered files."""
    print(
        "What a story enters, on all threads: files, their folders and lines; and calls that cross from folder to folder.\n"
    )
    print(f"{'story':58} {'files':>5} {'folders':>7} {'lines':>6} {'crossings':>9}")
    for trip in trips():
        print(f"{trip.story:58} {len(trip.entered):>5} {trip.folders:>7} {trip.lines:>6} {trip.crossings:>9}")
        paths = [Path(name) for name in trip.entered]
        for folder in sorted({path.parent for path in paths} if with_files else ()):
            print(f"    {folder}: {' '.join(path.stem for path in paths if path.parent == folder)}")


def main() -> None:
    """Print both pictures, or the one that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", action="store_true", help="folders, their files and lines, and what they import")
    parser.add_argument("--trips", action="store_true", help="how many files and folders each story enters")
    parser.add_argument("--files", action="store_true", help="the trips, with the files that each story enters")
    chosen = parser.parse_args()
    has_trips = chosen.trips or chosen.files
    if chosen.layers or not has_trips:
        print_layers()
    if has_trips or not chosen.layers:
        print_trips(chosen.files)


if __name__ == "__main__":
    main()
