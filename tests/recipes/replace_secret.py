import os
import sys
from pathlib import Path


def replace_secret(path: Path, secret: str) -> None:
    """Write beside the file, then put the new one in its place: no reader ever sees half a secret."""
    beside = path.with_name(f".{path.name}.new")
    beside.touch(mode=0o600)
    beside.write_text(secret, encoding="utf-8")
    os.replace(beside, path)


if __name__ == "__main__":
    replace_secret(Path(sys.argv[1]), sys.stdin.readline().rstrip("\n"))
