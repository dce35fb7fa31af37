"""The fleet's table as tests, with eight processes in each row. `python tests/fleet` plays it with 64, and prints it.

The rows mostly wait, and so four are played at the same time. One that breaks then is played again by itself, and judged by that:
thirty-two processes that start on two cores may answer later than any of their deadlines allows.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait

import pytest

from fleet.playing import MODULES
from fleet.table import FAULTS, Fault, Row, as_text, play

PROCESSES, AT_ONCE = 8, 4
ROW_S = 120.0

SHORT = [one for one in FAULTS if not one.long]


@pytest.fixture(scope="module")
def played(request: pytest.FixtureRequest) -> Iterator[dict[str, Future[Row]]]:
    items = [item for item in request.session.items if item.path == request.path and hasattr(item, "callspec")]
    wanted = {item.callspec.params["fault"].name for item in items}
    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield {fault.name: pool.submit(play, fault, PROCESSES) for fault in SHORT if fault.name in wanted}
        pool.shutdown(cancel_futures=True)


@pytest.mark.parametrize("fault", [pytest.param(one, id=one.name.replace(" ", "-")) for one in SHORT])
def test_row(fault: Fault, played: dict[str, Future[Row]]) -> None:
    assert MODULES
    row = played[fault.name].result(ROW_S * len(SHORT) / AT_ONCE)
    if not row.kept:
        wait(played.values(), timeout=ROW_S * len(SHORT) / AT_ONCE)
        row = play(fault, PROCESSES)
    assert row.kept, f"{row.promise}\n{as_text(row)}"


def test_each_demand_that_is_about_processes_has_a_row() -> None:
    assert {one.demand for one in FAULTS} >= {1, 3, 4, 5, 6, 8, 9, 10, 11, 12}
