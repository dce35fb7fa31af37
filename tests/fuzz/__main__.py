"""Fuzzes the parsers of foreign input: `python tests/fuzz [TARGET ...] [--minutes N]`; needs `pip install atheris`.

Every target (`fuzz.targets`) gets that many minutes, one after another. The exit status is 1 where a promise was broken; the
input is printed as a line for `fuzz.seeds`, whose test then plays it for ever.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

TARGET_NAMES = (
    "token", "token_request", "revocation", "discovery", "metadata", "resource", "device", "github", "body", "lifetime", "times",
    "challenges", "nonce",
)  # fmt: skip
LONGEST_BYTES = 4096


def fuzz(target: str, seconds: int, folder: Path) -> None:
    """Fuzz one target; ends the process."""
    import atheris

    with atheris.instrument_imports(include=["oidc_actor", "json", "email"]):
        from fuzz.seeds import SEEDS, WORDS
        from fuzz.targets import play

    def once(data: bytes) -> None:
        try:
            play(target, data)
        except BaseException:
            sys.stderr.write(f"\nBROKEN {target}, for fuzz.seeds: {data!r}\n")
            raise

    for number, seed in enumerate(SEEDS[target]):
        (folder / f"seed-{number}").write_bytes(seed)
    words = folder.parent / "words"
    words.write_text("".join(f'"{word}"\n'.replace("\\", "\\\\") for word in WORDS), encoding="ascii")
    limits = [f"-max_total_time={seconds}", f"-max_len={LONGEST_BYTES}", "-timeout=10", "-print_final_stats=1"]
    atheris.Setup(["fuzz", *limits, f"-dict={words}", f"-artifact_prefix={folder.parent}/", str(folder)], once)
    atheris.Fuzz()


def apart(target: str, seconds: int) -> bool:
    """Fuzz one target in a process of its own; whether its promise was kept."""
    command = [sys.executable, __file__, target, "--seconds", str(seconds), "--here"]
    run = subprocess.run(command, stderr=subprocess.PIPE, text=True, errors="replace", check=False)
    done = re.search(r"number_of_executed_units: *(\d+)", run.stderr)
    kept = run.returncode == 0 and done is not None
    print(
        f"{'kept  ' if kept else 'BROKEN'} {target:10} {done[1] if done else '?':>10} inputs in {seconds} s", flush=True
    )
    if not kept:
        print(run.stderr[-4000:])
    return kept


def main() -> int:
    """Run the command; the exit status."""
    parser = argparse.ArgumentParser(prog="python tests/fuzz", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(TARGET_NAMES)}; all by default")
    duration = parser.add_mutually_exclusive_group()
    duration.add_argument("--minutes", type=float, default=1.0, help="for each target")
    duration.add_argument("--seconds", type=int)
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    unknown = [target for target in asked.targets if target not in TARGET_NAMES]
    if unknown:
        parser.error(f"unknown target {unknown[0]!r}; there are {', '.join(TARGET_NAMES)}")
    try:
        import atheris  # noqa: F401
    except ImportError:
        parser.error("the fuzzer is missing: pip install atheris")
    seconds = round(asked.minutes * 60) if asked.seconds is None else asked.seconds
    if asked.here:
        with tempfile.TemporaryDirectory() as folder:
            corpus = Path(folder) / "corpus"
            corpus.mkdir()
            fuzz(asked.targets[0], seconds, corpus)
    kept = [apart(target, seconds) for target in asked.targets or TARGET_NAMES]
    return 0 if all(kept) else 1


if __name__ == "__main__":
    sys.exit(main())
