"""The picture on the first page: the command that draws it still does, from a demo that runs."""

from __future__ import annotations

import html
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

from pages import ROOT, read

from oidc_actor.cli.demo.story import SCENES

PICTURE = ".github/demo.svg"


def shown(picture: Path) -> str:
    """The text of a picture, its numbers left out."""
    lines = [text for text in ElementTree.parse(picture).getroot().itertext() if text.strip()]
    return re.sub(r"\d[\d.,]*", "N", html.unescape(" ".join(" ".join(lines).split())))


def test_the_command_draws_what_the_first_page_shows(tmp_path: Path) -> None:
    assert f"]({PICTURE})" in read("README.md").partition("\n## ")[0]
    drawn = tmp_path / "demo.svg"
    command = [sys.executable, str(ROOT / "tests" / "picture.py"), "--into", str(drawn)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    old, new = shown(ROOT / PICTURE), shown(drawn)
    for scene in SCENES:
        assert re.sub(r"\d+", "N", f"{scene} done") in new
    promises = [text.partition("promise measured")[2].partition("N reads: median")[0] for text in (old, new)]
    kept = [re.findall(r"kept ([A-Z][a-z ]+)", text) for text in promises]
    assert len(kept[0]) >= 5
    assert kept[0] == kept[1]
    assert "http" not in drawn.read_text().replace("http://www.w3.org/", "").replace("https://www.textualize.io", "")
