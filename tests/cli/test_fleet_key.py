"""`oidc-actor fleet-key`: a key that a store takes, alone on standard output."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from oidc_actor import SecretFile
from oidc_actor.sharing.sealing import Sealer, read_keys

Run = Callable[..., subprocess.CompletedProcess[str]]


def test_it_prints_one_line_that_is_a_key(run: Run, tmp_path: Path) -> None:
    done = run("fleet-key")
    assert (done.returncode, done.stderr) == (0, "")
    (line,) = done.stdout.splitlines()
    file = tmp_path / "fleet-key"
    file.write_text(done.stdout)
    sealer = Sealer(read_keys([SecretFile(file)], "test"))
    assert sealer.open(sealer.seal({"a": 1}, "k"), "k") == {"v": 1, "key": "k", "a": 1}
    assert run("fleet-key").stdout != f"{line}\n"


def test_without_the_extra_it_says_what_to_install_in_one_line() -> None:
    script = (
        "import sys; sys.modules['cryptography'] = None; sys.argv = ['oidc-actor', 'fleet-key'];"
        "from oidc_actor.cli.__main__ import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("oidc-actor fleet-key: ")
    assert "pip install 'oidc-actor[fleet]'" in line
