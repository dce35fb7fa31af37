"""The chaos table as tests: each row with each provider. `python tests/chaos` prints it."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from chaos.backends import Stages
from chaos.pains import PAINS
from chaos.playing import cases, play
from chaos.scenario import SCENARIOS, Scenario


@pytest.fixture(scope="module")
def stages() -> Iterator[Stages]:
    with Stages() as made:
        yield made


PEERS = {
    "cold", "in the refresh window", "503 with a live token", "503 without a token", "invalid_client", "429", "slow provider",
    "rotating refresh token", "25 s token", "expires_in missing", "wall clock", "repr", "fork",
}  # fmt: skip


def test_every_pain_and_every_case_in_which_peers_were_measured_has_a_row() -> None:
    sources = [source for scenario in SCENARIOS for source in scenario.source.split("; ")]
    assert {f"pain {number}" for number in PAINS} <= set(sources)
    assert {f"peers: {case}" for case in PEERS} <= set(sources)
    assert all(re.fullmatch(r"pain \d+|elixir \d+|peers: .+|promise", source) for source in sources)


@pytest.mark.parametrize(("scenario", "provider"), [pytest.param(s, p, id=f"{s.name}-{p}") for s, p in cases()])
def test_row(scenario: Scenario, provider: str, stages: Stages) -> None:
    row = play(scenario, provider, stages)
    assert row.kept, "\n".join(
        [
            scenario.promise,
            *(f"{'kept  ' if check.kept else 'BROKEN'} {check.what}: {check.measured}" for check in row.checks),
        ]
    )
