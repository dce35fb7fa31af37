"""The doctor's recipe, played by a shell; and what the page says one sees."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from pages import blocks

from oidc_actor.testing import Provider

HERE = Path(__file__).parent
SHOWN = [
    block.text
    for block in blocks("oidc_actor/README.md")
    if block.target == f"tests/recipes/{Path(__file__).name}" and block.language == "text"
]


def play(provider: Provider, secret: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """The recipe, with this provider's address and a secret of the test's own."""
    text = (HERE / "check_setup.sh").read_text()
    text = text.replace("https://auth.example.com", provider.issuer_url)
    text = text.replace("/var/run/secrets/oidc/client-secret", str(secret))
    text = text.replace("oidc-actor", f"{sys.executable} -m oidc_actor.cli")
    if variables:
        text = text.replace("export OIDC_CLIENT_SECRET_FILE", "unset OIDC_CLIENT_SECRET_FILE; UNUSED")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("OIDC_")}
    return subprocess.run(
        ["sh", "-c", text], env=inherited | variables, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "client-secret"
    path.write_text("s3cret-of-the-service\n")
    return path


def lines(text: str) -> list[str]:
    """Seconds may be one less on a slow machine, and what comes after the code is the provider's own words."""
    return [re.sub(r"\d+ s\b", "N s", line.partition(": The client cannot")[0]) for line in text.splitlines()]


def test_a_good_setup_goes_on_and_its_forecast_is_the_pages(secret: Path) -> None:
    with Provider(client_id="my-service", client_secret="s3cret-of-the-service", token_lifetime_s=3600) as provider:
        done = play(provider, secret)
    assert (done.returncode, done.stderr) == (0, "")
    assert set(lines(SHOWN[1])) <= set(lines(done.stdout)), done.stdout


def test_a_broken_setup_ends_the_deployment_and_says_what_the_page_says(secret: Path) -> None:
    with Provider(client_id="my-service", client_secret="s3cret-of-the-service") as provider:
        quoted = play(provider, secret, OIDC_CLIENT_SECRET='"s3cret-of-the-service"')
        secret.unlink()
        missing = play(provider, secret)
    assert (quoted.returncode, missing.returncode) == (1, 1)
    assert set(lines(SHOWN[0])) <= set(lines(quoted.stdout)), quoted.stdout
    assert "--client-secret-file cannot be read" in missing.stdout


def test_a_wrong_option_is_another_status(secret: Path) -> None:
    with Provider(client_id="my-service") as provider:
        done = play(provider, secret, OIDC_CLIENT_SECRET="")
    assert (done.returncode, done.stdout) == (2, "")
