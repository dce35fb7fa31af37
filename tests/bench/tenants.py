"""Many tenants under one `DynamicSupervisor`, as the how-to has them: what it costs to start, list and remove them.

The provider is a transport in this process that answers at once, so that what is measured is the managers.
"""

from __future__ import annotations

import argparse
import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

from oidc_actor import ClientCredentials, TokenManager
from oidc_actor.metrics import ready
from oidc_actor.transport import Request, Response
from supervision import DynamicSupervisor

TOKEN_BYTES = 600
DEADLINE_S = 600.0


def answer(request: Request) -> Response:
    """What the providers answer: metadata, or a token of its own for each request."""
    host = request.url.split("/")[2]
    if request.method == "GET":
        members = {"issuer": f"https://{host}", "token_endpoint": f"https://{host}/token"}
    else:
        members = {"access_token": os.urandom(TOKEN_BYTES // 2).hex(), "token_type": "Bearer", "expires_in": 3600}
    return Response(200, {}, json.dumps(members))


def resident_mb() -> float:
    """Memory of this process, in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def timed(what: str, act: Callable[[], object]) -> None:
    began = time.monotonic()
    act()
    print(f"{what:<44} {time.monotonic() - began:8.3f} s", flush=True)


def spec(number: int, issuers: int) -> object:
    return TokenManager.child_spec(
        name=f"tenants.{number}",
        issuer_url=f"https://auth{number % issuers}.example.com",
        auth=ClientCredentials(f"client-{number}", f"secret-{number}"),
        transport=answer,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tenants", type=int, default=10_000, help="how many (default: %(default)s)")
    parser.add_argument("--issuers", type=int, default=3, help="of how many issuers (default: %(default)s)")
    given = parser.parse_args()
    names = [f"tenants.{number}" for number in range(given.tenants)]
    DynamicSupervisor.start_link(name="tenants", max_restarts=100, max_seconds=60)
    before_mb, refs = resident_mb(), []

    def start() -> None:
        refs.extend(
            DynamicSupervisor.start_child("tenants", spec(number, given.issuers))  # type: ignore[arg-type]
            for number in range(given.tenants)
        )

    def await_all() -> None:
        for name in names:
            TokenManager.get_token(name, timeout=DEADLINE_S)

    def health_of_all() -> None:
        for child in DynamicSupervisor.which_children("tenants"):
            TokenManager.health(str(child.id))

    timed(f"start {given.tenants:,}, one after another", start)
    timed("then, until the last has a token that is asked", await_all)
    print(f"{'memory':<44} {resident_mb() - before_mb:8.1f} MB")
    print(f"{'threads':<44} {threading.active_count():8}")
    timed("health of all", health_of_all)
    timed("ready()", ready)
    timed("remove one by name", lambda: DynamicSupervisor.terminate_child("tenants", names[-1]))
    timed("remove one by ref", lambda: DynamicSupervisor.terminate_child("tenants", refs[0]))
    timed("stop all", lambda: DynamicSupervisor.stop("tenants", timeout=DEADLINE_S))


if __name__ == "__main__":
    main()
