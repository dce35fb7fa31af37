"""The benchmarks' own virtual environment: the peers in their present versions, and nothing of the tests'."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
HOME = Path(os.environ.get("OIDC_ACTOR_BENCH_ENV", ROOT / ".cache" / "bench"))
_NEEDED = HERE / "peers.txt"


def enter() -> None:
    """Go on in the benchmarks' environment, which is made first where it is missing or older than the list of peers."""
    python = HOME / "bin" / "python"
    if Path(sys.prefix).resolve() == HOME.resolve():
        return
    stamp, wanted = HOME / "made-for", hashlib.sha256(_NEEDED.read_bytes()).hexdigest()
    if not stamp.exists() or stamp.read_text() != wanted:
        print(f"making the benchmarks' environment in {HOME}", flush=True)
        venv.create(HOME, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "-q", "-r", _NEEDED], check=True)
        stamp.write_text(wanted)
    paths = [str(ROOT), str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])]
    os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(paths))
    os.execv(python, [str(python), *sys.argv])


def versions() -> dict[str, str]:
    """What is installed of what is compared."""
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": sys.version.split()[0]}
    for line in _NEEDED.read_text().splitlines():
        name = line.partition(">")[0].strip()
        if name and not name.startswith("#"):
            try:
                found[name] = version(name)
            except PackageNotFoundError:
                found[name] = "not installed"
    return found
