"""A recipe as a user has it: its text in a file of theirs, with their addresses and secrets in place of the page's."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from pages import ROOT

from oidc_actor.testing import Provider

RECIPES = ROOT / "tests" / "recipes"
TIMEOUT_S = 60


def pasted(recipe: str, provider: Provider, **more: str) -> str:
    """The text of a recipe for a provider whose first client is the page's.

    Args:
        recipe: Its file's name.
        provider: The provider, which stands for the page's issuer; its `/resource` for the page's API.
        **more: Other texts of the page, by a name that says what each is: the old and the new, with `=>` between.
    """
    text = (RECIPES / recipe).read_text(encoding="utf-8")
    changes = {
        "https://auth.example.com": provider.issuer_url,
        "https://api.example.com": provider.resource_url,
        **dict(change.split("=>") for change in more.values()),
    }
    for old, new in changes.items():
        text = text.replace(old, new)
    return text


def run_pasted(text: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a program in an interpreter of its own, to its end."""
    program = folder / "program.py"
    program.write_text(text, encoding="utf-8")
    command = [sys.executable, "-P", "-W", "ignore::DeprecationWarning", str(program)]  # 3.12 and later warn of a fork
    return subprocess.run(
        command, cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True, timeout=TIMEOUT_S
    )
