"""Mopidy, a music player, and a fault of it: its MPD frontend dies of a race, and what becomes of its clients.

The fault is mopidy#1750, open since 2019. The frontend tells each client's session of a change. Where a session ends between
the look into Pykka's registry and the ``tell``, the ``tell`` raises ``ActorDeadError`` in the frontend, which ends. Its port
stays open, because GLib's main loop holds it, and clients are served. But they are never told of a change again.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from integration.mopidy_program import Player, clients_come_and_go, playing

TOLD_S = 2.0  # a living frontend tells a client within some hundredths


@pytest.fixture
def unsupervised(tmp_path: Path) -> Iterator[Player]:
    with playing(tmp_path) as player:
        yield player


def test_without_supervisors_the_frontend_dies_and_clients_freeze(unsupervised: Player) -> None:
    player = unsupervised
    with player.mpd() as listener, player.mpd() as other:
        listener.send("idle mixer")
        other.ask("setvol 30")
        assert listener.told_within(TOLD_S) == ["changed: mixer"]
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
