"""`oidc-actor demo`: the whole story once, and the ways in which it can go wrong."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import time
from collections.abc import Callable

import pytest
from rich.console import Console
from typer.testing import CliRunner

from oidc_actor.cli.app import app
from oidc_actor.cli.demo import story
from oidc_actor.cli.demo.promises import CRASHES, FAST, HERD, NORMAL
from oidc_actor.cli.demo.stage import Sample, SceneStuckError
from oidc_actor.cli.demo.view import LiveView, PlainView, Rate

Run = Callable[..., subprocess.CompletedProcess[str]]

SAMPLE = Sample(
    fingerprint="0123abcd",
    left_s=4.25,
    state="fresh",
    provider_up=True,
    reads=1234,
    failed_reads=0,
    token_requests=5,
    restarts=2,
)


def test_the_fast_demo_keeps_its_promises_in_time(run: Run) -> None:
    began = time.monotonic()
    done = run("demo", "--fast", "--json")
    took_s = time.monotonic() - began
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary["kept"] is True
    figures = summary["figures"]
    assert (figures["failed_reads"], figures["crashes"], figures["restarts"]) == (0, CRASHES, CRASHES)
    assert (figures["herd_served"], figures["herd_requests"]) == (HERD, 1)
    assert figures["reads"] > 1000
    assert took_s < FAST.limit_s
    # Not on a terminal: plain lines, without a single control sequence, and without a token.
    assert "\x1b" not in done.stderr
    assert "Provider down" in done.stderr
    assert "eyJ" not in done.stderr + done.stdout
    assert "Traceback" not in done.stderr


def test_a_broken_promise_is_status_1(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(story, "SCENES", ())
    done = CliRunner().invoke(app, ["demo", "--fast", "--json"])
    assert done.exit_code == 1
    assert json.loads(done.stdout)["kept"] is False
    assert "BROKEN" in done.stderr


def test_a_scene_that_gets_stuck_ends_the_story_and_says_where(monkeypatch: pytest.MonkeyPatch) -> None:
    def stuck(_play: story.Play) -> str:
        raise SceneStuckError("a new token did not happen within 6 s")

    monkeypatch.setattr(story, "SCENES", (story.Scene("Refresh", stuck), *story.SCENES[1:]))
    done = CliRunner().invoke(app, ["demo", "--fast", "--json"])
    assert done.exit_code == 1
    assert json.loads(done.stdout)["figures"]["unfinished"] == "scene 1 stopped: a new token did not happen within 6 s"


@pytest.mark.parametrize("missing", ["authlib", "flask"])
def test_without_its_extra_it_says_what_to_install_in_one_line(missing: str) -> None:
    script = f"import sys; sys.modules[{missing!r}] = None; from oidc_actor.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", script, "demo"], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines() == [
        f'oidc-actor demo: it needs {missing}, which is not installed: pip install "oidc-actor[demo]"'
    ]


@pytest.mark.parametrize(("width", "height"), [(80, 24), (120, 40), (40, 24)])
def test_the_picture_fits_and_shows_every_figure(width: int, height: int) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=width, height=height, color_system=None)
    with LiveView(console, NORMAL, lambda: SAMPLE) as view:
        view.begin(0, "working")
        view.end(0, "worked")
        view.begin(1, "working again")
    assert isinstance(console.file, io.StringIO)
    shown = console.file.getvalue()
    for text in ("0123abcd", "fresh", "up", "failed reads", "token requests", "restarts", "worked", "working again"):
        assert text in shown
    picture = shown.rpartition("oidc-actor demo")[2]
    assert picture.count("\n") < height


def test_lines_say_when_the_provider_is_down() -> None:
    console = Console(file=io.StringIO(), width=200)
    with PlainView(console, lambda: SAMPLE) as view:
        view.begin(1, "the provider is DOWN")
        view.end(1, "survived")
    assert isinstance(console.file, io.StringIO)
    first, second = console.file.getvalue().splitlines()
    assert first.endswith("Provider down: the provider is DOWN")
    assert second.endswith("Provider down done: survived")


def test_the_rate_is_that_of_the_last_second(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    rate = Rate()
    assert rate.of(0) == 0
    now[0] += 2.0
    assert rate.of(500) == 250
    now[0] += 0.5
    assert rate.of(700) == 250
