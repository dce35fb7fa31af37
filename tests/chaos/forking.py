"""A program that forks with a manager running, for the row about it: settings come in, results go out, its log to stderr."""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
import time

from oidc_actor import NoTokenError, OIDCConfig, Password, RefreshToken, TokenManager, oidc

DEADLINE_S = 20.0


def child(name: str, parents: str, logged_in: bool) -> int:
    """What a child does; 0 where all is as it should be, else which step was not."""
    if TokenManager.get_access_token(name, timeout=0) != parents:
        return 1
    try:
        TokenManager.force_refresh(name, wait=True, timeout=DEADLINE_S / 2)
    except NoTokenError as error:
        return 0 if logged_in and "forked" in str(error) else 3
    return 2 if TokenManager.get_access_token(name, timeout=0) == parents else 0


def status_of(pid: int) -> int | None:
    """A child's exit status; `None` and an end by force where it hangs."""
    never, deadline = threading.Event(), time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        never.wait(0.005)
    os.kill(pid, 9)
    os.waitpid(pid, 0)
    return None


def main() -> None:
    """Fork, several children at a time, and see how they end."""
    given = json.load(sys.stdin)
    logging.basicConfig(level=logging.DEBUG, stream=sys.stderr)
    auth: Password | RefreshToken = Password(**given["auth"])
    config = OIDCConfig(token_endpoint=given["token_endpoint"])
    logged_in = given["logged_in"]
    if logged_in:
        login = oidc.get_token(config, auth).refresh_token
        auth = RefreshToken(login or "", given["auth"]["client_id"], given["auth"]["client_secret"])
    TokenManager.start_link(auth=auth, oidc_config=config, name="forking", min_interval_seconds=0.05)
    token = TokenManager.get_access_token("forking", timeout=DEADLINE_S)
    statuses: list[int | None] = []
    for _ in range(given["rounds"]):
        pids = []
        for _ in range(given["at_once"]):
            pid = os.fork()
            if pid == 0:
                status = 9
                try:
                    status = child("forking", token, logged_in)
                finally:
                    os._exit(status)
            pids.append(pid)
        statuses += [status_of(pid) for pid in pids]
    TokenManager.force_refresh("forking", wait=True, timeout=DEADLINE_S)
    json.dump({"statuses": statuses, "parent": TokenManager.get_access_token("forking") != token}, sys.stdout)


if __name__ == "__main__":
    main()
