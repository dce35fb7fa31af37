"""Gets Pykka's own suite, plays it in each variant, each in a process of its own, and compares the outcomes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tarfile
import time
import tomllib
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory

from packaging.requirements import Requirement
from packaging.version import Version
from pykka_suite.differences import certain, expected, name_of

import supervision

VARIANTS = {
    "imported": "`supervision` is imported, and its dictionary stands in the place of the registry's list",
    "monitored": "each actor is started by a supervisor's start callable and monitored from its start",
    "named": "each actor is started in that way, and its ref is `named(name)`",
    "server": "`Server` is the actor class",
    "server-thread": '`Server` is the actor class, with `runtime = "thread"`',
}
"""What each is. They are compared with ``alone``: Pykka without us."""

TESTS = Path(__file__).parents[1]
DOWNLOAD_TIMEOUT_S = 120.0
PLAY_TIMEOUT_S = 240.0
FEWEST_TESTS = 140
"""Pykka 4.0 has 148 tests."""


class NotToBeHad(Exception):
    """The suite could not be downloaded; the text says why."""


class BrokeOff(Exception):
    """The suite was not played to its end; the text says what it said last."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of one test: how it ended, and what it then said."""

    how: str
    shown: str


@dataclass(frozen=True, slots=True)
class Play:
    """One variant, played.

    Attributes:
        variant: which.
        outcomes: by the test's id.
        took_s: seconds.
        differs: the ids whose outcome is another one than that of Pykka alone.
        new: those of them that are not expected, or fail in another way than is expected.
        gone: the expected differences that are not there.
    """

    variant: str
    outcomes: Mapping[str, Outcome]
    took_s: float
    differs: tuple[str, ...]
    new: tuple[str, ...]
    gone: tuple[str, ...]

    @property
    def is_as_expected(self) -> bool:
        return not self.new and not self.gone


def installed_version() -> str:
    return metadata.version("pykka")


@dataclass(frozen=True, slots=True)
class Source:
    """A release as it is distributed.

    Attributes:
        folder: it has ``tests``.
        site: where it is installed, ``None`` for the Pykka that is installed here.
    """

    folder: Path
    site: Path | None


@contextmanager
def source(wanted: str) -> Iterator[Source]:
    """A release of Pykka, until the block ends.

    Args:
        wanted: a release, or a folder that is there already.

    Raises:
        NotToBeHad: it could not be downloaded, or not be installed.
    """
    with TemporaryDirectory() as scratch:
        folder = Path(wanted).resolve() if Path(wanted).is_dir() else _download(wanted, Path(scratch))
        if wanted == installed_version():
            yield Source(folder, None)
            return
        site = Path(scratch) / "site"
        _pip("install", "--no-deps", "--target", str(site), str(folder))
        yield Source(folder, site)


def _download(release: str, into: Path) -> Path:
    _pip("download", "--no-binary", ":all:", "--no-deps", "-d", str(into), f"pykka=={release}")
    (found,) = into.glob("*.tar.gz")
    with tarfile.open(found) as archive:
        archive.extractall(into, filter="data")
    return found.with_name(found.name.removesuffix(".tar.gz"))


def _pip(*arguments: str) -> str:
    what = f"pip {' '.join(arguments)}"
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pip", *arguments],
            capture_output=True, text=True, timeout=DOWNLOAD_TIMEOUT_S, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise NotToBeHad(f"{what}: not done within {DOWNLOAD_TIMEOUT_S:.0f} s") from None
    if done.returncode:
        raise NotToBeHad(f"{what}: {(done.stderr.splitlines() or ['no word'])[-1].strip()}")
    return done.stdout


def releases() -> list[str]:
    """Each release of Pykka that satisfies our bound, the oldest first.

    Raises:
        NotToBeHad: the index could not be asked.
    """
    project = tomllib.loads((TESTS.parent / "pyproject.toml").read_text())["project"]
    (bound,) = [one for one in map(Requirement, project["dependencies"]) if one.name == "pykka"]
    found = re.search(r"Available versions: (.*)", _pip("index", "versions", "pykka"))
    if found is None:
        raise NotToBeHad("pip index versions pykka: expected a line with the available versions")
    return sorted(bound.specifier.filter(found[1].split(", ")), key=Version)


def private_names(of: Source) -> tuple[bool, str]:
    """Whether the private names of that Pykka are as we take them, and what `pykka_suite.private_names` says of them.

    Raises:
        BrokeOff: it came to no end.
    """
    done = _run("private names", of, ["-m", "pykka_suite.private_names"], {}, cwd=TESTS)
    return done.returncode == 0, done.stdout.strip()


def play(of: Source, variants: tuple[str, ...]) -> list[Play]:
    """Play the suite in all of these variants at the same time.

    Args:
        of: what to play.
        variants: keys of ``VARIANTS``.

    Raises:
        BrokeOff: a variant came to no end, or played other tests than the others.
    """
    names = ("alone", *variants)
    with TemporaryDirectory() as scratch, ThreadPoolExecutor(len(names)) as pool:
        done = list(pool.map(lambda name: _play(of, name, Path(scratch) / name), names))
    alone = done[0][0]
    return [_compare(name, *outcomes, alone) for name, outcomes in zip(variants, done[1:], strict=True)]


def _play(of: Source, variant: str, file: Path) -> tuple[dict[str, Outcome], float]:
    command = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "pytest_mock", "-p", "pykka_suite.variants"]
    env = {
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",  # one of ours imports `supervision`
        "PYKKA_SUITE_VARIANT": variant,
        "PYKKA_SUITE_OUTCOMES": str(file),
    }
    began = time.monotonic()
    done = _run(variant, of, [*command, "-o", "faulthandler_timeout=60", "tests"], env, cwd=of.folder)
    took_s = time.monotonic() - began
    outcomes: dict[str, Outcome] = {}
    for line in file.read_text().splitlines() if file.exists() else ():
        test, how, shown = json.loads(line)
        outcomes.setdefault(test, Outcome(how, shown))
    if len(outcomes) < FEWEST_TESTS:
        raise BrokeOff(
            f"{variant}: {len(outcomes)} tests of at least {FEWEST_TESTS}\n{_last(done.stdout, done.stderr)}"
        )
    return outcomes, took_s


def _run(
    what: str, of: Source, command: list[str], env: Mapping[str, str], cwd: Path
) -> subprocess.CompletedProcess[str]:
    """Run Python with that Pykka, with `supervision`, and with the folder of our tests."""
    paths = [*([of.site] if of.site else ()), TESTS, Path(supervision.__file__).parents[1]]
    env = {
        **{name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")},
        "PYTHONPATH": os.pathsep.join(str(path.resolve()) for path in paths),
        "PYTHONDONTWRITEBYTECODE": "1",
        **env,
    }
    try:
        done = subprocess.run(
            [sys.executable, *command],
            cwd=cwd, env=env, capture_output=True, text=True, timeout=PLAY_TIMEOUT_S, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise BrokeOff(f"{what}: no end within {PLAY_TIMEOUT_S:.0f} s\n{_last(error.stdout, error.stderr)}") from None
    if done.returncode not in (0, 1):  # all is well, or something is not
        raise BrokeOff(f"{what}: exit status {done.returncode}\n{_last(done.stdout, done.stderr)}")
    return done


def _last(*streams: str | bytes | None) -> str:
    texts = [stream.decode(errors="replace") if isinstance(stream, bytes) else stream or "" for stream in streams]
    return "\n".join(text[-2000:] for text in texts)


def _compare(variant: str, outcomes: Mapping[str, Outcome], took_s: float, alone: Mapping[str, Outcome]) -> Play:
    if outcomes.keys() != alone.keys():
        raise BrokeOff(f"{variant}: other tests than without us: {sorted(outcomes.keys() ^ alone.keys())}")
    differs = tuple(test for test, outcome in outcomes.items() if outcome.how != alone[test].how)
    return Play(
        variant, outcomes, took_s, differs, tuple(_new(variant, outcomes, differs)), tuple(_gone(variant, differs))
    )


def _new(variant: str, outcomes: Mapping[str, Outcome], differs: tuple[str, ...]) -> Iterator[str]:
    for test in differs:
        known = expected(test, variant)
        if known is None or known.shows not in outcomes[test].shown:
            yield test


def _gone(variant: str, differs: tuple[str, ...]) -> Iterator[str]:
    names = {name_of(test) for test in differs}
    return (test for test in certain(variant) if test not in names)
