"""How a rehearsal is told: as a table, and as data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from oidc_actor.cli.findings import spoken
from oidc_actor.cli.rehearsal.outages import LONGEST_S, Played
from oidc_actor.cli.rehearsal.set_up import Rehearsal
from oidc_actor.machine.forecast import forecast

BEGINS = {
    "refreshed": "right after a refresh",
    "mid-life": "half-way to the next refresh",
    "due": "as the refresh is due",
    "expiry": "just before a token's end",
    "start": "before the start",
}
WHAT = {"timeout": "no answer", "refused": "refused", "503": "HTTP 503", "429": "HTTP 429"}
STYLES = {"pass": "green", "warn": "yellow", "fail": "bold red", "gap": "dim"}
HEAD = ("", "outage", "it begins", "for", "failed reads", "first at", "requests", "recovered in", "forecast")


def show(console: Console, rehearsal: Rehearsal, played: Sequence[Played]) -> None:
    """Print what was played.

    Args:
        console: Where to.
        rehearsal: What was rehearsed.
        played: How each outage went.
    """
    for line in _heading(rehearsal):
        console.print(line, highlight=False)
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for name in HEAD:
        table.add_column(name, no_wrap=True)
    for one in played:
        result = result_of(one)
        table.add_row(Text(result, style=STYLES[result]), *_cells(one))
    console.print()
    console.print(table)
    console.print()
    for line in _conclusion(rehearsal, played):
        console.print(line, highlight=False)


def result_of(played: Played) -> str:
    """How an outage went.

    Args:
        played: The outage.

    Returns:
        `pass` where no read failed. Where one did: `fail` if the outage had to be survived, else `gap`, or `warn` where another
        outcome was forecast.
    """
    if played.broke_promise:
        return "fail"
    if played.survived:
        return "pass"
    return "warn" if played.agrees is False else "gap"


def _cells(one: Played) -> Iterator[str]:
    outage = one.outage
    yield WHAT[outage.kind]
    yield BEGINS[outage.moment]
    yield told(outage.length_s)
    yield f"{one.failed} of {one.reads}"
    yield "-" if one.first_failure_s is None else told(one.first_failure_s)
    yield str(one.requests)
    yield "not at all" if one.recovered_s is None else f"{one.recovered_s:.1f} s"
    if one.forecast_s is None:
        yield "-"
    else:
        yield f"up to {told(one.forecast_s)}" + ("" if one.agrees else ", which is wrong here")


def told(seconds: float) -> str:
    """A time as a person says it; below a minute with a tenth."""
    return f"{seconds:.1f} s" if seconds < 60 else spoken(seconds)


def _heading(rehearsal: Rehearsal) -> Iterator[str]:
    plan, shape, wanted = rehearsal.plan, rehearsal.shape, rehearsal.wanted
    comes = "a refresh token comes with it" if shape.refresh_token else "without a refresh token"
    says = "expires_in" if shape.expires_in else "the token's exp" if shape.has_exp else "nothing"
    if wanted.lifetime_s is not None:
        source = "as --lifetime says"
    elif rehearsal.is_lifetime_assumed:
        source = "assumed: the answer does not say"
    else:
        source = f"by {says}; it came in {plan.took_s:.2f} s"
    yield f"a token lives {spoken(plan.lifetime_s)} ({source}); {shape.token_type}, {comes}"
    retry = plan.rules.retry
    yield (
        f"refreshed {told(plan.lead_s)} before its end; a request is given {plan.timeout_s:g} s; waits of up to "
        f"{retry.initial_s:g} s, then twice as long each time, up to {retry.maximum_s:g} s"
    )
    if wanted.members > 1:
        yield f"{wanted.members} members share a store, in memory; the one that was named was not touched"


def _conclusion(rehearsal: Rehearsal, played: Sequence[Played]) -> Iterator[str]:
    survive_s, broken = rehearsal.wanted.survive_s, [one for one in played if one.broke_promise]
    what = "that are forecast to be survived" if survive_s is None else f"of up to {told(survive_s)}"
    if not broken:
        yield f"all outages {what} were survived"
    else:
        shortest = min(broken, key=lambda one: one.outage.length_s)
        yield (
            f"not survived: {len(broken)} of the outages {what}; the shortest of them is {told(shortest.outage.length_s)} of "
            f"{WHAT[shortest.outage.kind]}, {BEGINS[shortest.outage.moment]}"
        )
    wrong = sum(one.agrees is False for one in played)
    if wrong:
        yield f"{wrong} of {len(played)} went other than forecast"


def as_json(rehearsal: Rehearsal, played: Iterable[Played]) -> dict[str, Any]:
    """What was played, as data. Times are seconds.

    Args:
        rehearsal: What was rehearsed.
        played: How each outage went.
    """
    plan, wanted, all_played = rehearsal.plan, rehearsal.wanted, list(played)
    return {
        "ok": not any(one.broke_promise for one in all_played),
        "token": {
            "lifetime_s": plan.lifetime_s,
            "is_assumed": rehearsal.is_lifetime_assumed,
            "took_s": plan.took_s,
            **asdict(rehearsal.shape),
        },
        "options": {
            "refresh_buffer_seconds": plan.buffer_s,
            "timeout_seconds": plan.timeout_s,
            "min_interval_seconds": plan.rules.min_interval_s,
            "retry": {"initial_s": wanted.retry.initial_s, "maximum_s": wanted.retry.maximum_s},
            "members": wanted.members,
        },
        "forecast": asdict(forecast(plan)),
        "survive_s": wanted.survive_s,
        "longest_played_s": LONGEST_S,
        "outages": [_row(one) for one in all_played],
    }


def _row(one: Played) -> dict[str, Any]:
    return {
        "kind": one.outage.kind,
        "moment": one.outage.moment,
        "length_s": one.outage.length_s,
        "survived": one.survived,
        "reads": one.reads,
        "failed_reads": one.failed,
        "first_failure_s": one.first_failure_s,
        "requests": one.requests,
        "recovered_s": one.recovered_s,
        "forecast_s": one.forecast_s,
        "agrees": one.agrees,
        "result": result_of(one),
    }
