"""`oidc-actor demo`: the whole story once, and the ways in which it can go wrong."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Callable

import pytest
from rich.console import Console
from typer.testing import CliRunner

from oidc_actor.cli.app import app
from oidc_actor.cli.demo import story
from oidc_actor.cli.demo import view as views
from oidc_actor.cli.demo.promises import CRASHES, FAST, HERD
from oidc_actor.cli.demo.view import View

Run = Callable[..., subprocess.CompletedProcess[str]]

METERS = {
    "token": "0123abcd",
    "life left": "4.2 s of 10 s",
    "manager": "fresh",
    "provider": "DOWN",
    "reads": "1,234",
    "failed reads": "0",
    "token requests": "5",
    "restarts": "2",
}


def test_the_fast_demo_keeps_its_promises(run: Run) -> None:
    done = run("demo", "--fast", "--json")
    summary = json.loads(done.stdout)
    broken = [one["text"] for one in summary["promises"] if not one["kept"]]
    assert broken in ([], [f"All within {FAST.limit_s:.0f} s"]), (
        done.stderr
    )  # which it has where nothing else runs: .ci/run
    assert (done.returncode, summary["kept"]) == ((1, False) if broken else (0, True))
    figures = summary["figures"]
    assert (figures["failed_reads"], figures["crashes"], figures["restarts"]) == (0, CRASHES, CRASHES)
    assert (figures["herd_served"], figures["herd_requests"]) == (HERD, 1)
    assert figures["reads"] > 1000
    assert figures["unfinished"] is None
    # Not on a terminal: plain lines, without a single control sequence, and without a token.
    assert "\x1b" not in done.stderr
    assert "Provider down" in done.stderr
    assert "eyJ" not in done.stderr + done.stdout
    assert "Traceback" not in done.stderr


def test_a_broken_promise_is_status_1(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(story, "SCENES", {})
    done = CliRunner().invoke(app, ["demo", "--fast", "--json"])
    assert done.exit_code == 1
    assert json.loads(done.stdout)["kept"] is False
    assert "BROKEN" in done.stderr


def test_a_scene_that_gets_stuck_ends_the_story_and_says_where(monkeypatch: pytest.MonkeyPatch) -> None:
    def stuck(_play: story.Play) -> str:
        raise TimeoutError("a new token did not happen within 6 s")

    monkeypatch.setattr(story, "SCENES", story.SCENES | {"Refresh": stuck})
    done = CliRunner().invoke(app, ["demo", "--fast", "--json"])
    assert done.exit_code == 1
    assert json.loads(done.stdout)["figures"]["unfinished"] == "scene 1 stopped: a new token did not happen within 6 s"


@pytest.mark.parametrize("missing", ["authlib", "flask"])
def test_without_its_extra_it_says_what_to_install_in_one_line(missing: str) -> None:
    script = f"import sys; sys.modules[{missing!r}] = None; from oidc_actor.cli.__main__ import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", script, "demo"], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines() == [
        f'oidc-actor demo: it needs {missing}, which is not installed: pip install "oidc-actor[demo]"'
    ]


def shown(monkeypatch: pytest.MonkeyPatch, console: Console) -> str:
    """All that a view shows of a story with one result, whenever the meters are due."""
    monkeypatch.setattr(views, "PICTURE_EVERY_S", 0.0)
    monkeypatch.setattr(views, "LINE_EVERY_S", 0.0)
    view = View(console, lambda: METERS)
    with view.shown():
        view.line("Provider down: the provider is DOWN")
        view.tick()
        view.line("Provider down done: survived")
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize(("width", "height"), [(80, 24), (120, 40), (40, 24)])
def test_the_picture_fits_and_shows_every_figure(monkeypatch: pytest.MonkeyPatch, width: int, height: int) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=width, height=height, color_system=None)
    found = shown(monkeypatch, console)
    for text in (*METERS, *METERS.values(), "survived"):
        assert text in found
    picture = found[found.index("0123abcd") : found.index("survived")]
    assert picture.count("\n") < height


def test_lines_say_when_the_provider_is_down(monkeypatch: pytest.MonkeyPatch) -> None:
    first, meters, last = shown(monkeypatch, Console(file=io.StringIO(), width=200)).splitlines()
    assert first.endswith("Provider down: the provider is DOWN")
    assert meters.endswith("token requests 5, restarts 2")
    assert last.endswith("Provider down done: survived")


def test_meters_are_shown_no_more_often_than_they_can_be_read() -> None:
    console = Console(file=io.StringIO(), width=200)
    view = View(console, lambda: METERS)
    for _ in range(10):
        view.tick()
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue() == ""
