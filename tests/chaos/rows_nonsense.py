"""Rows about a provider that talks nonsense."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from chaos.readers import refused
from chaos.scenario import row
from chaos.world import World

from oidc_actor import NoTokenError, TokenManager, TokenRequestError


def nonsense() -> Iterator[tuple[str, dict[str, Any]]]:
    """Answers that are none, by what is wrong with them."""

    def ok(body: object, **headers: str) -> dict[str, Any]:
        text = body if isinstance(body, (str, bytes)) else json.dumps(body)
        return {"status": 200, "body": text, "headers": {"Content-Type": "application/json", **headers}}

    token = {"access_token": "t", "token_type": "Bearer", "expires_in": 300}
    yield "an HTML page with 503", {"status": 503}
    yield "an HTML page with 200", {"status": 200}
    yield "an empty 200", ok("")
    yield "no object", ok([token])
    yield "no access_token", ok({"token_type": "Bearer"})
    yield "a number for a token", ok({**token, "access_token": 5})
    yield "an empty token", ok({**token, "access_token": ""})
    yield "a header injected by the token", ok({**token, "access_token": "t\r\nX: y"})
    yield "another token_type", ok({**token, "token_type": "mac"})
    yield "a token that has ended", ok({**token, "expires_in": 0})
    yield "a token that has never been", ok({**token, "expires_in": -5})
    yield "a token in a 400", {"status": 400, "body": json.dumps(token)}
    yield "a 401 without a code", {"status": 401, "body": "no"}
    yield "a 404", {"status": 404}
    yield "a 500 with JSON", {"status": 500, "error": "server_error"}
    yield "an unknown error", {"status": 400, "error": "computer_says_no"}
    yield "invalid_request", {"status": 400, "error": "invalid_request"}
    yield "a redirect", {"status": 302, "headers": {"Location": "http://127.0.0.1:1/"}}
    yield "a redirect that keeps the method", {"status": 307, "headers": {"Location": "http://127.0.0.1:1/"}}
    yield "two megabytes", ok('{"access_token": "' + "x" * 2**21 + '"}')
    yield "deep JSON", ok("[" * 100_000)
    yield "NUL bytes", ok(b"\x00" * 10)
    yield "no UTF-8", ok(b'{"access_token": "\xff"}')
    yield "half a body", ok('{"access_token": "t", "expi')


@row(
    "pain 1; pain 4; pain 10",
    "every answer that is none is a typed, retryable error; the loop lives on, and the live token with it",
)
def nonsense_answers(world: World) -> None:
    name = world.ready_manager()
    wrong: list[str] = []
    answers = list(nonsense())
    with world.readers(name) as readers:
        for what, answer in answers:
            world.backend.fail_next(1, **answer)
            world.clock.advance(1.0)
            try:
                TokenManager.force_refresh(name, wait=True)
            except NoTokenError as error:
                cause = error.cause
                if not isinstance(cause, TokenRequestError) or not cause.retryable or cause.status is None:
                    wrong.append(f"{what}: {cause!r}")
            else:
                wrong.append(f"{what}: taken for a token")
    world.check_reads(readers)
    world.check("answers", f"{len(answers)}, {len(wrong)} not as they should be {wrong or ''}", not wrong)
    world.check("requests", world.requests - 1, world.requests - 1 == len(answers))
    old = TokenManager.get_access_token(name)
    world.pass_time(60)
    world.expect("within a minute", "a new token", TokenManager.get_access_token(name) != old)


@row("pain 4; elixir 1", "a bad body is retried, and never in a hot loop: ten minutes of empty 200s")
def empty_bodies(world: World) -> None:
    world.backend.fail_next(None, status=200, body="")
    name = world.manager()
    world.pass_time(600)
    during = world.requests
    world.backend.heal()
    world.pass_time(60)
    world.check("requests in ten minutes", during, 10 <= during <= 100)
    world.expect("afterwards", "a token", refused(name) is None)
