"""Compare each lower bound that pyproject.toml declares with what a resolver can install at the lowest.

A bound below that is a promise that no test keeps: the release was withdrawn, or another package asks for a newer one.
Needs ``uv`` beside the interpreter that runs it. With ``--raised`` it prints what is to be installed over the lowest versions
of the extra ``test``, for the bounds of other extras that the tests' packages raise there.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from itertools import chain
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
UV = Path(sys.executable).parent / "uv"


def main() -> int:
    """Print each bound that is not what the resolver takes; the number of them is the exit status."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    if sys.argv[1:] == ["--raised"]:
        print(*raised(project))
        return 0
    wrong = 0
    for extra, asked in [("", project["dependencies"]), *project["optional-dependencies"].items()]:
        lowest = resolve(extra)
        for name, bound in filter(None, map(read_bound, asked)):
            found = lowest[name]
            if version(bound) != version(found):
                wrong += 1
                print(f"[{extra or 'core'}] {name}>={bound}: expected the lowest that installs, which is {found}")
    print(f"{wrong} lower bounds are not what installs at the lowest")
    return wrong


def raised(project: dict[str, Any]) -> list[str]:
    """The bounds of the core and of its extras that the extra ``test`` does not play, as requirements."""
    together = resolve("test")
    asked = [*project["dependencies"], *chain(*project["optional-dependencies"].values())]
    lowest: dict[str, str] = {}
    for name, bound in filter(None, map(read_bound, asked)):
        lowest[name] = min(bound, lowest.get(name, bound), key=version)
    return [
        f"{name}=={bound}"
        for name, bound in lowest.items()
        if name in together and version(bound) != version(together[name])
    ]


def resolve(extra: str) -> dict[str, str]:
    """Name and version of all that the core, or an extra, installs at the lowest."""
    command = [str(UV), "pip", "compile", "--quiet", "--no-annotate", "--no-header", "--resolution", "lowest-direct"]
    done = subprocess.run(
        [*command, *(["--extra", extra] if extra else []), "pyproject.toml"],
        cwd=ROOT, capture_output=True, text=True, check=True, timeout=300,
    )  # fmt: skip
    lines = [line.split(";")[0].strip() for line in done.stdout.splitlines() if "==" in line]
    return dict(line.split("==") for line in lines)


def read_bound(requirement: str) -> tuple[str, str] | None:
    """Name and lower bound; ``None`` for an extra of our own."""
    if requirement.startswith("oidc-actor"):
        return None
    found = re.match(r"([A-Za-z0-9._-]+)(?:\[[a-z,]+\])?>=([0-9.]+)", requirement)
    if found is None:
        raise SystemExit(f"{requirement}: expected a lower bound")
    return found[1].lower(), found[2]


def version(text: str) -> tuple[int, ...]:
    """A release number without the zeros at its end."""
    parts = [int(part) for part in text.split(".")]
    while parts and parts[-1] == 0:
        parts.pop()
    return tuple(parts)


if __name__ == "__main__":
    sys.exit(main())
