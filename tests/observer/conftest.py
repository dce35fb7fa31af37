from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from managers import leave_nothing_behind
from threads import eventually


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    yield
    leave_nothing_behind()
    eventually(lambda: not [one for one in threading.enumerate() if one.name == "supervision-observer"], "no thread")
