"""What differs from OTP, and why: one list. The table in supervision/README.md is made from it, and the judge works by it.

Each difference says how it is judged: by a normalisation of the traces, by what the players do, by what scenarios leave out; or
not at all, because no scenario could show it. A normalisation makes alike what is documented as different, and nothing else.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from otp.scenario import children

Trace = list[list[Any]]
Normalisation = Callable[[dict[str, Any], Trace], Trace]


@dataclass(frozen=True, slots=True)
class Difference:
    """One row of the table.

    Attributes:
        otp: what OTP does.
        here: what we do.
        because: the reason.
        judged: how the differential test deals with it.
        theirs: what is done to OTP's trace, if anything.
        ours: what is done to ours.
    """

    otp: str
    here: str
    because: str
    judged: str
    theirs: Normalisation | None = None
    ours: Normalisation | None = None


def normalised(scenario: dict[str, Any], theirs: Trace, ours: Trace) -> tuple[Trace, Trace]:
    """Both traces, made alike wherever they are documented as different, and where OTP leaves the order open."""
    for difference in DIFFERENCES:
        theirs = difference.theirs(scenario, theirs) if difference.theirs else theirs
        ours = difference.ours(scenario, ours) if difference.ours else ours
    for in_one_order in LEFT_OPEN.values():
        theirs, ours = in_one_order(scenario, theirs), in_one_order(scenario, ours)
    return theirs, ours


def table() -> list[str]:
    """The table of the page, line by line."""
    head = ["| OTP | here | because |", "| --- | --- | --- |"]
    return head + [f"| {one.otp} | {one.here} | {one.because} |" for one in DIFFERENCES]


# --- normalisations ---------------------------------------------------------------------------------------------------


def _with_rows(scenario: dict[str, Any], trace: Trace, *, dynamic: bool, change: Callable[[Any], Any]) -> Trace:
    """The trace with the rows of ``which_children`` changed, of supervisors that are dynamic, or of those that are not."""
    changed, at = [], "top"
    for line in trace:
        at = line[1] if line[0] == "step" else at
        of = line[1] if line[0] == "children" else at if line[:2] == ["answer", "which_children"] else None
        is_meant = of is not None and scenario["dynamic"][of] is dynamic and isinstance(line[-1], list)
        changed.append([*line[:-1], change(line[-1])] if is_meant else line)
    return changed


def _in_start_order(scenario: dict[str, Any], trace: Trace) -> Trace:
    return _with_rows(scenario, trace, dynamic=False, change=lambda rows: rows[::-1])


def _in_no_order(scenario: dict[str, Any], trace: Trace) -> Trace:
    return _with_rows(scenario, trace, dynamic=True, change=sorted)


def _without_ids_of_restarting(scenario: dict[str, Any], trace: Trace) -> Trace:
    def unnamed(rows: Any) -> Any:
        return [
            ["undefined", state, kind] if state == "restarting" else [one, state, kind] for one, state, kind in rows
        ]

    return _with_rows(scenario, trace, dynamic=True, change=unnamed)


def _siblings_at_once(scenario: dict[str, Any], trace: Trace) -> Trace:
    """Put ends that follow each other into the order of the dynamic supervisor's children that they are in, or below of."""
    above = scenario["above"]
    outer_first = sorted(scenario["dynamic"], key=lambda sup: len(list(_line_of(sup, above))))
    for sup in outer_first:  # so that what ends below one child of it stands together for the inner ones
        if scenario["dynamic"][sup]:
            runs = itertools.groupby(trace, lambda line, sup=sup: bool(_branch(line, sup, above)))
            trace = [
                line
                for is_below, run in runs
                for line in (sorted(run, key=lambda line: _branch(line, sup, above)) if is_below else run)
            ]
    return trace


def _branch(line: list[Any], sup: str, above: dict[str, str]) -> str:
    """For the end of an actor below that supervisor the latter's child that it is in; no text for all else."""
    if line[0] not in ("hook", "end"):
        return ""
    return next((one for one in (line[1], *_line_of(line[1], above)) if above.get(one) == sup), "")


def _orphans_together(scenario: dict[str, Any], trace: Trace) -> Trace:
    """Put the ends of all below a killed supervisor right behind its own, without their hooks and reasons.

    They may come just before it, too: ours are asked to leave before the recorder hears of the kill.
    """
    above = scenario["above"]
    live: set[tuple[str, int]] = set()  # of OTP's a successor may start while its predecessor's children still end
    orphans: dict[tuple[str, int], Trace] = {}  # for each where its line goes
    changed: list[Trace] = []
    for line in trace:
        incarnation = (line[1], line[2]) if line[0] in ("start", "hook", "end") else None
        if incarnation and line[0] == "start":
            live.add(incarnation)
        if incarnation and line[0] == "end":
            live.discard(incarnation)
        if incarnation in orphans:
            orphans[incarnation] += [["end", *incarnation, "with its supervisor"]] * (line[0] == "end")
            continue
        if line[0] == "end" and line[1] in scenario["dynamic"] and line[3] == "killed":
            early = []
            while changed and changed[-1][0][0] in ("hook", "end") and line[1] in _line_of(changed[-1][0][1], above):
                early += changed.pop()
            changed.append([line, *(["end", *one[1:3], "with its supervisor"] for one in early if one[0] == "end")])
            orphans |= {one: changed[-1] for one in live if line[1] in _line_of(one[0], above)}
        else:
            changed.append([line])
    return [line for lines in changed for line in [lines[0], *sorted(lines[1:])]]


def _line_of(child: str, above: dict[str, str]) -> Iterator[str]:
    while child in above:
        child = above[child]
        yield child


def _without_hooks_that_hang(scenario: dict[str, Any], trace: Trace) -> Trace:
    hanging = {child["id"] for child in children(scenario) if child.get("stop") == "hangs"}
    return [line for line in trace if not (line[0] == "hook" and line[1] in hanging and line[3] == "shutdown")]


# --- the list ---------------------------------------------------------------------------------------------------------

DIFFERENCES = (
    Difference(
        "a start has no timeout but the one that its start function gives",
        "`start_timeout` of any child",
        "a hang in a constructor, or below, hangs the supervisor",
        "scenarios: no start hangs",
    ),
    Difference(
        "the intensity window counts whole seconds",
        "exact seconds",
        "a window of 5 s is 5 s",
        "scenarios: no two restarts are between the period and one second more apart",
    ),
    Difference(
        "`intensity` 1 by default",
        "`max_restarts` 3",
        "Elixir's default",
        "scenarios: each says its own",
    ),
    Difference(
        "`which_children` in reverse start order",
        "in start order",
        "what a person expects",
        "traces: OTP's rows are turned round",
        theirs=_in_start_order,
    ),
    Difference(
        "`which_children` of a dynamic supervisor gives no ids",
        "it gives the specifications' ids",
        "a tree without ids says little",
        "players: OTP's knows the id of each pid; traces: ours loses those of children between two attempts",
        ours=_without_ids_of_restarting,
    ),
    Difference(
        "unknown keys of a child spec are accepted",
        "refused",
        "a typo must not be silent",
        "scenarios: none has one",
    ),
    Difference(
        "ids 1, 1.0 and true differ",
        "they are one id",
        "they are one dictionary key in Python",
        "scenarios: ids are texts",
    ),
    Difference(
        "an untrapped exit signal ends a process in the middle of a message",
        "an actor ends between two messages, after its backlog, as a process that traps exits does",
        "a thread cannot be interrupted",
        "players: OTP's children trap exits; of plain ones, which do not, no hook is written down",
    ),
    Difference(
        "an exception in `terminate` becomes the reason of the end",
        "it is logged, and changes nothing",
        "Pykka's end hooks never change an end",
        "scenarios: no end hook raises",
    ),
    Difference(
        "`exit(Pid, kill)` ends a process",
        "the actor is [abandoned](#what-a-thread-cannot-do)",
        "a thread cannot be killed",
        "nothing: a killed child is dead to all others, here as there",
    ),
    Difference(
        "links: a killed supervisor's children die with it",
        "its children are asked to leave, all at once, and abandoned past their shutdown times; "
        "only then is the supervisor restarted",
        "there are no links",
        "traces: the ends of all below a killed supervisor come right behind its own, without their hooks and reasons; "
        "scenarios: below one that may be killed no child takes long to end",
        theirs=_orphans_together,
        ours=_orphans_together,
    ),
    Difference(
        "an error in `handle_call` ends the caller too",
        "the caller gets the exception itself, and the server crashes (`crash_on_call_error = False` keeps it)",
        "Python's callers expect exceptions",
        "players: what the caller gets is not written down",
    ),
    Difference(
        "a timer that has expired may be handled after `cancel_timer`",
        "its message is never handled after `cancel()`",
        "the mailbox looks at the timer when it delivers",
        "not played: scenarios have no timers",
    ),
    Difference(
        "a call that can only deadlock waits for its timeout",
        "it is a `SupervisionError` at once, where that can be seen: a call to oneself, or to the supervisor that waits for "
        "one's start or end",
        "a clear error beats a timeout",
        "not played: no child calls its supervisor",
    ),
    Difference(
        "there is no delay before a restart",
        "`Backoff` for a child, off unless used",
        "OTP's users have asked for one since 2014",
        "scenarios: no child has one",
    ),
    Difference(
        "there is `observer`",
        "`Supervisor.tree`",
        "a tree as a value, as text and as JSON",
        "not played",
    ),
    Difference(
        "`erlang:system_monitor/2` is told of a `long_message_queue` or a `long_schedule`",
        "`long_mailbox` and `long_handler` are log events, on by default",
        "a Python program has no shell to look into",
        "not played",
    ),
)

LEFT_OPEN: dict[str, Normalisation] = {
    "whether an end hook that never returns has begun before the child's shutdown time is over": _without_hooks_that_hang,
    "the order of a dynamic supervisor's children": _in_no_order,
    "the order in which they end, all at the same time": _siblings_at_once,
}
"""What OTP itself leaves open: it is sorted, or left out, in both traces."""
