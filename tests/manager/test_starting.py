"""A manager that is just being started, seen by a reader who is too early."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from fakes import AUTH, DEADLINE_S, ISSUER, ScriptedTransport, eventually

from oidc_actor import TokenManager
from oidc_actor.reading import cells
from supervision import NoProcess, whereis


def test_a_reader_finds_nobody_there_until_it_has_started() -> None:
    def start() -> None:
        TokenManager.start_link(auth=AUTH, issuer_url=ISSUER, name="starting", transport=ScriptedTransport())

    with ThreadPoolExecutor(1) as pool:
        with cells._lock:  # its name is registered, its cell waits for this lock
            started = pool.submit(start)
            eventually(lambda: whereis("starting") is not None, "the name")
            with pytest.raises(NoProcess):
                TokenManager.get_access_token("starting", timeout=0)
            with pytest.raises(NoProcess):
                TokenManager.health("starting")
        started.result(DEADLINE_S)
    assert TokenManager.get_access_token("starting")
    TokenManager.stop("starting")
