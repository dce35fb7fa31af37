"""The rehearsal's recipe, played by a shell; and what the page says one sees."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from pages import blocks

HERE = Path(__file__).parent
(SHOWN,) = [
    block.text
    for block in blocks("oidc_actor/README.md")
    if block.target == f"tests/recipes/{Path(__file__).name}" and block.language == "text"
]


def play(buffer_s: int, kinds: str) -> subprocess.CompletedProcess[str]:
    """The recipe, with that buffer and those kinds."""
    text = (HERE / "rehearse_outage.sh").read_text()
    text = text.replace("oidc-actor", f"{sys.executable} -m oidc_actor.cli")
    text = text.replace("--refresh-buffer 140", f"--refresh-buffer {buffer_s}").replace("timeout,refused,503", kinds)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("OIDC_")}
    return subprocess.run(["sh", "-c", text], env=inherited, capture_output=True, text=True, timeout=120, check=False)


def test_the_options_of_the_recipe_survive_what_it_asks_for() -> None:
    done = play(140, "timeout")
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert "all outages of up to 2 min were survived" in done.stdout


def test_with_a_smaller_buffer_the_build_fails_and_says_what_the_page_says() -> None:
    done = play(60, "timeout")
    assert (done.returncode, done.stderr) == (1, "")
    assert SHOWN.strip() in done.stdout, done.stdout
    assert "not survived: 2 of the outages of up to 2 min; the shortest of them is 51.0 s of no answer" in done.stdout
