"""Which outages are rehearsed, what the forecast says of each, and what comes of it all. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, cast, get_args

from oidc_actor.machine.forecast import Plan, Worst, jitter_s, longest_s, shortened, worst
from oidc_actor.protocol.response_fields import LONGEST_WAIT_S
from oidc_actor.values.errors import ConfigError

Kind = Literal["timeout", "refused", "503", "429"]
"""No answer comes; no connection is had; HTTP 503; HTTP 429 with a ``Retry-After``."""

Moment = Literal["refreshed", "mid-life", "due", "expiry", "start"]
"""When an outage begins: right after a token came, half-way to its refresh, as that is due, a second before the token's end (by
then the next one is there), or before the manager starts."""

KINDS: tuple[Kind, ...] = get_args(Kind)
MOMENTS: tuple[Moment, ...] = get_args(Moment)

LONGEST_S = 7 * 86_400.0
"""The longest outage that is played."""

NEARLY_S = 1.0
"""Seconds by which a forecast may differ from what is played, and a moment from the end that it is just before."""

IN_FLEET_S = 4.0
"""The same for members that share a store: one may wait for another's lease, which is 3 seconds; and for two answers more."""

ROUNDING_S = 0.01

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86_400.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|min|m|h|d)")


@dataclass(frozen=True, slots=True)
class Outage:
    """One outage to play, and what the forecast says of it. Times are seconds.

    Attributes:
        kind: What is wrong.
        moment: When it begins.
        length_s: How long it lasts.
        before_s: How long before the live token's refresh, where that comes at the latest, it begins; ``None`` at the start.
        forecast_s: The longest outage of this kind that begins then and is survived; ``None`` at the start, where none is.
        early_s: How much earlier than at the latest that refresh comes, with the worst waits.
        waits: The worst waits.
        promised_s: The longest outage that must be survived; ``None`` for what is forecast.
        nearly_s: By how much a forecast may be off.
    """

    kind: Kind
    moment: Moment
    length_s: float
    before_s: float | None
    forecast_s: float | None
    early_s: float
    waits: Worst
    promised_s: float | None = None
    nearly_s: float = NEARLY_S

    def share(self, number: int) -> float:
        """The share of its range that the wait after a lost request has, with the worst waits.

        Args:
            number: Which request of those that are lost in a row, from 0.
        """
        return self.waits.share if number < self.waits.number else 1.0


@dataclass(frozen=True, slots=True)
class Played:
    """How one outage went. Times are seconds from its beginning.

    Attributes:
        outage: What was played.
        reads: How many reads there were, of all members.
        failed: How many brought no token.
        first_failure_s: When the first of them was; ``None`` for none.
        requests: How many requests were sent, from its beginning until all was well again.
        recovered_s: Seconds from its end until each member had a token and no failure left; ``None`` where that did not come
            about.
        late_s: How much later it began than meant: members of a fleet get a token one after the other.
    """

    outage: Outage
    reads: int
    failed: int
    first_failure_s: float | None
    requests: int
    recovered_s: float | None
    late_s: float = 0.0

    @property
    def survived(self) -> bool:
        """Whether no read failed."""
        return not self.failed and self.recovered_s is not None

    @property
    def forecast_s(self) -> float | None:
        """The longest outage that is forecast to be survived; ``None`` where none is."""
        return None if self.outage.forecast_s is None else max(0.0, self.outage.forecast_s - self.late_s)

    @property
    def agrees(self) -> bool | None:
        """Whether it went as forecast, as near as can be told; ``None`` where the forecast says nothing."""
        if self.forecast_s is None:
            return None
        is_near = abs(self.outage.length_s - self.forecast_s) < self.outage.nearly_s - ROUNDING_S
        return is_near or self.survived == (self.outage.length_s <= self.forecast_s)

    @property
    def broke_promise(self) -> bool:
        """Whether it had to be survived, and was not. What is forecast counts up to where the forecast may be off."""
        if self.forecast_s is None or self.survived:
            return False
        promised_s = self.outage.promised_s
        if promised_s is None:
            promised_s = self.forecast_s - self.outage.nearly_s
        return self.outage.length_s <= promised_s + ROUNDING_S


def worse(played: Iterable[Played]) -> Played:
    """Of several plays of one outage, the worst for those who read."""
    return max(played, key=lambda one: (one.recovered_s is None, one.failed, one.recovered_s or 0.0))


# --- what is said on the command line ---------------------------------------------------------------------------------


def parse_length(text: str, option: str) -> float:
    """Read a length of time, such as ``90``, ``90s``, ``5m`` or ``1h30m``, in seconds.

    Args:
        text: What was given.
        option: The option that it was given with, for the error.

    Raises:
        ConfigError: It is none, or is longer than is played.
    """
    bare = text.strip()
    found = _PART.findall(bare)
    seconds = math.nan
    if re.fullmatch(r"\d+(\.\d+)?", bare):
        seconds = float(bare)
    elif found and "".join(number + unit for number, unit in found) == bare:
        seconds = sum(float(number) * _UNITS[unit] for number, unit in found)
    if not 0 < seconds <= LONGEST_S:
        raise ConfigError(f"{option}: expected a length of up to 7 days, such as 90s, 5m or 1h30m, got {text!r}")
    return seconds


def parse_lengths(given: Sequence[str], option: str) -> list[float]:
    """Read lengths of time, each option with one or with several between commas; each comes once, the shortest first.

    Args:
        given: What was given.
        option: As of `parse_length`.

    Raises:
        ConfigError: One of them is none.
    """
    return sorted({parse_length(one, option) for text in given for one in text.split(",")})


def parse_kinds(given: Sequence[str], option: str) -> list[Kind]:
    """Read kinds of outages, each once.

    Args:
        given: What was given; nothing is all of them.
        option: As of `parse_length`.

    Raises:
        ConfigError: One of them is none.
    """
    return cast("list[Kind]", _named(given, option, KINDS))


def parse_moments(given: Sequence[str], option: str) -> list[Moment]:
    """Read moments at which outages begin, each once.

    Args:
        given: What was given; nothing is all of them.
        option: As of `parse_length`.

    Raises:
        ConfigError: One of them is none.
    """
    return cast("list[Moment]", _named(given, option, MOMENTS))


def _named(given: Sequence[str], option: str, known: Sequence[str]) -> list[str]:
    names = [one.strip() for text in given for one in text.split(",")]
    for name in names:
        if name not in known:
            raise ConfigError(f"{option}: expected one of {', '.join(known)}, got {name!r}")
    return [name for name in known if name in names] or list(known)


# --- what is played ---------------------------------------------------------------------------------------------------


def planned_for(plan: Plan, kind: Kind, retry_after_s: float) -> Plan:
    """What a manager is like in outages of a kind.

    Args:
        plan: What it is like where a lost request takes its whole timeout.
        kind: Which kind.
        retry_after_s: What ``Retry-After`` says, with HTTP 429.
    """
    if kind == "timeout":
        return plan
    retry_after_s = min(retry_after_s, LONGEST_WAIT_S)  # no manager obeys a longer one
    lost_after_s = 0.0 if kind == "refused" else min(plan.took_s, plan.timeout_s)
    return replace(plan, lost_after_s=lost_after_s, retry_after_s=retry_after_s if kind == "429" else 0.0)


def outages(
    plan: Plan,
    kinds: Iterable[Kind],
    moments: Sequence[Moment],
    lengths_s: Sequence[float],
    *,
    retry_after_s: float,
    survive_s: float | None,
    nearly_s: float = NEARLY_S,
) -> Iterator[Outage]:
    """All outages that are played, and what the forecast says of each.

    Args:
        plan: What the manager is like.
        kinds: What goes wrong.
        moments: When.
        lengths_s: For how long; none for a ladder about what the forecast says.
        retry_after_s: What ``Retry-After`` says, with HTTP 429.
        survive_s: The longest outage that must be survived, whenever it begins; ``None`` for what is forecast.
        nearly_s: By how much a forecast may be off.
    """
    for kind in kinds:
        planned = planned_for(plan, kind, retry_after_s)
        played = shortened(planned)
        for moment in moments:
            before_s = begins_before_s(planned, moment)
            forecast_s = None if before_s is None else longest_s(planned, before_s)
            kept_s = min(before_s or 0.0, played.longest_before_s)
            waits = worst(played, kept_s)
            early_s = jitter_s(played, waits.share, kept_s)
            steps = ladder(planned, forecast_s, survive_s, nearly_s)
            for length_s in lengths_s or steps:
                yield Outage(kind, moment, length_s, before_s, forecast_s, early_s, waits, survive_s, nearly_s)


def ladder(plan: Plan, forecast_s: float | None, survive_s: float | None, nearly_s: float = NEARLY_S) -> list[float]:
    """Lengths that show what is survived and what is not: a little less than forecast, and a little more.

    Args:
        plan: What the manager is like.
        forecast_s: What is forecast for outages that begin then; ``None`` where nothing is.
        survive_s: What has to be survived, if that was said.
        nearly_s: How much is a little.
    """
    steps = [plan.lead_s] if forecast_s is None else [forecast_s - nearly_s, forecast_s + nearly_s]
    if survive_s is not None:
        steps.append(survive_s)
    return sorted({min(one, LONGEST_S) for one in steps if one >= NEARLY_S})


def begins_before_s(plan: Plan, moment: Moment) -> float | None:
    """How long before the refresh of the token that lives then an outage begins; ``None`` at the start, where none lives.

    Args:
        plan: What the manager is like.
        moment: When it begins.
    """
    match moment:
        case "start":
            return None
        case "due":
            return 0.0
        case "mid-life":
            return plan.longest_before_s / 2
        case "refreshed":
            return plan.longest_before_s
        case _:  # the next token's request began as the refresh was due
            return max(0.0, plan.lifetime_s - plan.lead_s - (plan.lead_s - just_before_s(plan)))


def just_before_s(plan: Plan) -> float:
    """How long before a token's end it is "just before" that."""
    return min(NEARLY_S, plan.lead_s / 2)
