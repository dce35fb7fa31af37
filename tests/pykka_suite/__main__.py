"""Plays Pykka's own suite with `supervision`: `python tests/pykka_suite [--variant NAME] [--pykka RELEASE | --every]`.

The exit status is 1 if a test differs that is not expected to, if one does not differ that is expected to, or if a private name
of Pykka's is not as we take it; 2 if it could not be played. README.md beside this says what the variants are.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from pykka_suite.playing import (
    VARIANTS,
    BrokeOff,
    NotToBeHad,
    Play,
    installed_version,
    play,
    private_names,
    releases,
    source,
)


def main() -> int:
    """Run the command; the exit status."""
    parser = argparse.ArgumentParser(
        prog="python tests/pykka_suite", description="Play Pykka's own suite with supervision."
    )
    parser.add_argument("--variant", action="append", choices=list(VARIANTS), help="only this one; may be given often")
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--pykka",
        metavar="RELEASE",
        default=installed_version(),
        help="another release than the installed one, or a folder",
    )
    which.add_argument("--every", action="store_true", help="every release that satisfies our bound")
    asked = parser.parse_args()
    try:
        played = [
            play_one(release, tuple(asked.variant or VARIANTS))
            for release in (releases() if asked.every else [asked.pykka])
        ]
    except (NotToBeHad, BrokeOff) as error:
        print(error, file=sys.stderr)
        return 2
    return 0 if all(played) else 1


def play_one(release: str, variants: tuple[str, ...]) -> bool:
    """Play one release, and print what came of it; whether it is as expected."""
    with source(release) as of:
        (is_as_taken, said), done = private_names(of), play(of, variants)
    print(f"Pykka {release}", said, *map(as_text, done), sep="\n", flush=True)
    return is_as_taken and all(one.is_as_expected for one in done)


def as_text(done: Play) -> str:
    """The figures, and each surprise."""
    lines = [
        f"{done.variant:14} {len(done.outcomes)} tests, {len(done.differs)} differ from Pykka alone, "
        f"{len(done.new)} of them new, {len(done.gone)} expected and not there; {done.took_s:.1f} s"
    ]
    lines += [f"  new: {test} {done.outcomes[test].how} {done.outcomes[test].shown}" for test in done.new]
    lines += [f"  does not differ any more: {test}" for test in done.gone]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
