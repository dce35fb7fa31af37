"""Mopidy, a music player, with and without supervisors: its MPD frontend dies of a race, and what becomes of its clients.

The fault is mopidy#1750, open since 2019. The frontend tells each client's session of a change. Where a session ends between
the look into Pykka's registry and the ``tell``, the ``tell`` raises ``ActorDeadError`` in the frontend, which ends. Its port
stays open, because GLib's main loop holds it, and clients are served. But they are never told of a change again.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from integration.mopidy_program import Player, RpcError, clients_come_and_go, playing

PROGRAM = Path(__file__).with_name("mopidy_supervised.py")
CLASSES = {"mixer": "Mixer", "audio": "Audio", "core": "Core", "HttpFrontend": "Http", "MpdFrontend": "Mpd"}
TOLD_S = 2.0  # how long a frozen client is looked at; a living frontend tells a client within some hundredths
SOON_S = 20.0  # how long the same may take on a machine with other work


@pytest.fixture
def unsupervised(tmp_path: Path) -> Iterator[Player]:
    with playing(tmp_path) as player:
        yield player


def test_without_supervisors_the_frontend_dies_and_clients_freeze(unsupervised: Player) -> None:
    player = unsupervised
    with player.mpd() as listener, player.mpd() as other:
        listener.send("idle mixer")
        other.ask("setvol 30")
        assert listener.told_within(SOON_S) == ["changed: mixer"]
        with clients_come_and_go(player):
            player.eventually(lambda: player.actor("MpdFrontend") is None, "death of the frontend")
        assert "Unhandled exception in MpdFrontend" in player.log
        assert "ActorDeadError: MpdSession" in player.log
        with player.mpd() as newcomer:
            for client in (listener, newcomer):
                client.send("idle mixer")
            other.ask("setvol 60")
            assert "volume: 60" in other.ask("status"), "the player goes on"
            assert listener.told_within(TOLD_S) is None
            assert newcomer.told_within(TOLD_S) is None, "reconnecting does not help"


@pytest.fixture(scope="module")
def supervised(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Player]:
    with playing(tmp_path_factory.mktemp("mopidy"), PROGRAM) as player:
        yield player


@pytest.fixture
def player(supervised: Player) -> Player:
    """It plays the second of three songs, at a volume of 35."""
    supervised.rpc("tracklist.clear")
    second = supervised.rpc("tracklist.add", uris=supervised.songs)[1]
    supervised.rpc("tracklist.set_random", value=False)
    supervised.rpc("mixer.set_volume", volume=35)
    supervised.rpc("playback.play", tlid=second["tlid"])
    shows(supervised, PLAYING)
    return supervised


def situation(player: Player) -> tuple[int, int, str, str | None]:
    """How many songs are there, the volume, the state, and the song that is current."""
    current = player.rpc("playback.get_current_track")
    songs = [player.rpc("tracklist.get_length"), player.rpc("mixer.get_volume"), player.rpc("playback.get_state")]
    return (*songs, current and current["uri"].rpartition("/")[2])  # type: ignore[return-value]


def shows(player: Player, expected: object) -> None:
    """Wait for a situation."""
    last: object = None

    def is_so() -> bool:
        nonlocal last
        last = situation(player)
        return last == expected

    try:
        player.eventually(is_so, f"{expected}")
    except AssertionError as error:
        raise AssertionError(f"it stays {last}: {error}") from None


PLAYING = (3, 35, "playing", "2.wav")


@contextmanager
def http_is_alive(player: Player) -> Iterator[None]:
    """Ask it by HTTP all the while. Each answer comes; only what lay in a crashed Core's mailbox is answered by an error."""
    over = threading.Event()
    answers: list[object] = []

    def ask() -> None:
        while not over.is_set():
            try:
                answers.append(player.rpc("tracklist.get_length"))
            except RpcError as error:
                answers.append(error.kind)
            except BaseException as error:
                answers.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(30.0)
    assert set(answers) <= {3, "ActorDeadError"}, answers
    assert answers[-1] == 3


def crash(player: Player, name: str) -> None:
    """Have it crash, and wait until its successor is up."""
    first = player.child(name)["urn"]
    player.crash(CLASSES.get(name, name))
    restarted(player, name, first)


def restarted(player: Player, name: str, first: str) -> None:
    def is_up() -> bool:
        child = player.child(name)
        return child["state"] == "running" and child["urn"] != first

    player.eventually(is_up, f"successor of {name}")


def is_idle(child: dict[str, Any]) -> bool:
    return (child["state"], child["mailbox"]) == ("running", 0)


def test_the_frontend_that_dies_is_restarted_and_clients_are_told(player: Player) -> None:
    with player.mpd() as listener, player.mpd() as other, http_is_alive(player):
        listener.send("idle mixer")
        first = player.child("MpdFrontend")["urn"]
        with clients_come_and_go(player):
            restarted(player, "MpdFrontend", first)
        player.eventually(lambda: is_idle(player.child("MpdFrontend")), "end of what the clients have brought about")
        assert "ActorDeadError: Session" in player.log
        other.ask("setvol 60")
        assert listener.told_within(SOON_S) == ["changed: mixer"], "a client that was connected all the while"
        with player.mpd() as newcomer:
            newcomer.send("idle mixer")
            other.ask("setvol 35")
            assert newcomer.told_within(SOON_S) == ["changed: mixer"]
        assert situation(player) == PLAYING


@pytest.mark.parametrize("name", ["mixer", "FileBackend", "core"])
def test_after_a_crash_the_player_goes_on_as_before(player: Player, name: str) -> None:
    with player.mpd() as listener, player.mpd() as other:
        other.ask("seekcur 30")
        player.eventually(lambda: player.rpc("playback.get_time_position") >= 30_000, "position")
        listener.send("idle mixer player")
        with http_is_alive(player):
            crash(player, name)
            shows(player, PLAYING)
        player.eventually(lambda: player.rpc("playback.get_time_position") >= 30_000, "position")
        while listener.told_within(TOLD_S):  # a Core that starts again says so
            listener.send("idle mixer player")
        other.ask("setvol 36")
        assert listener.told_within(SOON_S) == ["changed: mixer"]
        assert "volume: 36" in other.ask("status")
        other.ask("next")
        shows(player, (3, 36, "playing", "3.wav"))


def test_after_a_crash_of_audio_the_music_is_stopped_and_the_next_song_follows_as_ever(player: Player) -> None:
    with player.mpd() as listener, player.mpd() as other, http_is_alive(player):
        listener.send("idle player")
        crash(player, "audio")
        assert listener.told_within(SOON_S) == ["changed: player"]
        assert situation(player) == (3, 35, "stopped", "2.wav")
        other.ask("play")
        shows(player, PLAYING)
        other.ask("seekcur 59")
        shows(player, (3, 35, "playing", "3.wav"))


def test_after_a_crash_of_the_http_frontend_its_port_serves_again_and_its_connections_have_ended(
    player: Player,
) -> None:
    with player.mpd() as other, player.websocket() as connected:
        crash(player, "HttpFrontend")
        while connected.recv(4096):
            pass  # events that had been sent before; then the end, within the socket's deadline
        player.await_start()
        assert situation(player) == PLAYING
        assert "state: play" in other.ask("status")
        with player.websocket() as again:
            other.ask("setvol 36")
            assert b"volume_changed" in again.recv(4096)


@pytest.mark.parametrize(("name", "then"), [("core", PLAYING), ("mixer", (3, 40, "playing", "2.wav"))])
def test_a_part_that_keeps_crashing_is_started_anew_as_a_whole(player: Player, name: str, then: object) -> None:
    def part() -> object:
        return player.tell("tree")["children"][0]["urn"]

    first = part()
    with http_is_alive(player):
        while part() == first:
            crash(player, name)
        shows(player, then)  # where the mixer is dead while Core saves its state, there is no volume to save


def test_sigterm_stops_the_tree_and_the_next_run_has_the_tracklist(player: Player) -> None:
    assert player.terminate() == 0
    player.start()
    player.await_start()
    shows(player, PLAYING)


def test_what_is_hopeless_ends_with_status_1(player: Player) -> None:
    with suppress(OSError):
        while not player.ends_within(0.02):
            player.send("crash Core")
    assert player.ends_within(30.0)
    assert player.process.returncode == 1
    assert "supervisor_gave_up" in player.log
