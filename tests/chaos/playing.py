"""Plays scenarios and keeps their rows."""

from __future__ import annotations

import time
import traceback
from collections.abc import Iterator

from chaos import (
    rows_callers,
    rows_crashes,
    rows_discovery,
    rows_nonsense,
    rows_outages,
    rows_processes,
    rows_refusals,
    rows_time,
    rows_tokens,
    rows_wire,
)
from chaos.backends import Stages
from chaos.diary import Diary
from chaos.scenario import SCENARIOS, Check, Row, Scenario
from chaos.world import World

from oidc_actor.testing import ManualClock

MODULES = (
    rows_callers,
    rows_outages,
    rows_refusals,
    rows_nonsense,
    rows_tokens,
    rows_time,
    rows_discovery,
    rows_wire,
    rows_crashes,
    rows_processes,
)


PLAYED: list[Row] = []
"""The rows of this process so far."""


def cases() -> Iterator[tuple[Scenario, str]]:
    """Every scenario with every provider it is played with; the embedded provider's first."""
    pairs = [(scenario, provider) for scenario in SCENARIOS for provider in scenario.on]
    return iter(sorted(pairs, key=lambda pair: pair[0].on.index(pair[1])))


def play(scenario: Scenario, provider: str, stages: Stages) -> Row:
    """Play one scenario with one provider. An error in it is a broken promise."""
    row = Row(scenario, provider)
    began = time.monotonic()
    clock = ManualClock()
    with stages.backend(provider, scenario, clock) as backend, Diary() as diary:
        world = World(backend, clock, row, diary)
        try:
            scenario.play(world)
        except Exception as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            row.checks.append(
                Check("played to its end", f"{type(error).__name__}: {error} ({place.name}:{place.lineno})", kept=False)
            )
        finally:
            world.close()
    row.seconds = time.monotonic() - began
    PLAYED.append(row)
    return row
