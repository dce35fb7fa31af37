"""The managers' part: what it shows in each state of a manager, and that no token and no secret is ever among it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fakes import AUTH, ISSUER, Fixed, ScriptedTransport, failing, minted, refused
from threads import eventually

from oidc_actor import ClientCredentials, ForceRefresh, NoTokenError, TokenManager, TokenPool
from oidc_actor.observing import managers
from oidc_actor.testing import ManualClock
from supervision import Supervisor, call
from supervision.observer import Observer
from supervision.observer.sampling import Sampler, View

SECRET = "client-secret-9f8e7d6c"
TOKEN = "eyJhbGciOi-access-token-text"


def options(transport: Any, clock: ManualClock, **others: Any) -> dict[str, Any]:
    return {"auth": AUTH, "issuer_url": ISSUER, "transport": transport, "clock": clock, "rng": Fixed(0), **others}


def figures(name: str) -> dict[str, Any]:
    rows = Sampler([name], [managers()]).look(View()).rows
    (row,) = (one for one in rows.values() if one["label"] == name)
    return row["figures"]


def test_a_managers_row_follows_its_token() -> None:
    clock, transport = ManualClock(), ScriptedTransport(lifetime=300)
    TokenManager.start_link(name="m", **options(transport, clock))
    TokenManager.get_token("m")
    shown = figures("m")
    assert shown["token"]["text"] == "fresh"
    assert shown["token"]["of"] == 300.0
    assert shown["token"]["tone"] == "good"
    assert shown["requests"]["text"] == "1"
    assert "last error" not in shown
    assert "sharing" not in shown
    transport.script.extend([failing(), failing()])
    clock.advance(250)
    eventually(lambda: "last error" in figures("m"), "the error")
    shown = figures("m")
    assert shown["token"]["text"].startswith("stale")
    assert shown["token"]["tone"] == "warn"
    assert "503" in shown["last error"]["text"]
    clock.advance(49.9)
    clock.advance(0.2)
    assert figures("m")["token"]["text"].startswith("expired") or figures("m")["token"]["text"].startswith("fresh")


def test_a_refusal_is_shown_with_the_time_of_the_next_probe() -> None:
    clock = ManualClock()
    TokenManager.start_link(name="m", **options(ScriptedTransport(*[refused("invalid_client", 401)] * 3), clock))
    with pytest.raises(NoTokenError):
        TokenManager.get_token("m")
    shown = figures("m")
    assert (shown["token"]["text"], shown["token"]["tone"]) == ("no token", "bad")
    assert shown["next attempt"]["text"] == "probe in"
    assert shown["next attempt"]["ends"] > 0
    assert shown["last error"]["tone"] == "bad"
    assert "invalid_client" in shown["last error"]["text"]


def test_a_pool_is_summed_up_and_its_members_have_no_key() -> None:
    clock = ManualClock()
    TokenPool.start_link(name="tenants", **options(ScriptedTransport(), clock))
    keys = ["user-token-abcdef", "another-user-token"]
    for key in keys:
        TokenPool.put("tenants", key)
        TokenPool.get_token("tenants", key)
    TokenPool.put("tenants", "hopeless", transport=ScriptedTransport(*[refused("invalid_client", 401)] * 9))
    with pytest.raises(NoTokenError):
        TokenPool.get_token("tenants", "hopeless")
    body = Observer("tenants", parts=[managers()])._pages.state(View())
    told = json.loads(body)
    root = next(iter(told["rows"].values()))
    assert [one["text"] for one in root["below"]["parts"]] == ["1 without a token", "1 blocked"]
    assert [one["text"] for one in told["summary"]] == ["3 token managers", "1 without a token", "1 blocked"]
    assert not any(key.encode() in body for key in [*keys, "hopeless"])


def test_no_secret_is_shown_wherever_one_is() -> None:
    """In the token, the credentials, what the provider says, a name that the provider quotes, and the events of all this."""
    clock = ManualClock()
    app_early = Observer("all", parts=[managers()], exception_texts=True)
    transport = ScriptedTransport(
        minted(TOKEN, refresh_token="refresh-0123456789"),
        refused("invalid_grant", 400, f"bad {SECRET} {TOKEN} refresh-0123456789"),
        refused("invalid_client", 401, f"wrong secret: {SECRET}"),
        refused("invalid_client", 401, f"wrong secret: {SECRET}"),
    )
    auth = ClientCredentials("id", SECRET)
    Supervisor.start_link([TokenManager.child_spec(name="m", **options(transport, clock, auth=auth))], name="all")
    TokenManager.get_token("m")
    for _ in range(3):
        clock.advance(5)
        call("m", ForceRefresh())
        eventually(lambda: not TokenManager.health("m").refreshing, "the attempt's end")
    TokenManager.force_refresh("m", rejected=TOKEN)
    body = app_early._pages.state(View()).decode()
    assert "invalid_client" in body or "invalid_grant" in body
    assert [one["event"] for one in json.loads(body)["events"] if one["event"] == "token_obtained"]
    for secret in (SECRET, TOKEN, "refresh-0123456789"):
        assert secret not in body


def test_looking_neither_asks_nor_wakes_a_manager() -> None:
    clock = ManualClock()
    ref = TokenManager.start_link(name="m", **options(ScriptedTransport(), clock))
    TokenManager.get_token("m")
    eventually(lambda: ref.actor_inbox.qsize() == 0, "an empty mailbox")
    before = TokenManager.health("m").token_requests
    for _ in range(50):
        figures("m")
        assert ref.actor_inbox.qsize() == 0
    assert TokenManager.health("m").token_requests == before


def test_other_actors_are_none_of_its_own() -> None:
    Supervisor.start_link([], name="all")
    assert managers().figures("nobody", None) is None
    assert managers().figures("all", None) is None
    assert managers().event("no_such_event", {}) is None
    TokenManager.start_link(name="m", **options(ScriptedTransport(), ManualClock()))
    TokenManager.stop("m")
    assert managers().figures("m", None) is None
