"""Rows about processes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from chaos.scenario import row
from chaos.world import World

PROGRAM = Path(__file__).parent / "forking.py"
ROUNDS, AT_ONCE = 4, 5


@row(
    "peers: fork",
    "a forked child reads the inherited token at once, refreshes by itself, and leaves the parent's refresh token",
)
def forked_children(world: World) -> None:
    play(world, logged_in=False)
    logins = world.backend.full_grants()
    world.check("logins", logins, logins == 1 + ROUNDS * AT_ONCE)


@row(
    "promise",
    "fork with RefreshToken: a child serves what lives and never sends its parent's login, which goes on",
)
def forked_children_of_a_login(world: World) -> None:
    play(world, logged_in=True)
    redeemed = world.requests - world.backend.full_grants()
    world.check("refresh tokens redeemed", redeemed, redeemed == 2)  # the parent's first, and its last


def play(world: World, *, logged_in: bool) -> None:
    """Have the program fork."""
    backend = world.backend
    settings = {
        "auth": {
            "username": backend.username,
            "password": backend.password,
            "client_id": backend.client_id,
            "client_secret": backend.client_secret,
            "scopes": backend.scopes,
        },
        "token_endpoint": world.config.token_endpoint,
        "rounds": ROUNDS,
        "at_once": AT_ONCE,
        "logged_in": logged_in,
    }
    command = [sys.executable, "-W", "ignore::DeprecationWarning", str(PROGRAM)]
    run = subprocess.run(command, input=json.dumps(settings), capture_output=True, text=True, timeout=60, check=False)
    said = json.loads(run.stdout or "{}")
    world.overhear(run.stderr)
    statuses = said.get("statuses", "none")
    world.check("children", statuses, statuses == [0] * ROUNDS * AT_ONCE)
    world.check("the parent refreshes on", said.get("parent"), said.get("parent"))
    world.check("refresh tokens redeemed twice", backend.refused_refreshes(), backend.refused_refreshes() == 0)
